import { expect, test } from 'vitest';
import { beside, closer, LEAST_MS, settled, wider, zoomOf } from './zoom';

const MIN = 60_000;
const NOW = 100 * MIN;

test.each([
  ['600000', '900000', { from: 600_000, to: 900_000 }],
  ['600000', '600001', { from: 600_000, to: 600_000 + LEAST_MS }],
  ['900000', '600000', null],
  ['600000', null, null],
  ['-5', '600000', null],
  ['1e5', '600000', null],
  ['', '', null],
])('an address from %s to %s', (from, to, expected) => expect(zoomOf(from, to)).toEqual(expected));

test('closer keeps what is pointed at where it is; wider and closer undo each other', () => {
  const view = { from: 40 * MIN, to: 60 * MIN };
  expect(closer(view, null)).toEqual({ from: 45 * MIN, to: 55 * MIN });
  expect(closer(view, 44 * MIN)).toEqual({ from: 42 * MIN, to: 52 * MIN });
  expect(closer(view, 99 * MIN)).toEqual({ from: 45 * MIN, to: 55 * MIN });
  expect(wider(closer(view, null))).toEqual(view);
  expect(beside(beside(view, -1), 1)).toEqual(view);
  expect(beside(view, -1)).toEqual({ from: 35 * MIN, to: 55 * MIN });
});

test('a span has a few samples, ends now at the latest, and is none when it has all that is new', () => {
  const show = (from: number, to: number) => settled({ from, to }, NOW, 30 * MIN);
  expect(show(80 * MIN, 90 * MIN)).toEqual({ from: 80 * MIN, to: 90 * MIN });
  expect(show(80 * MIN, 80 * MIN)).toEqual({ from: 80 * MIN - LEAST_MS / 2, to: 80 * MIN + LEAST_MS / 2 });
  // Moved beyond now it stands at now, as wide as it was.
  expect(show(95 * MIN, 105 * MIN)).toEqual({ from: 90 * MIN, to: NOW });
  expect(show(69 * MIN, 101 * MIN)).toBeNull();
  expect(show(0, 90 * MIN)).toEqual({ from: 0, to: 90 * MIN });
});
