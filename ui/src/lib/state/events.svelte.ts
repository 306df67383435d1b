import type { Event, EventQuery } from '$lib/contract';
import type { Transport } from '$lib/transport';

const MOST = 2_000;
/** What charts mark: read apart, so that a storm of starts and checks does not push it out. */
const MARKED = ['server:restarting', 'server:failed', 'server:stopped', 'config:applied'];

/** The newest events, newest first, at most 2,000: what screens show beside charts. Older ones are read on demand. */
export class Events {
  list = $state.raw<Event[]>([]);
  loaded = $state(false);
  #listeners = new Set<(event: Event) => void>();

  constructor(private readonly transport: Transport) {}

  start(): () => void {
    let ended = false;
    const end = this.transport.subscribe({ topic: 'events' }, (update) => {
      if (update.update === 'events') this.add(update.events, true);
    });
    // Each hello may follow an absence: what happened meanwhile is read, and joined by position.
    const endHello = this.transport.watchHello(() => {
      const read = (query: EventQuery) =>
        this.transport
          .call('events.read', query)
          .then((page) => {
            if (!ended) this.add(page.events, false);
          })
          .catch(() => undefined);
      void Promise.all([read({ limit: 300 }), read({ kinds: MARKED, limit: 500 })]).finally(() => (this.loaded = true));
    });
    return () => {
      ended = true;
      end();
      endHello();
    };
  }

  /** Hears each event that happens from now on. */
  onNew(on: (event: Event) => void): () => void {
    this.#listeners.add(on);
    return () => this.#listeners.delete(on);
  }

  /** Joins events in by their position; `fresh` ones are told to listeners. */
  add(events: readonly Event[], fresh: boolean): void {
    const known = new Set(this.list.map((event) => event.seq));
    const added = events.filter((event) => !known.has(event.seq));
    if (added.length === 0) return;
    this.list = [...this.list, ...added].sort((a, b) => b.seq - a.seq).slice(0, MOST);
    this.loaded = true;
    if (!fresh) return;
    for (const event of added) for (const listener of this.#listeners) listener(event);
  }
}
