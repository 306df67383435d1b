import { expect, test } from 'vitest';
import type { ServerView } from '$lib/contract';
import { mockServers } from '$lib/transport/mockfleet';
import { running, startedAt } from './words';

const [template] = mockServers(1, 1_000_000);
if (!template?.instances[0]) throw new Error('the mock has a server');

function monitored(level: ServerView['health']['level']): ServerView {
  const { spec, instances, ...rest } = template as ServerView;
  const health = { ...rest.health, level };
  const one = instances.slice(0, 1).map((instance) => ({
    ...instance,
    health,
    started_at: 1,
    process: { ...instance.process, state: 'running' as const },
  }));
  return {
    ...rest,
    health,
    instances: one,
    spec: { ...spec, transport: { kind: 'url', url: 'http://x/mcp', headers: {} } },
  };
}

test('what is only monitored runs as far as it answers, and nobody knows since when', () => {
  expect(['healthy', 'degraded', 'starting', 'unhealthy'].map((level) => running(monitored(level as never)))).toEqual([
    1, 1, 0, 0,
  ]);
  expect(startedAt(monitored('healthy'))).toBeUndefined();
});
