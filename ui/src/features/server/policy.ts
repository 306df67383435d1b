import type { Check, HealthCheck, RestartPolicy, ServerSpec } from '$lib/contract';
import { bytes, count, duration } from '$lib/format';

/** When it is started again, in a few words. */
export function restartWords({ policy, max_restarts }: RestartPolicy): string {
  const when = { on_failure: 'after a failure', always: 'after every exit', never: 'never' }[policy];
  if (policy === 'never') return when;
  if (max_restarts === null || max_restarts === undefined) return `${when}, without limit`;
  return max_restarts === 0
    ? `${when}, but 0 tries are allowed`
    : `${when}, at most ${count(max_restarts, 'try', 'tries')}`;
}

/** The waits before the tries, the last of which repeats. */
export function waitWords({ delays_ms, jitter }: RestartPolicy): string {
  const waits = delays_ms.map((ms) => duration(ms)).join(', ');
  const repeats = delays_ms.length > 1 ? ', the last repeats' : '';
  return (waits === '' ? 'none' : waits + repeats) + (jitter > 0 ? `, ± ${Math.round(jitter * 100)} %` : '');
}

/** What is asked, in a few words. */
export function checkWords(check: Check): string {
  switch (check.kind) {
    case 'mcp':
      return 'answers as MCP server, with its tools';
    case 'http':
      return `GET ${check.url}`;
    case 'tcp':
      return `TCP ${check.address}`;
    case 'exec':
      return check.command.join(' ');
    case 'none':
      return 'none: health stays unknown';
  }
}

/** How often, and how long an answer may take. */
export function rhythmWords({ check, interval_ms, timeout_ms }: HealthCheck): string {
  return check.kind === 'none' ? '' : `every ${duration(interval_ms)}, ${duration(timeout_ms)} limit`;
}

/** The ceilings, each in words. */
export function limitWords({ limits }: ServerSpec): string {
  const said: string[] = [];
  if (limits.rss_bytes !== undefined) said.push(`${bytes(limits.rss_bytes)} memory`);
  if (limits.children !== undefined) said.push(count(limits.children, 'child process', 'child processes'));
  return said.length > 0 ? `restarts above ${said.join(' or ')}` : 'none';
}

/** The ports of its instances: `HTTP, ports 8105 to 8305`. */
export function reachedWords({ transport }: ServerSpec, replicas: number): string {
  switch (transport.kind) {
    case 'stdio':
      return 'stdio';
    case 'http':
      return replicas > 1
        ? `HTTP, ports ${transport.port} to ${transport.port + 100 * (replicas - 1)}`
        : `HTTP, port ${transport.port}`;
    case 'url':
      return 'URL';
    case 'sse':
      return 'HTTP+SSE';
  }
}

/** When it is started, in a few words. */
export function startWords({ autostart, on_demand }: ServerSpec): string {
  if (on_demand === undefined) return autostart ? 'started with the engine' : 'started when asked';
  const sleeps = `asleep after ${duration(on_demand.idle_stop_ms)} without one`;
  return autostart ? `started by a call, ${sleeps}` : `once started by hand: started by a call, ${sleeps}`;
}
