import type { Columns } from '$lib/state/prefs.svelte';
import type { SortKey } from './grouping';

export interface Column {
  key: SortKey;
  label: string;
  figure?: boolean;
  /** No narrower than this, in pixels. */
  least: number;
  /** Width as long as nobody chose one: pixels, or a share of what is left. */
  usual: { pixels: number } | { share: number };
}

export const MOST = 480;
/** The edges, the box that selects and the button with the actions. */
const AROUND = 24 + 24 + 32;
/** What goes first when there is no room. */
const DROPPED: readonly SortKey[] = ['category', 'tools', 'uptime'];

const COLUMNS: readonly Column[] = [
  { key: 'state', label: 'State', least: 96, usual: { share: 0.9 } },
  { key: 'name', label: 'Name', least: 110, usual: { share: 1.8 } },
  { key: 'category', label: 'Category', least: 76, usual: { share: 0.9 } },
  { key: 'replicas', label: 'Replicas', least: 74, usual: { pixels: 74 } },
  { key: 'cpu', label: 'CPU %', figure: true, least: 84, usual: { pixels: 88 } },
  { key: 'ram', label: 'RAM MiB', figure: true, least: 84, usual: { pixels: 88 } },
  { key: 'restarts', label: 'Restarts', figure: true, least: 68, usual: { pixels: 68 } },
  { key: 'uptime', label: 'Uptime', figure: true, least: 62, usual: { pixels: 70 } },
  { key: 'tools', label: 'Tools', figure: true, least: 50, usual: { pixels: 50 } },
];

/** All columns in the order kept. One that the kept order does not know stands behind its usual neighbour. */
export function ordered({ order }: Pick<Columns, 'order'>): Column[] {
  const out = order.flatMap((key, i) => (order.indexOf(key) === i ? (COLUMNS.find((c) => c.key === key) ?? []) : []));
  COLUMNS.forEach((column, i) => {
    if (out.includes(column)) return;
    const before = COLUMNS[i - 1];
    out.splice(before ? out.indexOf(before) + 1 : 0, 0, column);
  });
  return out;
}

/** The columns that fit into so many pixels. */
export function fitting(columns: readonly Column[], room: number): Column[] {
  let shown = [...columns];
  for (const key of DROPPED) {
    if (shown.reduce((sum, column) => sum + column.least, AROUND) <= room) break;
    shown = shown.filter((column) => column.key !== key);
  }
  return shown;
}

/** The tracks of the grid. A chosen width gives way where there is no room for it. */
export function tracks(columns: readonly Column[], { widths }: Pick<Columns, 'widths'>): string {
  const each = columns.map(({ key, least, usual }) => {
    const chosen = widths[key];
    if (chosen !== undefined) return `minmax(${least}px, ${clamped(least, chosen)}px)`;
    return 'share' in usual ? `minmax(${least}px, ${usual.share}fr)` : `minmax(${least}px, ${usual.pixels}px)`;
  });
  // Where every column has its width, what is left is before the actions.
  const elastic = columns.some(({ key, usual }) => widths[key] === undefined && 'share' in usual);
  return ['24px', ...each, elastic ? '32px' : 'minmax(32px, 1fr)'].join(' ');
}

/** Keys in a new order: one goes where another stands. */
export function movedTo(columns: readonly Column[], key: string, to: number): string[] {
  const keys: string[] = columns.map((column) => column.key);
  const from = keys.indexOf(key);
  const place = Math.max(0, Math.min(keys.length - 1, to));
  if (from >= 0) keys.splice(place, 0, ...keys.splice(from, 1));
  return keys;
}

/** Widths with one of them changed. */
export function widened(widths: Columns['widths'], { key, least }: Column, pixels: number): Record<string, number> {
  return { ...widths, [key]: clamped(least, pixels) };
}

const clamped = (least: number, pixels: number) => Math.round(Math.max(least, Math.min(MOST, pixels)));
