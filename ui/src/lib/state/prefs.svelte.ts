export type Theme = 'dark' | 'light' | 'system';
export type Density = 'compact' | 'comfortable';
/** Minutes of history that charts can show: up to half an hour tick by tick, beyond that from the engine's store. */
export const RANGES = [5, 15, 30, 60, 360, 1_440, 10_080] as const;
export type Range = (typeof RANGES)[number];

/** What a user made of the columns of a table; both are empty as long as nothing was changed. */
export interface Columns {
  /** Keys of columns, the first one first. */
  order: readonly string[];
  /** Key of a column → its width in pixels. */
  widths: Readonly<Record<string, number>>;
}

interface Stored {
  theme: Theme;
  density: Density;
  range: Range;
  /** Whether charts draw the day before beside what they show. */
  compare: boolean;
  notify: boolean;
  group: string;
  /** View → its columns. */
  columns: Record<string, Columns>;
}

const KEY = 'flotilla.prefs';
const DEFAULTS: Stored = {
  theme: 'system',
  density: 'compact',
  range: 30,
  compare: false,
  notify: true,
  group: 'attention',
  columns: {},
};
const AS_THEY_COME: Columns = { order: [], widths: {} };

function load(): Stored {
  try {
    const stored = { ...DEFAULTS, ...(JSON.parse(localStorage.getItem(KEY) ?? '{}') as Partial<Stored>) };
    return RANGES.includes(stored.range) ? stored : { ...stored, range: DEFAULTS.range };
  } catch {
    return DEFAULTS;
  }
}

/** What this user likes on this machine. Kept in the browser's storage, never in the engine. */
class Prefs {
  #stored = $state<Stored>(DEFAULTS);
  #systemDark = $state(true);

  constructor() {
    if (typeof window === 'undefined') return;
    this.#stored = load();
    const dark = matchMedia('(prefers-color-scheme: dark)');
    this.#systemDark = dark.matches;
    dark.addEventListener('change', (event) => (this.#systemDark = event.matches));
    this.#show();
  }

  get theme(): Theme {
    return this.#stored.theme;
  }
  set theme(theme: Theme) {
    this.#set({ theme });
  }

  get density(): Density {
    return this.#stored.density;
  }
  set density(density: Density) {
    this.#set({ density });
  }

  get range(): Range {
    return this.#stored.range;
  }
  set range(range: Range) {
    this.#set({ range });
  }

  get compare(): boolean {
    return this.#stored.compare;
  }
  set compare(compare: boolean) {
    this.#set({ compare });
  }

  get notify(): boolean {
    return this.#stored.notify;
  }
  set notify(notify: boolean) {
    this.#set({ notify });
  }

  get group(): string {
    return this.#stored.group;
  }
  set group(group: string) {
    this.#set({ group });
  }

  columns(view: string): Columns {
    return this.#stored.columns[view] ?? AS_THEY_COME;
  }
  setColumns(view: string, change: Partial<Columns>): void {
    this.#set({ columns: { ...this.#stored.columns, [view]: { ...this.columns(view), ...change } } });
  }

  /** The theme in force. */
  get shown(): 'dark' | 'light' {
    if (this.#stored.theme !== 'system') return this.#stored.theme;
    return this.#systemDark ? 'dark' : 'light';
  }

  /** The range in milliseconds. */
  get rangeMs(): number {
    return this.#stored.range * 60_000;
  }

  /** The range as "the last …" names it. */
  get rangeWord(): string {
    const range = this.#stored.range;
    if (range < 60) return `${range} minutes`;
    if (range < 2 * 1_440) return range === 60 ? 'hour' : `${range / 60} hours`;
    return `${range / 1_440} days`;
  }

  #set(change: Partial<Stored>): void {
    this.#stored = { ...this.#stored, ...change };
    localStorage.setItem(KEY, JSON.stringify(this.#stored));
    this.#show();
  }

  /** Puts theme and density onto the document; the root component calls it when the system's theme changes. */
  #show(): void {
    document.documentElement.dataset['theme'] = this.shown;
    document.documentElement.dataset['density'] = this.density;
  }

  /** Follows the system's theme; for an `$effect`. */
  follow(): void {
    document.documentElement.dataset['theme'] = this.shown;
  }
}

export const prefs = new Prefs();
