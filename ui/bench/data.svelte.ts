import type { Line } from '$charts/model';

/** Distance of two samples in milliseconds. */
export const TICK_MS = 1_000;

/** Noise that is the same in each run: a linear congruential generator (Numerical Recipes, 1992). */
function noise(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

/** A chart's worth of lines that wander and jitter, and which a tick moves on by a sample. */
export class Noisy {
  times = $state.raw<number[]>([]);
  lines = $state.raw<Line[]>([]);
  #random: () => number;
  #levels: number[];

  constructor(
    seed: number,
    series: number,
    readonly points: number,
  ) {
    this.#random = noise(seed);
    this.#levels = Array.from({ length: series }, () => 20 + this.#random() * 60);
    const end = 1_700_000_000_000;
    this.times = Array.from({ length: points }, (_, i) => end + (i - points) * TICK_MS);
    this.lines = this.#levels.map((_, i) => ({
      key: `${i}`,
      label: `series ${i + 1}`,
      color: i + 1,
      values: Array.from({ length: points }, () => this.#next(i)),
    }));
  }

  #next(line: number): number {
    const level = (this.#levels[line] ?? 0) + (this.#random() - 0.5) * 4;
    this.#levels[line] = Math.min(90, Math.max(10, level));
    return level + (this.#random() - 0.5) * 20;
  }

  /** As a tick does it: every list is a new one. */
  tick(): void {
    const on = <T>(list: readonly T[], next: T): T[] => {
      const moved = list.slice(1);
      moved.push(next);
      return moved;
    };
    this.times = on(this.times, (this.times.at(-1) ?? 0) + TICK_MS);
    this.lines = this.lines.map((line, i) => ({ ...line, values: on(line.values, this.#next(i)) }));
  }
}
