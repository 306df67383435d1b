/** Steps of a run on an axis of time. */
import type { RunView, StepView, TryView } from '$lib/contract';
import { clock, minute } from '$lib/format';
import { runEnded } from './words';

export interface Span {
  from: number;
  to: number;
}

export type BarLook = 'done' | 'run' | 'failed' | 'waits' | 'rests' | 'asks' | 'quiet';

/** A bar, in percent of the axis. */
export interface Bar {
  look: BarLook;
  left: number;
  width: number;
}

/** From the beginning of the run to its end, or now; never without width. */
export function span({ summary }: RunView, now: number): Span {
  const to = runEnded(summary.state) ? (summary.ended_at ?? now) : now;
  return { from: summary.at, to: Math.max(to, summary.at + 1_000) };
}

const LOOK: Partial<Record<StepView['state'], BarLook>> = {
  completed: 'done',
  running: 'run',
  failed: 'failed',
  retrying: 'waits',
  skipped: 'quiet',
  cancelled: 'quiet',
};

/** The bars of a step: its tries, where they are known, and the waits between them; otherwise one for all. */
export function bars(step: StepView, axis: Span, now: number, tries: readonly TryView[] = []): Bar[] {
  if (step.began_at === undefined) return [];
  const length = axis.to - axis.from;
  const place = (look: BarLook, from: number, to: number): Bar => {
    const left = (Math.max(0, from - axis.from) / length) * 100;
    return { look, left, width: Math.max(0, Math.min(100 - left, ((to - from) / length) * 100)) };
  };
  const end = step.ended_at ?? now;
  const look = step.state === 'waiting' ? (step.asks ? 'asks' : 'rests') : (LOOK[step.state] ?? 'quiet');
  if (tries.length === 0) return [place(look, step.began_at, end)];
  const all: Bar[] = [];
  let at = step.began_at;
  for (const one of tries) {
    if (one.from > at) all.push(place('waits', at, one.from));
    all.push(place('failed', one.from, one.to));
    at = one.to;
  }
  if (step.state === 'failed' || end <= at) return all;
  // When the try that is under way began is not told: the wait before it belongs to it here.
  all.push(place(look, at, end));
  return all;
}

export interface Tick {
  left: number;
  label: string;
}

const STEPS = [
  100, 200, 500, 1_000, 2_000, 5_000, 10_000, 15_000, 30_000, 60_000, 120_000, 300_000, 600_000, 900_000, 1_800_000,
  3_600_000, 7_200_000, 14_400_000, 43_200_000, 86_400_000,
];

/** Round times, at most `most` of them. */
export function ticks({ from, to }: Span, most = 8): Tick[] {
  const length = to - from;
  const step = STEPS.find((one) => length / one <= most) ?? Math.ceil(length / most / 86_400_000) * 86_400_000;
  const all: Tick[] = [];
  // Local midnight is a round time, whatever the zone.
  const zone = new Date(from).getTimezoneOffset() * 60_000;
  for (let at = Math.ceil((from - zone) / step) * step + zone; at <= to; at += step) {
    const label =
      step < 1_000 ? `${clock(at)}.${Math.floor((at % 1000) / 100)}` : at % 60_000 === 0 ? minute(at) : clock(at);
    all.push({ left: ((at - from) / length) * 100, label });
  }
  return all;
}
