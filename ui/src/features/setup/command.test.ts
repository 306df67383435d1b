import { expect, test } from 'vitest';
import { nameError, nameFor, split, understand } from './command';

test.each([
  ['npx -y pkg', ['npx', '-y', 'pkg']],
  ['a "b c" \'d "e"\' f\\ g', ['a', 'b c', 'd "e"', 'f g']],
  ['a "" b', ['a', '', 'b']],
  ['a "x\\"y" \'x\\y\'', ['a', 'x"y', 'x\\y']],
  ['npx \\\n  pkg', ['npx', 'pkg']],
  ['a "open', undefined],
])('%s', (line, words) => expect(split(line)).toEqual(words));

test.each([
  ['npx -y @modelcontextprotocol/server-filesystem ~/projects', 'filesystem'],
  ['npx -y @playwright/mcp@latest --headless', 'playwright'],
  ['uvx mcp-server-git --repository .', 'git'],
  ['node /srv/tools/weather-server.js', 'weather'],
  ['docker run -i --rm mcp/fetch', 'fetch'],
])('%s is named %s', (line, name) => expect(nameFor(split(line) ?? [])).toBe(name));

test('a command, an address and a JSON entry are told apart', () => {
  expect(understand('  ')).toEqual({ kind: 'nothing' });
  expect(understand('uvx mcp-server-time')).toEqual({
    kind: 'server',
    add: { command: 'uvx', args: ['mcp-server-time'] },
    name: 'time',
  });
  expect(understand('https://mcp.example.com/mcp')).toEqual({
    kind: 'server',
    add: { url: 'https://mcp.example.com/mcp' },
    name: 'example',
  });
  expect(understand('{"mcpServers": {}}').kind).toBe('json');
  expect(understand('{"mcpServers": ').kind).toBe('wrong');
  expect(understand('https://').kind).toBe('wrong');
});

test('a name says why it is none', () => {
  const taken = (name: string) => name === 'git';
  expect(nameError('docs_search', taken)).toBeUndefined();
  for (const wrong of ['', '-a', 'a b', 'x'.repeat(65), 'git']) expect(nameError(wrong, taken)).toBeTypeOf('string');
});

test('variables before a program are its environment, by way of an import that hides what is secret', () => {
  const got = understand('NODE_ENV=x API_KEY="sk 1" node /srv/tool.js --fast');
  expect(got.kind).toBe('json');
  expect(got.kind === 'json' && JSON.parse(got.text)).toEqual({
    mcpServers: {
      tool: { command: 'node', args: ['/srv/tool.js', '--fast'], env: { NODE_ENV: 'x', API_KEY: 'sk 1' } },
    },
  });
  expect(understand('A=1 B=2')).toEqual({ kind: 'wrong', why: 'Names variables, but no program' });
});
