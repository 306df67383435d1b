import { expect, test } from 'vitest';
import { pick } from './picks';
import { accumulate, increase, thin } from '$lib/fleet/series';

test('a counter that falls was restarted: no negative growth', () => {
  expect(increase([5, 7, null, 8, 1, 2])).toEqual([0, 2, null, 1, 0, 1]);
  expect(accumulate([0, 2, null, 1])).toEqual([0, 2, null, 3]);
});

test('thinned values keep means, sums and holes', () => {
  expect(thin([1, 3, null, null, 5, null], 3)).toEqual([2, null, 5]);
  expect(thin([1, 3, 0, 2], 2, 'sum')).toEqual([4, 2]);
  expect(thin([1, 2], 5)).toEqual([1, 2]);
});

test('lines go to the two busiest and the largest of the others', () => {
  const load = (server: string, cpu: number, memory: number) => ({ server, cpu, memory });
  expect(pick([load('a', 1, 9), load('b', 5, 1), load('c', 7, 8), load('d', 0, 3)])).toEqual(['c', 'b', 'a']);
  expect(pick([load('a', 1, 1)])).toEqual(['a']);
  expect(pick([])).toEqual([]);
});
