import { bytesParts, DASH, number } from '$lib/format';

/** What a value is counted in. */
export type Unit = 'percent' | 'bytes' | 'count' | 'rate' | 'ms';

/** A value and its unit as two words, so that a screen can set the unit smaller. */
export function parts(value: number | null, unit: Unit): [string, string] {
  if (value === null || !Number.isFinite(value)) return [DASH, ''];
  if (unit === 'bytes') return bytesParts(value);
  return [number(value), unit === 'percent' ? '%' : unit === 'rate' ? '/s' : unit === 'ms' ? 'ms' : ''];
}

/** A value with its unit in one string. */
export function format(value: number | null, unit: Unit): string {
  const [figure, word] = parts(value, unit);
  return word === '' ? figure : `${figure} ${word}`;
}

/** Top of a y axis that starts at zero, and the marks on it: two or three round steps that cover `highest`. */
export function scaleOf(highest: number, unit: Unit): { top: number; marks: number[] } {
  const least = unit === 'bytes' ? 1024 * 1024 : unit === 'percent' ? 1 : unit === 'rate' ? 0.1 : 2;
  const reach = Math.max(highest, least);
  const step = unit === 'bytes' ? byteStep(reach / 2) : decimalStep(reach / 2, unit === 'count');
  const marks: number[] = [];
  for (let i = 0; i * step <= reach * 1.001; i++) marks.push(i * step);
  return { top: Math.max(reach, marks[marks.length - 1] ?? 0) * 1.1, marks };
}

/** The largest of 1, 2, 5 × 10ⁿ that is not above `size`. */
function decimalStep(size: number, whole: boolean): number {
  const magnitude = 10 ** Math.floor(Math.log10(size));
  const lead = size / magnitude;
  const step = (lead >= 5 ? 5 : lead >= 2 ? 2 : 1) * magnitude;
  return whole ? Math.max(1, step) : step;
}

/** The largest power of two, or one and a half of it, that is not above `size`: round in MiB as in GiB. */
function byteStep(size: number): number {
  const power = 2 ** Math.floor(Math.log2(size));
  return power * 1.5 <= size ? power * 1.5 : power;
}
