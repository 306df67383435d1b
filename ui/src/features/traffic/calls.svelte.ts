import type { CallRecord } from '$lib/contract';
import type { Model } from '$lib/state/model';
import { CallError } from '$lib/transport';
import { callQuery, type CallFilter } from './model';

const EVERY_MS = 2_000;
const SETTLE_MS = 150;

/** The last calls that fit the filter, read again while somebody looks; held still while one is being read. */
export class Calls {
  list = $state.raw<CallRecord[]>();
  error = $state.raw<CallError>();
  /** Newer ones than those shown, while they are held. */
  waiting = $state(0);
  /** Calls whose details are open, by number. */
  open = $state.raw<ReadonlySet<number>>(new Set());
  #fresh: CallRecord[] = [];

  constructor(private readonly model: Model) {}

  get held(): boolean {
    return this.open.size > 0;
  }

  toggle(call: number): void {
    const next = new Set(this.open);
    if (!next.delete(call)) next.add(call);
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
