import { expect, test, vi } from 'vitest';
import type { Topic, Update } from '$lib/contract';
import type { Transport } from '$lib/transport';
import { MockTransport } from '$lib/transport/mock';
import { Fleet } from './fleet.svelte';

/** A transport that only counts subscriptions and lets the test speak. */
function wire() {
  const subscriptions: ((update: Update) => void)[] = [];
  const ended: number[] = [];
  const transport = {
    subscribe(_: Topic, on: (update: Update) => void) {
      const at = subscriptions.push(on) - 1;
      return () => void ended.push(at);
    },
  } as unknown as Transport;
  return { transport, subscriptions, ended };
}

const mock = new MockTransport({ servers: 3, tickMs: 0 });
const snapshot = await mock.call('fleet.snapshot', {});
const [first] = snapshot.servers;
if (!first) throw new Error('the mock has servers');
const delta = (seq: number, change: Partial<Extract<Update, { update: 'changed' }>> = {}): Update => ({
  update: 'changed',
  seq,
  now: snapshot.now,
  servers: [],
  removed: [],
  counts: snapshot.counts,
  ...change,
});

function begun() {
  const { transport, subscriptions, ended } = wire();
  const fleet = new Fleet(transport);
  fleet.start();
  subscriptions[0]?.({ update: 'fleet', ...snapshot, seq: 10 });
  return { fleet, subscriptions, ended };
}

test('deltas replace whole servers and take removed ones out', () => {
  const { fleet, subscriptions } = begun();
  subscriptions[0]?.(delta(11, { servers: [{ ...first, status: 'stopped' }] }));
  expect(fleet.get(first.spec.id)?.status).toBe('stopped');
  subscriptions[0]?.(delta(12, { removed: [first.spec.id], counts: { ...snapshot.counts, total: 2 } }));
  expect([fleet.get(first.spec.id), fleet.counts.total, fleet.seq]).toEqual([undefined, 2, 12]);
  expect(subscriptions).toHaveLength(1);
});

test('a hole in the sequence asks for a new subscription and keeps the last values until it answers', () => {
  const { fleet, subscriptions, ended } = begun();
  subscriptions[0]?.(delta(13, { removed: [first.spec.id] }));
  expect(ended).toEqual([0]);
  expect(subscriptions).toHaveLength(2);
  expect([fleet.resyncing, fleet.get(first.spec.id) !== undefined, fleet.seq]).toEqual([true, true, 10]);
  subscriptions[1]?.({ update: 'fleet', ...snapshot, seq: 20 });
  subscriptions[1]?.(delta(21));
  expect([fleet.resyncing, fleet.seq]).toEqual([false, 21]);
});

test('a delta that was already taken in changes nothing', () => {
  const { fleet, subscriptions } = begun();
  subscriptions[0]?.(delta(10, { removed: [first.spec.id] }));
  expect(fleet.get(first.spec.id)).toBeDefined();
  expect(subscriptions).toHaveLength(1);
});

test('the snapshot of another boot replaces everything, with a lower sequence number too', () => {
  const { fleet, subscriptions } = begun();
  subscriptions[0]?.({ update: 'fleet', ...snapshot, boot: 'another', seq: 1, servers: [first] });
  expect([fleet.boot, fleet.seq, [...fleet.servers.keys()]]).toEqual(['another', 1, [first.spec.id]]);
});

test("the engine's clock is told with each word of it", () => {
  const { transport, subscriptions } = wire();
  const clock = vi.fn();
  new Fleet(transport, clock).start();
  subscriptions[0]?.({ update: 'fleet', ...snapshot, seq: 1, now: 5 });
  subscriptions[0]?.(delta(2, { now: 6 }));
  expect(clock.mock.calls).toEqual([[5], [6]]);
});
