import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { LinkStatus } from './index';
import { backOff, SocketTransport } from './socket';

class FakeSocket {
  static all: FakeSocket[] = [];
  binaryType = '';
  sent: Record<string, unknown>[] = [];
  onmessage: ((message: { data: string | ArrayBuffer }) => void) | undefined;
  onclose: ((event: { code: number }) => void) | undefined;

  constructor() {
    FakeSocket.all.push(this);
  }
  send(text: string) {
    this.sent.push(JSON.parse(text) as Record<string, unknown>);
  }
  close() {
    this.onclose?.({ code: 1006 });
  }
  say(frame: unknown) {
    this.onmessage?.({ data: JSON.stringify(frame) });
  }
  hello(boot = 'b1') {
    this.say({ frame: 'hello', contract: 1, version: '0.1.0', boot, now: 1 });
  }
}

const last = () => {
  const socket = FakeSocket.all.at(-1);
  if (!socket) throw new Error('a socket was opened');
  return socket;
};

beforeEach(() => {
  vi.useFakeTimers();
  FakeSocket.all = [];
  vi.stubGlobal('WebSocket', FakeSocket);
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

function begun() {
  const transport = new SocketTransport('ws://test/ws');
  const states: LinkStatus['state'][] = [];
  transport.watchStatus(({ state }) => states.push(state));
  return { transport, states };
}

test('a call waits for the hello and gets its own answer', async () => {
  const { transport } = begun();
  const answer = transport.call('server.get', { server: 'a' });
  expect(last().sent).toEqual([]);
  last().hello();
  expect(last().sent).toEqual([{ frame: 'call', id: 1, command: 'server.get', params: { server: 'a' } }]);
  last().say({ frame: 'answer', id: 1, result: { yes: true } });
  expect(await answer).toEqual({ yes: true });
});

test('an error comes with its code', async () => {
  const { transport } = begun();
  last().hello();
  const answer = transport.call('server.get', { server: 'a' });
  last().say({ frame: 'error', id: 1, error: { code: 'not_found', message: 'find a' } });
  await expect(answer).rejects.toMatchObject({ code: 'not_found', message: 'find a' });
});

test('when the link breaks, calls fail, subscriptions are opened anew under their ids, and waits grow to 5 s', async () => {
  const { transport, states } = begun();
  const heard: unknown[] = [];
  transport.subscribe({ topic: 'logs', query: { tail: 5 } }, (update) => heard.push(update));
  last().hello();
  const waiting = transport.call('fleet.snapshot', {});
  last().close();
  await expect(waiting).rejects.toMatchObject({ code: 'unreachable' });
  await expect(transport.call('fleet.snapshot', {})).rejects.toMatchObject({ code: 'unreachable' });
  expect(states).toEqual(['connecting', 'live', 'unreachable']);

  vi.advanceTimersByTime(backOff(0));
  expect(FakeSocket.all).toHaveLength(2);
  last().hello('b2');
  expect(last().sent).toEqual([{ frame: 'subscribe', id: 1, topic: 'logs', query: { tail: 5 } }]);
  last().say({ frame: 'update', id: 1, update: { update: 'logs', entries: [] } });
  expect(heard).toHaveLength(1);
  expect([0, 1, 2, 3, 4, 9].map(backOff)).toEqual([500, 1000, 2000, 4000, 5000, 5000]);
});

test('metric ticks reach whoever follows metrics; an ended subscription hears nothing', () => {
  const { transport } = begun();
  const ticks: number[] = [];
  const end = transport.subscribe(
    { topic: 'metrics' },
    () => undefined,
    (bytes) => ticks.push(bytes.byteLength),
  );
  last().hello();
  last().onmessage?.({ data: new ArrayBuffer(24) });
  end();
  last().onmessage?.({ data: new ArrayBuffer(24) });
  expect(ticks).toEqual([24]);
  expect(last().sent.at(-1)).toEqual({ frame: 'unsubscribe', id: 1 });
});

test('the time since when nobody answers is that of the first failure', () => {
  const { transport } = begun();
  const seen: LinkStatus[] = [];
  last().hello();
  transport.watchStatus((status) => seen.push(status));
  last().close();
  const since = seen.at(-1)?.since;
  vi.advanceTimersByTime(500);
  last().close();
  expect(seen.at(-1)).toMatchObject({ state: 'unreachable', since, failures: 2 });
});
