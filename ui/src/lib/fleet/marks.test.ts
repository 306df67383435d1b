import { expect, test } from 'vitest';
import type { Event } from '$lib/contract';
import { marksOf } from './marks';

let seq = 0;
const event = (about: Record<string, unknown>): Event =>
  ({ seq: ++seq, at: seq * 1_000, ...about }) as unknown as Event;
const of = (server: string, more: Record<string, unknown>) => event({ server, ...more });
const exit = (at: number) => ({ reason: 'killed', code: 1, at });

const events = [
  event({
    kind: 'config:applied',
    revision: 2,
    changes: ['servers.docs: replicas 1 to 2', 'servers.git declared'],
  }),
  of('docs', { kind: 'server:restarting', instance: 2, attempt: 1, delay: 1, next_try: 1, exit: exit(1_500) }),
  of('docs', { kind: 'server:started', pid: 1 }),
  of('docs', { kind: 'server:failed', instance: 2, restarts: 3, error: 'x', exit: exit(3_500) }),
  of('git', { kind: 'gateway:breaker', tool: 'log', state: 'open', reason: '5 of 5 failed' }),
  of('git', { kind: 'gateway:breaker', tool: 'log', state: 'half_open', reason: '' }),
  of('git', { kind: 'gateway:breaker', tool: 'log', state: 'closed', reason: '' }),
  of('docs', {
    kind: 'alert:firing',
    alert: '1',
    rule: 'crash-loop',
    severity: 'critical',
    summary: '3 restarts',
    value: 3,
  }),
  of('docs', {
    kind: 'alert:resolved',
    alert: '1',
    rule: 'crash-loop',
    severity: 'critical',
    summary: 's',
    fired_ms: 1,
  }),
  of('docs', { kind: 'action', actor: 'workflow:canary', command: 'server.restart', outcome: 'Running', ok: true }),
  of('docs', { kind: 'action', actor: 'workflow:canary', command: 'server.stop', outcome: 'no end seen', ok: false }),
  of('docs', { kind: 'action', actor: 'panel', command: 'server.restart', outcome: 'Running', ok: true }),
  event({ kind: 'action', actor: 'workflow:canary', command: 'config.write', outcome: 'done', ok: true }),
  event({ kind: 'alert:firing', alert: '2', rule: 'disk', severity: 'warning', summary: 'full', value: 1 }),
];
const written = (servers?: string[]) =>
  marksOf([...events].reverse(), servers).map(({ kind, label }) => `${kind}: ${label}`);

test('the fleet has the marks of all servers, by name, oldest first', () => {
  expect(written()).toEqual([
    'config: r2 servers.docs: replicas 1 to 2',
    'exit: docs #2 exit code 1',
    'exit: docs #2 gave up',
    'breaker: git breaker of log open: 5 of 5 failed',
    'breaker: git breaker of log closed',
    'alert: docs crash-loop: 3 restarts',
    'alert: docs crash-loop has ended',
    'workflow: docs restart by canary',
    'workflow: docs stop by canary: no end seen',
    'alert: disk: full',
  ]);
});

test('an exit stands where the process ended, not where it was told', () => {
  expect(marksOf(events)[1]?.at).toBe(1_500);
});

test('a server has its own, and a change of the configuration that names it', () => {
  expect(written(['git'])).toEqual([
    'config: r2 servers.docs: replicas 1 to 2',
    'breaker: breaker of log open: 5 of 5 failed',
    'breaker: breaker of log closed',
  ]);
  expect(written(['docs'])[1]).toBe('exit: #2 exit code 1');
  expect(written(['docs', 'git'])[1]).toBe('exit: docs #2 exit code 1');
  expect(written(['doc'])).toEqual([]);
  expect(written([])).toEqual([]);
});
