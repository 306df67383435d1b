import { describe, expect, it } from 'vitest';
import type { ClientTarget } from '$lib/contract';
import { Model } from '$lib/state/model';
import { CallError } from '$lib/transport';
import { MockTransport } from '$lib/transport/mock';
import { diffText, proposed, shownAnew, targetNote } from './clients';
import { Writing } from './writing.svelte';

const target = (client: string, more: Partial<ClientTarget> = {}): ClientTarget => ({
  client,
  path: `/home/me/${client}`,
  project: false,
  exists: true,
  installed: true,
  via: 'http',
  entry: 'absent',
  name: 'flotilla',
  paste: '{}',
  ...more,
});

describe('what is proposed', () => {
  const found = [
    target('Goose', { refused: 'it is YAML' }),
    target('Cursor', { entry: 'current' }),
    target('Zed'),
    target('Claude Code'),
  ];

  it('is the client that was looked at, or else the first that waits to be connected', () => {
    expect(proposed(found, 'claude')?.client).toBe('Claude Code');
    expect(proposed(found, 'cursor')?.client).toBe('Cursor');
    expect(proposed(found, 'other')?.client).toBe('Zed');
    expect(proposed(found.slice(0, 1), 'other')?.client).toBe('Goose');
    expect(proposed([], 'other')).toBeUndefined();
  });

  it('is said in a word or two', () => {
    expect(found.map(targetNote)).toEqual(['by hand only', 'connected', 'not connected', 'not connected']);
    expect(targetNote(target('A', { exists: false }))).toBe('no file yet');
    expect(targetNote(target('A', { entry: 'differs' }))).toBe('has another flotilla');
  });
});

it('a comparison is told by the sign of each line', () => {
  expect(
    diffText([
      { sign: 'gap', text: '12 lines' },
      { sign: 'same', text: '  "a": 1' },
      { sign: 'removed', text: '}' },
      { sign: 'added', text: '  "b": 2' },
    ]),
  ).toBe('@@ 12 lines unchanged @@\n   "a": 1\n-}\n+  "b": 2');
});

it('a conflict brings the preview of now, another error none', () => {
  const detail = { client: 'A', path: '/a', exists: true, changes: true, diff: [], hash: 'h' };
  expect(shownAnew(new CallError({ code: 'conflict', message: 'm', detail }))).toEqual(detail);
  expect(shownAnew(new CallError({ code: 'conflict', message: 'm' }))).toBeUndefined();
  expect(shownAnew(new CallError({ code: 'store', message: 'm', detail }))).toBeUndefined();
});

describe('writing', () => {
  it('writes only what was shown, shows a change meanwhile, and undoes', async () => {
    const transport = new MockTransport({ servers: 3, tickMs: 0, verbMs: 0 });
    const writing = new Writing(new Model(transport), 'cursor');
    await writing.load();
    expect(writing.target?.client).toBe('Cursor');
    expect(writing.preview?.changes).toBe(true);

    // Somebody edits the file between the preview and the press.
    transport.clients.edit(writing.path);
    await writing.write();
    expect(writing.written).toBeUndefined();
    expect(writing.changed).toBe(true);
    await writing.write();
    expect(writing.written?.client).toBe('Cursor');
    expect(writing.target?.entry).toBe('current');

    await writing.undo(writing.written?.id ?? '');
    expect(writing.undone?.exists).toBe(true);
    expect(writing.target?.entry).toBe('absent');
    expect(writing.trouble).toBe('');
  });

  it('says why a file is not written, and offers it for pasting', async () => {
    const writing = new Writing(new Model(new MockTransport({ servers: 3, tickMs: 0, verbMs: 0 })), 'cursor');
    await writing.load();
    const goose = writing.found.find((one) => one.client === 'Goose');
    await writing.choose(goose?.path ?? '');
    expect(writing.preview).toBeUndefined();
    expect(writing.target?.refused).toMatch(/YAML/);
  });
});
