import { describe, expect, it } from 'vitest';
import { place, trace, type View } from './raster';

const SECOND = 1_000;
/** A hundred rows for values up to 100: what a line covers, as values. */
function covered(times: readonly number[], values: readonly (number | null)[], view: Partial<View>) {
  const places = place(times, {
    from: 0,
    to: 9_999 * SECOND,
    reach: 1.8 * SECOND,
    width: 600,
    height: 100,
    highest: 100,
    ...view,
  });
  const { top, bottom } = trace(places, values);
  return Array.from(top, (y, i) => ({ highest: 100 - y, lowest: 100 - (bottom[i] ?? NaN), drawn: !Number.isNaN(y) }));
}

describe('more samples than pixels', () => {
  const many = Array.from({ length: 10_000 }, (_, i) => i * SECOND);
  const flat = (change: Record<number, number | null>) => many.map((_, i) => (i in change ? (change[i] ?? null) : 5));

  it('keep the one sample that stands out, up or down, where it stood', () => {
    const columns = covered(many, flat({ 4_321: 99, 8_765: 1 }), {});
    const out = columns.flatMap(({ highest, lowest }, i) =>
      highest > 6 || lowest < 4 ? [{ i, highest, lowest }] : [],
    );
    for (const [at, value] of [
      [4_321, 99],
      [8_765, 1],
    ] as const) {
      const found = out.find(({ highest, lowest }) => Math.abs((value > 5 ? highest : lowest) - value) < 0.01);
      // Less than a pixel off, which its whole column is.
      expect(Math.abs((found?.i ?? NaN) + 0.5 - (at / 9_999) * 600)).toBeLessThanOrEqual(1.5);
    }
    // Where a spike leaves its column for the next one, both have a part of it.
    expect(out.length).toBeLessThanOrEqual(4);
  });

  it('keep gaps, each line its own; what is narrower than a pixel hides nothing that is there', () => {
    const wide = Object.fromEntries(Array.from({ length: 1_000 }, (_, i) => [2_000 + i, null]));
    const columns = covered(many, flat(wide), {});
    const empty = columns.flatMap(({ drawn }, i) => (drawn ? [] : [i]));
    // A thousand seconds are 60 columns.
    expect([empty[0], empty.at(-1), empty.length]).toEqual([119, 178, 60]);
    expect(covered(many, flat({ 7_007: null, 7_008: 80 }), {}).some(({ highest }) => highest > 79.9)).toBe(true);
  });

  it('stay together while the window moves', () => {
    const noisy = many.map((_, i) => (i * 7_919) % 97);
    const [before, after] = [0, 20].map((by) => {
      const view = {
        from: by * SECOND,
        to: (by + 6_000) * SECOND,
        reach: 1_800,
        width: 600,
        height: 100,
        highest: 100,
      };
      return trace(place(many, view), noisy);
    });
    if (!before || !after) throw new Error('two traces');
    expect(after.first - before.first).toBe(2);
    // Whole columns only: at the right edge there are samples beyond the window, at the left one some are out of it.
    expect(after.top.slice(1, 590)).toEqual(before.top.slice(3, 592));
  });
});

describe('fewer samples than pixels', () => {
  it('are joined by a line that runs to both edges and is broken by a silence', () => {
    const times = [-10, 10, 30, 70, 90, 110].map((at) => at * SECOND);
    const columns = covered(times, [0, 20, 40, 40, 20, 0], { to: 100 * SECOND, reach: 36 * SECOND, width: 100 });
    const drawn = columns.flatMap(({ drawn }, i) => (drawn ? [i] : []));
    // The silence is from 30 to 70 s.
    expect(drawn).toEqual(Array.from({ length: 100 }, (_, i) => i).filter((i) => i < 30 || i >= 70 - 1));
    expect(columns[0]?.lowest).toBeCloseTo(11, 0);
    expect(columns[98]?.lowest).toBeCloseTo(10, 0);
  });

  it('are drawn even where one stands alone', () => {
    const columns = covered([40 * SECOND], [7], { to: 100 * SECOND, width: 100 });
    expect(columns.flatMap(({ drawn }, i) => (drawn ? [i] : []))).toHaveLength(1);
  });
});
