import type { Plan } from '$lib/contract';
import type { Model } from '$lib/state/model';
import { router } from '$lib/state/router.svelte';
import { CallError } from '$lib/transport';
import { act, planOf } from '$lib/fleet/actions';
import { find, toolsOf, type Entry, type Found, type Phase } from './entries';

const RECENT_KEY = 'flotilla.palette';
const RECENT = 8;
/** How long an effect must have been visible before Enter may cause it. */
export const SEEN_MS = 600;

function recentFrom(storage: Storage): string[] {
  try {
    const stored: unknown = JSON.parse(storage.getItem(RECENT_KEY) ?? '[]');
    return Array.isArray(stored) ? stored.filter((id) => typeof id === 'string') : [];
  } catch {
    return [];
  }
}

/** What is typed, what is offered, what is chosen, and what it would do. */
export class Palette {
  text = $state('');
  phase = $state.raw<Phase>({ step: 'verb' });
  chosen = $state(0);
  plan = $state.raw<Plan>();
  failed = $state<string>();
  /** Enter was pressed on something destructive; the next one does it. */
  armed = $state(false);
  /** Every tool that a server listed, once `#` asked for them. */
  tools = $state.raw<Entry[]>();
  #seenAt = 0;
  #recent = recentFrom(localStorage);

  constructor(
    private readonly model: Model,
    private readonly local: () => Entry[],
    private readonly onclose: () => void,
  ) {}

  found = $derived.by<Found[]>(() =>
    find(this.phase, this.text, this.model.fleet.list, {
      local: this.local(),
      tools: this.tools ?? [],
      recent: this.#recent,
    }),
  );

  get entry(): Entry | undefined {
    return this.found[Math.min(this.chosen, this.found.length - 1)]?.entry;
  }

  move(steps: number): void {
    const many = this.found.length;
    if (many) this.chosen = (Math.min(this.chosen, many - 1) + steps + many) % many;
    this.armed = false;
  }

  /** Whether tools are asked for, and not yet there. */
  get wantsTools(): boolean {
    return this.phase.step === 'verb' && this.text.startsWith('#') && this.tools === undefined;
  }

  /** Reads the tools of all servers; the returned function forgets the question. */
  readTools(): () => void {
    let current = true;
    this.model.call('agents.list', {}).then(
      (agents) => {
        if (current) this.tools = toolsOf(agents);
      },
      (error: unknown) => {
        if (current) this.failed = `Failed to ${CallError.of(error).message}`;
      },
    );
    return () => (current = false);
  }

  typed(): void {
    this.chosen = 0;
    this.armed = false;
  }

  /** One phase back; gives whether there was one. */
  back(): boolean {
    if (this.armed) {
      this.armed = false;
      return true;
    }
    if (this.phase.step === 'verb') return false;
    this.phase = { step: 'verb' };
    this.text = '';
    this.chosen = 0;
    return true;
  }

  /** Asks the engine what the entry would do; the returned function forgets the question. */
  ask(entry: Entry | undefined): () => void {
    this.plan = undefined;
    this.failed = undefined;
    if (entry?.does.kind !== 'act') return () => undefined;
    let current = true;
    planOf(this.model, entry.does.asked).then(
      (plan) => {
        if (!current) return;
        this.plan = plan;
        this.#seenAt = performance.now();
      },
      (error: unknown) => {
        if (current) this.failed = `Failed to ${CallError.of(error).message}`;
      },
    );
    return () => (current = false);
  }

  enter(): void {
    const { entry } = this;
    if (!entry) return;
    const { does } = entry;
    if (does.kind === 'ask') {
      this.phase = does.phase;
      this.text = '';
      this.chosen = 0;
      return;
    }
    if (does.kind === 'act' && !this.#mayAct()) return;
    this.#remember(entry.id);
    this.onclose();
    if (does.kind === 'act') void act(this.model, does.asked, { confirmed: true });
    else if (does.kind === 'go') router.go(does.address);
    else does.run();
  }

  /** What works now must not stop by one press, nor before its effect could be read. */
  #mayAct(): boolean {
    if (!this.plan) return false;
    if (!this.plan.destructive) return true;
    if (!this.armed) {
      this.armed = true;
      return false;
    }
    return performance.now() - this.#seenAt >= SEEN_MS;
  }

  #remember(id: string): void {
    this.#recent = [id, ...this.#recent.filter((other) => other !== id)].slice(0, RECENT);
    localStorage.setItem(RECENT_KEY, JSON.stringify(this.#recent));
  }
}
