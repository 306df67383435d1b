import type { Agent, ServerView, Verb } from '$lib/contract';
import type { IconName } from '$kit/icons';
import { STATUS } from '$kit/status';
import { count } from '$lib/format';
import { href, serverHref } from '$lib/state/router.svelte';
import type { Asked } from '$lib/fleet/actions';
import { needsAttention, VERBS } from '$lib/fleet/words';
import { match, type Match } from './match';

/** What the palette offers: something to do, somewhere to go, or a next question. */
export interface Entry {
  id: string;
  group: 'Do' | 'Choose' | 'Servers' | 'Tools' | 'Go to' | 'Settings';
  icon: IconName;
  title: string;
  note: string;
  /** Keys that do the same. */
  keys?: readonly string[];
  does:
    | { kind: 'act'; asked: Asked }
    | { kind: 'go'; address: string }
    | { kind: 'ask'; phase: Phase }
    | { kind: 'local'; run: () => void };
}

/** Where the palette is: first a verb, then its target, then its argument. */
export type Phase =
  { step: 'verb' } | { step: 'target'; verb: Verb } | { step: 'argument'; verb: 'scale'; server: string };

export interface Found extends Match {
  entry: Entry;
}

const VERB_KEYS: Verb[] = ['restart', 'start', 'stop', 'scale'];
const MOST = 9;

const externally = ({ spec }: ServerView) => spec.transport.kind === 'url' || spec.transport.kind === 'sse';

/** Whether a verb makes sense for a server as it is. */
function fits(verb: Verb, server: ServerView): boolean {
  if (server.spec.disabled !== undefined) return false;
  const down = server.status === 'stopped' || server.status === 'failed' || server.status === 'sleeping';
  if (verb === 'start') return down;
  if (verb === 'stop') return server.status !== 'stopped';
  return !externally(server);
}

function state(server: ServerView): string {
  return `${STATUS[server.status].word.toLowerCase()}, ${count(server.wanted_replicas, 'replica')}`;
}

function onServer(verb: Verb, server: ServerView, group: Entry['group']): Entry {
  const name = server.spec.id;
  const { word, icon } = VERBS[verb];
  return {
    id: `${verb} ${name}`,
    group,
    icon,
    title: `${word} ${name}`,
    note: state(server),
    does:
      verb === 'scale'
        ? { kind: 'ask', phase: { step: 'argument', verb, server: name } }
        : { kind: 'act', asked: { verb, servers: [name] } },
  };
}

function actions(servers: readonly ServerView[]): Entry[] {
  const failing = servers.filter((server) => needsAttention(server.status) && !externally(server));
  const out: Entry[] = [];
  if (failing.length)
    out.push({
      id: 'restart failing',
      group: 'Do',
      icon: 'restart',
      title: 'Restart failing servers',
      note: count(failing.length, 'server'),
      does: { kind: 'act', asked: { verb: 'restart', servers: failing.map((server) => server.spec.id) } },
    });
  for (const verb of VERB_KEYS) {
    const { word, icon } = VERBS[verb];
    const many = servers.filter((server) => fits(verb, server)).length;
    if (many)
      out.push({
        id: `${verb} …`,
        group: 'Do',
        icon,
        title: `${word} a server`,
        note: `choose one of ${many} next`,
        keys: ['Tab'],
        does: { kind: 'ask', phase: { step: 'target', verb } },
      });
  }
  return out;
}

const PLACES: [title: string, icon: IconName, address: string, keys: readonly string[]][] = [
  ['Overview', 'overview', href('overview'), ['G', 'O']],
  ['Servers', 'servers', href('servers'), ['G', 'S']],
  ['Traffic', 'traffic', href('traffic'), ['G', 'T']],
  ['Workflows', 'workflows', href('workflows'), ['G', 'W']],
  ['Metrics', 'chart', href('metrics'), ['G', 'M']],
  ['Logs', 'logs', href('logs'), ['G', 'L']],
  ['Agents', 'agents', href('agents'), ['G', 'A']],
  ['Fleets', 'fleets', href('fleets'), ['G', 'F']],
  ['Alerts', 'bell', href('alerts'), ['G', 'E']],
  ['Settings', 'settings', href('settings'), ['G', 'U']],
];

const places = (): Entry[] =>
  PLACES.map(([title, icon, address, keys]) => ({
    id: `go ${title}`,
    group: 'Go to',
    icon,
    title,
    note: '',
    keys,
    does: { kind: 'go', address },
  }));

const pages = (servers: readonly ServerView[]): Entry[] =>
  servers.map((server) => ({
    id: `open ${server.spec.id}`,
    group: 'Servers',
    icon: 'servers',
    title: server.spec.id,
    note: state(server),
    does: { kind: 'go', address: serverHref(server.spec.id) },
  }));

/** What each server's agent can do beyond being a server: its tools, each opened where it can be tried. */
export function toolsOf(agents: readonly Agent[]): Entry[] {
  return agents.flatMap(({ id, capabilities }) =>
    capabilities
      .filter(({ name }) => name !== 'mcp_server')
      .map(({ name }) => ({
        id: `tool ${id} ${name}`,
        group: 'Tools' as const,
        icon: 'tools' as const,
        title: name,
        note: id,
        does: { kind: 'go' as const, address: serverHref(id, 'tools', { tool: name }) },
      })),
  );
}

const logs = (servers: readonly ServerView[]): Entry[] =>
  servers.map((server) => ({
    id: `logs ${server.spec.id}`,
    group: 'Go to',
    icon: 'logs',
    title: `Logs of ${server.spec.id}`,
    note: '',
    does: { kind: 'go', address: serverHref(server.spec.id, 'logs') },
  }));

function scales(server: ServerView): Entry[] {
  return Array.from({ length: 9 }, (_, replicas) => replicas)
    .filter((replicas) => replicas !== server.wanted_replicas)
    .map((replicas) => scaleTo(server, replicas));
}

function scaleTo(server: ServerView, replicas: number): Entry {
  const { id } = server.spec;
  return {
    id: `scale ${id} ${replicas}`,
    group: 'Choose',
    icon: 'scale',
    title: `Scale ${id} to ${replicas}`,
    note: `${count(server.wanted_replicas, 'replica')} now`,
    does: { kind: 'act', asked: { verb: 'scale', servers: [id], replicas } },
  };
}

function candidates(
  phase: Phase,
  prefix: string,
  typed: string,
  servers: readonly ServerView[],
  local: Entry[],
  tools: Entry[],
): Entry[] {
  if (phase.step === 'target')
    return servers.filter((server) => fits(phase.verb, server)).map((server) => onServer(phase.verb, server, 'Choose'));
  if (phase.step === 'argument') {
    const server = servers.find(({ spec }) => spec.id === phase.server);
    if (!server) return [];
    const number = Number(typed.trim());
    return /^\d{1,2}$/.test(typed.trim()) && number <= 64 ? [scaleTo(server, number)] : scales(server);
  }
  // A pair of verb and server is offered once a verb is being typed.
  const pairs = () =>
    VERB_KEYS.filter((verb) =>
      VERBS[verb].word.toLowerCase().startsWith(typed.trim().toLowerCase().split(' ')[0] ?? ''),
    ).flatMap((verb) => servers.filter((server) => fits(verb, server)).map((server) => onServer(verb, server, 'Do')));
  const settings = local.filter((entry) => entry.group === 'Settings');
  const tasks = local.filter((entry) => entry.group !== 'Settings');
  if (prefix === '>') return [...actions(servers), ...tasks, ...pairs()];
  if (prefix === '@') return pages(servers);
  if (prefix === '#') return tools;
  if (prefix === ':') return settings;
  if (!typed.trim()) return [...actions(servers), ...tasks, ...places()];
  return [...actions(servers), ...tasks, ...pairs(), ...pages(servers), ...places(), ...logs(servers), ...settings];
}

const ORDER: Entry['group'][] = ['Do', 'Choose', 'Servers', 'Tools', 'Go to', 'Settings'];

/**
 * What to offer for what was typed: matching entries, at most nine, by group; in a group the recent ones first while
 * nothing is typed, otherwise the best matches.
 */
export function find(
  phase: Phase,
  text: string,
  servers: readonly ServerView[],
  { local = [], tools = [], recent = [] }: { local?: Entry[]; tools?: Entry[]; recent?: readonly string[] } = {},
): Found[] {
  const prefix = phase.step === 'verb' && /^[>@#:]/.test(text) ? text.charAt(0) : '';
  const typed = prefix ? text.slice(1) : text;
  // Nothing to match: the order given stands.
  const open = phase.step === 'argument' || !typed.trim();
  const found = candidates(phase, prefix, typed, servers, local, tools).flatMap((entry): Found[] => {
    const matched = open ? { score: 0, marks: [] } : match(typed, entry.title);
    if (matched) return [{ entry, ...matched }];
    // A word may also be that of the state ("restart failed").
    const state = match(typed, `${entry.title} ${entry.note}`);
    if (!state) return [];
    return [{ entry, score: state.score / 2, marks: state.marks.filter(([, to]) => to <= entry.title.length) }];
  });
  const rank = ({ entry, score }: Found) => {
    const at = recent.indexOf(entry.id);
    return (at >= 0 ? (typed ? 1 : 100 - at) : 0) + score;
  };
  const best = typed ? [...found].sort((a, b) => rank(b) - rank(a)).slice(0, MOST) : found.slice(0, 12);
  const groups = ORDER.map((group) => best.filter(({ entry }) => entry.group === group));
  // The group of the best match comes first.
  if (typed && best[0])
    groups.sort((a, b) => Number(b.includes(best[0] as Found)) - Number(a.includes(best[0] as Found)));
  return groups.flatMap((group) => (typed ? group : [...group].sort((a, b) => rank(b) - rank(a))));
}
