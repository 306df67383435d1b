import { expect, test } from 'vitest';
import { accumulate, coarsen, increase, thin } from './series';

test('a counter that falls was restarted: no negative growth', () => {
  expect(increase([5, 7, null, 8, 1, 2])).toEqual([0, 2, null, 1, 0, 1]);
  expect(accumulate([0, 2, null, 1])).toEqual([0, 2, null, 3]);
});

test('thinned values keep means, sums and holes', () => {
  expect(thin([1, 3, null, null, 5, null], 3)).toEqual([2, null, 5]);
  expect(thin([1, 3, 0, 2], 2, 'sum')).toEqual([4, 2]);
  expect(thin([1, 2], 5)).toEqual([1, 2]);
});

test('points are cut by the clock, keep holes, and end with the newest sample', () => {
  const { times, join } = coarsen([8, 9, 10, 12, 21, 23, 31, 33], 10);
  expect(times).toEqual([9, 12, 23, 33]);
  expect(join([1, 3, 4, 6, null, null, 7, 9], 'mean')).toEqual([2, 5, null, 9]);
  expect(join([1, 3, 4, null, null, 2, 7, null], 'last')).toEqual([3, 4, 2, null]);
  const reached = (how: 'lowest' | 'highest') => join([1, 3, 4, 6, null, null, 7, 9], how);
  expect([reached('lowest'), reached('highest')]).toEqual([
    [1, 4, null, 7],
    [3, 6, null, 9],
  ]);
  expect(coarsen([], 10).join([], 'mean')).toEqual([]);
});
