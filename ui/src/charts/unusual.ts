import { median } from './trend';
import { format, type Unit } from './units';

/** Fewer days before with a value at this hour: nothing is said. */
const LEAST_DAYS = 3;
/** So many robust deviations away is unusual. */
const DEVIATIONS = 3;
/** From the median absolute deviation to what a standard deviation would be, of values spread as the normal distribution has it. */
const TO_SIGMA = 1.4826;
/** Values that never differed are given this share of their median as deviation, so that a little more is nothing. */
const LEAST_SHARE = 0.05;
const DAY_H = 24;

/** A value that is not as it was at the same hour of the days before. */
export interface Unusual {
  value: number;
  /** Median of those hours. */
  usual: number;
  /** Their robust deviation. */
  deviation: number;
  days: number;
}

/**
 * Whether the last of these means, one for each hour, is unusual: more than three robust deviations (1.4826 times the median
 * absolute deviation, Hampel 1974) from the median of the same hour of the days before. Null where there are too few of
 * those, and where the difference is less than `least`.
 */
export function unusual(hours: readonly (number | null)[], least: number): Unusual | null {
  const value = hours.at(-1) ?? null;
  if (value === null) return null;
  const before: number[] = [];
  for (let i = hours.length - 1 - DAY_H; i >= 0; i -= DAY_H) {
    const then = hours[i] ?? null;
    if (then !== null) before.push(then);
  }
  if (before.length < LEAST_DAYS) return null;
  const usual = median(before);
  const spread = median(before.map((then) => Math.abs(then - usual))) * TO_SIGMA;
  const deviation = Math.max(spread, Math.abs(usual) * LEAST_SHARE);
  const away = Math.abs(value - usual);
  if (away <= DEVIATIONS * deviation || away < least) return null;
  return { value, usual, deviation, days: before.length };
}

/** It as it stands beside its chart, and why it does. */
export function unusualWords({ value, usual, deviation, days }: Unusual, unit: Unit): { text: string; why: string } {
  return {
    text: `${format(value, unit)} this hour, usually ${format(usual, unit)}`,
    why: `Mean of this hour so far, beside the same hour of ${days} days before: their median is ${format(usual, unit)}, their robust deviation ${format(deviation, unit)}, and this is more than ${DEVIATIONS} of those away.`,
  };
}
