import { Channel, invoke } from '@tauri-apps/api/core';
import type { Hello, ServerFrame, Topic, Update } from '$lib/contract';
import { CallError, Signal, type CallOptions, type CommandName, type LinkStatus } from './index';
import type { Params, Result, Transport } from './index';

/** How often the engine is asked for a sign of life; it may be another process that the host attached to. */
const PULSE_MS = 5_000;

/**
 * The desktop's IPC: three host commands, no logic in the host. A channel carries the same frames as the socket: JSON
 * text or binary metric ticks, and begins with a hello. IPC itself cannot break, but the engine behind it can be gone:
 * a pulse notices, and when it answers again, or as another boot, every subscription is opened anew.
 */
export class TauriTransport implements Transport {
  #ids = 0;
  #open = new Map<number, () => void>();
  #boot: string | undefined;
  #status = new Signal<LinkStatus>();
  #hello = new Signal<Hello>();

  constructor() {
    this.#status.set({ state: 'connecting', since: Date.now(), failures: 0 });
    setInterval(() => void this.#pulse(), PULSE_MS);
  }

  async call<C extends CommandName>(command: C, params: Params<C>, options?: CallOptions): Promise<Result<C>> {
    const answer = invoke<Result<C>>('call', { command, params }).catch((error: unknown) => {
      throw CallError.of(error);
    });
    const signal = options?.signal;
    if (!signal) return answer;
    const aborted = new Promise<never>((_, reject) => {
      signal.addEventListener('abort', () => reject(new DOMException('aborted', 'AbortError')));
    });
    return Promise.race([answer, aborted]);
  }

  subscribe(
    topic: Topic,
    onUpdate: (update: Update) => void,
    onBinary?: (bytes: ArrayBuffer) => void,
    onRefused?: (error: CallError) => void,
  ): () => void {
    let id = 0;
    const refused = (error: CallError) => {
      if (error.code === 'unreachable') this.#lost();
      onRefused?.(error);
    };
    const open = () => {
      if (id) void invoke('unsubscribe', { id });
      const mine = (id = ++this.#ids);
      let greeted = false;
      const channel = new Channel<ServerFrame | ArrayBuffer>();
      channel.onmessage = (message) => {
        if (mine !== id) return;
        if (message instanceof ArrayBuffer) onBinary?.(message);
        else if (message.frame === 'update') onUpdate(message.update);
        else if (message.frame === 'error') refused(new CallError(message.error));
        else if (message.frame === 'hello') {
          // The first one of a channel is no news where its boot is known.
          this.#greet(message, greeted);
          greeted = true;
        }
      };
      invoke('subscribe', { id, topic, channel }).then(
        () => this.#live(),
        (error: unknown) => refused(CallError.of(error)),
      );
    };
    const key = ++this.#ids;
    this.#open.set(key, open);
    open();
    return () => {
      this.#open.delete(key);
      void invoke('unsubscribe', { id });
      id = 0;
    };
  }

  watchStatus(on: (status: LinkStatus) => void): () => void {
    return this.#status.watch(on);
  }

  watchHello(on: (hello: Hello) => void): () => void {
    return this.#hello.watch(on);
  }

  retryNow(): void {
    void this.#pulse();
  }

  async #pulse(): Promise<void> {
    const late = new Promise<'late'>((resolve) => setTimeout(resolve, PULSE_MS - 500, 'late'));
    const beat = await Promise.race([invoke('call', { command: 'engine.info', params: {} }).catch(CallError.of), late]);
    if (beat === 'late' || (beat instanceof CallError && beat.code === 'unreachable')) return this.#lost();
    const wasLost = this.#status.value?.state === 'unreachable';
    this.#live();
    if (!wasLost) return;
    // The next hello is news, whoever says it: what happened meanwhile is read again.
    this.#boot = undefined;
    this.#reopen();
  }

  #live(): void {
    if (this.#status.value?.state !== 'live') this.#status.set({ state: 'live', since: Date.now(), failures: 0 });
  }

  #lost(): void {
    const before = this.#status.value;
    const again = before?.state === 'unreachable';
    this.#status.set({
      state: 'unreachable',
      since: again ? before.since : Date.now(),
      nextTry: Date.now() + PULSE_MS,
      failures: again ? before.failures + 1 : 1,
    });
  }

  #greet(hello: Hello, again: boolean): void {
    const known = this.#boot === hello.boot;
    const another = this.#boot !== undefined && !known;
    this.#boot = hello.boot;
    if (known && !again) return;
    this.#live();
    this.#hello.set(hello);
    if (another) this.#reopen();
  }

  #reopen(): void {
    for (const open of [...this.#open.values()]) open();
  }
}
