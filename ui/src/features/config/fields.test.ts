import { describe, expect, it } from 'vitest';
import type { ServerSpec } from '$lib/contract';
import {
  diffOf,
  dotted,
  durationWord,
  groupsOf,
  masked,
  readText,
  restarts,
  sizeWord,
  textOf,
  toml,
  type Change,
} from './fields';

const spec: ServerSpec = {
  id: 'a',
  category: 'general',
  tags: [],
  transport: {
    kind: 'http',
    command: 'node',
    args: ['--port', '{port}'],
    env: {
      B: { from: 'text', text: 'x' },
      A: { from: 'secret', name: 'a-key' },
      'odd.name': { from: 'text', text: '' },
    },
    port: 8100,
    path: '/mcp',
    headers: {},
  },
  replicas: 2,
  autostart: true,
  depends_on: [
    { server: 'b', condition: 'started' },
    { server: 'c', condition: 'healthy' },
  ],
  restart: {
    policy: 'on_failure',
    delays_ms: [1000, 2000, 4000],
    jitter: 0,
    max_restarts: null,
    reset_after_ms: 30_000,
    success_exit_codes: [0],
    on_unhealthy: false,
  },
  stop_timeout_ms: 7_500,
  health: {
    check: { kind: 'tcp', address: 'h:1' },
    interval_ms: 30_000,
    timeout_ms: 5_000,
    retry_interval_ms: 5_000,
    start_timeout_ms: 60_000,
    unhealthy_after: 3,
    healthy_after: 2,
  },
  limits: { rss_bytes: 512 * 1024 ** 2 },
};
const rows = groupsOf(spec).flatMap((group) => group.rows);
const at = (key: string) => rows.find((row) => row.key === key);

describe('keys of a server', () => {
  it('stand in the form that the file has', () => {
    expect(at('stop_timeout')?.value).toBe('7500ms');
    expect(at('limits.rss')?.value).toBe('512MiB');
    expect(at('health.check')?.value).toEqual({ tcp: 'h:1' });
    expect(at('restart.max_restarts')?.value).toBe('unlimited');
    expect(at('depends_on')?.value).toEqual(['b', { server: 'c', condition: 'healthy' }]);
    expect(at('env.A')).toMatchObject({ secret: 'a-key', value: { secret: 'a-key' } });
    expect(at('env."odd.name"')?.label).toBe('odd.name');
  });

  it('say which are what they are by default', () => {
    const defaults = rows.filter((row) => row.isDefault && row.value !== undefined).map((row) => row.key);
    expect(defaults).toContain('restart.delays');
    expect(defaults).toContain('health.start_timeout');
    expect(defaults).not.toContain('replicas');
    expect(defaults).not.toContain('restart.max_restarts');
  });

  it('come back from their text as they were', () => {
    for (const row of rows) {
      if (row.value === undefined || row.secret !== undefined) continue;
      const read = readText(textOf(row.value, row.edit), row.edit);
      const whole = Array.isArray(row.value) && row.value.length === 0 ? null : row.value === '' ? null : row.value;
      expect(read, row.key).toEqual({ ok: true, value: whole });
    }
    expect(readText('x', { as: 'number' }).ok).toBe(false);
    expect(readText('{', { as: 'json' }).ok).toBe(false);
  });

  it('are written as TOML', () => {
    expect(toml({ http: '/h', list: [1, true, 'a"b'] })).toBe('{ http = "/h", list = [1, true, "a\\"b"] }');
    expect(dotted('env', 'A_B-1')).toBe('env.A_B-1');
    expect([90_000, 60_000, 3_600_000, 250].map(durationWord)).toEqual(['90s', '1m', '1h', '250ms']);
    expect([1536 * 1024 ** 2, 64 * 1024].map(sizeWord)).toEqual(['1.5GiB', '64KiB']);
  });
});

describe('changes', () => {
  it('are shown as the lines that go and come, what is sensitive without its middle', () => {
    const changes = new Map<string, Change>([
      ['replicas', { before: 1, after: 3 }],
      ['env.API_TOKEN', { before: 'abcdefghijkl', after: { secret: 'tok' } }],
      ['cwd', { before: '/x', after: null }],
      ['tags', { before: undefined, after: ['a'] }],
    ]);
    expect(diffOf(changes).split('\n')).toEqual([
      '- cwd = "/x"',
      '- env.API_TOKEN = "••••kl, 12 characters"',
      '+ env.API_TOKEN = { secret = "tok" }',
      '- replicas = 1',
      '+ replicas = 3',
      '+ tags = ["a"]',
    ]);
    expect(masked('short')).toBe('••••');
    expect(restarts(['env.X'])).toBe(true);
    expect(restarts(['replicas', 'restart.policy', 'health.check'])).toBe(false);
  });
});
