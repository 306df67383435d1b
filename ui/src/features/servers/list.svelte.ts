import { SvelteSet } from 'svelte/reactivity';
import type { Fleet } from '$lib/state/fleet.svelte';
import { prefs } from '$lib/state/prefs.svelte';
import { GROUPINGS, matches, moved, order, rows, type Grouping, type Sort, type SortKey } from './grouping';

/** What the list of servers shows, and where the operator is in it. The order holds until it is asked for anew. */
export class ServerList {
  text = $state('');
  states = $state.raw<string[]>([]);
  categories = $state.raw<string[]>([]);
  sort = $state.raw<Sort>({ key: 'name', descending: false });
  /** Server that has the focus. */
  focus = $state<string>();
  /** Servers that verbs of the batch bar act on. */
  chosen = new SvelteSet<string>();
  closed = new SvelteSet<string>();
  #anchor: string | undefined;
  #held = $state.raw<string[]>([]);
  #fleet: Fleet;

  constructor(fleet: Fleet) {
    this.#fleet = fleet;
    this.resort();
  }

  get by(): Grouping {
    return GROUPINGS.find(({ value }) => value === prefs.group)?.value ?? 'attention';
  }

  #filtered = $derived.by(() => {
    const filter = { text: this.text, states: this.states, categories: this.categories };
    return this.#fleet.list.filter((server) => matches(server, filter));
  });

  #live = $derived.by(() => order(this.#fleet.list, this.sort));

  /** Rows that would change places if the order were taken anew. */
  moved = $derived.by(() => moved(this.#held, this.#live));

  rows = $derived.by(() => {
    const place = new Map(this.#held.map((name, i) => [name, i]));
    const at = (name: string) => place.get(name) ?? Number.MAX_SAFE_INTEGER;
    const ordered = [...this.#filtered].sort((a, b) => at(a.spec.id) - at(b.spec.id));
    return rows(ordered, this.by, this.closed);
  });

  /** Names in the order shown. */
  names = $derived.by(() => this.rows.flatMap((row) => (row.kind === 'server' ? [row.server.spec.id] : [])));

  get shown(): number {
    return this.#filtered.length;
  }

  resort(): void {
    this.#held = this.#live;
  }

  sortBy(key: SortKey): void {
    const numeric = key !== 'name' && key !== 'category' && key !== 'state';
    this.sort = this.sort.key === key ? { key, descending: !this.sort.descending } : { key, descending: numeric };
    this.resort();
  }

  toggleGroup(key: string): void {
    if (!this.closed.delete(key)) this.closed.add(key);
  }

  toggle(name: string): void {
    if (!this.chosen.delete(name)) this.chosen.add(name);
    this.#anchor = name;
  }

  toggleAll(): void {
    const all = this.names.every((name) => this.chosen.has(name));
    this.chosen.clear();
    if (!all) for (const name of this.names) this.chosen.add(name);
  }

  clear(): void {
    this.chosen.clear();
    this.#anchor = undefined;
  }

  /** Chooses everything between the anchor and a name. */
  chooseTo(name: string): void {
    const from = this.names.indexOf(this.#anchor ?? name);
    const to = this.names.indexOf(name);
    this.#anchor ??= name;
    for (const between of this.names.slice(Math.min(from, to), Math.max(from, to) + 1)) this.chosen.add(between);
  }

  /** Moves the focus; gives where it is now. */
  move(steps: number, extend = false): string | undefined {
    const at = this.focus === undefined ? -1 : this.names.indexOf(this.focus);
    const next = this.names[Math.max(0, Math.min(this.names.length - 1, at + steps))];
    if (next === undefined) return undefined;
    if (extend && this.focus !== undefined) {
      if (this.#anchor === undefined) this.#anchor = this.focus;
      this.chooseTo(next);
    }
    this.focus = next;
    return next;
  }
}
