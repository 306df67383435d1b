import type { CallOutcome, ToolCallRecord } from '$lib/contract';
import type { IconName } from '$kit/icons';
import { count } from '$lib/format';
import { isObject, type Json, type JsonObject } from './json';

/** A tool as its server describes it, with what the playground needs read out. */
export interface Tool {
  name: string;
  title: string | null;
  description: string;
  inputSchema: Json;
  outputSchema: Json | null;
  /** What the server says about its effects; nothing where it says nothing. */
  readOnly: boolean;
  destructive: boolean;
  openWorld: boolean;
  /** Whether it says anything about its effects at all. */
  annotated: boolean;
  raw: JsonObject;
}

/** Reads a tool of a list; what has no name is no tool. */
export function readTool(raw: unknown): Tool | null {
  if (!isObject(raw) || typeof raw['name'] !== 'string') return null;
  const annotations = isObject(raw['annotations']) ? raw['annotations'] : {};
  return {
    name: raw['name'],
    title:
      typeof raw['title'] === 'string'
        ? raw['title']
        : typeof annotations['title'] === 'string'
          ? annotations['title']
          : null,
    description: typeof raw['description'] === 'string' ? raw['description'] : '',
    inputSchema: raw['inputSchema'] ?? { type: 'object' },
    outputSchema: raw['outputSchema'] ?? null,
    readOnly: annotations['readOnlyHint'] === true,
    destructive: annotations['destructiveHint'] === true && annotations['readOnlyHint'] !== true,
    openWorld: annotations['openWorldHint'] === true,
    annotated: ['readOnlyHint', 'destructiveHint', 'openWorldHint'].some(
      (hint) => typeof annotations[hint] === 'boolean',
    ),
    raw,
  };
}

/** A mark of what a tool does, as its server says. */
export interface Badge {
  icon: IconName | 'destructive';
  word: string;
  title: string;
  tone: 'read' | 'write' | 'world' | 'destroys';
}

export function badgesOf(tool: Tool): Badge[] {
  const out: Badge[] = [];
  if (tool.readOnly) out.push({ icon: 'eye', word: 'read-only', title: 'Read-only: changes nothing', tone: 'read' });
  else if (tool.destructive)
    out.push({
      icon: 'destructive',
      word: 'destructive',
      title: 'Destructive: may remove or overwrite',
      tone: 'destroys',
    });
  else
    out.push({
      icon: 'note',
      word: 'writes',
      title: tool.annotated ? 'Writes state' : 'Says nothing about its effects: it may write',
      tone: 'write',
    });
  if (tool.openWorld)
    out.push({
      icon: 'open-world',
      word: 'open world',
      title: 'Open world: reaches beyond this machine',
      tone: 'world',
    });
  return out;
}

/** A block of a result's content that can be shown, or what it is where it cannot. */
export type Block =
  | { kind: 'text'; text: string }
  | { kind: 'image'; source: string; type: string }
  | { kind: 'audio'; source: string; type: string }
  | { kind: 'link'; name: string; uri: string; about: string }
  | { kind: 'resource'; uri: string; text: string | null; type: string; bytes: number }
  | { kind: 'other'; type: string; value: Json };

// Only kinds that a page shows without running anything: a vector image could hold script.
const IMAGES = /^image\/(?:png|jpeg|gif|webp|avif|bmp)$/;
const SOUNDS = /^audio\/[\w.+-]+$/;
const BASE64 = /^[A-Za-z0-9+/]*={0,2}$/;

/** The content of a result as blocks, in order. */
export function blocksOf(result: unknown): Block[] {
  if (!isObject(result) || !Array.isArray(result['content'])) return [];
  return result['content'].map((item): Block => {
    if (!isObject(item)) return { kind: 'other', type: typeof item, value: item };
    const text = (key: string): string => (typeof item[key] === 'string' ? item[key] : '');
    const type = text('type');
    const mime = text('mimeType');
    const data = text('data').replace(/\s+/g, '');
    if (type === 'text') return { kind: 'text', text: text('text') };
    if (type === 'image' && IMAGES.test(mime) && BASE64.test(data))
      return { kind: 'image', source: `data:${mime};base64,${data}`, type: mime };
    if (type === 'audio' && SOUNDS.test(mime) && BASE64.test(data))
      return { kind: 'audio', source: `data:${mime};base64,${data}`, type: mime };
    if (type === 'resource_link')
      return { kind: 'link', name: text('name') || text('uri'), uri: text('uri'), about: text('description') };
    if (type === 'resource' && isObject(item['resource'])) {
      const inner = item['resource'];
      const inside = (key: string): string => (typeof inner[key] === 'string' ? inner[key] : '');
      const blob = inside('blob');
      return {
        kind: 'resource',
        uri: inside('uri'),
        text: typeof inner['text'] === 'string' ? inner['text'] : null,
        type: inside('mimeType'),
        bytes: Math.floor((blob.replace(/=+$/, '').length * 3) / 4),
      };
    }
    return { kind: 'other', type: type || 'unknown', value: item };
  });
}

/** The structured part of a result. */
export function structuredOf(result: unknown): Json | undefined {
  return isObject(result) ? result['structuredContent'] : undefined;
}

/** Whether a text says no more than the structured part beside it: servers repeat it for older clients. */
export function repeats(text: string, structured: Json): boolean {
  try {
    return JSON.stringify(JSON.parse(text)) === JSON.stringify(structured);
  } catch {
    return false;
  }
}

/** What came of a call, in a few words. */
export function summary(outcome: CallOutcome): { word: string; text: string; bad: boolean } {
  switch (outcome.outcome) {
    case 'result': {
      const text = resultWords(outcome.result);
      return outcome.is_error ? { word: 'The tool failed', text, bad: true } : { word: 'Succeeded', text, bad: false };
    }
    case 'rpc_error':
      return { word: `Error ${outcome.code}`, text: outcome.message, bad: true };
    case 'failed':
      return { word: 'No answer', text: outcome.message, bad: true };
    case 'cancelled':
      return { word: 'Cancelled', text: 'Cancelled by you', bad: false };
  }
}

function resultWords(result: unknown): string {
  const blocks = blocksOf(result);
  const first = blocks.find((block) => block.kind === 'text');
  if (first?.kind === 'text' && first.text.trim() !== '') return first.text.trim().split('\n')[0]?.slice(0, 160) ?? '';
  const structured = structuredOf(result);
  if (structured !== undefined) return JSON.stringify(structured).slice(0, 160);
  return blocks.length === 0 ? 'an empty result' : count(blocks.length, 'block');
}

/** The whole answer as JSON, as it came. */
export function rawOf(outcome: CallOutcome): Json {
  switch (outcome.outcome) {
    case 'result':
      return (outcome.result ?? null) as Json;
    case 'rpc_error':
      return {
        error: {
          code: outcome.code,
          message: outcome.message,
          ...(outcome.data === undefined ? {} : { data: outcome.data as Json }),
        },
      };
    case 'failed':
      return { failed: outcome.message };
    case 'cancelled':
      return { cancelled: true };
  }
}

/** The request as it would stand on the wire. */
export function requestOf(record: Pick<ToolCallRecord, 'tool' | 'arguments'>): string {
  return JSON.stringify(
    { jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: record.tool, arguments: record.arguments } },
    null,
    2,
  );
}

/** An array of flat objects with the same few keys is read best as a table. */
export function tableOf(value: Json): { columns: string[]; rows: JsonObject[] } | null {
  if (!Array.isArray(value) || value.length === 0 || value.length > 500) return null;
  const rows = value.filter(isObject);
  if (rows.length < value.length) return null;
  const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  if (columns.length === 0 || columns.length > 7) return null;
  const flat = (cell: Json | undefined): boolean =>
    cell === undefined ||
    cell === null ||
    typeof cell !== 'object' ||
    (Array.isArray(cell) && cell.length <= 6 && cell.every((one) => typeof one !== 'object'));
  return rows.every((row) => columns.every((column) => flat(row[column]))) ? { columns, rows } : null;
}
