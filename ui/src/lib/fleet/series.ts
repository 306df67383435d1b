/** Small sums over series for the overview. */

/** What a counter grew by at each point; a fall is a restart of the counter, not a negative growth. */
export function increase(values: readonly (number | null)[]): (number | null)[] {
  let before: number | null = null;
  return values.map((value) => {
    if (value === null) return null;
    const grown = before === null ? 0 : Math.max(0, value - before);
    before = value;
    return grown;
  });
}

/** A running total from zero; a point without a sample stays one. */
export function accumulate(values: readonly (number | null)[]): (number | null)[] {
  let sum = 0;
  return values.map((value) => (value === null ? null : (sum += value)));
}

/** At most `points` values, each the mean or the sum of its share of the input. */
export function thin(
  values: readonly (number | null)[],
  points: number,
  join: 'mean' | 'sum' = 'mean',
): (number | null)[] {
  if (values.length <= points) return [...values];
  return Array.from({ length: points }, (_, i) => {
    const from = Math.floor((i * values.length) / points);
    const to = Math.floor(((i + 1) * values.length) / points);
    const present = values.slice(from, to).filter((value) => value !== null);
    if (present.length === 0) return null;
    const total = present.reduce((sum, value) => sum + value, 0);
    return join === 'sum' ? total : total / present.length;
  });
}

/** Points of a chart, fewer than there are samples. */
export interface Coarse {
  times: number[];
  /**
   * The same points of one series: their mean, or the last sample of each; then the newest point is the newest sample. Or the
   * lowest or the highest sample of each.
   */
  join(values: readonly (number | null)[], how: 'mean' | 'last' | 'lowest' | 'highest'): (number | null)[];
}

/** One point per `width` milliseconds, cut by the clock, so that a point keeps its samples while time goes on. */
export function coarsen(times: readonly number[], width: number): Coarse {
  const ends: number[] = [];
  times.forEach((time, i) => {
    const next = times[i + 1];
    if (next === undefined || Math.floor(next / width) !== Math.floor(time / width)) ends.push(i + 1);
  });
  const join: Coarse['join'] = (values, how) =>
    ends.map((end, i) => {
      const reaches = how === 'lowest' || how === 'highest';
      if (i === ends.length - 1 && !reaches) return values[end - 1] ?? null;
      const present = values.slice(ends[i - 1] ?? 0, end).filter((value) => value !== null);
      if (reaches && present.length > 0) return how === 'lowest' ? Math.min(...present) : Math.max(...present);
      if (how === 'last') return present.at(-1) ?? null;
      return present.length ? present.reduce((sum, value) => sum + value, 0) / present.length : null;
    });
  return { times: ends.map((end) => times[end - 1] ?? 0), join };
}
