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
