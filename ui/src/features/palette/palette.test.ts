import { expect, test } from 'vitest';
import { mockServers } from '$lib/transport/mockfleet';
import { find, toolsOf, type Entry, type Phase } from './entries';
import { match, pieces } from './match';

const servers = mockServers(22, 1_000_000);
const VERB: Phase = { step: 'verb' };
const titles = (text: string, phase: Phase = VERB, recent: string[] = [], local: Entry[] = []) =>
  find(phase, text, servers, { recent, local }).map(({ entry }) => entry.title);

test('every typed word must be found, at word starts before insides', () => {
  expect(match('res fa', 'Restart failing servers')?.marks).toEqual([
    [0, 3],
    [8, 10],
  ]);
  expect(match('xyz', 'Restart failing servers')).toBeUndefined();
  const start = match('se', 'docs_search')?.score ?? 0;
  const inside = match('se', 'house')?.score ?? 0;
  expect(start).toBeGreaterThan(inside);
});

test('a marked text is the same text', () => {
  const cut = pieces('Restart failing', [
    [0, 3],
    [8, 10],
  ]);
  expect(cut.map((piece) => (piece.marked ? `<${piece.text}>` : piece.text)).join('')).toBe('<Res>tart <fa>iling');
});

test('a verb and a server in one line are one action', () => {
  expect(titles('restart docs')[0]).toBe('Restart docs_search');
  expect(titles('restart fail')[0]).toBe('Restart failing servers');
});

test('nothing is offered that a server cannot do', () => {
  expect(titles('restart issue_tracker')).not.toContain('Restart issue_tracker');
  expect(titles('start everything')).not.toContain('Start everything');
  expect(titles('', { step: 'target', verb: 'start' })).toEqual([
    'Start fetch',
    'Start calendar',
    'Start mail_archive',
  ]);
});

test('prefixes narrow: @ servers, : settings, > actions', () => {
  const local: Entry[] = [
    {
      id: 'dark',
      group: 'Settings',
      icon: 'moon',
      title: 'Theme: dark',
      note: '',
      does: { kind: 'local', run: () => undefined },
    },
  ];
  expect(titles('@doc')).toEqual(['docs_search']);
  expect(titles(':dark', VERB, [], local)).toEqual(['Theme: dark']);
  expect(titles('>memory').every((title) => /^(Restart|Start|Stop|Scale) memory/.test(title))).toBe(true);
});

test('# finds tools, which open where they can be tried', () => {
  const agent = (id: string, ...names: string[]) => ({
    id,
    name: `${id} MCP Server`,
    version: '1.0.0',
    category: 'other',
    tags: [],
    enabled: true,
    deployed_at: 0,
    config: {},
    capabilities: names.map((name) => ({ name, input_schema: {}, output_schema: {} })),
  });
  const tools = toolsOf([agent('docs', 'mcp_server', 'search', 'fetch page'), agent('git', 'mcp_server', 'log')]);
  const found = (text: string) => find(VERB, text, servers, { tools }).map(({ entry }) => entry);
  expect(found('#').map(({ title, note }) => `${title} of ${note}`)).toEqual([
    'search of docs',
    'fetch page of docs',
    'log of git',
  ]);
  expect(found('#page')[0]?.does).toEqual({ kind: 'go', address: '#/servers/docs/tools?tool=fetch+page' });
  expect(found('#git').map(({ title }) => title)).toEqual(['log']);
});

test('the argument of scale is a number that is not the present one', () => {
  const phase: Phase = { step: 'argument', verb: 'scale', server: 'docs_search' };
  expect(titles('12', phase)).toEqual(['Scale docs_search to 12']);
  expect(titles('', phase)).not.toContain('Scale docs_search to 4');
  expect(titles('65', phase)).not.toContain('Scale docs_search to 65');
});

test('what was used last comes first while nothing is typed', () => {
  expect(titles('')[0]).toBe('Restart failing servers');
  expect(titles('', VERB, ['stop …'])[0]).toBe('Stop a server');
});
