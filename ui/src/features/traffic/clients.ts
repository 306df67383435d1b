/** Clients' files: which is proposed, what is said of each, and a comparison as text. */
import type { ClientPreview, ClientTarget, DiffLine } from '$lib/contract';
import type { CallError } from '$lib/transport';
import { snippets, type ClientKind } from './model';

/** The file to begin with: that of the kind of client that was looked at, or else the first that can be written. */
export function proposed(found: readonly ClientTarget[], kind: ClientKind): ClientTarget | undefined {
  const label = snippets('').find((snippet) => snippet.id === kind)?.label;
  const free = found.filter((target) => target.refused === undefined);
  return (
    found.find((target) => target.client === label) ?? free.find((target) => target.entry !== 'current') ?? found[0]
  );
}

/** What is known of a file in a word or two. */
export function targetNote(target: ClientTarget): string {
  if (target.refused !== undefined) return 'by hand only';
  switch (target.entry) {
    case 'current':
      return 'connected';
    case 'differs':
      return `has another ${target.name}`;
    default:
      return target.exists ? 'not connected' : 'no file yet';
  }
}

const SIGNS: Record<DiffLine['sign'], string> = { same: ' ', added: '+', removed: '-', gap: '@@ ' };

/** The comparison as the diff view takes it. */
export function diffText(lines: readonly DiffLine[]): string {
  return lines.map(({ sign, text }) => SIGNS[sign] + text + (sign === 'gap' ? ' unchanged @@' : '')).join('\n');
}

/** What the file would become now, where it was not written because it changed since it was shown. */
export function shownAnew(error: CallError): ClientPreview | undefined {
  const { code, detail } = error;
  const is =
    code === 'conflict' && typeof detail === 'object' && detail !== null && 'diff' in detail && 'hash' in detail;
  return is ? (detail as ClientPreview) : undefined;
}
