import { expect, test, vi } from 'vitest';
import type { RangeQuery } from '$lib/contract';
import type { Transport } from '$lib/transport';
import { ToolLines } from './tools.svelte';

test('tools have a line each, the busiest first; a failed reading keeps what was read', async () => {
  vi.useFakeTimers({ now: 1_700_000_003_000 });
  let broken = false;
  const asked: RangeQuery[] = [];
  const call = vi.fn((_: string, query: RangeQuery) => {
    asked.push(query);
    if (broken) return Promise.reject(new Error('no answer'));
    const line = (tool: string, values: (number | null)[]) => ({
      metric: query.metric,
      labels: [
        ['job', 'flotilla'],
        ['tool', tool],
      ],
      values,
    });
    const lines = query.metric.endsWith('calls_per_second') ? [line('get', [1, null]), line('put', [null, 3])] : [];
    return Promise.resolve({ times: [1, 2], lines });
  });
  const tools = new ToolLines({ call } as unknown as Transport);
  const end = tools.follow('fetch', 900_000, () => false);
  await vi.advanceTimersByTimeAsync(0);
  expect(tools.tools).toEqual(['put', 'get']);
  expect(tools.since).toBe(1);
  expect(tools.values('calls_per_second', 'get')).toEqual([1, null]);
  expect(tools.values('call_p95_ms', 'get')).toEqual([null, null]);
  expect(asked[0]).toMatchObject({
    labels: [{ label: 'server', is: true, values: ['fetch'] }],
    from: 1_699_999_100_000,
    to: 1_700_000_000_000,
    step: 5_000,
  });
  broken = true;
  await vi.advanceTimersByTimeAsync(5_000);
  expect([tools.failed, tools.tools.length]).toEqual(['no answer', 2]);
  end();
  const before = asked.length;
  await vi.advanceTimersByTimeAsync(20_000);
  expect(asked.length).toBe(before);
  vi.useRealTimers();
});
