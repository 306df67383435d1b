import { format, type Unit } from './units';

/** Less of a history than this says nothing, in milliseconds. */
const LEAST_MS = 30 * 60_000;
/** Points that are compared, each the mean of its share of the samples: 4,950 pairs. */
const POINTS = 100;
/** Fewer points than this have a value: nothing is said. */
const LEAST_POINTS = 30;
/** Kendall's tau from which on a line is said to rise: nine of ten pairs do. */
const LEAST_TAU = 0.8;
/** What it has risen by over the span, as a share of what it was. */
const LEAST_GROWTH = 0.05;
const DAY_MS = 86_400_000;

/** A line that rises steadily. */
export interface Trend {
  /** By how much in a day. */
  perDay: number;
  /** Share of all pairs of points of which the later one is higher. */
  rising: number;
}

/**
 * Whether a line rises steadily, and how fast: the median of the slopes of all pairs of points (Theil 1950, Sen 1968), which
 * neither spikes nor a restart bend. Null where there is too little to say, where too few pairs rise, and where it rose by
 * less than a twentieth or by less than `least`.
 */
export function rise(
  times: readonly number[],
  values: readonly (number | null)[],
  interval: number,
  least: number,
): Trend | null {
  const present = times.flatMap((at, i) => {
    const value = values[i] ?? null;
    return value === null ? [] : [{ at, value }];
  });
  const [first, last] = [present[0], present.at(-1)];
  // The newest sample is up to two intervals short of a whole half hour.
  if (!first || !last || last.at - first.at + 2 * interval < LEAST_MS) return null;
  const width = (last.at - first.at + 1) / POINTS;
  const shares = new Map<number, { at: number; value: number; n: number }>();
  for (const { at, value } of present) {
    const share = Math.floor((at - first.at) / width);
    const known = shares.get(share) ?? { at: 0, value: 0, n: 0 };
    shares.set(share, { at: known.at + at, value: known.value + value, n: known.n + 1 });
  }
  const points = [...shares.values()].map(({ at, value, n }) => ({ at: at / n, value: value / n }));
  if (points.length < LEAST_POINTS) return null;

  const slopes: number[] = [];
  let [up, down] = [0, 0];
  points.forEach((a, i) => {
    for (const b of points.slice(i + 1)) {
      slopes.push((b.value - a.value) / (b.at - a.at));
      if (b.value > a.value) up += 1;
      else if (b.value < a.value) down += 1;
    }
  });
  const slope = median(slopes);
  const growth = slope * (last.at - first.at);
  const before = median(points.slice(0, 10).map(({ value }) => value));
  if ((up - down) / slopes.length < LEAST_TAU || growth < least || growth < before * LEAST_GROWTH) return null;
  return { perDay: slope * DAY_MS, rising: up / slopes.length };
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? 0;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? 0) + upper) / 2;
}

/** A trend as it stands beside its chart, and why it does. */
export function trendWords({ perDay, rising }: Trend, unit: Unit, noun: string): { text: string; why: string } {
  const share = Math.min(99, Math.floor(rising * 100));
  return {
    text: `+${format(perDay, unit)}${noun && ` ${noun}`}/day`,
    why: `It rises steadily over the span that is drawn: of all pairs of its points the later one is higher in ${share} %, and the median slope is this.`,
  };
}
