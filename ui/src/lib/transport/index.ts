/**
 * How this screen reaches an engine. Nothing else in the interface knows which of the three ways is in use:
 * Tauri's IPC, a WebSocket to the origin that served the page, or (development and unit tests) a scripted fleet.
 */
import type { CommandName, Commands, ErrorCode, Hello, Topic, Update, WireError } from '$lib/contract';

export type { CommandName };
export type Params<C extends CommandName> = Commands[C]['params'];
export type Result<C extends CommandName> = Commands[C]['result'];

export type LinkState = 'connecting' | 'live' | 'unreachable';

/** How the link stands. A new object per change, so that it can be kept as it came. */
export interface LinkStatus {
  state: LinkState;
  /** Since when, by this machine's clock, in milliseconds. */
  since: number;
  /** When the next attempt is due, while unreachable. */
  nextTry?: number;
  /** Attempts in a row that failed. */
  failures: number;
  /** The engine is there and refuses us: the token is missing or wrong. */
  refused?: boolean;
}

export interface CallOptions {
  /** Gives up waiting; the engine goes on, and says so in its events. */
  signal?: AbortSignal;
}

export interface Transport {
  call<C extends CommandName>(command: C, params: Params<C>, options?: CallOptions): Promise<Result<C>>;
  /**
   * Follows a topic until the returned function is called. After a reconnection the topic is opened anew, so it
   * starts again with what is there now; `onRefused` hears why a topic could not be opened.
   */
  subscribe(
    topic: Topic,
    onUpdate: (update: Update) => void,
    onBinary?: (bytes: ArrayBuffer) => void,
    onRefused?: (error: CallError) => void,
  ): () => void;
  /** Calls back now and at each change. */
  watchStatus(on: (status: LinkStatus) => void): () => void;
  /** Calls back at each hello of an engine; a new boot means another engine process. */
  watchHello(on: (hello: Hello) => void): () => void;
  /** Try now instead of waiting for the next attempt. */
  retryNow(): void;
}

/** A command that failed. Match `code`; show `message`. */
export class CallError extends Error {
  readonly code: ErrorCode;
  readonly detail: unknown;

  constructor(error: WireError) {
    super(error.message);
    this.name = 'CallError';
    this.code = error.code;
    this.detail = error.detail;
  }

  /** Any thrown value as a CallError. */
  static of(error: unknown): CallError {
    if (error instanceof CallError) return error;
    if (isWireError(error)) return new CallError(error);
    return new CallError({ code: 'internal', message: error instanceof Error ? error.message : String(error) });
  }
}

function isWireError(value: unknown): value is WireError {
  return typeof value === 'object' && value !== null && 'code' in value && 'message' in value;
}

/** A set of listeners that hear the newest value at once and each later one. */
export class Signal<T> {
  #listeners = new Set<(value: T) => void>();
  #value: T | undefined;

  get value(): T | undefined {
    return this.#value;
  }

  set(value: T): void {
    this.#value = value;
    for (const listener of this.#listeners) listener(value);
  }

  watch(on: (value: T) => void): () => void {
    this.#listeners.add(on);
    if (this.#value !== undefined) on(this.#value);
    return () => this.#listeners.delete(on);
  }
}

/** Picks the way: `?mock=N` in development builds, the desktop's IPC where it exists, otherwise the socket. */
export async function connect(): Promise<Transport> {
  if (import.meta.env.DEV || import.meta.env.MODE === 'mock') {
    const mock = new URLSearchParams(location.search).get('mock');
    if (mock !== null) return new (await import('./mock')).MockTransport({ servers: Number(mock) });
  }
  if ('__TAURI_INTERNALS__' in window) return new (await import('./tauri')).TauriTransport();
  return new (await import('./socket')).SocketTransport();
}
