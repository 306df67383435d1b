import type { ChannelEdit, ConfigFinding, ConfigWritten, EditPreview, RuleEdit } from '$lib/contract';
import { toasts } from '$kit/toasts.svelte';
import type { Model } from '$lib/state/model';
import { CallError } from '$lib/transport';

/** From one letter to the next question. */
export const SETTLE_MS = 250;

interface Commands<E> {
  preview: (edit: E) => Promise<EditPreview>;
  write: (edit: E, hash: string) => Promise<ConfigWritten>;
  /** After it was written. */
  read: () => Promise<void>;
}

/** A change of `fleet.toml`: what the file would become, and the writing; what is written is what was shown. */
export class Change<E> {
  preview = $state.raw<EditPreview>();
  /** Why there is no preview, or why it was not written. */
  trouble = $state('');
  /** What is wrong with the keys that have a field of their own, by key. */
  wrong = $state.raw<Readonly<Record<string, string>>>({});
  /** The file changed since it was shown; the preview is of now. */
  changed = $state(false);
  busy = $state(false);
  /** Whether there is something to write. */
  ready = $derived(Boolean(this.preview?.diff) && !this.busy);
  outcome = $derived({
    path: this.preview?.path ?? '',
    diff: this.preview?.diff,
    changed: this.changed,
    trouble: this.trouble,
  });

  #commands: Commands<E>;
  #fields: readonly string[];
  #edit: E | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #asked = 0;

  /** `fields` are the keys at which it is said what is wrong with them. */
  constructor(commands: Commands<E>, fields: readonly string[] = []) {
    this.#commands = commands;
    this.#fields = fields;
  }

  /** Asks what the file would become, a moment after the last call; without a change there is nothing to show. */
  show(edit: E | undefined): void {
    clearTimeout(this.#timer);
    this.#edit = edit;
    ++this.#asked;
    this.changed = false;
    if (edit) this.#timer = setTimeout(() => void this.#look(), SETTLE_MS);
    else this.#shows(undefined);
  }

  /** Writes what was shown. Whether it was. */
  async write(): Promise<boolean> {
    const [edit, shown] = [this.#edit, this.preview];
    if (!edit || !shown || this.busy) return false;
    this.busy = true;
    this.trouble = '';
    try {
      const written = await this.#commands.write(edit, shown.hash);
      toasts.show({ kind: 'good', title: written.changes.join('; ') || 'Nothing was to be changed' });
      await this.#commands.read();
      return true;
    } catch (thrown) {
      const error = CallError.of(thrown);
      if (error.code === 'conflict') {
        await this.#look();
        this.changed = true;
      } else this.trouble = `Failed to ${error.message}.`;
      return false;
    } finally {
      this.busy = false;
    }
  }

  close(): void {
    clearTimeout(this.#timer);
    ++this.#asked;
  }

  async #look(): Promise<void> {
    const [edit, asked] = [this.#edit, ++this.#asked];
    if (!edit) return;
    try {
      const preview = await this.#commands.preview(edit);
      if (asked === this.#asked) this.#shows(preview);
    } catch (error) {
      if (asked === this.#asked) this.#shows(undefined, CallError.of(error));
    }
  }

  #shows(preview: EditPreview | undefined, error?: CallError): void {
    this.preview = preview;
    this.wrong = error ? keysIn(error, this.#fields) : {};
    // What stands at its field is not said again.
    this.trouble = error && Object.keys(this.wrong).length === 0 ? `Failed to ${error.message}.` : '';
  }
}

/** What an error says of these keys, in findings of the file or of the change itself; nothing when it says something else, too. */
function keysIn({ detail, message }: CallError, fields: readonly string[]): Record<string, string> {
  const findings =
    typeof detail === 'object' && detail !== null && 'findings' in detail ? (detail.findings as ConfigFinding[]) : [];
  const pairs = findings.map(({ key, message: said }): [string | undefined, string] => [
    /^alerts\.\w+\[\d+\]\.(\w+)/.exec(key)?.[1] ?? /^(\w+) is (?:not given|")/.exec(said)?.[1],
    said,
  ]);
  const [, own, said = ''] = /^write (\w+): (found .*|nothing .*)$/.exec(message) ?? [];
  if (own !== undefined) pairs.push([own, said]);
  return pairs.every(([key]) => key !== undefined && fields.includes(key))
    ? (Object.fromEntries(pairs) as Record<string, string>)
    : {};
}

export const ruleChange = (model: Model, fields?: readonly string[]): Change<RuleEdit> =>
  new Change(
    {
      preview: (edit) => model.call('alerts.rule_preview', edit),
      write: (edit, hash) => model.call('alerts.rule_write', { edit, hash }),
      read: () => model.alerts.read(),
    },
    fields,
  );

export const channelChange = (model: Model, fields?: readonly string[]): Change<ChannelEdit> =>
  new Change(
    {
      preview: (edit) => model.call('alerts.channel_preview', edit),
      write: (edit, hash) => model.call('alerts.channel_write', { edit, hash }),
      read: () => model.alerts.read(),
    },
    fields,
  );
