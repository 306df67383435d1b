import { expect, test } from 'vitest';
import type { ServerView } from '$lib/contract';
import { Model } from '$lib/state/model';
import { MockTransport } from '$lib/transport/mock';
import { mockServers } from '$lib/transport/mockfleet';
import { serverMenu } from './menu';
import { cureOf } from './words';

const model = new Model(new MockTransport({ servers: 1, tickMs: 0 }));
const [some] = mockServers(1, 1_000_000);
const disabled = (kind: 'url' | 'sse'): ServerView => ({
  ...(some as ServerView),
  status: 'disabled',
  spec: {
    ...(some as ServerView).spec,
    disabled: 'not now',
    transport: kind === 'url' ? { kind, url: 'http://x/mcp', headers: {} } : { kind, url: 'http://x/sse' },
  },
  health: { ...(some as ServerView).health, action: 'enable' },
});
const labels = (server: ServerView) => serverMenu(model, server).map(({ label }) => label);

test('a disabled server is enabled from its menu and by its cure', () => {
  expect(labels(disabled('url'))).toContain('Enable');
  expect(cureOf(disabled('url'))).toMatchObject({ label: 'Enable' });
});

test('what speaks the dropped transport is not offered to be enabled', () => {
  expect(labels(disabled('sse'))).not.toContain('Enable');
  expect(cureOf(disabled('sse'))).toBeUndefined();
});
