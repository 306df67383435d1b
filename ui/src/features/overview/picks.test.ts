import { expect, test } from 'vitest';
import { pick } from './picks';

test('lines go to the two busiest and the largest of the others', () => {
  const load = (server: string, cpu: number, memory: number) => ({ server, cpu, memory });
  expect(pick([load('a', 1, 9), load('b', 5, 1), load('c', 7, 8), load('d', 0, 3)])).toEqual(['c', 'b', 'a']);
  expect(pick([load('a', 1, 1)])).toEqual(['a']);
  expect(pick([])).toEqual([]);
});
