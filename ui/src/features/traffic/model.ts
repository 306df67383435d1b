/** What the traffic screens work out from the gateway's view: pure, so that it can be tested. */
import type {
  BreakerState,
  BreakerView,
  CacheView,
  CachedTool,
  CallEnd,
  CallQuery,
  CallRecord,
  ClientTraffic,
  Fault,
  GatewayView,
  RejectedBy,
  ServerTraffic,
} from '$lib/contract';
import { duration, number, percent } from '$lib/format';

/** Below this many calls per second nothing is said to flow. */
const QUIET = 0.05;

/** Calls per second with one digit after the point; 0 where nothing flows. */
export function rate(perSecond: number): string {
  if (perSecond < QUIET) return '0';
  return perSecond < 1000 ? perSecond.toFixed(1) : number(Math.round(perSecond), 6);
}

const WIDEST = 9;
/** A fleet at rest must not look like a busy one: from here on widths are relative to the busiest edge. */
const BUSY = 20;

/** Width of an edge in pixels: the root of its calls per second, the busiest being widest. */
export function edgeWidth(perSecond: number, busiest: number): number {
  if (perSecond < QUIET) return 1;
  return Math.max(1, WIDEST * Math.sqrt(perSecond / Math.max(BUSY, busiest)));
}

// ------------------------------------------------------------------------------------------------ topology

/** A client in the strip, or the rest of them. */
export interface ClientRow {
  key: string;
  name: string;
  /** How it comes, or since when it is idle. */
  note: string;
  perSecond: number;
  idle: boolean;
  /** How many are folded into this row. */
  folded: number;
}

/** A server in the strip, or the rest of them. */
export interface ServerRow {
  key: string;
  name: string;
  perSecond: number;
  /** The worst breaker of it. */
  breaker: BreakerState;
  /** What is the matter, or how it is folded. */
  note: string;
  tone: 'fail' | 'deg' | 'gone' | undefined;
  folded: number;
}

const sum = (list: readonly { traffic: { per_second: number } }[]) =>
  list.reduce((all, { traffic }) => all + traffic.per_second, 0);

/** How a client comes: its way, and its sessions where there are several. */
export function clientNote(client: ClientTraffic): string {
  const way = client.transport === 'stdio' ? 'stdio bridge' : client.transport.toUpperCase();
  if (client.sessions > 1) return `${way}, ${client.sessions} sessions`;
  return client.era === 'modern' ? `${way}, stateless` : way;
}

/** In one unit: `20 min`. */
function coarse(ms: number): string {
  return duration(ms < 60_000 ? Math.max(1000, ms) : ms - (ms % 60_000)).replace(/ (min|h) \d+ \w+$/, ' $1');
}

/** Clients, the busiest first; those beyond `most` are one row. */
export function foldClients(clients: readonly ClientTraffic[], at: number, most = 6): ClientRow[] {
  const sorted = [...clients].sort(
    (a, b) =>
      b.traffic.per_second - a.traffic.per_second || b.last_seen - a.last_seen || (a.client < b.client ? -1 : 1),
  );
  const shown = sorted.slice(0, sorted.length > most ? most - 1 : sorted.length);
  const rest = sorted.slice(shown.length);
  const rows = shown.map((client): ClientRow => {
    const idle = client.traffic.per_second < QUIET;
    return {
      key: client.client,
      name: client.client,
      note: clientNote(client),
      perSecond: client.traffic.per_second,
      idle,
      folded: 0,
      ...(idle ? { note: `idle ${coarse(at - client.last_seen)}` } : {}),
    };
  });
  if (rest.length > 0)
    rows.push({
      key: '…',
      name: `${rest.length} more`,
      note: rest.every((client) => client.traffic.per_second < QUIET) ? 'all idle' : '',
      perSecond: sum(rest),
      idle: sum(rest) < QUIET,
      folded: rest.length,
    });
  return rows;
}

const WORST: Record<BreakerState, number> = { open: 2, half_open: 1, closed: 0 };

/** The breaker of a server that says most: open before half-open, that of the whole before one of a tool. */
export function worstBreaker(breakers: readonly BreakerView[], server: string): BreakerView | undefined {
  return breakers
    .filter((breaker) => breaker.server === server)
    .sort((a, b) => WORST[b.state] - WORST[a.state] || Number(Boolean(a.tool)) - Number(Boolean(b.tool)))[0];
}

function serverRow(server: ServerTraffic, breakers: readonly BreakerView[]): ServerRow {
  const own = breakers.filter((breaker) => breaker.server === server.server);
  const worst = worstBreaker(own, server.server);
  const row: ServerRow = {
    key: server.server,
    name: server.server,
    perSecond: server.traffic.per_second,
    breaker: worst?.state ?? 'closed',
    note: '',
    tone: undefined,
    folded: 0,
  };
  if (worst?.state === 'open') {
    const open = own.filter((breaker) => breaker.state === 'open').length;
    const rejects = server.traffic.rejected_per_second;
    const what = worst.tool ? (open > 1 ? `${open} tools open` : `${worst.tool} open`) : 'open';
    return { ...row, tone: 'fail', note: rejects >= QUIET ? `${what}, rejects ${rate(rejects)}/s` : what };
  }
  if (server.withdrawn !== undefined) return { ...row, tone: 'gone', note: server.withdrawn };
  if (server.asleep) return { ...row, note: 'sleeping, starts on call' };
  if (worst?.state === 'half_open')
    return { ...row, tone: 'deg', note: `half-open, trial ${worst.successes} of ${worst.needed}` };
  const away = server.instances.filter((instance) => !instance.available).length;
  if (away > 0) return { ...row, tone: 'deg', note: `${away} of ${server.instances.length} take no calls` };
  if (server.traffic.error_share >= 0.05 && server.traffic.per_second >= QUIET)
    return { ...row, tone: 'deg', note: `${percent(Math.round(server.traffic.error_share * 100))} fail` };
  return row;
}

const RANK = { fail: 0, deg: 1, gone: 2 } as const;

/** Servers: what is the matter first, then by calls; those beyond `most` are one row. */
export function foldServers(
  servers: readonly ServerTraffic[],
  breakers: readonly BreakerView[],
  most = 9,
): ServerRow[] {
  const rank = ({ tone }: ServerRow) => (tone ? RANK[tone] : 3);
  const all = servers
    .map((server) => serverRow(server, breakers))
    .sort((a, b) => rank(a) - rank(b) || b.perSecond - a.perSecond || (a.name < b.name ? -1 : 1));
  if (all.length <= most) return all;
  // The busiest stay in sight even where much is the matter.
  const ill = all.filter((row) => row.tone !== undefined);
  const well = all.filter((row) => row.tone === undefined);
  const room = most - 1;
  const shownIll = ill.slice(0, Math.max(room - Math.min(well.length, 2), 0));
  const shown = [...shownIll, ...well.slice(0, room - shownIll.length)];
  const rest = all.filter((row) => !shown.includes(row));
  const open = rest.filter((row) => row.breaker === 'open').length;
  const gone = rest.filter((row) => row.tone === 'gone').length;
  const said = [open ? `${open} open` : '', gone ? `${gone} withdrawn` : ''].filter(Boolean).join(', ');
  return [
    ...shown,
    {
      key: '…',
      name: `${rest.length} more`,
      perSecond: rest.reduce((total, row) => total + row.perSecond, 0),
      breaker: open ? 'open' : 'closed',
      note: said || 'all closed',
      tone: open ? 'fail' : undefined,
      folded: rest.length,
    },
  ];
}

/** The curve between a row and the box, in a picture 100 wide. */
export function edgePath(from: number, to: number): string {
  return `M0 ${from.toFixed(1)}C50 ${from.toFixed(1)} 50 ${to.toFixed(1)} 100 ${to.toFixed(1)}`;
}

// ------------------------------------------------------------------------------------------------ breakers

export const BREAKER_WORDS: Record<BreakerState, string> = {
  closed: 'closed',
  open: 'open',
  half_open: 'half-open',
};

export const breakerKey = ({ server, tool }: { server: string; tool?: string }) => `${server}\u0000${tool ?? ''}`;
export const breakerName = ({ server, tool }: { server: string; tool?: string }) =>
  tool === undefined ? server : `${server}, ${tool}`;

/** `2 open, 1 half-open, 40 closed`; what there is none of is left out. */
export function breakerCounts(breakers: readonly BreakerView[]): string {
  const states = ['open', 'half_open', 'closed'] as const;
  return states
    .map((state) => [breakers.filter((breaker) => breaker.state === state).length, BREAKER_WORDS[state]] as const)
    .filter(([many]) => many > 0)
    .map(([many, word]) => `${many} ${word}`)
    .join(', ');
}

/** How a breaker stands after it was operated, as the gateway says it. */
export function breakerEnd(breaker: BreakerView): string {
  switch (breaker.state) {
    case 'open':
      return breaker.tripped ? 'Open: calls are refused until it is reset' : 'Open: calls are refused';
    case 'half_open':
      return `Half-open: calls pass on trial, ${breaker.needed} successes close it`;
    case 'closed':
      return 'Closed: calls pass';
  }
}

/** Who called lately, the most first: `cursor 12 calls`. */
export function lately(
  calls: readonly CallRecord[],
  since: number,
  tool?: string,
): { client: string; calls: number }[] {
  const found = new Map<string, number>();
  for (const call of calls) {
    if (call.at < since || call.method !== 'tools/call' || (tool !== undefined && call.target !== tool)) continue;
    found.set(call.client, (found.get(call.client) ?? 0) + 1);
  }
  return [...found].map(([client, many]) => ({ client, calls: many })).sort((a, b) => b.calls - a.calls);
}

// ------------------------------------------------------------------------------------------------ words

export const REJECTED_BY: Record<RejectedBy, string> = {
  breaker: 'breaker',
  limit: 'rate limit',
  queue: 'queue',
  no_instance: 'no instance',
  unknown: 'unknown name',
};

export const END_WORDS: Record<CallEnd, string> = {
  ok: 'ok',
  tool_error: 'tool error',
  rpc_error: 'protocol error',
  failed: 'no answer',
  rejected: 'refused',
  cancelled: 'cancelled',
};

/** What did not come to an answer, or to a bad one; what the client itself gave up is none of these. */
export const FAILURES: readonly CallEnd[] = ['tool_error', 'rpc_error', 'failed', 'rejected'];

/** What a fault does: `+200 ms, 50 % fail, 5 % are never answered`. */
export function faultWords(fault: Pick<Fault, 'latency_ms' | 'errors' | 'drops'>): string {
  const parts = [
    fault.latency_ms > 0 ? `+${duration(fault.latency_ms)}` : '',
    fault.errors > 0 ? `${percent(fault.errors * 100)} fail` : '',
    fault.drops > 0 ? `${percent(fault.drops * 100)} are never answered` : '',
  ];
  return parts.filter(Boolean).join(', ');
}

/** Hits among what was asked of the cache, in percent; nothing where nothing was asked. */
export function hitRatio({ hits, misses }: { hits: number; misses: number }): number | undefined {
  return hits + misses > 0 ? (hits / (hits + misses)) * 100 : undefined;
}

const bare = (key: string) => (/^[\w-]+$/.test(key) ? key : JSON.stringify(key));

/** What makes the cache serve a tool, as it stands in fleet.toml. */
export function cacheToml(server: string, tool: string): string {
  return `[servers.${bare(server)}.gateway.tools.${bare(tool)}]\ncache = true\n`;
}

// ------------------------------------------------------------------------------------------------ calls

/** What the call log is narrowed to. */
export interface CallFilter {
  server: string;
  client: string;
  text: string;
  failures: boolean;
}

/** The question that the filter asks. */
export function callQuery({ server, client, text, failures }: CallFilter, limit = 200): CallQuery {
  return {
    ...(server ? { server } : {}),
    ...(client ? { client } : {}),
    ...(text.trim() ? { text: text.trim() } : {}),
    ends: failures ? [...FAILURES] : [],
    limit,
  };
}

/** One server's part of the cache: its tools, and what they add up to. */
function ofServer(cache: CacheView, server: string): CacheView {
  const tools = cache.tools.filter((tool) => tool.server === server);
  const total = (pick: (tool: CachedTool) => number) => tools.reduce((all, tool) => all + pick(tool), 0);
  return {
    ...cache,
    hits: total((tool) => tool.hits),
    misses: total((tool) => tool.misses),
    saved_ms: total((tool) => tool.saved_ms),
    tools,
    candidates: cache.candidates.filter((candidate) => candidate.server === server),
  };
}

/** One server's part of the view. */
export function onlyServer(view: GatewayView, server: string): GatewayView {
  const mine = <T extends { server?: string }>(list: readonly T[]) => list.filter((item) => item.server === server);
  return {
    ...view,
    servers: mine(view.servers),
    breakers: mine(view.breakers),
    rejections: mine(view.rejections),
    faults: mine(view.faults),
    pools: view.pools.filter((pool) => pool.instance.slice(0, pool.instance.lastIndexOf('#')) === server),
    cache: ofServer(view.cache, server),
  };
}

// ------------------------------------------------------------------------------------------------ connecting

export type ClientKind = 'cursor' | 'claude' | 'vscode' | 'other';

/** How a kind of client is told of the gateway: where it stands, and the exact text. */
export interface Snippet {
  id: ClientKind;
  label: string;
  /** The file it belongs into. */
  file: string;
  text: string;
  /** A second way. */
  or?: { words: string; text: string };
}

const json = (value: unknown) => JSON.stringify(value, null, 2);

/** What connects clients to the gateway at this address. */
export function snippets(url: string): Snippet[] {
  return [
    {
      id: 'cursor',
      label: 'Cursor',
      file: '~/.cursor/mcp.json',
      text: json({ mcpServers: { flotilla: { url } } }),
    },
    {
      id: 'claude',
      label: 'Claude Code',
      file: '.mcp.json',
      text: json({ mcpServers: { flotilla: { type: 'http', url } } }),
      or: { words: 'Or in a terminal:', text: `claude mcp add --transport http flotilla ${url}` },
    },
    {
      id: 'vscode',
      label: 'VS Code',
      file: '.vscode/mcp.json',
      text: json({ servers: { flotilla: { type: 'http', url } } }),
    },
    {
      id: 'other',
      label: 'Other',
      file: '',
      text: json({ mcpServers: { flotilla: { type: 'http', url } } }),
      or: {
        words: 'A client that can only start programs:',
        text: json({ mcpServers: { flotilla: { command: 'flotilla', args: ['connect'] } } }),
      },
    },
  ];
}

/** Who was seen last of those that asked for the tools; `since` is when that was observed, if it was. */
export function lastListed(
  clients: readonly ClientTraffic[],
  listed: ReadonlyMap<string, number>,
): { client: string; at: number; observed: boolean } | undefined {
  const asked = clients.filter((client) => client.listed_tools);
  const fresh = asked
    .flatMap((client) => {
      const at = listed.get(client.client);
      return at === undefined ? [] : [{ client: client.client, at, observed: true }];
    })
    .sort((a, b) => b.at - a.at)[0];
  if (fresh) return fresh;
  const latest = [...asked].sort((a, b) => b.last_seen - a.last_seen)[0];
  return latest && { client: latest.client, at: latest.last_seen, observed: false };
}

/** A part in percent of a whole, point by point; a gap where there is no whole. */
export function shareOf(part: readonly (number | null)[], whole: readonly (number | null)[]): (number | null)[] {
  return whole.map((all, i) => (all === null || all <= 0 ? null : ((part[i] ?? 0) / all) * 100));
}
