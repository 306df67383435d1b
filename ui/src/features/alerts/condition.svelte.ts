import type { CheckedExpr } from '$lib/contract';
import type { Model } from '$lib/state/model';
import { SETTLE_MS } from './change.svelte';

/** A condition as it is typed: whether it is one, and what it gives now. */
export class Condition {
  checked = $state.raw<CheckedExpr>();

  #model: Model;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #asked = 0;

  constructor(model: Model) {
    this.#model = model;
  }

  /** Asks what a text gives now, a moment after the last call. */
  check(expr: string): void {
    const asked = ++this.#asked;
    clearTimeout(this.#timer);
    if (expr.trim() === '') {
      this.checked = undefined;
      return;
    }
    this.#timer = setTimeout(async () => {
      const checked = await this.#model.call('alerts.check', { expr }).catch(() => undefined);
      if (asked === this.#asked) this.checked = checked;
    }, SETTLE_MS);
  }

  close(): void {
    clearTimeout(this.#timer);
    ++this.#asked;
  }
}
