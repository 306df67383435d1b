import { SvelteMap } from 'svelte/reactivity';
import type { EngineInfo, FleetCounts, FleetDelta, FleetSnapshot, ServerView, Update } from '$lib/contract';
import type { CallError, Transport } from '$lib/transport';
import type { Samples } from './metrics.svelte';

const NO_COUNTS: FleetCounts = {
  total: 0,
  running: 0,
  healthy: 0,
  unhealthy: 0,
  failed: 0,
  instances_running: 0,
  instances_wanted: 0,
};

/**
 * The fleet as the engine last told it: a snapshot, then deltas by sequence number. A hole in the sequence or another
 * boot is answered with a new subscription; until its snapshot is there, the last values stay. Nothing here is ever
 * changed by the screen itself.
 */
export class Fleet {
  boot = $state<string>();
  seq = $state(0);
  /** Whether a snapshot has arrived, ever. */
  loaded = $state(false);
  /** Whether a hole was found and the new snapshot is awaited. */
  resyncing = $state(false);
  engine = $state.raw<EngineInfo>();
  counts = $state.raw<FleetCounts>(NO_COUNTS);
  error = $state.raw<CallError>();
  /** Every declared server by name; a changed server is another object. */
  servers = new SvelteMap<string, ServerView>();

  #transport: Transport;
  #end: (() => void) | undefined;
  #onClock: (engineNow: number) => void;

  constructor(transport: Transport, onClock: (engineNow: number) => void = () => undefined) {
    this.#transport = transport;
    this.#onClock = onClock;
  }

  /** The servers sorted by name. */
  list = $derived.by(() => [...this.servers.values()].sort((a, b) => a.spec.id.localeCompare(b.spec.id)));

  start(): () => void {
    this.#subscribe();
    return () => this.#end?.();
  }

  get(server: string): ServerView | undefined {
    return this.servers.get(server);
  }

  /** Takes news in; gives false where it cannot follow on what is known. */
  apply(update: Update): boolean {
    if (update.update === 'fleet') this.#replace(update);
    else if (update.update === 'changed') return this.#advance(update);
    return true;
  }

  /** Takes the figures of a tick in: deltas carry them only when something else changed too. */
  sampled(samples: Samples): void {
    for (const server of this.servers.values()) {
      if (!server.instances.some((instance) => samples.has(instance.id))) continue;
      const instances = server.instances.map((instance) => {
        const sample = instance.pid === undefined ? undefined : samples.get(instance.id);
        return sample ? { ...instance, sample } : instance;
      });
      this.servers.set(server.spec.id, { ...server, instances });
    }
  }

  #subscribe(): void {
    this.#end?.();
    this.#end = this.#transport.subscribe(
      { topic: 'fleet' },
      (update) => {
        if (this.apply(update)) return;
        this.resyncing = true;
        this.#subscribe();
      },
      undefined,
      (error) => (this.error = error),
    );
  }

  #replace(snapshot: FleetSnapshot): void {
    const names = new Set(snapshot.servers.map((server) => server.spec.id));
    for (const name of [...this.servers.keys()]) if (!names.has(name)) this.servers.delete(name);
    for (const server of snapshot.servers) this.servers.set(server.spec.id, server);
    this.boot = snapshot.boot;
    this.seq = snapshot.seq;
    this.engine = snapshot.engine;
    this.counts = snapshot.counts;
    this.loaded = true;
    this.resyncing = false;
    this.error = undefined;
    this.#onClock(snapshot.now);
  }

  #advance(delta: FleetDelta): boolean {
    if (!this.loaded || this.resyncing) return false;
    if (delta.seq <= this.seq) return true;
    if (delta.seq !== this.seq + 1) return false;
    for (const server of delta.servers) this.servers.set(server.spec.id, server);
    for (const name of delta.removed) this.servers.delete(name);
    this.seq = delta.seq;
    this.counts = delta.counts;
    if (delta.engine) this.engine = delta.engine;
    this.#onClock(delta.now);
    return true;
  }
}
