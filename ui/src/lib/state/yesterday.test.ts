import { expect, test } from 'vitest';
import type { Line } from '$charts/model';
import { dayBefore, shadows } from './yesterday.svelte';

const MIN = 60_000;
const DAY = 1_440 * MIN;

test('the day before is read in whole minutes, and not anew with each tick', () => {
  const at = (to: number) => dayBefore({ from: to - 30 * MIN, to });
  expect(at(2 * DAY + 0.5)).toEqual({ from: DAY - 31 * MIN + MIN, to: DAY + MIN });
  expect(at(2 * DAY + 100)).toEqual(at(2 * DAY + 59_000));
  const week = dayBefore({ from: 2 * DAY, to: 9 * DAY + 1 });
  expect(week).toEqual({ from: DAY, to: 8 * DAY + 180 * MIN });
});

test('a line has a shadow of its own name and colour; one that was not there has none, and many have none', () => {
  const line = (key: string): Line => ({ key, label: key, color: 3, values: [1, 2] });
  const times = [DAY, DAY + 2_000];
  const draw = (lines: Line[]) =>
    shadows(lines, times, [0, 2_000], 2_000, ({ key }) => (key === 'new' ? undefined : [7, null]));
  expect(draw([line('a')])).toEqual([{ key: 'a earlier', label: 'yesterday', color: 3, values: [7, null] }]);
  expect(draw([line('a'), line('new')]).map(({ label }) => label)).toEqual(['a, yesterday']);
  expect(draw(['a', 'b', 'c', 'd', 'e'].map(line))).toEqual([]);
});
