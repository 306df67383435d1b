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

/** Where a time stands on the axis. */
export interface Axis extends Span {
  /** In percent of its length. */
  at: (time: number) => number;
  /** Times in which nothing was at work, drawn shorter than they were. */
  gaps: (Span & { left: number; width: number })[];
}

/** As long as it was. */
export function linear({ from, to }: Span): Axis {
  return { from, to, gaps: [], at: (time) => (Math.min(Math.max(time - from, 0), to - from) / (to - from)) * 100 };
}

/** Width of a gap, in percent, and how many of the longest are drawn so. */
const GAP = { width: 5, most: 8, least_ms: 1_000, share: 0.08 } as const;

/** Without the times in which every step waited for a person, a time, or had ended. */
export function collapsed({ steps }: Pick<RunView, 'steps'>, { from, to }: Span, now: number): Axis {
  const busy = steps
    .filter(({ began_at, uses }) => began_at !== undefined && uses !== 'approval' && uses !== 'wait')
    .map(({ began_at = from, ended_at = now }) => [began_at, ended_at] as const)
    .sort((a, b) => a[0] - b[0]);
  const idle: Span[] = [];
  let end = from;
  for (const [began, ended] of [...busy, [to, to] as const]) {
    if (began > end) idle.push({ from: end, to: began });
    end = Math.max(end, ended);
  }
  const long = idle
    .filter((gap) => gap.to - gap.from >= Math.max(GAP.least_ms, (to - from) * GAP.share))
    .sort((a, b) => b.to - b.from - (a.to - a.from))
    .slice(0, GAP.most)
    .sort((a, b) => a.from - b.from);
  const left = to - from - long.reduce((sum, gap) => sum + gap.to - gap.from, 0);
  const scale = (100 - GAP.width * long.length) / Math.max(1, left);
  const at = (time: number): number => {
    const within = Math.min(Math.max(time, from), to);
    let [place, last] = [0, from];
    for (const gap of long) {
      if (within <= gap.from) break;
      place += (gap.from - last) * scale;
      place += (Math.min(within, gap.to) - gap.from) * (GAP.width / (gap.to - gap.from));
      last = Math.min(within, gap.to);
    }
    return place + Math.max(0, within - last) * scale;
  };
  return { from, to, at, gaps: long.map((gap) => ({ ...gap, left: at(gap.from), width: GAP.width })) };
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
export function bars(step: StepView, axis: Axis, now: number, tries: readonly TryView[] = []): Bar[] {
  if (step.began_at === undefined) return [];
  const place = (look: BarLook, from: number, to: number): Bar => {
    const left = axis.at(from);
    return { look, left, width: axis.at(to) - left };
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

/** Round times, at most `most` of them, and none in or at a gap. */
export function ticks({ from, to, at: place, gaps }: Axis, most = 8): Tick[] {
  const length = to - from - gaps.reduce((sum, gap) => sum + gap.to - gap.from, 0);
  const step = STEPS.find((one) => length / one <= most) ?? Math.ceil(length / most / 86_400_000) * 86_400_000;
  const all: Tick[] = [];
  // Local midnight is a round time, whatever the zone.
  const zone = new Date(from).getTimezoneOffset() * 60_000;
  const round = (time: number) => Math.ceil((time - zone) / step) * step + zone;
  for (let at = round(from); at <= to; at += step) {
    const inside = gaps.find((gap) => at > gap.from && at < gap.to);
    // Over a gap in one go: it may be days.
    if (inside) at = round(inside.to);
    const left = place(at);
    const free = gaps.every((gap) => left < gap.left - 3 || left > gap.left + gap.width + 3);
    if (at > to || !free || left - (all.at(-1)?.left ?? -100) < 5) continue;
    const label =
      step < 1_000 ? `${clock(at)}.${Math.floor((at % 1000) / 100)}` : at % 60_000 === 0 ? minute(at) : clock(at);
    all.push({ left, label });
  }
  return all;
}
