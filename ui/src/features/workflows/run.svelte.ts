import type { RunView, StepDetail, StepView, Update } from '$lib/contract';
import type { Model } from '$lib/state/model';
import { CallError } from '$lib/transport';

/** A run with what the engine told has changed of it. */
export function changed(view: RunView, { summary, steps }: Extract<Update, { update: 'run_changed' }>): RunView {
  const news = new Map(steps.map((step) => [step.id, step]));
  return { ...view, summary, steps: view.steps.map((step) => news.get(step.id) ?? step) };
}

/** A run, followed: the engine tells all of it at first and after each break of the link, then what changes. */
export class RunWatch {
  view = $state.raw<RunView>();
  error = $state.raw<CallError>();
  readonly run: number;
  #model: Model;
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

  /** Follows it until the returned function is called. */
  start(): () => void {
    this.#following = true;
    const { transport } = this.#model;
    const ends = [
      // Says why there is nothing to follow, if so.
      transport.watchHello(() => void this.read()),
      transport.subscribe({ topic: 'run', run: this.run }, (update) => {
        if (update.update === 'run') this.view = update;
        else if (update.update === 'run_changed' && this.view) this.view = changed(this.view, update);
        else return;
        // What is being read may be older than this.
        if (this.#reading) this.#again = true;
        this.error = undefined;
        this.#wake();
      }),
    ];
    return () => {
      this.#following = false;
      ends.forEach((end) => end());
      this.#wake();
    };
  }

  /** Reads it now; one that is under way is followed by another, so that the answer is not from before the question. */
  read(): Promise<void> {
    if (this.#reading) {
      this.#again = true;
      return this.#reading;
    }
    this.#reading = this.#read().finally(() => {
      this.#reading = undefined;
      this.#wake();
    });
    return this.#reading;
  }

  /** Waits until this is so of the run; gives whether it became so in time. */
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

  #wake(): void {
    this.#waiters.forEach((wake) => wake());
  }

  async #read(): Promise<void> {
    do {
      this.#again = false;
      try {
        this.view = await this.#model.call('workflow.view', { run: this.run });
        this.error = undefined;
      } catch (error) {
        this.error = CallError.of(error);
      }
    } while (this.#again);
  }
}

/** What is known of one step, or of one of its items, followed while it is open. */
export class StepWatch {
  detail = $state.raw<StepDetail>();
  error = $state.raw<CallError>();

  constructor(
    private readonly model: Model,
    private readonly run: number,
  ) {}

  /** Follows it until the returned function is called. */
  follow(step: string, item: number | undefined): () => void {
    if (this.detail?.step.id !== step) this.detail = undefined;
    this.error = undefined;
    const place = { run: this.run, step, ...(item === undefined ? {} : { item }) };
    let current = true;
    // Says why there is nothing to follow, if so.
    this.model.call('workflow.step', place).then(
      (detail) => {
        if (current) this.detail ??= detail;
      },
      (error: unknown) => {
        if (current) this.error = CallError.of(error);
      },
    );
    const end = this.model.transport.subscribe({ topic: 'step', ...place }, (update) => {
      if (update.update === 'step') this.detail = update;
    });
    return () => {
      current = false;
      end();
    };
  }
}
