import { beforeEach, expect, test } from 'vitest';
import { confirmer } from '$kit/confirm.svelte';
import { toasts } from '$kit/toasts.svelte';
import { Model } from '$lib/state/model';
import { MockTransport } from '$lib/transport/mock';
import { act, work, type Asked } from './actions';

let transport: MockTransport;
let model: Model;

beforeEach(() => {
  transport = new MockTransport({ servers: 22, tickMs: 0, verbMs: 0 });
  model = new Model(transport);
  toasts.list = [];
  work.clear();
});

const sent = () => transport.calls.map(({ command }) => command);
const toast = () => toasts.list.at(-1);

/** Runs a verb and answers the question, where one is asked. */
async function run(asked: Asked, answer: boolean) {
  const done = act(model, asked);
  while (!confirmer.ask && !sent().some((command) => command !== 'server.plan') && !toasts.list.length)
    await new Promise((resolve) => setTimeout(resolve));
  const question = confirmer.ask;
  confirmer.answer(answer);
  return { question, outcomes: await done };
}

test('a stop asks with object and count, and does nothing when told to keep running', async () => {
  const { question, outcomes } = await run({ verb: 'stop', servers: ['memory'] }, false);
  expect(question).toMatchObject({ title: 'Stop memory?', action: 'Stop 1 instance', keep: 'Keep running' });
  expect(question?.facts).toContain('docs_search depends on it and may fail');
  expect([outcomes, sent()]).toEqual([undefined, ['server.plan']]);
});

test('the end that was observed is what is told', async () => {
  const { outcomes } = await run({ verb: 'stop', servers: ['memory'] }, true);
  expect(outcomes).toMatchObject([{ server: 'memory', ok: true, status: 'stopped' }]);
  expect(toast()).toMatchObject({ kind: 'good', title: 'memory', text: 'Stopped, no process left, 0.3 s' });
});

test('a bad end stays, on the row too, and leads to the log', async () => {
  await run({ verb: 'start', servers: ['fetch'] }, true);
  expect(toast()).toMatchObject({ kind: 'bad', title: 'fetch', link: { href: '#/servers/fetch/logs' } });
  expect(work.get('fetch')).toMatchObject({ phase: 'bad', sentence: 'Exited again, code 1' });
});

test('what would refuse is not sent, and the rest is', async () => {
  const { outcomes } = await run({ verb: 'restart', servers: ['issue_tracker', 'time'] }, true);
  expect(outcomes?.map(({ server }) => server)).toEqual(['time']);
  expect(work.get('issue_tracker')?.phase).toBe('bad');
  expect(transport.calls.at(-1)).toMatchObject({ command: 'server.restart', params: { servers: ['time'] } });
});

test('without a link nothing is claimed', async () => {
  transport.drop();
  const { outcomes } = await run({ verb: 'start', servers: ['time'] }, true);
  expect(outcomes).toBeUndefined();
  expect(toast()).toMatchObject({ kind: 'bad', title: 'Start was not done' });
});
