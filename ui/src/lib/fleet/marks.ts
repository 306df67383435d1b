import type { Mark } from '$charts/model';
import type { Event } from '$lib/contract';
import { exitWord } from './eventwords';

/** Kinds of events that charts mark. */
export const MARKED = [
  'server:restarting',
  'server:failed',
  'config:applied',
  'gateway:breaker',
  'alert:firing',
  'alert:resolved',
  'action',
];

/** What a workflow does, it does under this name. */
const BY_WORKFLOW = 'workflow:';

/** Whether an event is of this server; a change of the configuration is of every server that it names. */
export function concerns(event: Event, server: string): boolean {
  if (event.server !== undefined) return event.server === server;
  if (event.kind !== 'config:applied') return false;
  const name = new RegExp(`(^|[^\\w.-]|servers\\.)${server.replace(/[.]/g, '\\.')}($|[^\\w-])`);
  return event.changes.some((change) => name.test(change));
}

/**
 * What charts of these servers mark, oldest first; of all of them where none are named. Ends of processes, changes of the
 * configuration, breakers, alerts, and what workflows did to a server. With one server its name goes without saying.
 */
export function marksOf(events: readonly Event[], servers?: readonly string[]): Mark[] {
  const alone = servers?.length === 1;
  const found: Mark[] = [];
  for (const event of events) {
    if (servers && !servers.some((server) => concerns(event, server))) continue;
    const mark = markOf(event);
    if (!mark) continue;
    const index = event.instance ? `#${event.instance}` : '';
    const who = [alone ? '' : (event.server ?? ''), index].filter(Boolean).join(' ');
    found.push({
      at: ('exit' in event && event.exit?.at) || event.at,
      kind: mark.kind,
      label: who ? `${who} ${mark.text}` : mark.text,
    });
  }
  return found.sort((a, b) => a.at - b.at);
}

function markOf(event: Event): { kind: Mark['kind']; text: string } | undefined {
  switch (event.kind) {
    case 'config:applied':
      return { kind: 'config', text: `r${event.revision} ${event.changes[0] ?? ''}`.trim() };
    case 'server:restarting':
      return { kind: 'exit', text: event.exit ? exitWord(event.exit) : 'restarts' };
    case 'server:failed':
      return { kind: 'exit', text: 'gave up' };
    case 'gateway:breaker': {
      // Half-open is a trial on the way; how it ended follows.
      if (event.state === 'half_open') return undefined;
      const what = event.tool === undefined ? 'breaker' : `breaker of ${event.tool}`;
      return { kind: 'breaker', text: `${what} ${event.state === 'open' ? `open: ${event.reason}` : 'closed'}` };
    }
    case 'alert:firing':
      return { kind: 'alert', text: `${event.rule}: ${event.summary}` };
    case 'alert:resolved':
      return { kind: 'alert', text: `${event.rule} has ended` };
    case 'action': {
      if (!event.actor.startsWith(BY_WORKFLOW) || event.server === undefined) return undefined;
      const verb = event.command.replace(/^server\./, '');
      return {
        kind: 'workflow',
        text: `${verb} by ${event.actor.slice(BY_WORKFLOW.length)}${event.ok ? '' : `: ${event.outcome}`}`,
      };
    }
    default:
      return undefined;
  }
}
