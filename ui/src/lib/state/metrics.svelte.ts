import type { Zoom } from '$charts/zoom';
import type { Metric, MetricAnswer, Sample, SeriesInfo } from '$lib/contract';
import type { Transport } from '$lib/transport';

const MAGIC = 0x31584d46; // "FMX1", little-endian
/** The engine's own ring: half an hour. */
export const RING_MS = 30 * 60_000;
/** The narrowest window of a chart. */
const LEAST_MS = 60_000;
/** What the process tree of an instance uses. */
const OF_TREE = ['cpu_percent', 'rss_bytes', 'open_files', 'threads', 'children'] as const;
/** What clients do with a whole server: instance 0. */
const OF_CALLS: Metric[] = [
  'calls_per_second',
  'call_error_percent',
  'call_p50_ms',
  'call_p95_ms',
  'call_p99_ms',
  'calls_cached_per_second',
  'calls_refused_per_second',
  'calls_in_flight',
];
/** What charts know. */
export const KEPT: readonly Metric[] = [...OF_TREE, 'restarts', 'health', ...OF_CALLS];
/** Read back at start; the rest fills while the panel is open. */
const BACKFILLED: Metric[] = ['cpu_percent', 'rss_bytes', 'restarts', 'health', ...OF_CALLS];

/** One tick of the binary frame (the contract's `metric` module gives its layout). */
export interface Tick {
  at: number;
  numbers: Uint32Array;
  values: Float32Array;
}

/** Reads a frame; nothing where it is not one. */
export function readTick(bytes: ArrayBuffer): Tick | undefined {
  if (bytes.byteLength < 16) return undefined;
  const view = new DataView(bytes);
  if (view.getUint32(0, true) !== MAGIC) return undefined;
  const count = view.getUint32(12, true);
  if (bytes.byteLength < 16 + count * 8) return undefined;
  return {
    at: Number(view.getBigUint64(4, true)),
    numbers: new Uint32Array(bytes.slice(16, 16 + count * 4)),
    values: new Float32Array(bytes.slice(16 + count * 4, 16 + count * 8)),
  };
}

/** Which series to read, and how to put them together. */
export interface Pick {
  metric: Metric;
  /** Only this server. */
  server?: string;
  /** Only this instance of the server, from 1; 0 is the whole server, where the calls of clients stand. */
  instance?: number;
}

/** The latest totals of each process tree, by instance (`server#index`). */
export type Samples = ReadonlyMap<string, Sample>;

/** Values of a line; where one stands for several samples, how far these reached, as far as that is known. */
export interface Reached {
  values: (number | null)[];
  low?: (number | null)[];
  high?: (number | null)[];
}

interface Series {
  metric: Metric;
  server: string;
  instance: number;
  /** Value per time of the axis, NaN where there is none. */
  values: Float32Array;
  /** The lowest and the highest sample of each value, NaN where they are not known; absent where none is. */
  low?: Float32Array;
  high?: Float32Array;
}

/** Everything that a series has on the axis. */
const columns = ({ values, low, high }: Series): Float32Array[] =>
  [values, low, high].filter((column) => column !== undefined);

const key = (metric: Metric, server: string, instance: number) => `${metric} ${server}#${instance}`;

/**
 * The last half hour of every series, on one time axis: the engine's ring, read back once and then followed tick by
 * tick. Read `version` (or call a method that does) to follow; while `paused`, readers see the moment of the pause.
 */
export class Metrics {
  /** Grows with each tick and each backfill. */
  version = $state(0);
  /** Time of the last tick. */
  last = $state<number>();
  /** Sampling interval in milliseconds. */
  interval = $state(2_000);
  /** The moment at which reading was paused. */
  pausedAt = $state<number>();

  #transport: Transport;
  #onSamples: (samples: Samples) => void;
  /** Grows with each answer that is put in. */
  #filled = $state(0);
  #times = new Float64Array(0);
  #length = 0;
  #series = new Map<string, Series>();
  #byNumber = new Map<number, Series>();
  #answers = 0;

  constructor(transport: Transport, onSamples: (samples: Samples) => void = () => undefined) {
    this.#transport = transport;
    this.#onSamples = onSamples;
    this.#grow(1024);
  }

  start(): () => void {
    const end = this.#transport.subscribe(
      { topic: 'metrics' },
      (update) => {
        if (update.update === 'series') this.announce(update.interval, update.series);
      },
      (bytes) => {
        const tick = readTick(bytes);
        if (tick) this.add(tick);
      },
    );
    const endHello = this.#transport.watchHello(() => void this.#backfill());
    return () => {
      end();
      endHello();
    };
  }

  /** Says which series frames may name from now on. */
  announce(interval: number, series: readonly SeriesInfo[]): void {
    this.interval = interval;
    this.#byNumber.clear();
    const kept = new Set<string>();
    for (const { number, metric, server, instance } of series) {
      if (!KEPT.includes(metric)) continue;
      const found = this.#at(metric, server, instance);
      this.#byNumber.set(number, found);
      kept.add(key(found.metric, found.server, found.instance));
    }
    // A series without any value left in the ring is of an instance that is gone.
    for (const [name, found] of this.#series) {
      if (!kept.has(name) && found.values.subarray(0, this.#length).every(Number.isNaN)) this.#series.delete(name);
    }
  }

  add(tick: Tick): void {
    if (this.#length > 0 && tick.at <= (this.#times[this.#length - 1] ?? 0)) return;
    this.#drop(tick.at - RING_MS);
    if (this.#length === this.#times.length) this.#grow(this.#times.length * 2);
    this.#times[this.#length] = tick.at;
    for (const series of this.#series.values()) for (const column of columns(series)) column[this.#length] = NaN;
    tick.numbers.forEach((number, i) => {
      const series = this.#byNumber.get(number);
      if (series) series.values[this.#length] = tick.values[i] ?? NaN;
    });
    this.#length += 1;
    this.last = tick.at;
    this.version += 1;
    this.#onSamples(this.#samples(tick));
  }

  /** A tick by instance. One that has no memory has no process. */
  #samples(tick: Tick): Samples {
    const samples = new Map<string, Sample>();
    tick.numbers.forEach((number, i) => {
      const series = this.#byNumber.get(number);
      const value = tick.values[i] ?? NaN;
      const metric = OF_TREE.find((one) => one === series?.metric);
      if (!series || !metric || Number.isNaN(value)) return;
      const id = `${series.server}#${series.instance}`;
      const sample = samples.get(id) ?? {
        at: tick.at,
        cpu_percent: 0,
        rss_bytes: 0,
        open_files: 0,
        threads: 0,
        children: 0,
      };
      sample[metric] = value;
      samples.set(id, sample);
    });
    return samples;
  }

  pause(): void {
    this.pausedAt = this.last ?? Date.now();
  }

  resume(): void {
    this.pausedAt = undefined;
  }

  /** The right edge: the last tick, or the moment of the pause. */
  get end(): number | undefined {
    return this.pausedAt ?? this.last;
  }

  /**
   * The window of a chart that ends now: `range` wide, or as wide as the history is while that is shorter (a minute at
   * least), so that a young fleet fills its charts.
   */
  span(range: number, now: number): { from: number; to: number } {
    const to = this.pausedAt ?? now;
    const [first] = this.#window(range);
    const begun = this.#length ? (this.#times[first] ?? to) : to - range;
    return { from: Math.max(to - range, Math.min(begun, to - LEAST_MS)), to };
  }

  /** Whether a span that stands still is here whole. */
  has({ from }: Zoom): boolean {
    void this.version;
    return this.#length > 0 && (this.#times[0] ?? 0) <= from + this.interval;
  }

  /** The times of the points in the last `range` milliseconds, or in a span. */
  times(range: number | Zoom): number[] {
    const [from, to] = this.#window(range);
    return Array.from(this.#times.subarray(from, to));
  }

  /** One series on the axis of `times(range)`; `null` where there is no sample. */
  values(pick: Required<Pick>, range: number | Zoom): (number | null)[] {
    const [from, to] = this.#window(range);
    const series = this.#series.get(key(pick.metric, pick.server, pick.instance));
    return series ? listed(series.values, from, to) : new Array<null>(to - from).fill(null);
  }

  /** The series that match, added up as `fold` does, and how far a point reached that is of one series alone. */
  line(pick: Pick, range: number | Zoom): Reached {
    const values = this.fold(pick, range);
    const matching = this.#matching(pick);
    if (!matching.some((series) => series.high)) return { values };
    const [from, to] = this.#window(range);
    const [low, high] = [new Float32Array(to - from).fill(NaN), new Float32Array(to - from).fill(NaN)];
    let known = false;
    for (let i = from; i < to; i += 1) {
      let only: Series | undefined;
      let members = 0;
      for (const series of matching) {
        if (Number.isNaN(series.values[i])) continue;
        only = series;
        members += 1;
      }
      if (members !== 1) continue;
      low[i - from] = only?.low?.[i] ?? NaN;
      high[i - from] = only?.high?.[i] ?? NaN;
      known ||= !Number.isNaN(high[i - from]);
    }
    return known ? { values, low: listed(low), high: listed(high) } : { values };
  }

  /** The series that match, put together per point; `null` where none has a sample. */
  fold(pick: Pick, range: number | Zoom, join: (values: number[]) => number = total): (number | null)[] {
    const [from, to] = this.#window(range);
    const matching = this.#matching(pick);
    const out: (number | null)[] = [];
    const present: number[] = [];
    for (let i = from; i < to; i += 1) {
      present.length = 0;
      for (const series of matching) {
        const value = series.values[i];
        if (value !== undefined && !Number.isNaN(value)) present.push(value);
      }
      out.push(present.length ? join(present) : null);
    }
    return out;
  }

  /** The newest value of the series that match, added up; `null` where none has one. */
  latest(pick: Pick): number | null {
    const [, to] = this.#window(RING_MS);
    let sum: number | null = null;
    for (const series of this.#matching(pick)) {
      const value = series.values[to - 1];
      if (value !== undefined && !Number.isNaN(value)) sum = (sum ?? 0) + value;
    }
    return sum;
  }

  /** Which instances of a server have a series of this metric. */
  instances(metric: Metric, server: string): number[] {
    void this.version;
    return this.#matching({ metric, server })
      .map((series) => series.instance)
      .sort((a, b) => a - b);
  }

  #matching({ metric, server, instance }: Pick): Series[] {
    const found: Series[] = [];
    for (const series of this.#series.values()) {
      if (series.metric !== metric) continue;
      if (server !== undefined && series.server !== server) continue;
      if (instance !== undefined && series.instance !== instance) continue;
      found.push(series);
    }
    return found;
  }

  #window(range: number | Zoom): [from: number, to: number] {
    if (typeof range !== 'number') {
      void this.#filled;
      // Ticks after a span are of no concern to it: nothing redraws.
      if (range.to >= (this.#times[this.#length - 1] ?? 0)) void this.version;
      let [first, end] = [0, this.#length];
      while (first < end && (this.#times[first] ?? 0) < range.from) first += 1;
      while (end > first && (this.#times[end - 1] ?? 0) > range.to) end -= 1;
      return [first, end];
    }
    // While paused only the pause is followed, so nothing redraws.
    if (this.pausedAt === undefined) void this.version;
    const end = this.end;
    if (end === undefined) return [0, 0];
    let to = this.#length;
    while (to > 0 && (this.#times[to - 1] ?? 0) > end) to -= 1;
    let from = to;
    while (from > 0 && (this.#times[from - 1] ?? 0) >= end - range) from -= 1;
    return [from, to];
  }

  #at(metric: Metric, server: string, instance: number): Series {
    const name = key(metric, server, instance);
    let series = this.#series.get(name);
    if (!series) {
      series = { metric, server, instance, values: new Float32Array(this.#times.length).fill(NaN) };
      this.#series.set(name, series);
    }
    return series;
  }

  #drop(before: number): void {
    let gone = 0;
    while (gone < this.#length && (this.#times[gone] ?? 0) < before) gone += 1;
    // In batches, so that a tick seldom moves memory.
    if (gone < 64) return;
    this.#times.copyWithin(0, gone, this.#length);
    for (const series of this.#series.values())
      for (const column of columns(series)) column.copyWithin(0, gone, this.#length);
    this.#length -= gone;
  }

  #grow(size: number): void {
    const times = new Float64Array(size);
    times.set(this.#times);
    this.#times = times;
    const grown = (column: Float32Array): Float32Array => {
      const values = new Float32Array(size).fill(NaN);
      values.set(column);
      return values;
    };
    for (const series of this.#series.values()) {
      series.values = grown(series.values);
      if (series.low) series.low = grown(series.low);
      if (series.high) series.high = grown(series.high);
    }
  }

  async #backfill(): Promise<void> {
    const turn = (this.#answers += 1);
    try {
      const answer = await this.#transport.call('metrics.query', { metrics: BACKFILLED });
      if (turn === this.#answers) this.merge(answer);
    } catch {
      // The charts then start empty and fill with ticks; the link's own state says what is wrong.
    }
  }

  /**
   * Holds an answer and nothing else: from the first point that has a value, to the newest, which is left out while it
   * has only begun and has none.
   */
  load(answer: MetricAnswer): void {
    const measured = (i: number) => answer.series.some((series) => (series.values[i] ?? null) !== null);
    let [first, end] = [0, answer.times.length];
    while (first < end && !measured(first)) first += 1;
    if (end > first && !measured(end - 1)) end -= 1;
    this.#series.clear();
    this.#length = 0;
    this.interval = answer.step;
    this.merge({
      ...answer,
      times: answer.times.slice(first, end),
      series: answer.series.map(({ low, high, ...series }) => ({
        ...series,
        values: series.values.slice(first, end),
        ...(low && { low: low.slice(first, end) }),
        ...(high && { high: high.slice(first, end) }),
      })),
    });
  }

  /** Puts an answer before the ticks that were already heard. */
  merge(answer: MetricAnswer): void {
    const heard = { times: this.#times.slice(0, this.#length), length: this.#length };
    const first = answer.times.length ? (answer.times.at(-1) ?? 0) : 0;
    let keep = 0;
    while (keep < heard.length && (heard.times[keep] ?? 0) <= first) keep += 1;
    const later = new Map([...this.#series].map(([name, s]) => [name, s.values.slice(keep, heard.length)]));
    const length = answer.times.length + heard.length - keep;
    for (const series of this.#series.values()) for (const column of columns(series)) column.fill(NaN);
    while (this.#times.length < length + 64) this.#grow(this.#times.length * 2);
    this.#times.set(answer.times, 0);
    this.#times.set(heard.times.subarray(keep), answer.times.length);
    for (const { metric, server, instance, values, low, high } of answer.series) {
      if (server === undefined || server === null || instance === undefined || instance === null) continue;
      const series = this.#at(metric, server, instance);
      values.forEach((value, i) => (series.values[i] = value ?? NaN));
      if (low && high) {
        const known = (column: (number | null)[]): Float32Array => {
          const held = new Float32Array(this.#times.length).fill(NaN);
          column.forEach((value, i) => (held[i] = value ?? NaN));
          return held;
        };
        series.low = known(low);
        series.high = known(high);
      }
    }
    for (const [name, values] of later) this.#series.get(name)?.values.set(values, answer.times.length);
    this.#length = length;
    this.last = length ? this.#times[length - 1] : undefined;
    this.version += 1;
    this.#filled += 1;
  }
}

/** A part of a column as charts read it. */
function listed(column: Float32Array, from = 0, to = column.length): (number | null)[] {
  const out = new Array<number | null>(to - from);
  for (let i = from; i < to; i += 1) {
    const value = column[i] ?? NaN;
    out[i - from] = Number.isNaN(value) ? null : value;
  }
  return out;
}

const total = (values: number[]) => values.reduce((sum, value) => sum + value, 0);
