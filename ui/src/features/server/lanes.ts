import type { Point, Span } from '$charts/lane';
import type { Event, InstanceView, LastExit } from '$lib/contract';
import { duration } from '$lib/format';

/** An end of a process, numbered over the server in the order of time. */
export interface Exit {
  /** Position of the event that told it, as text; `view` when only the instance knows of it. */
  key: string;
  number: number;
  instance: number;
  exit: LastExit;
  /** Asked for, or a success: nothing went wrong. */
  calm: boolean;
  /** What followed. */
  after: string;
  /** What the supervisor ended it for, where it did. */
  cause: string | null;
}

/** A ceiling that was crossed so shortly before an end is its cause. */
const CAUSED_WITHIN_MS = 15_000;

/** The ends that the events tell of, oldest first; an instance's own last one is added where no event has it. */
export function exitsOf(events: readonly Event[], instances: readonly InstanceView[]): Exit[] {
  const found: Omit<Exit, 'number'>[] = [];
  for (const event of events) {
    if (!('exit' in event) || event.exit === null || event.exit === undefined) continue;
    found.push({
      key: String(event.seq),
      instance: event.instance ?? 1,
      exit: event.exit,
      calm: event.kind === 'server:stopped',
      after:
        event.kind === 'server:restarting'
          ? `try ${event.attempt} after ${duration(event.delay)}`
          : event.kind === 'server:failed'
            ? 'gave up'
            : 'stopped',
      cause: causeOf(events, event.instance ?? 1, event.exit.at),
    });
  }
  for (const instance of instances) {
    const exit = instance.last_exit;
    if (!exit) continue;
    const index = indexOf(instance);
    const told = found.some((one) => one.instance === index && Math.abs(one.exit.at - exit.at) < 1_500);
    if (!told)
      found.push({
        key: `view ${index}`,
        instance: index,
        exit,
        calm: exit.code === 0,
        after: instance.process.state,
        cause: causeOf(events, index, exit.at),
      });
  }
  return found.sort((a, b) => a.exit.at - b.exit.at).map((one, i) => ({ ...one, number: i + 1 }));
}

function causeOf(events: readonly Event[], instance: number, at: number): string | null {
  const crossed = events.find(
    (event) =>
      event.kind === 'server:ceiling' &&
      event.instance === instance &&
      event.at <= at &&
      at - event.at < CAUSED_WITHIN_MS,
  );
  return crossed?.kind === 'server:ceiling' ? crossed.reason : null;
}

/** Index of an instance: the figure behind the `#`. */
export function indexOf(instance: InstanceView): number {
  return Number(instance.id.slice(instance.id.lastIndexOf('#') + 1));
}

type State = Pick<Span, 'tone' | 'word'>;

const UP: State = { tone: 'up', word: 'up' };
const STARTING: State = { tone: 'start', word: 'starting' };
const DOWN: State = { tone: 'down', word: 'stopped' };
const WAITING: State = { tone: 'wait', word: 'waits for its next try' };
const FAILED: State = { tone: 'bad', word: 'failed' };

/** What an instance is in after an event; nothing where the event says nothing about that. */
function after(event: Event, checked: boolean): State | null {
  switch (event.kind) {
    case 'server:starting':
      return STARTING;
    case 'server:started':
      // Without a check nobody will ever say that it is up.
      return checked ? STARTING : UP;
    case 'server:recovered':
      return UP;
    case 'server:restarting':
      return WAITING;
    case 'server:failed':
      return FAILED;
    case 'server:stopped':
      return DOWN;
    case 'server:unhealthy':
      return { tone: 'bad', word: 'unhealthy' };
    case 'server:health':
      switch (event.health.level) {
        case 'healthy':
          return UP;
        case 'degraded':
          return { tone: 'warn', word: 'degraded' };
        case 'unhealthy':
          return { tone: 'bad', word: 'unhealthy' };
        case 'stale':
          return { tone: 'warn', word: 'stale' };
        case 'starting':
          return STARTING;
        case 'unknown':
          return null;
      }
      return null;
    default:
      return null;
  }
}

/** What an instance is in now, as it was last observed. */
function present(instance: InstanceView): State {
  switch (instance.process.state) {
    case 'running':
      return instance.health.level === 'degraded'
        ? { tone: 'warn', word: 'degraded' }
        : instance.health.level === 'unhealthy'
          ? { tone: 'bad', word: 'unhealthy' }
          : instance.health.level === 'starting'
            ? STARTING
            : UP;
    case 'starting':
    case 'stopping':
      return STARTING;
    case 'restarting':
      return WAITING;
    case 'failed':
      return FAILED;
    case 'sleeping':
      return { tone: 'down', word: 'sleeping' };
    default:
      return DOWN;
  }
}

/**
 * The lane of one instance: what it was in over time, told by its events (in any order) and ended by what it is in now.
 * What lies before the first event is known from that event: a process that ended had been up as long as it says.
 */
export function spansOf(
  events: readonly Event[],
  instance: InstanceView,
  checked: boolean,
  from: number,
  to: number,
): Span[] {
  const index = indexOf(instance);
  const told = events
    .filter((event) => event.instance === index)
    .map((event) => ({ event, state: after(event, checked) }))
    .filter((one): one is { event: Event; state: State } => one.state !== null)
    .sort((a, b) => a.event.at - b.event.at || a.event.seq - b.event.seq);

  const spans: Span[] = [];
  const add = (start: number, end: number, state: State): void => {
    const [a, b] = [Math.max(from, start), Math.min(to, end)];
    if (b <= a) return;
    const last = spans[spans.length - 1];
    if (last && last.tone === state.tone && last.word === state.word && a - last.to < 1) last.to = b;
    else spans.push({ from: a, to: b, ...state });
  };

  const first = told[0];
  if (!first) {
    const since =
      instance.process.state === 'running' ? (instance.started_at ?? instance.process.since) : instance.process.since;
    add(since, to, present(instance));
    return spans;
  }
  const ended = 'exit' in first.event ? first.event.exit : null;
  if (ended) add(ended.at - ended.ran_ms, first.event.at, UP);
  told.forEach(({ event, state }, i) => {
    const next = told[i + 1];
    // The last word is the engine's present one: an event may still be on its way.
    if (next) add(event.at, next.event.at, state);
    else add(event.at, to, instance.process.since > event.at ? state : present(instance));
  });
  return spans;
}

/** The numbered marks of one instance's lane. */
export function pointsOf(exits: readonly Exit[], index: number): Point[] {
  return exits
    .filter((exit) => exit.instance === index)
    .map((exit) => ({
      key: exit.key,
      at: exit.exit.at,
      number: exit.number,
      title: `Exit ${exit.number}: ${exit.exit.signal ?? (exit.exit.code === undefined ? 'ended' : `code ${exit.exit.code}`)}`,
      calm: exit.calm,
    }));
}
