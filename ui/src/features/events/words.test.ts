import { describe, expect, it } from 'vitest';
import type { Event } from '$lib/contract';
import { concerns } from '$lib/fleet/marks';
import { say } from './words';

describe('events', () => {
  it('are said with their cause first', () => {
    const exit = { at: 1, signal: 'SIGKILL', reason: 'killed', ran_ms: 93_000, last_lines: [] };
    const event: Event = {
      seq: 1,
      at: 1,
      server: 'a',
      instance: 3,
      kind: 'server:restarting',
      attempt: 2,
      delay: 2000,
      next_try: 3,
      exit,
    };
    expect(say(event)).toEqual({
      sentence: 'Replica 3 was ended by SIGKILL after 1 min 33 s; try 2 after 2 s',
      shape: 'restarting',
    });
    expect(say({ seq: 2, at: 1, server: 'a', kind: 'server:tools', count: 8, findings: ['tool x is gone'] })).toEqual({
      sentence: 'Lists 8 tools: tool x is gone',
      shape: 'degraded',
    });
    expect(
      say({
        seq: 3,
        at: 1,
        server: 'a',
        kind: 'action',
        actor: 'cli',
        command: 'server.start',
        outcome: 'Running, 2 tools',
        ok: true,
      }),
    ).toEqual({ sentence: 'Start by cli: Running, 2 tools', shape: null });
    const error = 'exited with code 1 after 3.0 s; gave up after 3 automatic restarts';
    expect(
      say({ seq: 4, at: 1, server: 'a', instance: 1, kind: 'server:failed', restarts: 3, error, exit: null }).sentence,
    ).toBe(`Replica 1 failed: ${error}`);
  });

  it('of the configuration are of the servers they name, and of no other whose name they begin', () => {
    const applied = (change: string): Event => ({
      seq: 1,
      at: 1,
      kind: 'config:applied',
      revision: 2,
      changes: [change],
    });
    expect(concerns(applied('fetch: replicas 1 to 2'), 'fetch')).toBe(true);
    expect(concerns(applied('fetch-2: replicas 1 to 2'), 'fetch')).toBe(false);
    expect(concerns(applied('servers.fetch.env changed'), 'fetch')).toBe(true);
    expect(concerns({ seq: 1, at: 1, kind: 'engine:started', boot: 'x' }, 'fetch')).toBe(false);
  });
});
