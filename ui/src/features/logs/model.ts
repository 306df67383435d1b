import type { LogEntry, Stream } from '../../lib/contract';

/** How grave a line is, as its text says. */
export type Level = 'error' | 'warning' | 'info' | 'debug';

/** Levels, gravest first. */
export const LEVELS: readonly Level[] = ['error', 'warning', 'info', 'debug'];

/** A line as the viewer keeps it. */
export interface Line {
  kind: 'line';
  /** Grows with each entry the viewer took. */
  id: number;
  at: number;
  /** `server#index`. */
  instance: string;
  server: string;
  stream: Stream;
  level: Level;
  text: string;
  seq: number;
  cut: boolean;
}

/** Lines that were there and are not any more. */
export interface Gap {
  kind: 'gap';
  id: number;
  at: number;
  instance: string;
  server: string;
  fromSeq: number;
  missing: number;
}

/** What the viewer holds. */
export type Entry = Line | Gap;

/** A row of the list: an entry, or several equal lines as one. */
export interface Row {
  entry: Entry;
  /** How many equal lines in a row this stands for. */
  times: number;
  /** When the last of them came. */
  until: number;
}

const ERROR =
  /\b(?:ERROR|FATAL|CRITICAL|CRIT|PANIC|EMERG|ALERT|SEVERE)\b|^\s*(?:\w*Error|\w*Exception|panic|fatal|error)\b\s*[:\]]|\[(?:error|fatal|critical)\]|\blevel["']?\s*[=:]\s*["']?(?:error|fatal|critical|panic|err)\b|^Traceback \(most recent|npm (?:ERR!|error)|^thread '.*' panicked|^Uncaught |UnhandledPromiseRejection/;
const ERROR_NUMBER = /"level"\s*:\s*(?:50|60)\b/;
const WARNING =
  /\b(?:WARN|WARNING)\b|^\s*(?:\w*Warning|warning|warn)\b\s*[:\]]|\[warn(?:ing)?\]|\blevel["']?\s*[=:]\s*["']?warn(?:ing)?\b|npm warn\b|"level"\s*:\s*40\b|DeprecationWarning/;
const DEBUG =
  /\b(?:DEBUG|TRACE|VERBOSE)\b|^\s*(?:debug|trace)\b\s*[:\]]|\[(?:debug|trace)\]|\blevel["']?\s*[=:]\s*["']?(?:debug|trace)\b|"level"\s*:\s*(?:10|20)\b/;
const SUPERVISOR_BAD = /\b(?:gave up|failed|killed|SIGKILL|exited with code [1-9]\d*|ceiling|cannot|not found)\b/i;
const SUPERVISOR_ODD = /\b(?:exited|unhealthy|restart(?:ing)? in|try \d|ended by SIG|next try|no answer)\b/i;

/** Reads the level of a line from its text; what the supervisor says is read by its own words. */
export function levelOf(text: string, stream: Stream): Level {
  // A long line is read at its beginning only: a level stands there or nowhere.
  const head = text.length > 400 ? text.slice(0, 400) : text;
  if (stream === 'supervisor') {
    if (SUPERVISOR_BAD.test(head)) return 'error';
    return SUPERVISOR_ODD.test(head) ? 'warning' : 'info';
  }
  if (ERROR.test(head) || ERROR_NUMBER.test(head)) return 'error';
  if (WARNING.test(head)) return 'warning';
  return DEBUG.test(head) ? 'debug' : 'info';
}

// Colours and cursor moves that a program meant for a terminal, and other characters that have no picture.
const TERMINAL =
  // eslint-disable-next-line no-control-regex
  /\u001b(?:\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\)?|[@-Z\\-_])|[\u0000-\u0008\u000b-\u001f\u007f]/g;

/** A line without what only a terminal understands. */
export function plain(text: string): string {
  return text.replace(TERMINAL, '');
}

/** The server of an instance id. */
export function serverOf(instance: string): string {
  const hash = instance.lastIndexOf('#');
  return hash < 0 ? instance : instance.slice(0, hash);
}

/** The bounded memory of the viewer: entries in order of time, the oldest given up first. */
export class LogBuffer {
  entries: Entry[] = [];
  /** How many entries were given up since the last reset. */
  dropped = 0;
  #next = 1;
  #seen = new Map<string, number>();

  constructor(
    /** At most this many entries. */
    readonly limit = 20_000,
  ) {}

  reset(): void {
    this.entries = [];
    this.dropped = 0;
    this.#seen.clear();
  }

  /** Takes entries, oldest first, and gives those it took: lines that it has already are left out. */
  push(entries: readonly LogEntry[]): Entry[] {
    const took: Entry[] = [];
    for (const raw of entries) {
      const entry = this.#read(raw);
      if (entry === null) continue;
      this.#place(entry);
      took.push(entry);
    }
    // A tenth more than the limit before the oldest go: one large move now and then instead of one per line.
    if (this.entries.length > this.limit * 1.1) {
      const excess = this.entries.length - this.limit;
      this.entries.splice(0, excess);
      this.dropped += excess;
    }
    return took;
  }

  #read(raw: LogEntry): Entry | null {
    const server = serverOf(raw.instance);
    if (raw.entry === 'gap') {
      const last = this.entries[this.entries.length - 1];
      this.#seen.set(raw.instance, Math.max(this.#seen.get(raw.instance) ?? 0, raw.from_seq + raw.missing - 1));
      return {
        kind: 'gap',
        id: this.#next++,
        at: last?.at ?? 0,
        instance: raw.instance,
        server,
        fromSeq: raw.from_seq,
        missing: raw.missing,
      };
    }
    if (raw.seq <= (this.#seen.get(raw.instance) ?? 0)) return null;
    this.#seen.set(raw.instance, raw.seq);
    const text = plain(raw.text);
    return {
      kind: 'line',
      id: this.#next++,
      at: raw.at,
      instance: raw.instance,
      server,
      stream: raw.stream,
      level: levelOf(text, raw.stream),
      text,
      seq: raw.seq,
      cut: raw.cut ?? false,
    };
  }

  /** Sources are read side by side, so a line may come a moment after a newer one of another source. */
  #place(entry: Entry): void {
    let at = this.entries.length;
    while (at > 0 && (this.entries[at - 1]?.at ?? 0) > entry.at && this.entries.length - at < 500) at -= 1;
    if (at === this.entries.length) this.entries.push(entry);
    else this.entries.splice(at, 0, entry);
  }
}

/** What of the entries is shown. An empty set means "all"; within a facet any, across facets every one must hold. */
export interface Filter {
  text: string;
  levels: ReadonlySet<Level>;
  sources: ReadonlySet<string>;
  streams: ReadonlySet<Stream>;
}

export const NO_FILTER: Filter = { text: '', levels: new Set(), sources: new Set(), streams: new Set() };

/** The test that a search text stands for: `/…/` is a regular expression, all else is text in any case. */
export function matcher(text: string): { test: (line: string) => boolean; error: string | null } {
  if (text === '') return { test: () => true, error: null };
  const regex = /^\/(.+)\/([imsu]*)$/.exec(text);
  if (regex) {
    try {
      const compiled = new RegExp(regex[1] ?? '', regex[2] === '' ? 'i' : regex[2]);
      return { test: (line) => compiled.test(line), error: null };
    } catch (error) {
      return { test: () => true, error: error instanceof Error ? error.message : 'not a regular expression' };
    }
  }
  const needle = text.toLowerCase();
  return { test: (line) => line.toLowerCase().includes(needle), error: null };
}

/** The pieces of a text that a search hits, in order, for marking them. */
export function hits(line: string, text: string): [number, number][] {
  if (text === '') return [];
  const regex = /^\/(.+)\/([imsu]*)$/.exec(text);
  let pattern: RegExp;
  try {
    pattern = regex
      ? new RegExp(regex[1] ?? '', `g${regex[2] === '' ? 'i' : (regex[2] ?? '')}`)
      : new RegExp(text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'), 'gi');
  } catch {
    return [];
  }
  const found: [number, number][] = [];
  for (const match of line.matchAll(pattern)) {
    if (match[0].length === 0) continue;
    found.push([match.index, match.index + match[0].length]);
    if (found.length === 50) break;
  }
  return found;
}

/** The test that a filter stands for. A gap passes when its source does: nobody may take a hole for silence. */
export function passes(filter: Filter): (entry: Entry) => boolean {
  const { test } = matcher(filter.text);
  return (entry) => {
    if (filter.sources.size > 0 && !filter.sources.has(entry.instance)) return false;
    if (entry.kind === 'gap') return true;
    if (filter.levels.size > 0 && !filter.levels.has(entry.level)) return false;
    if (filter.streams.size > 0 && !filter.streams.has(entry.stream)) return false;
    return test(entry.text);
  };
}

/** The rows that a filter leaves, equal neighbours as one. */
export function rowsOf(entries: readonly Entry[], filter: Filter): Row[] {
  const passing = passes(filter);
  const rows: Row[] = [];
  for (const entry of entries) {
    if (!passing(entry)) continue;
    const last = rows[rows.length - 1];
    if (entry.kind === 'line' && last && sameLine(last.entry, entry)) {
      last.times += 1;
      last.until = entry.at;
      continue;
    }
    rows.push({ entry, times: 1, until: entry.at });
  }
  return rows;
}

function sameLine(a: Entry, b: Line): boolean {
  return a.kind === 'line' && a.instance === b.instance && a.stream === b.stream && a.text === b.text;
}

/** How many lines each facet value has, over everything held. */
export interface Counts {
  levels: Map<Level, number>;
  sources: Map<string, number>;
  streams: Map<Stream, number>;
  failing: Set<string>;
}

export function countsOf(entries: readonly Entry[]): Counts {
  const counts: Counts = { levels: new Map(), sources: new Map(), streams: new Map(), failing: new Set() };
  for (const entry of entries) {
    if (entry.kind === 'gap') continue;
    counts.levels.set(entry.level, (counts.levels.get(entry.level) ?? 0) + 1);
    counts.sources.set(entry.instance, (counts.sources.get(entry.instance) ?? 0) + 1);
    counts.streams.set(entry.stream, (counts.streams.get(entry.stream) ?? 0) + 1);
    if (entry.level === 'error') counts.failing.add(entry.instance);
  }
  return counts;
}

/** One bar of the histogram. */
export interface Bar {
  from: number;
  to: number;
  errors: number;
  warnings: number;
  rest: number;
}

const LEAST_BARS = 20;

/** How many lines came when, in at most `bars` stretches of a round width. */
export function histogram(rows: readonly Row[], bars: number): Bar[] {
  const lines = rows.filter((row) => row.entry.kind === 'line');
  const first = lines[0]?.entry.at;
  const last = lines[lines.length - 1]?.until;
  if (first === undefined || last === undefined) return [];
  const widths = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 86_400].map((s) => s * 1000);
  const width = widths.find((w) => (last - first) / w < bars - 1) ?? Math.ceil((last - first) / bars);
  const start = Math.floor(first / width) * width;
  const out: Bar[] = [];
  // A short span is drawn at the right of a longer one: a few lines are no wall, and the times under it differ.
  const lead = Math.max(0, LEAST_BARS - 1 - Math.floor((last - start) / width));
  for (let i = lead; i > 0; i -= 1)
    out.push({ from: start - i * width, to: start - (i - 1) * width, errors: 0, warnings: 0, rest: 0 });
  for (let from = start; from <= last; from += width)
    out.push({ from, to: from + width, errors: 0, warnings: 0, rest: 0 });
  for (const row of lines) {
    const bar = out[lead + Math.floor((row.entry.at - start) / width)];
    if (!bar || row.entry.kind === 'gap') continue;
    if (row.entry.level === 'error') bar.errors += row.times;
    else if (row.entry.level === 'warning') bar.warnings += row.times;
    else bar.rest += row.times;
  }
  return out;
}

/** Says what is missing at a gap, and why. */
export function gapWords(gap: Gap): string {
  const lines = gap.missing === 1 ? '1 line' : `${group(gap.missing)} lines`;
  return `${lines} of ${gap.instance} dropped: its buffer was full before a reader took them`;
}

/** A count with thin spaces between thousands. */
export function group(count: number): string {
  return String(count).replace(/\B(?=(\d{3})+(?!\d))/g, '\u2009');
}

/** What is seen, as text to keep: one line per row, gaps said. */
export function exportText(rows: readonly Row[]): string {
  return rows
    .map((row) => {
      const time = new Date(row.entry.at).toISOString();
      if (row.entry.kind === 'gap') return `${time} --- ${gapWords(row.entry)}`;
      const times = row.times > 1 ? ` [x${row.times}]` : '';
      return `${time} ${row.entry.level.padEnd(7)} ${row.entry.instance} ${row.entry.stream}: ${row.entry.text}${times}`;
    })
    .join('\n')
    .concat('\n');
}

/** Whether the viewer follows, and what came since it stopped to. */
export interface Follow {
  following: boolean;
  /** Lines that came since following ended. */
  missed: number;
}

/** What can happen to following. */
export type FollowEvent =
  { type: 'scrolled'; atEnd: boolean; byHand: boolean } | { type: 'came'; lines: number } | { type: 'toggle' };

/** Following ends when a hand scrolls away from the end, and begins again only when asked, or at the end by hand. */
export function follow(state: Follow, event: FollowEvent): Follow {
  switch (event.type) {
    case 'came':
      return state.following ? state : { following: false, missed: state.missed + event.lines };
    case 'toggle':
      return state.following ? { following: false, missed: 0 } : { following: true, missed: 0 };
    case 'scrolled':
      if (!event.byHand) return state;
      return event.atEnd ? { following: true, missed: 0 } : state.following ? { following: false, missed: 0 } : state;
  }
}

/** Where rows of differing height stand, and which of them a window shows. */
export class Layout {
  #tops: Float64Array;

  constructor(readonly heights: readonly number[]) {
    this.#tops = new Float64Array(heights.length + 1);
    for (let i = 0; i < heights.length; i++) this.#tops[i + 1] = (this.#tops[i] ?? 0) + (heights[i] ?? 0);
  }

  get total(): number {
    return this.#tops[this.heights.length] ?? 0;
  }

  top(index: number): number {
    return this.#tops[Math.max(0, Math.min(index, this.heights.length))] ?? 0;
  }

  /** The row at a distance from the top. */
  at(distance: number): number {
    let low = 0;
    let high = this.heights.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#tops[middle + 1] ?? 0) <= distance) low = middle + 1;
      else high = middle;
    }
    return Math.min(low, Math.max(0, this.heights.length - 1));
  }

  /** First and one past the last row that a window shows, with some on either side. */
  window(scroll: number, height: number, spare = 8): [number, number] {
    if (this.heights.length === 0) return [0, 0];
    return [Math.max(0, this.at(scroll) - spare), Math.min(this.heights.length, this.at(scroll + height) + 1 + spare)];
  }
}
