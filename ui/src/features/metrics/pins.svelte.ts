import { CallError, type Transport } from '$lib/transport';
import type { Pin } from './board';

/** The board of an engine, as this window read it last. */
export class Pins {
  /** Its charts; absent until they were read. */
  charts = $state.raw<readonly Pin[]>();
  /** Why the last reading failed. */
  failed = $state.raw<CallError>();
  #version = 0;
  /** Changes are sent one after the other: each is made of the one before. */
  #sent: Promise<void> = Promise.resolve();
  /** The last change that failed: what was made of it is not sent. */
  #refused: CallError | undefined;

  constructor(private readonly transport: Transport) {}

  async read(): Promise<void> {
    await this.#sent;
    await this.#read();
  }

  async #read(): Promise<void> {
    try {
      const { version, charts } = await this.transport.call('board.read', {});
      this.#version = version;
      this.charts = charts;
      this.failed = undefined;
    } catch (error) {
      this.failed = CallError.of(error);
    }
  }

  /**
   * Puts other charts on it; they are shown at once. Fails with what the engine says: then nothing is written, of a board
   * that was changed elsewhere neither, and what it is now is shown.
   */
  write(charts: readonly Pin[]): Promise<void> {
    this.charts = charts;
    const before = this.#refused;
    const done = this.#sent.then(() => {
      if (this.#refused && this.#refused !== before) throw this.#refused;
      return this.#send(charts);
    });
    this.#sent = done.catch(() => undefined);
    return done;
  }

  async #send(charts: readonly Pin[]): Promise<void> {
    try {
      const { version } = await this.transport.call('board.write', { version: this.#version, charts: [...charts] });
      this.#version = version;
    } catch (error) {
      this.#refused = CallError.of(error);
      await this.#read();
      throw this.#refused;
    }
  }
}
