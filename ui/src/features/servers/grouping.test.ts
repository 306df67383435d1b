import { expect, test } from 'vitest';
import type { ServerView, Status } from '$lib/contract';
import { STATUS } from '$kit/status';
import { mockServers } from '$lib/transport/mockfleet';
import { matches, moved, order, rows, type Grouping } from './grouping';
import { needsAttention } from '$lib/fleet/words';

const [template] = mockServers(1, 1_000_000);
if (!template) throw new Error('the mock has a server');

/** `name:status` as a server. */
function server(text: string): ServerView {
  const [id = '', status = 'running', category = 'general'] = text.split(':');
  return {
    ...(template as ServerView),
    status: status as Status,
    spec: { ...(template as ServerView).spec, id, category, tags: [] },
  };
}

function check(servers: string, by: Grouping, expected: string, closed: string[] = []) {
  const drawn = rows(servers.split(' ').map(server), by, new Set(closed));
  expect(drawn.map((row) => (row.kind === 'group' ? `[${row.title} ${row.size}]` : row.server.spec.id)).join(' ')).toBe(
    expected,
  );
}

test('what needs attention stands first, what is disabled last, each in the order given', () => {
  check(
    'b:running a:failed z:disabled c:stale d:degraded e:unchecked f:stopped g:starting',
    'attention',
    '[Needs attention 2] a d [Stale 1] c [Starting 1] g [Running 2] b e [Stopped 1] f [Disabled 1] z',
  );
});

test('groups of a column are sorted by its words, and none has no heads', () => {
  check('a:running:web b:running:Data c:failed:web', 'category', '[Data 1] b [web 2] a c');
  check('a b', 'none', 'a b');
});

test('a closed group shows its head only', () => {
  check('a:failed b', 'attention', '[Needs attention 1] [Running 1] b', ['attention Needs attention']);
});

test('filters: values of one facet widen, facets and words narrow', () => {
  const one = server('docs_search:failed:text');
  const none = { text: '', states: [], categories: [] };
  expect(matches(one, none)).toBe(true);
  expect(matches(one, { ...none, states: ['running', 'failed'] })).toBe(true);
  expect(matches(one, { ...none, states: ['failed'], categories: ['web'] })).toBe(false);
  expect(matches(one, { ...none, text: 'SEARCH text' })).toBe(true);
  expect(matches(one, { ...none, text: 'search web' })).toBe(false);
});

test('an order is stable, and what moved since is counted', () => {
  const servers = ['c:failed', 'a:running', 'b:failed'].map(server);
  const byState = order(servers, { key: 'state', descending: false });
  expect(byState).toEqual(['b', 'c', 'a']);
  expect(order(servers, { key: 'name', descending: true })).toEqual(['c', 'b', 'a']);
  expect(moved(byState, ['a', 'b', 'c'])).toBe(3);
  expect(moved(byState, ['b', 'new', 'c', 'a'])).toBe(0);
});

test('every state of the contract has a word, and those that need attention are the loud ones', () => {
  const loud = (Object.keys(STATUS) as Status[]).filter(needsAttention);
  expect(loud.sort()).toEqual(['degraded', 'failed', 'restarting', 'unhealthy']);
});
