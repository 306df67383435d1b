import { expect, it } from 'vitest';
import { diffLines, unified } from './diff';

it('compares line by line, and a comparison put together again is both texts', () => {
  const before = 'a\nb\nc\nd';
  const after = 'a\nx\nc\nd\ne';
  const diff = diffLines(before, after);
  expect(
    diff
      .filter((l) => l.kind !== 'added')
      .map((l) => l.text)
      .join('\n'),
  ).toBe(before);
  expect(
    diff
      .filter((l) => l.kind !== 'removed')
      .map((l) => l.text)
      .join('\n'),
  ).toBe(after);
  expect(diff.filter((l) => l.kind === 'same')).toHaveLength(3);
});

it('shows what changed with two lines around it, and nothing where nothing did', () => {
  const text = Array.from({ length: 20 }, (_, i) => `line ${i + 1}`).join('\n');
  expect(unified(text, text.replace('line 10', 'line ten'))).toBe(
    ['@@ line 8 @@', ' line 8', ' line 9', '-line 10', '+line ten', ' line 11', ' line 12'].join('\n'),
  );
  expect(unified(text, text)).toBe('');
  expect(unified('a', 'a\nb')).toBe('@@ line 1 @@\n a\n+b');
});
