import type { RunView, StepDetail, StepView } from '$lib/contract';
import { ofWorkflows } from '$lib/state/workflows.svelte';
import type { Model } from '$lib/state/model';
import { CallError } from '$lib/transport';
import { runEnded } from './words';

/** How often a run that has not ended is read. */
const EVERY_MS = 1_000;
/** A large run takes longer to read: of the time at most this part is spent on it. */
const SHARE = 0.1;

/**
 * A run as it was last read. The engine tells of runs by events only when they begin, end, fail or ask; what steps do
 * between is read again and again while the run is open and the window visible. When it has ended only an event, or a verb
 * of this screen, has it read once more.
 */
export class RunWatch {
  view = $state.raw<RunView>();
  error = $state.raw<CallError>();
  /** Changes at each reading. */
  readings = $state(0);
  readonly run: number;
  #model: Model;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #following = false;
  #reading: Promise<void> | undefined;
  #again = false;
  #waiters = new Set<() => void>();

  constructor(model: Model, run: number) {
    this.#model = model;
    this.run = run;
  }

  step(id: string): StepView | undefined {
    return this.view?.steps.find((step) => step.id === id);
  }

  /** Reads it until the returned function is called. */
  start(): () => void {
    this.#following = true;
    const visible = () => {
      if (!document.hidden) void this.read();
    };
    const ends = [
      this.#model.transport.watchHello(() => void this.read()),
      this.#model.events.onNew((event) => {
        if (ofWorkflows(event) && (!('run' in event) || event.run === this.run)) void this.read();
      }),
    ];
    document.addEventListener('visibilitychange', visible);
    return () => {
      this.#following = false;
      clearTimeout(this.#timer);
      document.removeEventListener('visibilitychange', visible);
      ends.forEach((end) => end());
      this.#waiters.forEach((wake) => wake());
    };
  }

  /** Reads it now; one that is under way is followed by another, so that the answer is not from before the question. */
  read(): Promise<void> {
    if (this.#reading) {
      this.#again = true;
      return this.#reading;
    }
    clearTimeout(this.#timer);
    this.#reading = this.#read().finally(() => {
      this.#reading = undefined;
      this.#waiters.forEach((wake) => wake());
    });
    return this.#reading;
  }

  /** Waits until this is so of the run, as it is read; gives whether it became so in time. */
  async until(is: (view: RunView) => boolean, withinMs: number): Promise<boolean> {
    const end = Date.now() + withinMs;
    for (;;) {
      if (this.view && is(this.view)) return true;
      const left = end - Date.now();
      if (left <= 0 || !this.#following) return false;
      await new Promise<void>((resolve) => {
        const wake = () => {
          clearTimeout(timer);
          this.#waiters.delete(wake);
          resolve();
        };
        const timer = setTimeout(wake, left);
        this.#waiters.add(wake);
      });
    }
  }

  async #read(): Promise<void> {
    const began = performance.now();
    do {
      this.#again = false;
      try {
        this.view = await this.#model.call('workflow.view', { run: this.run });
        this.error = undefined;
      } catch (error) {
        this.error = CallError.of(error);
      }
      this.readings += 1;
    } while (this.#again);
    if (!this.#following || (this.view && runEnded(this.view.summary.state))) return;
    // A run that is not there does not come; one that was not reached is read with the next hello.
    if (this.error?.code === 'not_found') return;
    const wait = Math.max(EVERY_MS, (performance.now() - began) / SHARE);
    this.#timer = setTimeout(() => {
      if (!document.hidden && this.#model.link.live) void this.read();
    }, wait);
  }
}

/** What is known of one step, or of one of its items: read again when the step changes. */
export class StepWatch {
  detail = $state.raw<StepDetail>();
  error = $state.raw<CallError>();
  #key = '';

  constructor(
    private readonly model: Model,
    private readonly run: number,
  ) {}

  async show(step: StepView, item: number | undefined): Promise<void> {
    const key = JSON.stringify([step, item]);
    if (key === this.#key) return;
    const other = this.detail?.step.id !== step.id;
    this.#key = key;
    if (other) this.detail = undefined;
    const place = { run: this.run, step: step.id, ...(item === undefined ? {} : { item }) };
    try {
      const detail = await this.model.call('workflow.step', place);
      if (this.#key !== key) return;
      this.detail = detail;
      this.error = undefined;
    } catch (error) {
      if (this.#key === key) this.error = CallError.of(error);
    }
  }
}
