import type { ClientFrame, Hello, ServerFrame, Topic, Update } from '$lib/contract';
import { CONTRACT_VERSION } from '$lib/contract';
import { CallError, Signal, type CallOptions, type CommandName, type LinkStatus } from './index';
import type { Params, Result, Transport } from './index';

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 5_000;
/** A socket that has not said hello by then is given up. */
const HELLO_MS = 8_000;

interface Pending {
  resolve: (result: unknown) => void;
  reject: (error: CallError) => void;
}

interface Subscription {
  topic: Topic;
  onUpdate: (update: Update) => void;
  onBinary?: ((bytes: ArrayBuffer) => void) | undefined;
  onRefused?: ((error: CallError) => void) | undefined;
}

/** The wait before the n-th attempt in a row (from 0). */
export function backOff(failures: number): number {
  return Math.min(FIRST_WAIT_MS * 2 ** failures, LONGEST_WAIT_MS);
}

/**
 * One WebSocket to `/ws` of the origin that served the page. The cookie authenticates it. When it closes, calls that
 * wait fail with `unreachable`, and every subscription is opened anew on the next socket under its old id.
 */
export class SocketTransport implements Transport {
  #socket: WebSocket | undefined;
  #open = false;
  /** Whether the newest socket got as far as a hello. */
  #greeted = false;
  #ids = 0;
  #failures = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #pending = new Map<number, Pending>();
  #waiting: string[] = [];
  #subscriptions = new Map<number, Subscription>();
  #status = new Signal<LinkStatus>();
  #hello = new Signal<Hello>();

  constructor(private readonly url = `${location.origin.replace(/^http/, 'ws')}/ws`) {
    this.#status.set({ state: 'connecting', since: Date.now(), failures: 0 });
    this.#connect();
  }

  call<C extends CommandName>(command: C, params: Params<C>, options?: CallOptions): Promise<Result<C>> {
    const id = ++this.#ids;
    return new Promise<Result<C>>((resolve, reject) => {
      this.#pending.set(id, { resolve: (result) => resolve(result as Result<C>), reject });
      options?.signal?.addEventListener('abort', () => {
        if (this.#pending.delete(id)) reject(new DOMException('aborted', 'AbortError'));
      });
      const frame = JSON.stringify({ frame: 'call', id, command, params } satisfies ClientFrame);
      if (this.#open) this.#socket?.send(frame);
      else if (this.#status.value?.state === 'connecting') this.#waiting.push(frame);
      else this.#fail(id, new CallError({ code: 'unreachable', message: 'reach the engine' }));
    });
  }

  subscribe(
    topic: Topic,
    onUpdate: (update: Update) => void,
    onBinary?: (bytes: ArrayBuffer) => void,
    onRefused?: (error: CallError) => void,
  ): () => void {
    const id = ++this.#ids;
    this.#subscriptions.set(id, { topic, onUpdate, onBinary, onRefused });
    if (this.#open) this.#send({ frame: 'subscribe', id, ...topic });
    return () => {
      if (this.#subscriptions.delete(id) && this.#open) this.#send({ frame: 'unsubscribe', id });
    };
  }

  watchStatus(on: (status: LinkStatus) => void): () => void {
    return this.#status.watch(on);
  }

  watchHello(on: (hello: Hello) => void): () => void {
    return this.#hello.watch(on);
  }

  retryNow(): void {
    if (this.#open || !this.#timer) return;
    clearTimeout(this.#timer);
    this.#connect();
  }

  #send(frame: ClientFrame): void {
    this.#socket?.send(JSON.stringify(frame));
  }

  #connect(): void {
    this.#timer = undefined;
    const socket = new WebSocket(this.url);
    socket.binaryType = 'arraybuffer';
    this.#socket = socket;
    this.#greeted = false;
    const deadline = setTimeout(() => socket.close(), HELLO_MS);
    socket.onmessage = (message: MessageEvent<string | ArrayBuffer>) => {
      if (typeof message.data === 'string') {
        const frame = JSON.parse(message.data) as ServerFrame;
        if (frame.frame === 'hello') clearTimeout(deadline);
        this.#onFrame(frame);
      } else this.#onBinary(message.data);
    };
    socket.onclose = (event) => {
      clearTimeout(deadline);
      if (this.#socket !== socket) return;
      this.#lost(event.code === 1008);
      if (!this.#greeted) void this.#askWhy();
    };
  }

  /** A browser does not say why a socket was not opened; a plain request to the same engine does. */
  async #askWhy(): Promise<void> {
    const answer = await fetch('/api/v1/servers', { method: 'HEAD' }).catch(() => undefined);
    const status = this.#status.value;
    if (answer?.status === 401 && status?.state === 'unreachable') this.#status.set({ ...status, refused: true });
  }

  #onFrame(frame: ServerFrame): void {
    switch (frame.frame) {
      case 'hello':
        return this.#greet(frame);
      case 'answer': {
        const waiting = this.#pending.get(frame.id);
        this.#pending.delete(frame.id);
        return waiting?.resolve(frame.result);
      }
      case 'error': {
        const error = new CallError(frame.error);
        if (this.#pending.has(frame.id)) this.#fail(frame.id, error);
        else this.#subscriptions.get(frame.id)?.onRefused?.(error);
        return;
      }
      case 'update':
        return this.#subscriptions.get(frame.id)?.onUpdate(frame.update);
    }
  }

  #greet(hello: Hello): void {
    // Another contract means that the page is older or newer than the engine: the engine serves the page that fits.
    if (hello.contract !== CONTRACT_VERSION && !sessionStorage.getItem('reloaded-for-contract')) {
      sessionStorage.setItem('reloaded-for-contract', '1');
      location.reload();
      return;
    }
    this.#open = true;
    this.#greeted = true;
    this.#failures = 0;
    this.#hello.set(hello);
    this.#status.set({ state: 'live', since: Date.now(), failures: 0 });
    for (const [id, { topic }] of this.#subscriptions) this.#send({ frame: 'subscribe', id, ...topic });
    for (const frame of this.#waiting.splice(0)) this.#socket?.send(frame);
  }

  /** Metric ticks name no subscription: each goes to whoever follows metrics. */
  #onBinary(bytes: ArrayBuffer): void {
    for (const subscription of this.#subscriptions.values()) subscription.onBinary?.(bytes);
  }

  #lost(refused: boolean): void {
    this.#open = false;
    this.#socket = undefined;
    this.#waiting = [];
    for (const id of [...this.#pending.keys()]) {
      this.#fail(id, new CallError({ code: 'unreachable', message: 'hear the end: the engine went away' }));
    }
    const before = this.#status.value;
    const wait = backOff(this.#failures);
    this.#failures += 1;
    this.#status.set({
      state: 'unreachable',
      since: before?.state === 'unreachable' ? before.since : Date.now(),
      nextTry: Date.now() + wait,
      failures: this.#failures,
      refused,
    });
    this.#timer = setTimeout(() => this.#connect(), wait);
  }

  #fail(id: number, error: CallError): void {
    const waiting = this.#pending.get(id);
    this.#pending.delete(id);
    waiting?.reject(error);
  }
}
