import type { Event } from '$lib/contract';
import { concerns } from '$lib/fleet/marks';
import { CallError } from '$lib/transport';
import type { Model } from '$lib/state/model';

const PAGE = 200;
const MOST = 4_000;

/** The events of one server, newest first: a page from the log, what happens from now on, older pages when asked. */
export class Feed {
  list = $state.raw<Event[]>([]);
  loaded = $state(false);
  /** Whether older ones exist that were not read yet. */
  more = $state(false);
  busy = $state(false);
  error = $state.raw<CallError>();

  constructor(
    private readonly model: Model,
    readonly server: string,
  ) {}

  /** Follows until the returned function is called. */
  start(): () => void {
    const end = this.model.events.onNew((event) => {
      if (concerns(event, this.server)) this.#join([event]);
    });
    // After an absence the newest page is read again and joined by position.
    const endHello = this.model.transport.watchHello(() => void this.read());
    return () => {
      end();
      endHello();
    };
  }

  async read(): Promise<void> {
    this.busy = true;
    try {
      const page = await this.model.call('events.read', { server: this.server, limit: PAGE });
      if (this.list.length === 0) this.more = page.more;
      this.#join(page.events);
      this.error = undefined;
    } catch (error) {
      this.error = CallError.of(error);
    } finally {
      this.loaded = true;
      this.busy = false;
    }
  }

  async older(): Promise<void> {
    const before = this.list[this.list.length - 1]?.seq;
    if (before === undefined || this.busy) return;
    this.busy = true;
    try {
      const page = await this.model.call('events.read', { server: this.server, before, limit: PAGE });
      this.more = page.more && this.list.length + page.events.length < MOST;
      this.#join(page.events);
    } catch (error) {
      this.error = CallError.of(error);
    } finally {
      this.busy = false;
    }
  }

  #join(events: readonly Event[]): void {
    const known = new Set(this.list.map((event) => event.seq));
    const added = events.filter((event) => !known.has(event.seq));
    if (added.length === 0) return;
    this.list = [...this.list, ...added].sort((a, b) => b.seq - a.seq).slice(0, MOST);
  }
}
