import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { Transport } from '$lib/transport';
import { isLive, Past, stepOf } from './past.svelte';

const HOUR = 3_600_000;

beforeEach(() => vi.useFakeTimers({ now: 10 * HOUR }));
afterEach(() => vi.useRealTimers());

/** A store that answers with one value at the beginning of what is asked, or fails. */
function asked() {
  const queries: { from: number; step?: number; server?: string }[] = [];
  const state = { fails: false };
  const call = (_: string, query: (typeof queries)[number]) => {
    queries.push(query);
    if (state.fails) return Promise.reject(new Error('no answer'));
    const series = [{ metric: 'cpu_percent', server: 'a', instance: 1, values: [1] }];
    return Promise.resolve({ times: [query.from], step: query.step ?? 2_000, series });
  };
  return { queries, state, past: new Past({ call } as unknown as Transport) };
}

test('each range has a few hundred points, of a width that the store has', () => {
  expect([1, 6, 24, 168].map((hours) => stepOf(hours * HOUR))).toEqual([10_000, 60_000, 300_000, 1_800_000]);
});

test('a range of hours is read at once and with each new point, until nobody looks', async () => {
  const { queries, past } = asked();
  expect([HOUR / 2, HOUR].map((range) => isLive(past.metrics, range))).toEqual([true, false]);
  const end = past.follow(['cpu_percent'], 'a', HOUR, () => false);
  await vi.advanceTimersByTimeAsync(0);
  expect(past.metrics.fold({ metric: 'cpu_percent' }, HOUR)).toEqual([1]);
  await vi.advanceTimersByTimeAsync(20_000);
  expect(queries.map(({ from, step, server }) => [from - 9 * HOUR, step, server])).toEqual([
    [0, 10_000, 'a'],
    [10_000, 10_000, 'a'],
    [20_000, 10_000, 'a'],
  ]);
  end();
  await vi.advanceTimersByTimeAsync(60_000);
  expect(queries).toHaveLength(3);
});

test('a span is read once, as finely as there is; one that goes on until now again, and one that failed', async () => {
  const { queries, state, past } = asked();
  const [from, to] = [4 * HOUR, 5 * HOUR];
  const paused = past.follow(['cpu_percent'], 'a', { from, to }, () => true);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(queries).toEqual([{ metrics: ['cpu_percent'], server: 'a', from, to, spread: true }]);
  expect([
    past.metrics.times({ from, to }),
    past.metrics.times({ from: from + 1, to }),
    isLive(past.metrics, { from, to }),
  ]).toEqual([[from], [], true]);
  paused();

  state.fails = true;
  past.follow(['cpu_percent'], 'a', { from, to }, () => false);
  await vi.advanceTimersByTimeAsync(0);
  expect([queries.length, past.failed]).toEqual([2, 'no answer']);
  state.fails = false;
  await vi.advanceTimersByTimeAsync(30_000);
  expect([queries.length, past.failed]).toEqual([3, undefined]);
});

test('while it is paused nothing is read, and what was read outlives a failure that is told', async () => {
  const { queries, state, past } = asked();
  let paused = true;
  const end = past.follow(['cpu_percent'], undefined, HOUR, () => paused);
  await vi.advanceTimersByTimeAsync(30_000);
  expect(queries).toEqual([]);
  paused = false;
  await vi.advanceTimersByTimeAsync(10_000);
  state.fails = true;
  await vi.advanceTimersByTimeAsync(10_000);
  expect([past.failed, past.metrics.fold({ metric: 'cpu_percent' }, HOUR)]).toEqual(['no answer', [1]]);
  state.fails = false;
  await vi.advanceTimersByTimeAsync(10_000);
  expect(past.failed).toBeUndefined();
  end();
});
