import { MARKED } from '$lib/fleet/marks';
import type { Event, EventQuery } from '$lib/contract';
import type { Transport } from '$lib/transport';

const MOST = 2_000;
/** Events of a page, as many as the engine gives. */
const PAGE = 1_000;
/** What is marked, at most; read apart, so that a storm of starts and checks does not push it out. */
const MOST_MARKED = 5 * PAGE;

/** The newest events, newest first, at most 2,000: what screens show beside charts. Older ones are read on demand. */
export class Events {
  list = $state.raw<Event[]>([]);
  loaded = $state(false);
  /** What charts mark, newest first: the newest page of it, and as far back as was asked for. */
  marked = $state.raw<Event[]>([]);
  /** Whether nothing older is marked, or no more is read. */
  #whole = false;
  #reading = false;
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
            return page;
          })
          .catch(() => undefined);
      const marks = read({ kinds: MARKED, limit: PAGE }).then((page) => {
        if (page?.more === false) this.#whole = true;
      });
      void Promise.all([read({ limit: 300 }), marks]).finally(() => (this.loaded = true));
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

  /** Reads what charts mark back to this moment, a page at a time. */
  async reach(from: number): Promise<void> {
    if (this.#reading) return;
    this.#reading = true;
    try {
      for (;;) {
        const oldest = this.marked.at(-1);
        if (this.#whole || oldest === undefined || oldest.at <= from) return;
        const page = await this.transport.call('events.read', { kinds: MARKED, before: oldest.seq, limit: PAGE });
        this.#whole = !page.more || page.events.length === 0 || this.marked.length + PAGE > MOST_MARKED;
        this.#mark(page.events);
      }
    } catch {
      // What was read is drawn; the next look reads on.
    } finally {
      this.#reading = false;
    }
  }

  #mark(events: readonly Event[]): void {
    const known = new Set(this.marked.map((event) => event.seq));
    const added = events.filter((event) => MARKED.includes(event.kind) && !known.has(event.seq));
    if (added.length > 0) this.marked = [...this.marked, ...added].sort((a, b) => b.seq - a.seq).slice(0, MOST_MARKED);
  }

  /** Joins events in by their position; `fresh` ones are told to listeners. */
  add(events: readonly Event[], fresh: boolean): void {
    this.#mark(events);
    const known = new Set(this.list.map((event) => event.seq));
    const added = events.filter((event) => !known.has(event.seq));
    if (added.length === 0) return;
    this.list = [...this.list, ...added].sort((a, b) => b.seq - a.seq).slice(0, MOST);
    this.loaded = true;
    if (!fresh) return;
    for (const event of added) for (const listener of this.#listeners) listener(event);
  }
}
