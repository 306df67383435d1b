import { describe, expect, it } from 'vitest';
import type { Event, EventKind, InstanceView, LastExit, ProcessState } from '$lib/contract';
import { exitsOf, pointsOf, spansOf } from './lanes';
import { restartWords, waitWords } from './policy';

const instance = (state: ProcessState, since: number, more: Partial<InstanceView> = {}): InstanceView => ({
  id: 'a#1',
  process: { state, since, reason: '' },
  health: { level: state === 'running' ? 'healthy' : 'unknown', since, code: 'proven', sentence: '', action: 'none' },
  status: 'running',
  restarts: 0,
  restarts_total: 0,
  ...more,
});
const exit = (at: number, ran_ms: number, code = 1): LastExit => ({
  at,
  code,
  reason: 'crashed',
  ran_ms,
  last_lines: [],
});
let seq = 0;
const event = (at: number, what: EventKind, index = 1): Event => ({
  seq: ++seq,
  at,
  server: 'a',
  instance: index,
  ...what,
});
const healthy = { level: 'healthy', since: 0, code: 'proven', sentence: 'Proven', action: 'none' } as const;

const life = [
  event(20, { kind: 'server:restarting', attempt: 1, delay: 5, next_try: 25, exit: exit(20, 15) }),
  event(25, { kind: 'server:started', pid: 7 }),
  event(30, { kind: 'server:health', health: healthy }),
  event(60, { kind: 'server:failed', restarts: 1, error: 'limit', exit: exit(60, 35) }),
];
const shape = (spans: { from: number; to: number; tone: string }[]) => spans.map((s) => `${s.from}-${s.to} ${s.tone}`);

describe('lanes', () => {
  it('tells the life of an instance from its events, in whatever order they come', () => {
    const told = ['5-20 up', '20-25 wait', '25-30 start', '30-60 up', '60-100 bad'];
    expect(shape(spansOf(life, instance('failed', 60), true, 0, 100))).toEqual(told);
    expect(shape(spansOf([...life].reverse(), instance('failed', 60), true, 0, 100))).toEqual(told);
  });

  it('clips to the window and leaves out other instances', () => {
    expect(shape(spansOf(life, instance('failed', 60), true, 28, 70))).toEqual([
      '28-30 start',
      '30-60 up',
      '60-70 bad',
    ]);
    expect(shape(spansOf(life, instance('running', 3, { id: 'a#2', started_at: 3 }), true, 0, 50))).toEqual([
      '3-50 up',
    ]);
  });

  it('name the ceiling that ended a process, and only the one of that process', () => {
    const crossed = event(59, { kind: 'server:ceiling', reason: '513 MiB of 512 MiB' });
    const elsewhere = event(39, { kind: 'server:ceiling', reason: 'of another' }, 2);
    expect(exitsOf([...life, crossed, elsewhere], []).map((e) => e.cause)).toEqual([null, '513 MiB of 512 MiB']);
  });

  it('takes a start for up where no check will ever say so', () => {
    const events = [event(10, { kind: 'server:started', pid: 1 })];
    expect(shape(spansOf(events, instance('running', 10), false, 0, 50))).toEqual(['10-50 up']);
  });

  it('numbers ends over the whole server and adds one that only the instance knows', () => {
    const other = event(40, { kind: 'server:stopped', reason: 'asked', exit: exit(40, 9, 0) }, 2);
    const exits = exitsOf(
      [...life, other],
      [
        instance('failed', 60, { last_exit: exit(60, 35) }),
        instance('stopped', 80, { id: 'a#3', last_exit: exit(80, 2, 0) }),
      ],
    );
    expect(exits.map((e) => `${e.number}: #${e.instance} at ${e.exit.at}${e.calm ? ' calm' : ''}`)).toEqual([
      '1: #1 at 20',
      '2: #2 at 40 calm',
      '3: #1 at 60',
      '4: #3 at 80 calm',
    ]);
    expect(pointsOf(exits, 1).map((p) => p.number)).toEqual([1, 3]);
  });
});

describe('policy', () => {
  const policy = {
    policy: 'on_failure',
    delays_ms: [1000, 2000, 4000],
    jitter: 0,
    max_restarts: 3,
    reset_after_ms: 30_000,
    success_exit_codes: [0],
    on_unhealthy: false,
  } as const;
  it('is said as it will happen', () => {
    expect(restartWords({ ...policy, delays_ms: [], success_exit_codes: [] })).toBe('after a failure, at most 3 tries');
    expect(restartWords({ ...policy, max_restarts: null, delays_ms: [], success_exit_codes: [] })).toBe(
      'after a failure, without limit',
    );
    expect(waitWords({ ...policy, delays_ms: [1000, 2000, 4000], success_exit_codes: [] })).toBe(
      '1 s, 2 s, 4 s, the last repeats',
    );
  });
});
