import { untrack } from 'svelte';
import type { Zoom } from '$charts/zoom';
import type { Metric } from '$lib/contract';
import type { Metrics } from './metrics.svelte';
import type { Model } from './model';
import { isLive, Past } from './past.svelte';
import { zoom } from './zoom.svelte';

/** Samples over the time that the page shows: what is not in memory is read of the store. Made where a component begins. */
export class Shown {
  readonly #model: Model;
  readonly #past: Past;
  readonly #live = $derived.by(() => isLive(this.#model.metrics, zoom.reach));

  constructor(model: Model, metrics: readonly Metric[], server: () => string | undefined = () => undefined) {
    this.#model = model;
    this.#past = new Past(model.transport);
    const held = () => untrack(() => model.metrics.pausedAt !== undefined);
    $effect(() => (this.#live ? undefined : this.#past.follow(metrics, server(), zoom.reach, held)));
  }

  get metrics(): Metrics {
    return this.#live ? this.#model.metrics : this.#past.metrics;
  }

  /** What its samples are asked for. */
  get reach(): Zoom | number {
    return zoom.reach;
  }
}
