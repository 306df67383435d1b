import type { LogEntry, LogQuery } from '$lib/contract';
import type { CallError, Transport } from '$lib/transport';
import { LogBuffer, type Entry } from './model';

/** At most this often what came is shown; in between it waits in a list. */
const FLUSH_MS = 200;

/** A log as it grows: the tail, then what comes, in bounded memory. Read `version` to follow. */
export class LiveLog {
  version = $state(0);
  loaded = $state(false);
  error = $state.raw<CallError>();
  /** Lines per second over the last ten seconds. */
  rate = $state(0);

  #buffer = new LogBuffer();
  #waiting: LogEntry[] = [];
  #timer: ReturnType<typeof setTimeout> | undefined;
  #listeners = new Set<(entries: readonly Entry[]) => void>();
  #recent: { at: number; lines: number }[] = [];

  /** The entries held, oldest first. */
  get entries(): readonly Entry[] {
    void this.version;
    return this.#buffer.entries;
  }

  /** How many entries were given up to stay within memory. */
  get dropped(): number {
    void this.version;
    return this.#buffer.dropped;
  }

  /** Hears what comes, after it was taken in. */
  onNew(on: (entries: readonly Entry[]) => void): () => void {
    this.#listeners.add(on);
    return () => this.#listeners.delete(on);
  }

  /** Follows a query until the returned function is called. */
  follow(transport: Transport, query: LogQuery): () => void {
    this.#reset();
    let boot: string | undefined;
    // Another engine process numbers its lines anew: what is held cannot be joined with them.
    const endHello = transport.watchHello((hello) => {
      if (boot !== undefined && boot !== hello.boot) this.#reset();
      boot = hello.boot;
    });
    const end = transport.subscribe(
      { topic: 'logs', query },
      (update) => {
        if (update.update !== 'logs') return;
        this.error = undefined;
        this.#waiting.push(...update.entries);
        if (!this.loaded) this.#flush();
        else this.#timer ??= setTimeout(() => this.#flush(), FLUSH_MS);
      },
      undefined,
      (error) => {
        this.error = error;
        this.loaded = true;
      },
    );
    const pulse = setInterval(() => this.#measure(), 2_000);
    return () => {
      end();
      endHello();
      clearInterval(pulse);
      clearTimeout(this.#timer);
      this.#timer = undefined;
    };
  }

  #reset(): void {
    this.#buffer.reset();
    this.#waiting = [];
    this.#recent = [];
    this.loaded = false;
    this.version += 1;
  }

  #flush(): void {
    this.#timer = undefined;
    const took = this.#buffer.push(this.#waiting);
    this.#waiting = [];
    const first = !this.loaded;
    this.loaded = true;
    this.version += 1;
    // The tail is history, not news.
    if (first || took.length === 0) return;
    this.#recent.push({ at: Date.now(), lines: took.length });
    for (const listener of this.#listeners) listener(took);
  }

  #measure(): void {
    const since = Date.now() - 10_000;
    this.#recent = this.#recent.filter((burst) => burst.at >= since);
    this.rate = this.#recent.reduce((sum, burst) => sum + burst.lines, 0) / 10;
  }
}
