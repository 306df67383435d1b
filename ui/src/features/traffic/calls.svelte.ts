import type { CallRecord } from '$lib/contract';
import type { Model } from '$lib/state/model';
import { CallError } from '$lib/transport';
import { callQuery, type CallFilter } from './model';

const EVERY_MS = 2_000;
const SETTLE_MS = 150;
const DAY_MS = 86_400_000;

/** Numbers begin anew with each start of the engine. */
export const nameOf = (call: CallRecord) => `${call.at}-${call.call}`;

/** The last calls that fit the filter, read again while somebody looks; held still while one is being read. */
export class Calls {
  list = $state.raw<CallRecord[]>();
  error = $state.raw<CallError>();
  /** Newer ones than those shown, while they are held. */
  waiting = $state(0);
  /** Calls whose details are open, by {@link nameOf}. */
  open = $state.raw<ReadonlySet<string>>(new Set());
  /** Calls from before those in memory, as far as they are kept on disk and were asked for. */
  past = $state.raw<CallRecord[]>([]);
  /** Whether there may be more of them. */
  more = $state(true);
  #fresh: CallRecord[] = [];
  #filter: CallFilter | undefined;

  constructor(private readonly model: Model) {}

  get held(): boolean {
    return this.open.size > 0;
  }

  toggle(call: CallRecord): void {
    const next = new Set(this.open);
    const name = nameOf(call);
    if (!next.delete(name)) next.add(name);
    this.open = next;
    if (next.size === 0) this.release();
  }

  /** Shows what came meanwhile. */
  release(): void {
    this.open = new Set();
    if (this.waiting > 0) this.list = this.#fresh;
    this.waiting = 0;
  }

  /** Follows the filter until the returned function is called; another filter shows its own calls at once. */
  follow(filter: CallFilter): () => void {
    const query = callQuery(filter);
    this.#filter = filter;
    this.past = [];
    this.more = true;
    let ended = false;
    let first = true;
    let timer: ReturnType<typeof setTimeout>;
    const read = async () => {
      const skipped = !first && (document.hidden || this.model.metrics.pausedAt !== undefined);
      if (!skipped) {
        try {
          const calls = await this.model.call('gateway.calls', query);
          if (ended) return;
          this.#take(calls, first);
          first = false;
        } catch (error) {
          if (!ended) this.error = CallError.of(error);
        }
      }
      if (!ended) timer = setTimeout(read, EVERY_MS);
    };
    timer = setTimeout(read, SETTLE_MS);
    return () => {
      ended = true;
      clearTimeout(timer);
    };
  }

  /** Reads on, further back, from disk. */
  async older(): Promise<void> {
    const filter = this.#filter;
    const last = this.past.at(-1) ?? this.list?.at(-1);
    if (!filter || !this.more) return;
    try {
      const before = last?.at ?? Date.now() + DAY_MS;
      const calls = await this.model.call('gateway.calls', { ...callQuery(filter), before });
      if (this.#filter !== filter) return;
      this.past = [...this.past, ...calls];
      this.more = calls.length === 200;
    } catch (error) {
      this.error = CallError.of(error);
    }
  }

  #take(calls: CallRecord[], first: boolean): void {
    this.error = undefined;
    if (first) this.open = new Set();
    if (this.held) {
      const newest = this.list?.[0]?.call ?? 0;
      this.#fresh = calls;
      this.waiting = calls.filter(({ call }) => call > newest).length;
      return;
    }
    this.list = calls;
    this.waiting = 0;
  }
}
