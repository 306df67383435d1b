import type { Zoom } from '$charts/zoom';
import type { RangeAnswer } from '$lib/contract';
import { RING_MS } from '$lib/state/metrics.svelte';
import { due, stepOf, steps, widthOf } from '$lib/state/past.svelte';
import type { Transport } from '$lib/transport';

/** What is known of single tools, by the word of its metric. */
export const MEASURES = [
  'calls_per_second',
  'call_error_percent',
  'call_p50_ms',
  'call_p95_ms',
  'call_p99_ms',
] as const;
export type Measure = (typeof MEASURES)[number];

/** Distance of points while what is live is shown: wide enough for two samples. */
const LIVE_STEP = 5_000;

type Values = (number | null)[];

/** One server's tools over time, from the engine's store: read whole, and again with each new point. */
export class ToolLines {
  times = $state.raw<readonly number[]>([]);
  /** Distance of two points in milliseconds. */
  step = $state(LIVE_STEP);
  /** Why the last reading failed. */
  failed = $state<string>();
  /** Whether something was read. */
  read = $state(false);
  #lines = $state.raw<ReadonlyMap<Measure, ReadonlyMap<string, Values>>>(new Map());

  constructor(private readonly transport: Transport) {}

  /** Tools that were called, those with the most calls first. */
  get tools(): string[] {
    const calls = this.#lines.get('calls_per_second');
    const sum = (values: Values) => values.reduce<number>((all, value) => all + (value ?? 0), 0);
    return [...(calls ?? [])]
      .sort(([a, mine], [b, theirs]) => sum(theirs) - sum(mine) || a.localeCompare(b))
      .map(([tool]) => tool);
  }

  /** The first point that has a call. */
  get since(): number | undefined {
    const calls = [...(this.#lines.get('calls_per_second')?.values() ?? [])];
    return this.times.find((_, i) => calls.some((values) => (values[i] ?? null) !== null));
  }

  values(measure: Measure, tool: string): Values {
    return this.#lines.get(measure)?.get(tool) ?? this.times.map(() => null);
  }

  /** Reads until the returned function is called; a span that is over, once. While `held` says so nothing new is read. */
  follow(server: string, reach: number | Zoom, held: () => boolean): () => void {
    const width = widthOf(reach);
    const step = width <= RING_MS ? LIVE_STEP : stepOf(width);
    let ended = false;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const look = async (): Promise<void> => {
      if (typeof reach !== 'number' || !held()) {
        const { from, to } = steps(reach, step);
        try {
          const answers = await Promise.all(MEASURES.map((measure) => this.#ask(measure, server, from, to, step)));
          if (ended) return;
          this.step = step;
          this.times = answers[0]?.times ?? [];
          this.#lines = new Map(MEASURES.map((measure, i) => [measure, byTool(answers[i])]));
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

  #ask(measure: Measure, server: string, from: number, to: number, step: number): Promise<RangeAnswer> {
    return this.transport.call('metrics.range', {
      metric: `flotilla_tool_${measure}`,
      labels: [{ label: 'server', is: true, values: [server] }],
      from,
      to,
      step,
      function: 'mean',
    });
  }
}

function byTool(answer: RangeAnswer | undefined): ReadonlyMap<string, Values> {
  return new Map(
    answer?.lines.map(({ labels, values }) => [labels.find(([label]) => label === 'tool')?.[1] ?? '', values] as const),
  );
}
