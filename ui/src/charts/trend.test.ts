import { describe, expect, it } from 'vitest';
import { rise, trendWords } from './trend';

const STEP = 10_000;
const HOUR = 3_600_000;
/** Chance that is the same each time. */
function chance(seed: number): () => number {
  let state = seed;
  return () => (state = (state * 16_807) % 2_147_483_647) / 2_147_483_647;
}
const over = (ms: number) => Array.from({ length: ms / STEP + 1 }, (_, i) => i * STEP);
const seen = (ms: number, value: (at: number, i: number) => number | null, least = 1) => {
  const times = over(ms);
  return rise(times, times.map(value), STEP, least);
};

describe('a line that rises', () => {
  it('is told by its slope, whatever noise and spikes are on it', () => {
    const random = chance(7);
    const leak = seen(HOUR, (at) => 100 + (50 * at) / HOUR + 2 * (random() - 0.5));
    expect(leak?.perDay).toBeGreaterThan(24 * 49);
    expect(leak?.perDay).toBeLessThan(24 * 51);
    const spiked = seen(HOUR, (at, i) => 100 + (50 * at) / HOUR + (i % 90 === 0 ? 5_000 : 0));
    expect(Math.abs((spiked?.perDay ?? 0) / (24 * 50) - 1)).toBeLessThan(0.1);
  });

  it('is not one on too little: a short time, few samples, a rise that is small', () => {
    expect(seen(20 * 60_000, (at) => at)).toBeNull();
    expect(seen(HOUR, (at, i) => (i % 60 === 0 ? at : null))).toBeNull();
    expect(seen(HOUR, (at) => 1_000 + (40 * at) / HOUR)).toBeNull();
    expect(seen(HOUR, (at) => (3 * at) / HOUR, 4)).toBeNull();
    expect(rise([], [], STEP, 1)).toBeNull();
  });

  it('is not what goes up and down, falls, steps once or does nothing', () => {
    const random = chance(3);
    expect(seen(HOUR, () => 100 + 50 * random())).toBeNull();
    expect(seen(HOUR, (at) => 100 + 50 * Math.sin(at / 300_000))).toBeNull();
    expect(seen(HOUR, (at) => 200 - (50 * at) / HOUR)).toBeNull();
    expect(seen(HOUR, (at) => (at < HOUR / 2 ? 100 : 200))).toBeNull();
    expect(seen(HOUR, () => 100)).toBeNull();
    // A saw of restarts.
    expect(seen(HOUR, (at) => 100 + (at % 600_000) / 1_000)).toBeNull();
  });

  it('is written out', () => {
    expect(trendWords({ perDay: 140, rising: 1 }, 'count', 'children').text).toBe('+140 children/day');
    expect(trendWords({ perDay: 2 * 1024 ** 3, rising: 0.957 }, 'bytes', '')).toEqual({
      text: '+2 GiB/day',
      why: expect.stringContaining('95 %') as string,
    });
  });
});
