import type { ServerView } from '$lib/contract';
import { STATUS } from '$kit/status';
import { count } from '$lib/format';
import { needsAttention, restartsOf, running, SEVERITY, startedAt } from '$lib/fleet/words';

export const GROUPINGS = [
  { value: 'attention', label: 'Attention' },
  { value: 'category', label: 'Category' },
  { value: 'transport', label: 'Transport' },
  { value: 'none', label: 'None' },
] as const;
export type Grouping = (typeof GROUPINGS)[number]['value'];

export type SortKey = 'state' | 'name' | 'category' | 'replicas' | 'cpu' | 'ram' | 'restarts' | 'uptime' | 'tools';
export interface Sort {
  key: SortKey;
  descending: boolean;
}

/** What the list is narrowed to. Values of one facet widen it, facets narrow it. */
export interface Filter {
  text: string;
  states: readonly string[];
  categories: readonly string[];
}

export interface GroupRow {
  kind: 'group';
  key: string;
  title: string;
  note: string;
  size: number;
  open: boolean;
}
export interface ServerRow {
  kind: 'server';
  server: ServerView;
}
export type Row = GroupRow | ServerRow;

/** Whether every word of the text occurs in the name, category, tags or description. */
export function matches(server: ServerView, { text, states, categories }: Filter): boolean {
  const { id, category, tags, description = '' } = server.spec;
  if (states.length > 0 && !states.includes(server.status)) return false;
  if (categories.length > 0 && !categories.includes(category)) return false;
  const within = `${id} ${category} ${tags.join(' ')} ${description}`.toLowerCase();
  return text
    .toLowerCase()
    .split(/\s+/)
    .every((word) => within.includes(word));
}

export const cpuOf = (server: ServerView) => sampled(server, (sample) => sample.cpu_percent);
export const ramOf = (server: ServerView) => sampled(server, (sample) => sample.rss_bytes);

function sampled(
  server: ServerView,
  of: (sample: NonNullable<ServerView['instances'][number]['sample']>) => number,
): number | null {
  const samples = server.instances.flatMap((instance) => instance.sample ?? []);
  return samples.length ? samples.reduce((sum, sample) => sum + of(sample), 0) : null;
}

const VALUE: Record<SortKey, (server: ServerView) => number | string> = {
  state: (server) => SEVERITY[server.status],
  name: (server) => server.spec.id,
  category: (server) => server.spec.category,
  replicas: (server) => server.wanted_replicas,
  cpu: (server) => cpuOf(server) ?? -1,
  ram: (server) => ramOf(server) ?? -1,
  restarts: restartsOf,
  // The longest uptime is the earliest start.
  uptime: (server) => -(startedAt(server) ?? Number.MAX_SAFE_INTEGER),
  tools: (server) => server.tools ?? -1,
};

/** Names in the order asked; equal values stay in the order of names. */
export function order(servers: readonly ServerView[], { key, descending }: Sort): string[] {
  const sign = descending ? -1 : 1;
  const value = VALUE[key];
  const compare = (a: number | string, b: number | string) =>
    typeof a === 'string' ? a.localeCompare(String(b)) : a - Number(b);
  return [...servers]
    .sort((a, b) => sign * compare(value(a), value(b)) || a.spec.id.localeCompare(b.spec.id))
    .map((server) => server.spec.id);
}

/** How many rows stand elsewhere in `live` than in `held`, among those in both. */
export function moved(held: readonly string[], live: readonly string[]): number {
  const alive = new Set(live);
  const known = new Set(held);
  const before = held.filter((name) => alive.has(name));
  return live.filter((name) => known.has(name)).filter((name, i) => before[i] !== name).length;
}

const ATTENTION = ['Needs attention', 'Stale', 'Starting', 'Running', 'Stopped', 'Disabled'];

function attention({ status }: ServerView): string {
  if (needsAttention(status)) return 'Needs attention';
  if (status === 'stale' || status === 'disabled') return STATUS[status].word;
  if (status === 'starting') return 'Starting';
  return status === 'running' || status === 'unchecked' ? 'Running' : 'Stopped';
}

function titleOf(server: ServerView, by: Grouping): string {
  if (by === 'attention') return attention(server);
  if (by === 'category') return server.spec.category;
  return { stdio: 'stdio', http: 'HTTP, started here', url: 'URL', sse: 'SSE' }[server.spec.transport.kind];
}

/** The rows to draw: heads, and the servers under those that are open. Servers come in the order given. */
export function rows(servers: readonly ServerView[], by: Grouping, closed: ReadonlySet<string>): Row[] {
  if (by === 'none') return servers.map((server) => ({ kind: 'server', server }));
  const groups = new Map<string, ServerView[]>();
  for (const server of servers) {
    const title = titleOf(server, by);
    const members = groups.get(title);
    if (members) members.push(server);
    else groups.set(title, [server]);
  }
  const rank = (title: string) => ATTENTION.indexOf(title);
  const titles = [...groups.keys()].sort((a, b) =>
    by === 'attention' ? rank(a) - rank(b) : a.localeCompare(b, undefined, { sensitivity: 'base' }),
  );
  return titles.flatMap((title) => {
    const members = groups.get(title) ?? [];
    const open = !closed.has(`${by} ${title}`);
    const head: GroupRow = {
      kind: 'group',
      key: `${by} ${title}`,
      title,
      note: note(title, members),
      size: members.length,
      open,
    };
    return open ? [head, ...members.map((server): ServerRow => ({ kind: 'server', server }))] : [head];
  });
}

function note(title: string, members: readonly ServerView[]): string {
  if (title === 'Stale') return 'values are the last ones seen';
  const up = members.reduce((sum, server) => sum + running(server), 0);
  const wanted = members.reduce((sum, server) => sum + server.wanted_replicas, 0);
  return wanted === 0 && up === 0 ? '' : `${up} of ${count(wanted, 'instance')}`;
}
