import type { GatewayView } from '$lib/contract';
import { now } from '$kit/now.svelte';
import { CallError, type Transport } from '$lib/transport';

/** How often it is read while a screen shows it. */
const EVERY_MS = 1_500;

/**
 * The gateway as it was last read: every second and a half while a screen follows it and the window is visible;
 * otherwise only with the connection and when a breaker moves, so that the navigation can tell of open ones.
 */
export class Gateway {
  view = $state.raw<GatewayView>();
  /** When the view was read, on the clock of the engine. */
  readAt = $state<number>();
  /** Why the last reading failed; the view before it stays. */
  error = $state.raw<CallError>();
  /** Clients that were seen to list the tools while somebody looked, and when. */
  listed = $state.raw<ReadonlyMap<string, number>>(new Map());

  #transport: Transport;
  #paused: () => boolean;
  #followers = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #reading: Promise<void> | undefined;
  #again = false;

  constructor(transport: Transport, paused: () => boolean = () => false) {
    this.#transport = transport;
    this.#paused = paused;
  }

  /** Breakers that are open, the ones an operator tripped too. */
  open = $derived(this.view?.breakers.filter((breaker) => breaker.state === 'open').length ?? 0);

  /** What a client finds there: servers that are not withdrawn, and the tools of all. */
  seen = $derived({
    servers: this.view?.servers.filter(({ withdrawn }) => withdrawn === undefined).length ?? 0,
    tools: this.view?.servers.reduce((sum, { offers }) => sum + offers.tools, 0) ?? 0,
  });

  /** Whether what is shown is older than three readings. */
  get stale(): boolean {
    return this.error !== undefined && this.readAt !== undefined && now.ms - this.readAt > 3 * EVERY_MS;
  }

  start(): () => void {
    const ends = [
      this.#transport.watchHello(() => void this.read()),
      this.#transport.subscribe({ topic: 'events' }, (update) => {
        if (update.update === 'events' && update.events.some((event) => event.kind === 'gateway:breaker'))
          void this.read();
      }),
    ];
    return () => ends.forEach((end) => end());
  }

  /** Reads it again and again until the returned function is called. */
  follow(): () => void {
    const visible = () => {
      if (!document.hidden) this.#poll(0);
    };
    this.#followers += 1;
    if (this.#followers === 1) this.#poll(0);
    document.addEventListener('visibilitychange', visible);
    return () => {
      this.#followers -= 1;
      document.removeEventListener('visibilitychange', visible);
      if (this.#followers === 0) clearTimeout(this.#timer);
    };
  }

  /** Reads it now; one that is under way is followed by another, so that the answer is not from before the question. */
  read(): Promise<void> {
    if (this.#reading) {
      this.#again = true;
      return this.#reading;
    }
    this.#reading = this.#read().finally(() => (this.#reading = undefined));
    return this.#reading;
  }

  async #read(): Promise<void> {
    do {
      this.#again = false;
      try {
        this.#take(await this.#transport.call('gateway.view', {}));
      } catch (error) {
        this.error = CallError.of(error);
      }
    } while (this.#again);
  }

  #take(view: GatewayView): void {
    const before = this.view;
    // What was there at the first look was not seen to happen.
    if (before) {
      const known = new Set(before.clients.filter((client) => client.listed_tools).map((client) => client.client));
      const fresh = view.clients.filter((client) => client.listed_tools && !known.has(client.client));
      if (fresh.length > 0)
        this.listed = new Map([...this.listed, ...fresh.map((client) => [client.client, view.at] as const)]);
    }
    this.view = view;
    this.readAt = view.at;
    this.error = undefined;
  }

  #poll(wait: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      const skipped = document.hidden || this.#paused();
      void (skipped ? Promise.resolve() : this.read()).then(() => {
        if (this.#followers > 0) this.#poll(EVERY_MS);
      });
    }, wait);
  }
}
