import { Channel, invoke } from '@tauri-apps/api/core';
import type { Hello, ServerFrame, Topic, Update } from '$lib/contract';
import { CallError, Signal, type CallOptions, type CommandName, type LinkStatus } from './index';
import type { Params, Result, Transport } from './index';

/**
 * The desktop's IPC: three host commands, no logic in the host. A channel carries the same frames as the socket:
 * JSON text or binary metric ticks. The engine is in this very process or behind it, so the link itself cannot break;
 * when the host attaches to another engine it says hello again and every subscription is opened anew.
 */
export class TauriTransport implements Transport {
  #ids = 0;
  #open = new Map<number, () => void>();
  #boot: string | undefined;
  #status = new Signal<LinkStatus>();
  #hello = new Signal<Hello>();

  constructor() {
    this.#status.set({ state: 'connecting', since: Date.now(), failures: 0 });
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
    const open = () => {
      if (id) void invoke('unsubscribe', { id });
      id = ++this.#ids;
      const mine = id;
      const channel = new Channel<ServerFrame | ArrayBuffer>();
      channel.onmessage = (message) => {
        if (mine !== id) return;
        if (message instanceof ArrayBuffer) onBinary?.(message);
        else if (message.frame === 'update') onUpdate(message.update);
        else if (message.frame === 'hello') this.#greet(message);
        else if (message.frame === 'error') onRefused?.(new CallError(message.error));
      };
      invoke('subscribe', { id, topic, channel })
        .then(() => this.#live())
        .catch((error: unknown) => onRefused?.(CallError.of(error)));
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
    for (const open of this.#open.values()) open();
  }

  #live(): void {
    if (this.#status.value?.state !== 'live') this.#status.set({ state: 'live', since: Date.now(), failures: 0 });
  }

  #greet(hello: Hello): void {
    this.#live();
    const another = this.#boot !== undefined && this.#boot !== hello.boot;
    this.#boot = hello.boot;
    this.#hello.set(hello);
    if (another) this.retryNow();
  }
}
