import type { Event, LastExit } from '$lib/contract';
import type { IconName } from '$kit/icons';
import type { StatusName } from '$kit/status';
import { duration, names } from '$lib/format';

/** An event as a line: a silhouette where a state was reached, an icon where something was done. */
export interface EventLine {
  /** Whom it is about ("reasoning_agent #3"); empty for the engine itself. */
  who: string;
  /** What happened, after `who`. */
  text: string;
  status?: StatusName;
  icon: IconName;
  /** Marks are only for what went wrong or comes back. */
  loud: boolean;
}

/** How a process ended, in a few words: `SIGKILL`, `exit code 1`. */
export function exitWord(exit: LastExit): string {
  if (exit.signal) return exit.signal;
  return exit.code === undefined ? exit.reason : `exit code ${exit.code}`;
}

/** What an operator did and what came of it: `start by panel: Running, 9 tools, 4.2 s`. */
export function actionWords({ actor, command, outcome }: Extract<Event, { kind: 'action' }>): string {
  return `${command.replace(/^server\./, '')} by ${actor}: ${outcome}`;
}

export function eventLine(event: Event): EventLine {
  const who = event.server ? (event.instance ? `${event.server} #${event.instance}` : event.server) : '';
  return { who, ...say(event) };
}

function say(event: Event): Omit<EventLine, 'who'> {
  switch (event.kind) {
    case 'server:registered':
      return { text: 'declared', icon: 'plus', loud: false };
    case 'server:removed':
      return { text: 'no longer declared', icon: 'minus', loud: false };
    case 'server:starting':
      return { text: 'starting', icon: 'play', loud: false };
    case 'server:started':
      return { text: event.pid ? `started, pid ${event.pid}` : 'monitored', icon: 'play', loud: false };
    case 'server:stopped':
      return { text: `stopped: ${event.reason}`, icon: 'stop', loud: false };
    case 'server:restarting': {
      const why = event.exit ? `${exitWord(event.exit)}, ` : '';
      return {
        text: `${why}try ${event.attempt} in ${duration(event.delay)}`,
        status: 'restarting',
        icon: 'restart',
        loud: true,
      };
    }
    case 'server:recovered':
      return {
        text: `recovered after ${event.attempts} ${event.attempts === 1 ? 'restart' : 'restarts'}`,
        status: 'running',
        icon: 'check',
        loud: false,
      };
    case 'server:failed':
      return { text: `failed: ${event.error}`, status: 'failed', icon: 'warning', loud: true };
    case 'server:error':
      return { text: event.error, status: 'degraded', icon: 'warning', loud: true };
    case 'server:health':
      return { text: event.health.sentence, icon: 'probe', loud: false };
    case 'server:unhealthy':
      return { text: `unhealthy: ${event.error}`, status: 'unhealthy', icon: 'warning', loud: true };
    case 'server:tools': {
      const found = event.findings.length;
      const text = found ? `${event.count} tools, ${names(event.findings, 2)}` : `lists ${event.count} tools`;
      return { text, icon: 'tools', loud: found > 0, ...(found ? { status: 'degraded' as const } : {}) };
    }
    case 'server:scaled':
      return { text: `scaled from ${event.from} to ${event.to}`, icon: 'scale', loud: false };
    case 'server:ceiling':
      return { text: `above its ceiling: ${event.reason}`, status: 'degraded', icon: 'warning', loud: true };
    case 'gateway:breaker': {
      const what = event.tool ? `breaker of ${event.tool}` : 'breaker';
      if (event.state === 'open')
        return { text: `${what} open: ${event.reason}`, status: 'failed', icon: 'breaker', loud: true };
      const text = `${what} ${event.state === 'closed' ? 'closed' : 'half-open'}: ${event.reason}`;
      return event.state === 'closed'
        ? { text, icon: 'breaker', loud: false }
        : { text, status: 'degraded', icon: 'breaker', loud: true };
    }
    case 'action': {
      const text = actionWords(event);
      return event.ok
        ? { text, icon: 'terminal', loud: false }
        : { text, status: 'failed', icon: 'terminal', loud: true };
    }
    case 'config:applied':
      return {
        text: `Revision ${event.revision}: ${names(event.changes, 2) || 'no change'}`,
        icon: 'file',
        loud: false,
      };
    case 'config:rejected': {
      const [first] = event.findings;
      const where = first ? `, line ${first.line}: ${first.message}` : '';
      return { text: `fleet.toml not applied${where}`, status: 'failed', icon: 'file', loud: true };
    }
    case 'agent:changed':
      return { text: `agent ${event.agent} ${event.change}`, icon: 'agents', loud: false };
    case 'workflow:run': {
      const text = `${event.workflow}, run ${event.run}: ${event.state}${event.why ? `: ${event.why}` : ''}`;
      return event.state === 'failed'
        ? { text, status: 'failed', icon: 'workflows', loud: true }
        : { text, icon: 'workflows', loud: false };
    }
    case 'workflow:step':
      return {
        text: `${event.workflow}, run ${event.run}: ${event.step} ${event.state}: ${event.why}`,
        icon: 'workflows',
        loud: true,
      };
    case 'workflow:notice':
      return { text: `${event.workflow}, run ${event.run}: ${event.message}`, icon: 'workflows', loud: true };
    case 'alert:firing':
      return event.severity === 'critical'
        ? { text: `${event.rule}: ${event.summary}`, status: 'failed', icon: 'warning', loud: true }
        : { text: `${event.rule}: ${event.summary}`, icon: 'warning', loud: event.severity === 'warning' };
    case 'alert:resolved':
      return { text: `${event.rule} has ended: ${event.summary}`, icon: 'warning', loud: false };
    case 'alert:notice':
      return { text: `${event.title}: ${event.body}`, icon: 'warning', loud: false };
    case 'workflow:trigger':
      return {
        text: `${event.workflow}, trigger ${event.trigger}: ${event.outcome}: ${event.why}`,
        icon: 'workflows',
        loud: event.outcome === 'refused' || event.outcome === 'dropped',
      };
    case 'engine:started':
      return { text: 'Engine started', icon: 'fleets', loud: false };
    case 'manager:shutdown':
      return { text: 'Engine stopped', icon: 'fleets', loud: false };
  }
}

/** A line with how often it came in a row. */
export interface Repeated {
  event: Event;
  line: EventLine;
  times: number;
}

/** Joins neighbours that say the same; the newest stands for all. */
export function collapse(events: readonly Event[]): Repeated[] {
  const out: Repeated[] = [];
  for (const event of events) {
    const line = eventLine(event);
    const before = out.at(-1);
    if (before && before.line.who === line.who && before.event.kind === event.kind && before.line.text === line.text)
      before.times += 1;
    else out.push({ event, line, times: 1 });
  }
  return out;
}
