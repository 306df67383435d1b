import { LINES_IN_VIEW, type Line } from '$charts/model';
import type { RangeAnswer, RangeLine } from '$lib/contract';
import type { Zoom } from '$charts/zoom';
import { RING_MS } from '$lib/state/metrics.svelte';
import { compare, shadows } from '$lib/state/yesterday.svelte';
import { due, stepOf, steps, widthOf } from '$lib/state/past.svelte';
import type { Transport } from '$lib/transport';
import { over, unitOf, type Asked } from './asked';

/** Distance of points up to half an hour: that of scrapes, so that each has one. */
const NEAR_STEP = 15_000;
/** The same in a few minutes of what the engine itself measures, every second or two. */
const OWN_STEP = 5_000;
const FEW_MS = 10 * 60_000;

function stepFor(asked: Asked, reach: number | Zoom): number {
  const width = widthOf(reach);
  if (width > RING_MS) return stepOf(width);
  return typeof reach !== 'number' && width <= FEW_MS && asked.metric.startsWith('flotilla_') ? OWN_STEP : NEAR_STEP;
}

/** What is shown of an answer. Young lines fill their charts; a minute at least. */
export function viewOf({ times, lines, step }: Answer, reach: number | Zoom, now: number): Zoom {
  if (typeof reach !== 'number') return reach;
  const end = times.at(-1) ?? now;
  const since = times.find((_, i) => lines.some((line) => (line.values[i] ?? null) !== null));
  return { from: Math.max(end - reach, Math.min((since ?? end) - step, end - 60_000)), to: end };
}

/** The answer to a question, read whole, and again with each new point for as long as a chart shows it. */
export class Answer {
  times = $state.raw<readonly number[]>([]);
  lines = $state.raw<Line[]>([]);
  /** Distance of two points in milliseconds. */
  step = $state(NEAR_STEP);
  /** Why the last reading failed. */
  failed = $state<string>();
  /** Whether there was an answer to this question. */
  read = $state(false);

  #question = '';

  constructor(private readonly transport: Transport) {}

  /** Reads until the returned function is called; a span that is over, once. While `held` says so nothing new is read. */
  follow(asked: Asked, reach: number | Zoom, held: () => boolean): () => void {
    const step = stepFor(asked, reach);
    let ended = false;
    let timer: ReturnType<typeof setTimeout> | undefined;
    // The same over another span stays until there is an answer: what has the focus keeps it.
    const question = JSON.stringify(asked);
    if (question !== this.#question) this.read = false;
    this.#question = question;
    this.failed = undefined;
    const look = async (): Promise<void> => {
      if (typeof reach !== 'number' || !held()) {
        const { from, to } = steps(reach, step);
        try {
          const read = (one: Asked) => this.transport.call('metrics.range', over(one, from, to, step));
          // Of means of single series it is known how far they reached.
          const bounds = asked.function === 'mean' && !asked.grouping ? (['min', 'max'] as const) : [];
          const [answer, low, high] = await Promise.all([
            read(asked),
            ...bounds.map((bound) => read({ ...asked, function: bound })),
          ]);
          if (ended) return;
          this.step = step;
          this.times = answer.times;
          this.lines = linesOf(asked, answer, low, high);
          this.failed = undefined;
          this.read = true;
        } catch (error) {
          if (ended) return;
          this.failed = error instanceof Error ? error.message : String(error);
        }
      }
      const again = due(reach, step, this.failed !== undefined);
      if (!ended && again !== undefined) timer = setTimeout(() => void look(), again);
    };
    void look();
    return () => {
      ended = true;
      clearTimeout(timer);
    };
  }
}

/** The lines of an answer as they were the day before, where that was read. */
export function shadowsOf(answer: Answer, earlier: Answer): Line[] {
  if (!compare.on || !earlier.read) return [];
  const step = Math.max(answer.step, earlier.step);
  const of = (line: Line) => earlier.lines.find((one) => one.key === line.key)?.values;
  return shadows(answer.lines, answer.times, earlier.times, step, of);
}

/** Lines named by the values of the labels in which they differ, with the lowest and the highest of each point where these were read. */
export function linesOf(asked: Asked, answer: RangeAnswer, low?: RangeAnswer, high?: RangeAnswer): Line[] {
  const { times } = unitOf(asked);
  const different = differing(answer.lines);
  const shown = ({ values }: RangeLine) =>
    times === 1 ? values : values.map((value) => (value === null ? null : value * times));
  const keyOf = ({ labels }: RangeLine) => JSON.stringify(labels);
  const byKey = (bound?: RangeAnswer) => new Map(bound?.lines.map((line) => [keyOf(line), shown(line)]));
  const [lowest, highest] = [byKey(low), byKey(high)];
  return answer.lines.map((line, i) => {
    const key = keyOf(line);
    const [least, most] = [lowest.get(key), highest.get(key)];
    return {
      key,
      label: nameOf(line, different) || asked.metric,
      color: (i % LINES_IN_VIEW) + 1,
      values: shown(line),
      ...(least && most ? { low: least, high: most } : {}),
    };
  });
}

/** Labels that are not alike in all lines. */
function differing(lines: readonly RangeLine[]): Set<string> {
  const values = new Map<string, Set<string>>();
  for (const { labels } of lines) {
    for (const [label, value] of labels) values.set(label, (values.get(label) ?? new Set()).add(value));
  }
  const everywhere = (label: string) => lines.every((line) => line.labels.some(([name]) => name === label));
  return new Set([...values].filter(([label, seen]) => seen.size > 1 || !everywhere(label)).map(([label]) => label));
}

function nameOf(line: RangeLine, different: ReadonlySet<string>): string {
  const labels = line.labels.filter(([label]) => different.has(label));
  return labels.map(([, value]) => value || '(none)').join(' · ');
}
