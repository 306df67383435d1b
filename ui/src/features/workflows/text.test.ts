import { expect, it } from 'vitest';
import { lineStart, nextIndent } from './text';

it('finds where lines begin', () => {
  const text = 'a\nbc\n\nd';
  expect([1, 2, 3, 4, 9].map((line) => lineStart(text, line))).toEqual([0, 2, 5, 6, 6]);
});

it('indents as YAML is written', () => {
  for (const [line, indent] of [
    ['name: w', ''],
    ['steps:', '  '],
    ['  - id: a', '    '],
    ['    with:', '      '],
    ['    run: |', '      '],
    ['    uses: shell', '    '],
    ['', ''],
  ] as const) {
    expect(nextIndent(`x\n${line}`, 2 + line.length), line).toBe(indent);
  }
});
