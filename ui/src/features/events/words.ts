import type { Event, LastExit } from '$lib/contract';
import type { StatusName } from '$kit/status';
import { actionWords } from '$lib/fleet/eventwords';
import { count, duration, percent } from '$lib/format';

/** How an event is shown: its sentence, and a shape only where something went wrong or is under way. */
export interface Said {
  sentence: string;
  shape: StatusName | null;
}

const HEALTH: Record<string, StatusName | null> = {
  healthy: null,
  degraded: 'degraded',
  unhealthy: 'unhealthy',
  starting: 'starting',
  stale: 'stale',
  unknown: null,
};

/** An event in words: cause before consequence. */
export function say(event: Event): Said {
  const who = event.instance === undefined ? '' : `Replica ${event.instance} `;
  const text = (words: string, shape: StatusName | null = null): Said => ({ sentence: capital(who + words), shape });
  switch (event.kind) {
    case 'server:registered':
      return text('declared in the configuration');
    case 'server:removed':
      return text('taken out of the configuration');
    case 'server:starting':
      return text('is being started');
    case 'server:started':
      return text(event.pid === null ? 'is monitored' : `started, pid ${event.pid}`);
    case 'server:stopped':
      return text(`stopped: ${event.reason}`, 'stopped');
    case 'server:restarting':
      return text(
        `${event.exit ? exitWords(event.exit) : 'ended'}; try ${event.attempt} after ${duration(event.delay)}`,
        'restarting',
      );
    case 'server:recovered':
      return text(`recovered after ${count(event.attempts, 'restart')}`, 'running');
    case 'server:failed':
      return text(`failed: ${event.error}`, 'failed');
    case 'server:error':
      return text(`reported: ${event.error}`, 'degraded');
    case 'server:health':
      return {
        sentence: who ? `${who.trim()}: ${event.health.sentence}` : event.health.sentence,
        shape: HEALTH[event.health.level] ?? null,
      };
    case 'server:unhealthy':
      return text(`became unhealthy: ${event.error}`, 'unhealthy');
    case 'server:tools':
      return {
        sentence:
          `${who}lists ${count(event.count, 'tool')}${event.findings.length > 0 ? `: ${event.findings.join('; ')}` : ''}`.replace(
            /^lists/,
            'Lists',
          ),
        shape: event.findings.length > 0 ? 'degraded' : null,
      };
    case 'server:scaled':
      return { sentence: `Scaled from ${event.from} to ${count(event.to, 'replica')}`, shape: null };
    case 'server:ceiling':
      return text(`crossed its ceiling: ${event.reason}`, 'degraded');
    case 'gateway:breaker': {
      const whose = event.tool ? `Breaker of ${event.tool}` : 'Breaker';
      const state = event.state === 'half_open' ? 'half-open' : event.state;
      return {
        sentence: `${whose} ${state}: ${event.reason}`,
        shape: event.state === 'open' ? 'failed' : event.state === 'half_open' ? 'degraded' : null,
      };
    }
    case 'action':
      return { sentence: capital(actionWords(event)), shape: event.ok ? null : 'failed' };
    case 'config:applied':
      return {
        sentence: `Configuration r${event.revision} applied: ${event.changes.join('; ') || 'no server changed'}`,
        shape: null,
      };
    case 'config:rejected':
      return {
        sentence: `The configuration on disk is broken: ${count(event.findings.length, 'finding')}; the last good one stays in force`,
        shape: 'degraded',
      };
    case 'agent:changed':
      return { sentence: `Agent ${event.agent} ${event.change}`, shape: null };
    case 'workflow:run':
      return {
        sentence: `${event.workflow}, run ${event.run}: ${event.state}${event.why ? `: ${event.why}` : ''}`,
        shape: event.state === 'failed' ? 'failed' : null,
      };
    case 'workflow:step':
      return {
        sentence: `${event.workflow}, run ${event.run}: ${event.step} ${event.state}: ${event.why}`,
        shape: event.state === 'failed' ? 'failed' : null,
      };
    case 'workflow:notice':
      return { sentence: `${event.workflow}, run ${event.run}: ${event.message}`, shape: null };
    case 'alert:firing':
      return {
        sentence: `Alert ${event.rule}: ${event.summary}`,
        shape: event.severity === 'critical' ? 'failed' : event.severity === 'warning' ? 'degraded' : null,
      };
    case 'alert:resolved':
      return { sentence: `Alert ${event.rule} has ended: ${event.summary}`, shape: null };
    case 'alert:notice':
      return { sentence: `${event.title}: ${event.body}`, shape: null };
    case 'workflow:trigger':
      return {
        sentence: `${event.workflow}, trigger ${event.trigger}: ${event.outcome}: ${event.why}`,
        shape: event.outcome === 'refused' ? 'failed' : event.outcome === 'dropped' ? 'degraded' : null,
      };
    case 'engine:started':
      return { sentence: 'The engine started', shape: null };
    case 'manager:shutdown':
      return { sentence: 'The engine stopped', shape: 'stopped' };
  }
}

/** How a process ended: "exited with code 1 after 4 s". */
export function exitWords(exit: LastExit): string {
  const after = ` after ${duration(exit.ran_ms)}`;
  if (exit.signal) return `was ended by ${exit.signal}${after}`;
  if (exit.code !== undefined) return `exited with code ${exit.code}${after}`;
  return `ended${after}`;
}

/** The exit that an event carries. */
export function exitOf(event: Event): LastExit | null {
  return 'exit' in event ? event.exit : null;
}

/** The part of an event that is worth opening, as pairs of word and value. */
export function facts(event: Event): [string, string][] {
  const out: [string, string][] = [['position', String(event.seq)]];
  if (event.correlation) out.push(['correlation', event.correlation]);
  const exit = exitOf(event);
  if (exit) {
    out.push(['reason', exit.reason]);
    if (exit.code !== undefined) out.push(['exit code', String(exit.code)]);
    if (exit.signal) out.push(['signal', exit.signal]);
    out.push(['ran for', duration(exit.ran_ms)]);
  }
  if (event.kind === 'server:health') {
    out.push(['code', event.health.code]);
    if (event.health.check_ms !== undefined) out.push(['check took', duration(event.health.check_ms)]);
  }
  return out;
}

/** The kinds that can be filtered by, in groups a person asks for. */
export const GROUPS = [
  { id: 'all', label: 'All', kinds: [] },
  {
    id: 'life',
    label: 'Life',
    kinds: [
      'server:starting',
      'server:started',
      'server:stopped',
      'server:restarting',
      'server:recovered',
      'server:failed',
      'server:scaled',
      'server:ceiling',
      'server:error',
    ],
  },
  { id: 'health', label: 'Health', kinds: ['server:health', 'server:unhealthy', 'server:tools', 'server:recovered'] },
  { id: 'alerts', label: 'Alerts', kinds: ['alert:firing', 'alert:resolved'] },
  { id: 'traffic', label: 'Traffic', kinds: ['gateway:breaker'] },
  {
    id: 'people',
    label: 'People',
    kinds: ['action', 'config:applied', 'config:rejected', 'server:registered', 'server:removed', 'server:scaled'],
  },
] as const satisfies readonly { id: string; label: string; kinds: readonly Event['kind'][] }[];

export type GroupId = (typeof GROUPS)[number]['id'];

const capital = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);

/** A share of a ceiling in words. */
export const shareOf = (value: number, ceiling: number): string => percent((value / ceiling) * 100);
