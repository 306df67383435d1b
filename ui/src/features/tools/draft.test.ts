import { describe, expect, it } from 'vitest';
import { Draft } from './draft.svelte';
import { badgesOf, blocksOf, readTool, repeats, summary, tableOf } from './tool';

describe('draft', () => {
  it('keeps value and text the same, whichever is edited', () => {
    const draft = new Draft({ a: 1 });
    draft.set({ a: 2, b: ['x'] });
    expect(JSON.parse(draft.text)).toEqual({ a: 2, b: ['x'] });
    draft.type('{"a": 3}');
    expect(draft.value).toEqual({ a: 3 });
    // What is being typed is not rewritten under the cursor.
    expect(draft.text).toBe('{"a": 3}');
  });

  it('freezes the value while the text is not JSON and says where, and is free again with either side', () => {
    const draft = new Draft({ a: 1 });
    draft.type('{\n  "a": ,\n}');
    expect(draft.value).toEqual({ a: 1 });
    expect(draft.fault?.line).toBe(2);
    draft.set({ a: 5 });
    expect(draft.fault).toBeNull();
    expect(draft.text).toBe('{\n  "a": 5\n}');
  });
});

describe('tools', () => {
  const words = (annotations?: object) => {
    const tool = readTool({ name: 't', annotations });
    return tool ? badgesOf(tool).map((badge) => badge.word) : [];
  };

  it('bear the marks that their server gives them, and count as writing where it gives none', () => {
    expect(words({ readOnlyHint: true, destructiveHint: true })).toEqual(['read-only']);
    expect(words({ destructiveHint: true, openWorldHint: true })).toEqual(['destructive', 'open world']);
    expect(words()).toEqual(['writes']);
    expect(readTool({ title: 'no name' })).toBeNull();
  });
});

describe('results', () => {
  it('are shown by kind; a picture that could run script is not a picture', () => {
    const kinds = blocksOf({
      content: [
        { type: 'text', text: 'x' },
        { type: 'image', mimeType: 'image/png', data: 'aGk=' },
        { type: 'image', mimeType: 'image/svg+xml', data: 'aGk=' },
        { type: 'image', mimeType: 'image/png', data: '"><script>' },
        { type: 'resource', resource: { uri: 'file:///a', mimeType: 'text/plain', text: 'hello' } },
        { type: 'resource', resource: { uri: 'file:///b', mimeType: 'application/zip', blob: 'aGVsbG8=' } },
        { type: 'new_kind', x: 1 },
        7,
      ],
    });
    expect(kinds.map((block) => block.kind)).toEqual([
      'text',
      'image',
      'other',
      'other',
      'resource',
      'resource',
      'other',
      'other',
    ]);
    expect(kinds[5]).toMatchObject({ bytes: 5, text: null });
    expect(blocksOf(undefined)).toEqual([]);
  });

  it('say in a line what came, as the server gave it', () => {
    expect(
      summary({
        outcome: 'result',
        is_error: true,
        result: { content: [{ type: 'text', text: 'no such file\nmore' }] },
      }),
    ).toEqual({
      word: 'The tool failed',
      text: 'no such file',
      bad: true,
    });
    expect(summary({ outcome: 'rpc_error', code: -32602, message: 'bad params' })).toMatchObject({
      word: 'Error -32602',
      bad: true,
    });
    expect(summary({ outcome: 'cancelled' }).bad).toBe(false);
    expect(summary({ outcome: 'result', is_error: false, result: { content: [] } }).text).toBe('an empty result');
  });

  it('know a text that only repeats the structured part, and a list that is a table', () => {
    expect(repeats('{ "a": 1 }', { a: 1 })).toBe(true);
    expect(repeats('a: 1', { a: 1 })).toBe(false);
    expect(tableOf([{ a: 1 }, { a: 2, b: ['x'] }])?.columns).toEqual(['a', 'b']);
    expect(tableOf([{ a: { deep: 1 } }])).toBeNull();
    expect(tableOf([1, 2])).toBeNull();
  });
});
