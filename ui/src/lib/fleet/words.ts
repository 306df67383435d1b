import type { InstanceId, ServerView, Transport, Verb } from '$lib/contract';
import type { IconName } from '$kit/icons';
import type { StatusName } from '$kit/status';
import { serverHref } from '$lib/state/router.svelte';

/** Verbs of the fleet as buttons, progress and ends say them. */
export const VERBS: Record<Verb, { word: string; doing: string; icon: IconName }> = {
  start: { word: 'Start', doing: 'Starting', icon: 'play' },
  stop: { word: 'Stop', doing: 'Stopping', icon: 'stop' },
  restart: { word: 'Restart', doing: 'Restarting', icon: 'restart' },
  scale: { word: 'Scale', doing: 'Scaling', icon: 'scale' },
  remove: { word: 'Remove', doing: 'Removing', icon: 'trash' },
};

/** `name#2` taken apart. */
export function instanceOf(id: InstanceId): { server: string; index: number } {
  const at = id.lastIndexOf('#');
  return { server: id.slice(0, at), index: Number(id.slice(at + 1)) };
}

/** The exact command line, or the URL, quoted where a shell would need it. */
export function runs(transport: Transport): string {
  if (transport.kind === 'url' || transport.kind === 'sse') return transport.url;
  return [transport.command, ...transport.args].map(quote).join(' ');
}

function quote(word: string): string {
  return /^[\w@%+=:,./{}~-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

/** `stdio`, `HTTP, port 8105`, `URL`. */
export function reached(transport: Transport): string {
  switch (transport.kind) {
    case 'stdio':
      return 'stdio';
    case 'http':
      return `HTTP, port ${transport.port}`;
    case 'url':
      return 'URL';
    case 'sse':
      return 'SSE';
  }
}

/** How many instances run. What is only monitored runs as far as it answers, as the engine counts. */
export function running({ spec, instances }: ServerView): number {
  const monitored = spec.transport.kind === 'url';
  return instances.filter(
    ({ process, health }) =>
      process.state === 'running' && (!monitored || health.level === 'healthy' || health.level === 'degraded'),
  ).length;
}

/** The earliest next try of its instances. */
export function nextTry(server: ServerView): number | undefined {
  const due = server.instances.flatMap((instance) => instance.process.next_try ?? []);
  return due.length ? Math.min(...due) : undefined;
}

export function restartsOf(server: ServerView): number {
  return Math.max(0, ...server.instances.map((instance) => instance.restarts));
}

/** When the longest-running instance was started; unknown of what somebody else starts. */
export function startedAt(server: ServerView): number | undefined {
  if (server.spec.transport.kind === 'url') return undefined;
  const starts = server.instances.flatMap((i) => (i.process.state === 'running' && i.started_at ? [i.started_at] : []));
  return starts.length ? Math.min(...starts) : undefined;
}

/** Whether an operator should look: the engine's own rule for the derived word. */
export function needsAttention(status: StatusName): boolean {
  return status === 'degraded' || status === 'unhealthy' || status === 'restarting' || status === 'failed';
}

/** How bad, for an order: the smaller the worse. */
export const SEVERITY: Record<StatusName, number> = {
  failed: 0,
  unhealthy: 1,
  restarting: 2,
  degraded: 3,
  stale: 4,
  starting: 5,
  stopping: 6,
  running: 7,
  unchecked: 8,
  sleeping: 9,
  stopped: 10,
  disabled: 11,
};

/** One button that cures: a verb to do, a server to enable, or a page to open. */
export type Cure =
  | { label: string; icon: IconName; verb: Verb }
  | { label: string; icon: IconName; enable: true }
  | { label: string; icon: IconName; href: string };

/** Whether a disabled server can be enabled: of the old HTTP+SSE transport only the entry is kept. */
export const canBeEnabled = (server: ServerView): boolean => server.spec.transport.kind !== 'sse';

/** What the engine says would help, as a button. Nothing where only waiting helps, or where nothing does. */
export function cureOf(view: ServerView): Cure | undefined {
  const server = view.spec.id;
  switch (view.health.action) {
    case 'start':
      return { label: 'Start', icon: 'play', verb: 'start' };
    case 'restart':
      return { label: 'Restart', icon: 'restart', verb: 'restart' };
    case 'retry_now':
      return { label: 'Retry now', icon: 'restart', verb: 'restart' };
    case 'enable':
      if (!canBeEnabled(view)) return undefined;
      return { label: 'Enable', icon: 'check', enable: true };
    case 'read_log':
      return { label: 'Read its log', icon: 'logs', href: serverHref(server, 'logs') };
    case 'edit_config':
      return { label: 'Edit config', icon: 'pencil', href: serverHref(server, 'config') };
    case 'set_secret':
      return { label: 'Enter the secret', icon: 'key', href: '#/settings?section=secrets' };
    case 'review_tools':
      return { label: 'Review tools', icon: 'tools', href: serverHref(server, 'tools') };
    case 'wait':
    case 'none':
      return undefined;
  }
}
