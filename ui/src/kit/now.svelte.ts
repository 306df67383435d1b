/**
 * One clock for every countdown and age on the screen: it ticks once a second, and stands still while the window is
 * hidden. `offset` moves it onto another machine's clock, in milliseconds.
 */
class Now {
  #ms = $state(Date.now());
  #offset = $state(0);

  constructor() {
    if (typeof window === 'undefined') return;
    setInterval(() => {
      if (!document.hidden) this.#ms = Date.now();
    }, 1000);
    document.addEventListener('visibilitychange', () => {
      this.#ms = Date.now();
    });
  }

  /** Now on the clock that timestamps refer to; reading it in a component follows it. */
  get ms(): number {
    return this.#ms + this.#offset;
  }

  /** Now to the millisecond, not followed. */
  exact(): number {
    return Date.now() + this.#offset;
  }

  set offset(ms: number) {
    // A second of difference is a network's delay, not another clock.
    this.#offset = Math.abs(ms) < 1000 ? 0 : ms;
  }
}

export const now = new Now();
