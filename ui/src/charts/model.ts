import { duration, moment } from '$lib/format';
import { before } from './raster';
import { format, type Unit } from './units';
import type { Zoom } from './zoom';

/** One line of a chart. */
export interface Line {
  /** Stays the same while the line does. */
  key: string;
  /** As the legend calls it. */
  label: string;
  /** The same where there is little room. */
  short?: string;
  /** Place in the palette, from 1; 0 is the muted tone of "others". */
  color: number;
  /** One value per time; null where there is none. */
  values: (number | null)[];
  /** The lowest and the highest of the samples that each value stands for; null where they are not known. */
  low?: (number | null)[];
  high?: (number | null)[];
}

/** A dashed line with a word. */
export interface Limit {
  value: number;
  word: string;
}

/** What marks are of; each kind is drawn in its own colour and its own dashes. */
export const MARK_KINDS = ['config', 'exit', 'breaker', 'alert', 'workflow'] as const;
export type MarkKind = (typeof MARK_KINDS)[number];

/** Something that happened at a moment, drawn through all strips. */
export interface Mark {
  at: number;
  kind: MarkKind;
  label: string;
}

/** Marks of a kind that lie on each other, as one. */
export interface Flag extends Mark {
  count: number;
  /** What each says, the first one first. */
  labels: string[];
}

/** Two samples further apart than this, in milliseconds, are not joined: something is missing between them. */
export const reachOf = (interval: number): number => interval * 1.8;

/** Marks nearer to each other than this share of the window lie on each other. */
const ON_EACH_OTHER = 0.004;
/** The cursor is on a mark that is no further away than this share of the window. */
const AT_CURSOR = 0.006;
/** Labels that are said of one place. */
const MOST_SAID = 3;

/** More marks than this in view are drawn as one with a count. */
export const MARKS_IN_VIEW = 12;
/** More lines than this and only the worst are drawn by name. */
export const LINES_IN_VIEW = 8;
const WORST = 5;

/** The last value that is not missing, or null when the newest sample is missing. */
export function now(values: readonly (number | null)[]): number | null {
  return values.length === 0 ? null : (values[values.length - 1] ?? null);
}

/** Adds the lines up, point by point; a point that every line misses stays missing. */
export function sum(lines: readonly Line[], length: number): (number | null)[] {
  const total = new Array<number | null>(length).fill(null);
  for (const line of lines) {
    for (let i = 0; i < length; i++) {
      const value = line.values[i];
      if (value !== null && value !== undefined) total[i] = (total[i] ?? 0) + value;
    }
  }
  return total;
}

/** The highest that a line reaches; 0 where that is below. */
export function peakOf({ values, high }: Line): number {
  let top = 0;
  for (const list of [values, high ?? []]) for (const value of list) if (value !== null && value > top) top = value;
  return top;
}

/** A value of a line in words, with the highest that it stands for where that is another one: `12 %, up to 96 %`. */
export function reading(line: Line, index: number, unit: Unit): string {
  return withHighest(line.values[index] ?? null, line.high?.[index] ?? null, unit);
}

/** The highest of what a value stands for, in words; nothing where that is not known, or reads as the value does. */
export function upTo(value: number | null, highest: number | null, unit: Unit): string | undefined {
  if (highest === null || (value !== null && highest <= value)) return undefined;
  const text = format(highest, unit);
  return text === format(value, unit) ? undefined : text;
}

function withHighest(value: number | null, highest: number | null, unit: Unit): string {
  const highestText = upTo(value, highest, unit);
  return highestText === undefined ? format(value, unit) : `${format(value, unit)}, up to ${highestText}`;
}

/** Up to eight lines as they are; of more, the five that reached highest and the mean of the rest. */
export function worst(lines: readonly Line[]): Line[] {
  if (lines.length <= LINES_IN_VIEW) return [...lines];
  const ranked = lines
    .map((line) => ({ line, peak: peakOf(line) }))
    .sort((a, b) => b.peak - a.peak)
    .map(({ line }) => line);
  const kept = ranked.slice(0, WORST).map((line, i) => ({ ...line, color: i + 1 }));
  const rest = ranked.slice(WORST);
  const length = Math.max(...lines.map((line) => line.values.length));
  const values = sum(rest, length).map((value, i) => {
    if (value === null) return null;
    let present = 0;
    for (const line of rest) if ((line.values[i] ?? null) !== null) present += 1;
    return value / present;
  });
  return [...kept, { key: 'others', label: `others, ${rest.length}, mean`, color: 0, values }];
}

/** The key of a line's shadow: the same line, earlier. */
export const shadowKey = (key: string): string => `${key} earlier`;
/** Charts with more lines than this have no shadows: nobody could tell them apart. */
export const MOST_SHADOWS = 4;

/**
 * Values of an earlier time on the axis of now: at each time the sample nearest to `by` milliseconds before it, and none
 * where the nearest is further away than `reach`.
 */
export function shifted(
  times: readonly number[],
  earlier: readonly number[],
  values: readonly (number | null)[],
  by: number,
  reach: number,
): (number | null)[] {
  return times.map((time) => {
    const at = nearest(earlier, time - by);
    const found = earlier[at];
    return found === undefined || Math.abs(found - (time - by)) > reach ? null : (values[at] ?? null);
  });
}

/** The spans in which no line has a value, as pairs of times: what is hatched. */
export function gaps(
  times: readonly number[],
  lines: readonly Line[],
  interval: number,
  from: number,
  to: number,
): [number, number][] {
  const found: [number, number][] = [];
  let start: number | null = null;
  // Before the first sample nothing was being measured yet: that is no gap.
  let last: number | null = null;
  for (let i = 0; i < times.length; i++) {
    const at = times[i] ?? 0;
    if (at > to) break;
    if (!hasValue(lines, i)) {
      start ??= last;
      continue;
    }
    if (start !== null) found.push([start, at]);
    else if (last !== null && at - last > reachOf(interval)) found.push([last, at]);
    start = null;
    last = at;
  }
  if (last !== null && to - (start ?? last) > interval * 2.5) found.push([start ?? last, to]);
  else if (start !== null) found.push([start, to]);
  return found.filter(([, end]) => end > from).map(([begin, end]) => [Math.max(from, begin), end]);
}

function hasValue(lines: readonly Line[], index: number): boolean {
  for (const line of lines) if ((line.values[index] ?? null) !== null) return true;
  return false;
}

/** Marks that lie in view; those of a kind that lie on each other are one with its count, and beyond a dozen those that stand together, too. */
export function cluster(marks: readonly Mark[], from: number, to: number): Flag[] {
  const inView = marks.filter((mark) => mark.at >= from && mark.at <= to).sort((a, b) => a.at - b.at);
  const joined = (width: number): Flag[] => {
    const out: Flag[] = [];
    for (const mark of inView) {
      const last = out.findLast((other) => other.kind === mark.kind);
      if (last && mark.at - last.at < width) {
        last.count += 1;
        last.labels.push(mark.label);
      } else out.push({ ...mark, count: 1, labels: [mark.label] });
    }
    return out;
  };
  const few = joined((to - from) * ON_EACH_OTHER);
  return few.length <= MARKS_IN_VIEW ? few : joined((to - from) / MARKS_IN_VIEW);
}

/** What happened where the cursor is, in words; empty where nothing did. */
export function happenedAt(flags: readonly Flag[], at: number | null, from: number, to: number): string {
  if (at === null) return '';
  return said(flags.filter((flag) => Math.abs(flag.at - at) <= (to - from) * AT_CURSOR).flatMap((flag) => flag.labels));
}

/** Labels in a row; the same one again is counted, and of many the first few are said. */
function said(labels: readonly string[]): string {
  const times = new Map<string, number>();
  for (const label of labels) times.set(label, (times.get(label) ?? 0) + 1);
  const all = [...times].map(([label, count]) => (count > 1 ? `${label} ×${count}` : label));
  const rest = all.length - MOST_SAID;
  return rest > 0 ? `${all.slice(0, MOST_SAID).join('; ')}; ${rest} more` : all.join('; ');
}

/** What happened between the rows of a table, whose times fall: a row has what came after the next one below it. */
export function happenedBy(rows: readonly number[], marks: readonly Mark[]): string[] {
  const labels = rows.map((): string[] => []);
  for (const mark of [...marks].sort((a, b) => a.at - b.at)) {
    // Of the rows that are not before the mark the last, or the newest for what came after all of them.
    const row = Math.max(
      0,
      rows.findLastIndex((at) => at >= mark.at),
    );
    labels[row]?.push(mark.label);
  }
  return labels.map(said);
}

/** The index of the time nearest to `at`, or -1 when there is none. */
export function nearest(times: readonly number[], at: number): number {
  if (times.length === 0) return -1;
  const after = Math.min(before(times, at), times.length - 1);
  const earlier = after - 1;
  if (earlier >= 0 && at - (times[earlier] ?? 0) <= (times[after] ?? 0) - at) return earlier;
  return after;
}

/**
 * What a picture of these lines says to somebody who cannot see it: the span, now, and the largest change. A span that
 * stands still is named; its last values are those at its end.
 */
export function sentence(
  title: string,
  times: readonly number[],
  lines: readonly Line[],
  unit: Unit,
  still?: Zoom,
): string {
  if (times.length === 0 || lines.length === 0) return still ? `${title}: no samples.` : `${title}: no samples yet.`;
  const minutes = Math.max(1, Math.round(((times[times.length - 1] ?? 0) - (times[0] ?? 0)) / 60_000));
  const span = minutes < 100 ? `${minutes} min` : duration(minutes * 60_000);
  const nows = lines.map(
    (line) => `${line.label} ${now(line.values) === null ? 'no sample' : format(now(line.values), unit)}`,
  );
  let change: { label: string; from: number; to: number } | null = null;
  for (const line of lines) {
    let [low, high, present] = [Infinity, -Infinity, 0];
    line.values.forEach((value, i) => {
      if (value === null) return;
      present += 1;
      low = Math.min(low, line.low?.[i] ?? value);
      high = Math.max(high, line.high?.[i] ?? value);
    });
    if (present < 2) continue;
    if (change === null || high - low > change.to - change.from) change = { label: line.label, from: low, to: high };
  }
  const moved =
    change && change.to > change.from
      ? ` Largest span: ${change.label}, ${format(change.from, unit)} to ${format(change.to, unit)}.`
      : '';
  if (still) {
    const [from, to] = [still.from, still.to].map((at) => moment(at, still.to - still.from));
    return `${title}, ${from} to ${to}. At its end ${nows.join(', ')}.${moved}`;
  }
  return `${title}, last ${span}. Now ${nows.join(', ')}.${moved}`;
}

/**
 * The rows of the table twin, newest first, at most `rows` of them spread over the span. A row has the values at its time, and
 * the highest since the row below it.
 */
export function tableRows(
  times: readonly number[],
  lines: readonly Line[],
  unit: Unit,
  rows = 60,
): { at: number; cells: string[] }[] {
  const step = Math.max(1, Math.ceil(times.length / rows));
  const out: { at: number; cells: string[] }[] = [];
  for (let i = times.length - 1; i >= 0; i -= step) {
    const cells = lines.map((line) => {
      let highest: number | null = null;
      for (let j = Math.max(0, i - step + 1); j <= i; j += 1) {
        const value = line.high?.[j] ?? line.values[j] ?? null;
        if (value !== null && (highest === null || value > highest)) highest = value;
      }
      return withHighest(line.values[i] ?? null, highest, unit);
    });
    out.push({ at: times[i] ?? 0, cells });
  }
  return out;
}
