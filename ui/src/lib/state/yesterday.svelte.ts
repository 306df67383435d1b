import { SvelteMap } from 'svelte/reactivity';
import { shadowKey, shifted, MOST_SHADOWS, type Line } from '$charts/model';
import type { Zoom } from '$charts/zoom';
import type { Metric } from '$lib/contract';
import type { Transport } from '$lib/transport';
import type { Metrics } from './metrics.svelte';
import { Past } from './past.svelte';
import { prefs } from './prefs.svelte';

const DAY_MS = 86_400_000;
/** Steps in which what is read moves on, in milliseconds: each at most a tenth of what is shown, or a minute. */
const STEPS = [10_800_000, 1_800_000, 300_000];
const LEAST_MS = 60_000;

/** What the readings of the day before came to: the charts of a page say it, the toggle beside the range shows it. */
class Compare {
  #found = new SvelteMap<object, 'some' | 'none' | Error>();

  get on(): boolean {
    return prefs.compare;
  }

  tell(who: object, found: 'some' | 'none' | Error | undefined): void {
    if (found === undefined) this.#found.delete(who);
    else this.#found.set(who, found);
  }

  /** Why nothing is drawn of the day before, where nothing is. */
  get missing(): string | undefined {
    const found = [...this.#found.values()];
    if (!this.on || found.length === 0 || found.includes('some')) return undefined;
    const error = found.find((one) => one instanceof Error);
    return error ? `Yesterday cannot be read: ${error.message}` : 'Nothing was measured at this time yesterday';
  }
}

export const compare = new Compare();

/**
 * The span of a day before. Its ends move in steps, so that one reading serves for a while; what is now yesterday's future
 * is in it, too.
 */
export function dayBefore({ from, to }: Zoom): Zoom {
  const step = STEPS.find((one) => one <= (to - from) / 10) ?? LEAST_MS;
  return {
    from: Math.floor((from - DAY_MS) / step) * step,
    to: Math.ceil((to - DAY_MS) / step) * step,
  };
}

/** The shadows of some lines, on the axis of `times`; nothing for more lines than can be told apart. */
export function shadows(
  lines: readonly Line[],
  times: readonly number[],
  earlier: readonly number[],
  step: number,
  valuesOf: (line: Line) => readonly (number | null)[] | undefined,
): Line[] {
  if (lines.length > MOST_SHADOWS || earlier.length === 0) return [];
  return lines.flatMap((line) => {
    const values = shifted(times, earlier, valuesOf(line) ?? [], DAY_MS, step);
    if (values.every((value) => value === null)) return [];
    return [
      { ...line, key: shadowKey(line.key), label: `${lines.length > 1 ? `${line.label}, ` : ''}yesterday`, values },
    ];
  });
}

/** Series of the engine as they were a day ago, read from the store while they are wanted. */
export class Yesterday {
  readonly #past: Past;

  constructor(transport: Transport) {
    this.#past = new Past(transport, (found) => compare.tell(this, found), false);
  }

  get metrics(): Metrics {
    return this.#past.metrics;
  }

  /** Reads the day before this span until the returned function is called. */
  follow(metrics: readonly Metric[], server: string | undefined, span: Zoom): () => void {
    const end = this.#past.follow(metrics, server, span, () => false);
    return () => {
      end();
      compare.tell(this, undefined);
    };
  }

  /** What was shown at this time yesterday. */
  span({ from, to }: Zoom): Zoom {
    return { from: from - DAY_MS, to: to - DAY_MS };
  }
}
