/** A span of time that charts show instead of what is new, in milliseconds since the epoch. It stands still. */
export interface Zoom {
  from: number;
  to: number;
}

/** The narrowest span, in milliseconds: a few samples. */
export const LEAST_MS = 10_000;

/** A span as an address has it: whole milliseconds, the end after the beginning. Anything else is none. */
export function zoomOf(from: string | null, to: string | null): Zoom | null {
  const whole = (text: string | null): number => (/^\d{1,15}$/.test(text ?? '') ? Number(text) : NaN);
  const [begin, end] = [whole(from), whole(to)];
  if (!(begin < end)) return null;
  return { from: begin, to: Math.max(end, begin + LEAST_MS) };
}

/** Half as wide; what is at `at` stays where it is in the picture. */
export function closer({ from, to }: Zoom, at: number | null): Zoom {
  const still = at === null || at < from || at > to ? (from + to) / 2 : at;
  return { from: still - (still - from) / 2, to: still + (to - still) / 2 };
}

/** Twice as wide about its middle. */
export function wider({ from, to }: Zoom): Zoom {
  const half = (to - from) / 2;
  return { from: from - half, to: to + half };
}

/** A quarter of its width earlier or later. */
export function beside({ from, to }: Zoom, way: -1 | 1): Zoom {
  const step = ((to - from) / 4) * way;
  return { from: from + step, to: to + step };
}

/** What a key makes of a span, with the cursor at `at`; null is what is new, undefined when the key is none of these. */
export function wish(event: KeyboardEvent, view: Zoom, at: number | null, zoomed: boolean): Zoom | null | undefined {
  if (event.key === '+' || event.key === '=') return closer(view, at);
  if (event.key === '-') return wider(view);
  if (event.key === '0') return null;
  if (event.key === 'Escape' && zoomed && at === null) return null;
  if (event.shiftKey && event.key === 'ArrowLeft') return beside(view, -1);
  if (event.shiftKey && event.key === 'ArrowRight') return beside(view, 1);
  return undefined;
}

/**
 * The span that is shown for one that is wanted: in whole milliseconds, no narrower than a few samples, not beyond now. One
 * that has all of the last `range` milliseconds is no zoom.
 */
export function settled({ from, to }: Zoom, now: number, range: number): Zoom | null {
  const width = Math.max(LEAST_MS, to - from);
  const middle = (from + to) / 2;
  const end = Math.round(Math.min(now, middle + width / 2));
  const begin = Math.max(0, Math.round(end - width));
  // Samples are a few seconds old when they are seen.
  return begin <= now - range + LEAST_MS && end >= now - LEAST_MS ? null : { from: begin, to: end };
}
