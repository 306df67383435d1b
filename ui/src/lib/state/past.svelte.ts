import { now } from '$kit/now.svelte';
import type { Metric } from '$lib/contract';
import type { Transport } from '$lib/transport';
import { Metrics, RING_MS } from './metrics.svelte';

/** Distances of points, in milliseconds: widths that the store rolls up, or whole multiples of them. */
const STEPS = [10_000, 60_000, 300_000, 1_800_000];
/** Points of a line at most. */
const POINTS = 360;

/** Distance of the points that a range is shown in. */
export function stepOf(range: number): number {
  return STEPS.find((step) => range / step <= POINTS) ?? Math.ceil(range / POINTS);
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

  constructor(private readonly transport: Transport) {
    this.metrics = new Metrics(transport);
  }

  /**
   * Reads until the returned function is called, unless the range is live. Without a server, the series of all of them.
   * While `held` says so nothing is read.
   */
  follow(metrics: readonly Metric[], server: string | undefined, range: number, held: () => boolean): () => void {
    if (range <= RING_MS) return () => undefined;
    const step = stepOf(range);
    let ended = false;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const read = async (): Promise<void> => {
      if (!held()) {
        const query = {
          metrics: [...metrics],
          from: now.exact() - range,
          step,
          ...(server === undefined ? {} : { server }),
        };
        try {
          const answer = await this.transport.call('metrics.query', query);
          if (ended) return;
          this.metrics.load(answer);
          this.failed = undefined;
        } catch (error) {
          if (ended) return;
          this.failed = error instanceof Error ? error.message : String(error);
        }
      }
      if (!ended) timer = setTimeout(() => void read(), step);
    };
    void read();
    return () => {
      ended = true;
      clearTimeout(timer);
    };
  }
}
