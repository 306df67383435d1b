import { expect, test } from 'vitest';
import type { MetricAnswer, SeriesInfo } from '$lib/contract';
import type { Transport } from '$lib/transport';
import { Metrics, readTick } from './metrics.svelte';

const SERIES: SeriesInfo[] = [
  { number: 1, metric: 'cpu_percent', server: 'a', instance: 1 },
  { number: 2, metric: 'cpu_percent', server: 'a', instance: 2 },
  { number: 3, metric: 'rss_bytes', server: 'b', instance: 1 },
];

function frame(at: number, values: [number, number][]): ArrayBuffer {
  const bytes = new ArrayBuffer(16 + values.length * 8);
  const view = new DataView(bytes);
  [...'FMX1'].forEach((char, i) => view.setUint8(i, char.charCodeAt(0)));
  view.setBigUint64(4, BigInt(at), true);
  view.setUint32(12, values.length, true);
  values.forEach(([number, value], i) => {
    view.setUint32(16 + 4 * i, number, true);
    view.setFloat32(16 + 4 * values.length + 4 * i, value, true);
  });
  return bytes;
}

function begun() {
  const metrics = new Metrics({} as Transport);
  metrics.announce(2000, SERIES);
  const tick = (at: number, ...values: [number, number][]) => {
    const read = readTick(frame(at, values));
    if (!read) throw new Error('the frame is one');
    metrics.add(read);
  };
  return { metrics, tick };
}

test('a frame is read as the contract lays it out, and anything else is refused', () => {
  expect(readTick(frame(1_700_000_000_123, [[7, 1.5]]))).toEqual({
    at: 1_700_000_000_123,
    numbers: new Uint32Array([7]),
    values: new Float32Array([1.5]),
  });
  expect(readTick(new ArrayBuffer(8))).toBeUndefined();
  expect(readTick(frame(1, [[1, 1]]).slice(0, 20))).toBeUndefined();
});

test('a missing sample is null, alone and in sums; a sum needs one sample only', () => {
  const { metrics, tick } = begun();
  tick(1000, [1, 10], [2, 5]);
  tick(3000, [1, NaN], [2, 6]);
  tick(5000, [1, NaN], [2, NaN]);
  expect(metrics.times(60_000)).toEqual([1000, 3000, 5000]);
  expect(metrics.values({ metric: 'cpu_percent', server: 'a', instance: 1 }, 60_000)).toEqual([10, null, null]);
  expect(metrics.fold({ metric: 'cpu_percent', server: 'a' }, 60_000)).toEqual([15, 6, null]);
  expect(metrics.latest({ metric: 'cpu_percent' })).toBeNull();
  expect(metrics.instances('cpu_percent', 'a')).toEqual([1, 2]);
});

test('what is read back stands before what was heard meanwhile, and nothing twice', () => {
  const { metrics, tick } = begun();
  tick(5000, [3, 50]);
  tick(7000, [3, 70]);
  const answer: MetricAnswer = {
    times: [1000, 3000, 5000],
    step: 2000,
    series: [{ metric: 'rss_bytes', server: 'b', instance: 1, values: [10, null, 51] }],
  };
  metrics.merge(answer);
  expect(metrics.times(60_000)).toEqual([1000, 3000, 5000, 7000]);
  expect(metrics.fold({ metric: 'rss_bytes' }, 60_000)).toEqual([10, null, 51, 70]);
  tick(7000, [3, 1]);
  expect(metrics.latest({ metric: 'rss_bytes' })).toBe(70);
});

test('while paused, readers stay at the moment of the pause', () => {
  const { metrics, tick } = begun();
  tick(1000, [3, 1]);
  metrics.pause();
  tick(3000, [3, 2]);
  expect(metrics.fold({ metric: 'rss_bytes' }, 60_000)).toEqual([1]);
  metrics.resume();
  expect(metrics.fold({ metric: 'rss_bytes' }, 60_000)).toEqual([1, 2]);
});

test('only half an hour is kept, however long it runs', () => {
  const { metrics, tick } = begun();
  for (let i = 0; i < 3000; i += 1) tick(i * 2000, [3, i]);
  const times = metrics.times(10 ** 9);
  expect(times.at(-1)).toBe(2999 * 2000);
  expect(times.length).toBeGreaterThanOrEqual(900);
  expect(times.length).toBeLessThan(900 + 65);
  expect(metrics.latest({ metric: 'rss_bytes' })).toBe(2999);
});

test('each tick gives the figures of every instance that has some', () => {
  const seen: [string, number, number][] = [];
  const metrics = new Metrics({} as Transport, (samples) => {
    for (const [id, sample] of samples) seen.push([id, sample.cpu_percent, sample.rss_bytes]);
  });
  metrics.announce(2000, [...SERIES, { number: 4, metric: 'rss_bytes', server: 'a', instance: 1 }]);
  metrics.add({ at: 1000, numbers: new Uint32Array([1, 3, 4]), values: new Float32Array([12.5, NaN, 1024]) });
  expect(seen).toEqual([['a#1', 12.5, 1024]]);
});

test('an answer of the store is all there is, from its first value to its newest', () => {
  const { metrics, tick } = begun();
  tick(1_000_000, [1, 5]);
  metrics.load({
    times: [0, 10_000, 20_000, 30_000, 40_000],
    step: 10_000,
    series: [
      { metric: 'cpu_percent', server: 'a', instance: 1, values: [null, 1, null, 3, null] },
      { metric: 'cpu_percent', server: 'a', instance: 2, values: [null, null, null, 4, null] },
    ],
  });
  expect(metrics.interval).toBe(10_000);
  expect(metrics.times(3_600_000)).toEqual([10_000, 20_000, 30_000]);
  // What nobody measured in between is a gap; what came before the first is none.
  expect(metrics.fold({ metric: 'cpu_percent' }, 3_600_000)).toEqual([1, null, 7]);
  expect(metrics.span(3_600_000, 30_000)).toEqual({ from: -30_000, to: 30_000 });
});

test('a point says how far its samples reached as long as it is of one series', () => {
  const { metrics, tick } = begun();
  const of = (instance: number, values: (number | null)[], low: (number | null)[], high: (number | null)[]) => ({
    ...{ metric: 'cpu_percent' as const, server: 'a', instance },
    ...{ values, low, high },
  });
  metrics.load({
    times: [0, 10_000, 20_000, 30_000],
    step: 10_000,
    series: [of(1, [null, 5, 6, 7], [null, 1, 2, null], [null, 90, 8, null]), of(2, [null, null, 3, null], [], [])],
  });
  expect(metrics.line({ metric: 'cpu_percent', server: 'a', instance: 1 }, 60_000)).toEqual({
    values: [5, 6, 7],
    low: [1, 2, null],
    high: [90, 8, null],
  });
  // Where both have a value, the highest of their sum is not known.
  expect(metrics.line({ metric: 'cpu_percent' }, 60_000)).toEqual({
    values: [5, 9, 7],
    low: [1, null, null],
    high: [90, null, null],
  });
  // A tick is one sample.
  tick(40_000, [1, 4]);
  expect(metrics.line({ metric: 'cpu_percent', server: 'a', instance: 1 }, 60_000).high).toEqual([90, 8, null, null]);
  expect(metrics.line({ metric: 'rss_bytes' }, 60_000)).toEqual({ values: [null, null, null, null] });
});

test('a span stands still: ticks after it neither move it nor are read by it, and it is whole while its beginning is here', () => {
  const { metrics, tick } = begun();
  for (let i = 0; i < 5; i += 1) tick(10_000 + i * 2_000, [1, i]);
  const span = { from: 12_000, to: 15_000 };
  const seen = () => [metrics.times(span), metrics.values({ metric: 'cpu_percent', server: 'a', instance: 1 }, span)];
  expect(seen()).toEqual([
    [12_000, 14_000],
    [1, 2],
  ]);
  metrics.pause();
  tick(20_000, [1, 9]);
  expect(seen()).toEqual([
    [12_000, 14_000],
    [1, 2],
  ]);
  expect([metrics.has(span), metrics.has({ from: 7_000, to: 15_000 })]).toEqual([true, false]);
});
