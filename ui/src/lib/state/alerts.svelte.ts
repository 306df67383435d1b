import type { Alert, Event } from '$lib/contract';
import { CallError, type Transport } from '$lib/transport';

/** Events come in bursts: what they tell of is read once for all that came meanwhile. */
const SETTLE_MS = 150;

const ofAlerts = (event: Event): boolean =>
  event.kind === 'alert:firing' ||
  event.kind === 'alert:resolved' ||
  (event.kind === 'action' && event.command.startsWith('alerts.'));

/** The alerts of the engine, as they were last read: with the connection, by events, and when the place of alerts asks. */
export class Alerts {
  list = $state.raw<Alert[]>([]);
  loaded = $state(false);
  error = $state.raw<CallError>();
  /** Grows with each reading; who shows more of alerts reads that again. */
  changes = $state(0);
  #transport: Transport;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(transport: Transport) {
    this.#transport = transport;
  }

  /** Those that fire, are told of, and want something done: what is only for information wants nothing. */
  get firing(): Alert[] {
    return this.list.filter(
      ({ state, severity, silenced, inhibited }) =>
        state === 'firing' && severity !== 'info' && silenced === undefined && inhibited === undefined,
    );
  }

  start(): () => void {
    const ends = [
      this.#transport.watchHello(() => this.#soon()),
      this.#transport.subscribe({ topic: 'events' }, (update) => {
        if (update.update === 'events' && update.events.some(ofAlerts)) this.#soon();
      }),
    ];
    return () => {
      ends.forEach((end) => end());
      clearTimeout(this.#timer);
    };
  }

  async read(): Promise<void> {
    try {
      this.list = await this.#transport.call('alerts.list', {});
      this.loaded = true;
      this.error = undefined;
    } catch (error) {
      this.error = CallError.of(error);
    }
    this.changes += 1;
  }

  #soon(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      void this.read();
    }, SETTLE_MS);
  }
}
