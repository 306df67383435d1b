import type { AddParams } from '$lib/contract';

/** What was typed or pasted, understood as a server to declare. */
export type Understood =
  | { kind: 'nothing' }
  | { kind: 'json'; text: string }
  | { kind: 'wrong'; why: string }
  | { kind: 'server'; add: Pick<AddParams, 'command' | 'args' | 'url'>; name: string };

/** Tells a command line, an address and a JSON entry apart. */
export function understand(text: string): Understood {
  const trimmed = text.trim();
  if (!trimmed) return { kind: 'nothing' };
  if (/^[{[]/.test(trimmed)) return json(trimmed);
  if (/^https?:\/\//i.test(trimmed)) return address(trimmed);
  const words = split(trimmed);
  if (words === undefined) return { kind: 'wrong', why: 'A quotation mark is not closed' };
  const first = words.findIndex((word) => !VARIABLE.test(word));
  if (first === -1) return { kind: 'wrong', why: 'Names variables, but no program' };
  const rest = words.slice(first);
  const [command, ...args] = rest;
  if (!command) return { kind: 'nothing' };
  if (first > 0) {
    // As an entry of a client's file: then its environment is shown, and what is secret in it moves to the store.
    const env = Object.fromEntries(words.slice(0, first).map((word) => halves(word)));
    return { kind: 'json', text: JSON.stringify({ mcpServers: { [nameFor(rest)]: { command, args, env } } }) };
  }
  return { kind: 'server', add: { command, args }, name: nameFor(words) };
}

/** `NAME=value` before a program, as in a shell. */
const VARIABLE = /^[A-Za-z_]\w*=/;

function halves(word: string): [string, string] {
  const at = word.indexOf('=');
  return [word.slice(0, at), word.slice(at + 1)];
}

function json(text: string): Understood {
  try {
    JSON.parse(text);
    return { kind: 'json', text };
  } catch {
    return { kind: 'wrong', why: 'Begins like JSON, but is not valid JSON' };
  }
}

function address(text: string): Understood {
  if (!URL.canParse(text) || /\s/.test(text)) return { kind: 'wrong', why: 'Begins like an address, but is not one' };
  const { hostname } = new URL(text);
  const labels = hostname.split('.').filter((label) => label !== 'mcp' && label !== 'www' && label !== 'api');
  return { kind: 'server', add: { url: text }, name: cleaned(labels[0] ?? 'server') };
}

/** Splits a command line as a shell would, without running or expanding anything; nothing where a quote stays open. */
export function split(line: string): string[] | undefined {
  const words: string[] = [];
  let word = '';
  let begun = false;
  let quote = '';
  for (let i = 0; i < line.length; i += 1) {
    const char = line.charAt(i);
    if (quote) {
      if (char === quote) quote = '';
      else if (char === '\\' && quote === '"' && /["\\$`]/.test(line.charAt(i + 1))) word += line.charAt((i += 1));
      else word += char;
    } else if (char === '"' || char === "'") {
      quote = char;
      begun = true;
    } else if (char === '\\' && i + 1 < line.length) {
      const next = line.charAt((i += 1));
      // A line that goes on below.
      if (next !== '\n') word += next;
      begun = begun || next !== '\n';
    } else if (/\s/.test(char)) {
      if (begun) words.push(word);
      word = '';
      begun = false;
    } else {
      word += char;
      begun = true;
    }
  }
  if (quote) return undefined;
  if (begun) words.push(word);
  return words;
}

const RUNNERS = new Set([
  'npx',
  'uvx',
  'bunx',
  'pnpx',
  'node',
  'python',
  'python3',
  'uv',
  'docker',
  'deno',
  'run',
  'dlx',
  'exec',
]);

/** A name from what is run: the package without its scope, version and the usual "mcp" and "server" around it. */
export function nameFor(words: readonly string[]): string {
  const named = words.filter((word) => !word.startsWith('-') && !RUNNERS.has(word)).at(0) ?? words[0] ?? 'server';
  const last = named.split('/').at(-1) ?? named;
  const plain = last.replace(/(?<!^)@.*$/, '').replace(/\.(js|mjs|cjs|ts|py|sh)$/, '');
  const short = plain.replace(/^(mcp-)?(server-)?/, '').replace(/(-mcp)?(-server)?$/, '');
  // "@vendor/mcp" says who, not what.
  const scope = /^@([^/]+)\//.exec(named)?.[1];
  const bare = !short || short === 'mcp' || short === 'server';
  return cleaned(bare ? (scope ?? plain) : short);
}

function cleaned(text: string): string {
  const name = text
    .replace(/[^A-Za-z0-9_.-]+/g, '-')
    .replace(/^[^A-Za-z0-9]+/, '')
    .slice(0, 64);
  return name || 'server';
}

/** Why a name is none, where it is none. */
export function nameError(name: string, taken: (name: string) => boolean): string | undefined {
  if (!name) return 'A name is needed';
  if (!/^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/.test(name))
    return 'Up to 64 letters, digits, _ . - and first a letter or a digit';
  return taken(name) ? 'Taken by another server' : undefined;
}
