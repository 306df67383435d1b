import { now } from '$kit/now.svelte';
import type { Zoom } from '$charts/zoom';
import type { Metric } from '$lib/contract';
import type { Transport } from '$lib/transport';
import { Metrics, RING_MS } from './metrics.svelte';

/** Distances of points, in milliseconds: widths that the store rolls up, or whole multiples of them. */
const STEPS = [10_000, 60_000, 300_000, 1_800_000];
/** After a span could not be read it is tried again in this time. */
const AGAIN_MS = 10_000;
/** Points of a line at most. */
const POINTS = 360;

/** Distance of the points that a range is shown in. */
export function stepOf(range: number): number {
  return STEPS.find((step) => range / step <= POINTS) ?? Math.ceil(range / POINTS);
}

/** Whether what is in memory has it; otherwise the store is asked. */
export function isLive(ring: Metrics, reach: number | Zoom): boolean {
  return typeof reach === 'number' ? reach <= RING_MS : ring.has(reach);
}

/** What a question over a span asks for: points at whole steps, so that those known stay where they are. */
export function steps(reach: number | Zoom, step: number): Zoom {
  const end = Math.floor(now.exact() / step) * step;
  if (typeof reach === 'number') return { from: end - reach, to: end };
  return { from: Math.floor(reach.from / step) * step, to: Math.min(end, Math.ceil(reach.to / step) * step) };
}

/** Width of what is shown, in milliseconds. */
export function widthOf(reach: number | Zoom): number {
  return typeof reach === 'number' ? reach : reach.to - reach.from;
}

/** Milliseconds until there is something new in a span that was read in such steps; nothing when it is over. */
export function due(reach: number | Zoom, step: number, failed: boolean): number | undefined {
  return typeof reach === 'number' || failed || reach.to + step > now.exact() ? step : undefined;
}

/**
 * Hours and days of some series, as the engine's store has them: read whole, and again with each new point, for as long
 * as a chart shows them. What was read last stays while the engine does not answer.
 */
export class Past {
  /** What was read, as charts read what is live. */
  readonly metrics: Metrics;
  /** Why the last reading failed. */
  failed = $state<string>();
  /** What was read, or failed to be: until it is what is wanted, that is under way. */
  done = $state.raw<number | Zoom>();

  constructor(
    private readonly transport: Transport,
    /** Hears what each reading came to. */
    private readonly told: (found: 'some' | 'none' | Error) => void = () => undefined,
    /** Whether the lowest and the highest of each point are read, too. */
    private readonly spread = true,
  ) {
    this.metrics = new Metrics(transport);
  }

  /**
   * Reads until the returned function is called: the last `reach` milliseconds and each new point of them, or a span, once.
   * Without a server, the series of all of them. While `held` says so nothing new is read.
   */
  follow(
    metrics: readonly Metric[],
    server: string | undefined,
    reach: number | Zoom,
    held: () => boolean,
  ): () => void {
    let ended = false;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const read = async (): Promise<void> => {
      // A span is read as finely as the engine gives it.
      let step = typeof reach === 'number' ? stepOf(reach) : AGAIN_MS;
      if (typeof reach !== 'number' || !held()) {
        const query = {
          metrics: [...metrics],
          ...(typeof reach === 'number' ? { from: now.exact() - reach, step } : reach),
          ...(server === undefined ? {} : { server }),
          ...(this.spread && { spread: true }),
        };
        try {
          const answer = await this.transport.call('metrics.query', query);
          if (ended) return;
          this.metrics.load(answer);
          this.failed = undefined;
          this.told(answer.series.length > 0 ? 'some' : 'none');
          if (typeof reach !== 'number') step = answer.step;
        } catch (error) {
          if (ended) return;
          this.failed = error instanceof Error ? error.message : String(error);
          this.told(new Error(this.failed));
        }
      }
      if (!ended) this.done = reach;
      const again = due(reach, step, this.failed !== undefined);
      if (!ended && again !== undefined) timer = setTimeout(() => void read(), again);
    };
    void read();
    return () => {
      ended = true;
      clearTimeout(timer);
    };
  }
}
