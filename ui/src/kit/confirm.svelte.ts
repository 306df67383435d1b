import type { Confirmation } from './BlastRadius.svelte';

/** One question at a time, asked from anywhere, answered in the dialog that the shell shows. */
class Confirmer {
  ask = $state.raw<Confirmation>();
  #answer: ((yes: boolean) => void) | undefined;

  confirm(ask: Confirmation): Promise<boolean> {
    this.#answer?.(false);
    this.ask = ask;
    return new Promise((resolve) => (this.#answer = resolve));
  }

  answer(yes: boolean): void {
    this.ask = undefined;
    this.#answer?.(yes);
    this.#answer = undefined;
  }
}

export const confirmer = new Confirmer();
