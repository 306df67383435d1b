import type { Asking, Event } from '$lib/contract';
import { CallError, type Transport } from '$lib/transport';

/** Events come in bursts: what they tell of is read once for all that came meanwhile. */
const SETTLE_MS = 150;

/** Whether an event tells that something of runs may be otherwise: they began, ended, failed, ask, or were acted on. */
export const ofWorkflows = (event: Event): boolean =>
  event.kind.startsWith('workflow:') || (event.kind === 'action' && event.command.startsWith('workflow.'));

/** What runs ask of people, as it was last read, and when anything of runs changed: with the connection and by events. */
export class Workflows {
  asking = $state.raw<Asking[]>([]);
  loaded = $state(false);
  error = $state.raw<CallError>();
  /** Grows with each change; who shows runs reads them again. */
  changes = $state(0);
  #transport: Transport;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(transport: Transport) {
    this.#transport = transport;
  }

  start(): () => void {
    const ends = [
      this.#transport.watchHello(() => this.#soon()),
      this.#transport.subscribe({ topic: 'events' }, (update) => {
        if (update.update === 'events' && update.events.some(ofWorkflows)) this.#soon();
      }),
    ];
    return () => {
      ends.forEach((end) => end());
      clearTimeout(this.#timer);
    };
  }

  async read(): Promise<void> {
    this.changes += 1;
    try {
      this.asking = await this.#transport.call('workflow.asking', {});
      this.loaded = true;
      this.error = undefined;
    } catch (error) {
      this.error = CallError.of(error);
    }
  }

  #soon(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      void this.read();
    }, SETTLE_MS);
  }
}
