import { expect, test } from 'vitest';
import { editHref, href, parseRoute, runHref, serverHref, workflowHref } from './router.svelte';

const seen = (hash: string) => {
  const { place, server, tab, query } = parseRoute(hash);
  return [place, server, tab, query.toString()];
};

test.each([
  ['', ['overview', undefined, undefined, '']],
  ['#/servers?group=category', ['servers', undefined, undefined, 'group=category']],
  ['#/servers/docs.search/logs?search=a%20b', ['servers', 'docs.search', 'logs', 'search=a+b']],
  ['#/servers/x/nowhere', ['servers', 'x', 'overview', '']],
  ['#/nowhere', ['overview', undefined, undefined, '']],
  ['#/servers/%E0%A4%A', ['servers', '%E0%A4%A', 'overview', '']],
])('%s', (hash, expected) => expect(seen(hash)).toEqual(expected));

test.each([
  ['#/workflows?tab=runs', [undefined, undefined]],
  [workflowHref('a b/c'), ['a b/c', undefined]],
  [runHref(31, 'x y'), [undefined, 31]],
  ['#/workflows/runs/x', [undefined, undefined]],
  [editHref('a b'), [undefined, undefined, 'a b']],
  [editHref(), [undefined, undefined, '']],
])('%s', (hash, [named, numbered, edited]) => {
  const { place, workflow, run, edits } = parseRoute(hash);
  expect([place, workflow, run, edits]).toEqual(['workflows', named, numbered, edited]);
});

test('addresses are read back as what they were made from', () => {
  expect(seen(serverHref('a_b-1', 'tools'))).toEqual(['servers', 'a_b-1', 'tools', '']);
  expect(seen(href('settings', { section: 'secrets' }))).toEqual(['settings', undefined, undefined, 'section=secrets']);
});
