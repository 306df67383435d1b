import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { GatewayView, Plan } from '../src/lib/contract';
import { expect, fixtureServer, go, test } from './engine';
import { Client } from './client';
import { isAccessible, process } from './views';

const QUIET = fixtureServer('quiet', [], 'on_demand = true\nidle_stop = "4s"');

test.use({
  fleet: ['[gateway]\nport = 0', fixtureServer('steady'), fixtureServer('other'), QUIET].join('\n'),
});

test('a client appears, and a tripped breaker refuses its calls until it is reset', async ({ panel, engine }) => {
  test.slow();
  await process(engine, 'steady');
  const { address = '' } = await engine.call<GatewayView>('gateway.view');
  await expect(panel.getByRole('contentinfo')).toContainText(address);
  await go(panel, '#/traffic');
  const main = panel.getByRole('main');
  await expect(main).toContainText('No client yet');
  await expect(main.getByRole('tabpanel')).toContainText(address);
  await isAccessible(panel, 'no client yet');

  const client = new Client(address, 'tests-v1');
  await client.greet();
  await expect
    .poll(async () => {
      const { result } = await client.ask('tools/list');
      return (result as { tools: { name: string }[] }).tools.some((tool) => tool.name === 'steady__echo');
    })
    .toBe(true);
  await expect(main.getByRole('list', { name: 'Clients' })).toContainText('tests-v1');
  await expect(main).toContainText(/tests-v1 (listed|has listed) the tools/);

  expect(await client.echo('steady', 'first')).toHaveProperty('result');
  const calls = main.getByRole('region', { name: 'Table of calls' });
  const first = calls.getByRole('row').filter({ hasText: 'echo' }).filter({ hasText: 'ok' }).first();
  await expect(first).toContainText('tests-v1');
  await first.getByRole('button', { name: /Details of call/ }).click();
  await expect(calls.getByText('Correlation')).toBeVisible();
  await expect(calls.getByRole('link', { name: 'Open in Tools' })).toHaveAttribute('href', /steady\/tools\?tool=echo/);
  await first.getByRole('button', { name: /Details of call/ }).click();

  await main.getByRole('button', { name: 'Trip steady', exact: true }).click();
  const question = panel.getByRole('alertdialog');
  await expect(question).toContainText('tests-v1 (1 call)');
  await expect(question).toContainText('No call is in flight');
  await question.getByRole('button', { name: 'Trip 1 breaker' }).click();
  const breaker = main.locator('tr[data-breaker="steady"]');
  await expect(breaker).toContainText('when it is reset');
  await expect(panel.getByRole('navigation', { name: 'Main' })).toContainText('breaker open');

  expect(await client.echo('steady', 'second')).toHaveProperty('error');
  await expect(main.getByRole('list', { name: 'Why calls were rejected' })).toContainText(/steady.*tests-v1/);
  await main.getByRole('switch', { name: 'Only failures' }).click();
  await expect(calls.getByRole('row').filter({ hasText: 'refused' })).toHaveCount(1);
  await expect(calls.getByRole('row').filter({ hasText: 'ok' })).toHaveCount(0);
  await calls.getByRole('button', { name: /Details of call/ }).click();
  await expect(calls.getByText('Arguments and results are not kept')).toBeVisible();
  await main.getByRole('button', { name: 'Older calls, from disk' }).click();
  await expect(main.getByText('No older call is kept on disk')).toBeVisible();
  await calls.getByRole('button', { name: /Details of call/ }).click();
  for (const colorScheme of ['light', 'dark'] as const) {
    await panel.emulateMedia({ colorScheme });
    await isAccessible(panel, `traffic, ${colorScheme}`);
  }

  await main.getByRole('button', { name: 'Reset steady', exact: true }).click();
  await expect(breaker).toContainText('closed');
  expect(await client.echo('steady', 'third')).toHaveProperty('result');
  await expect(panel.getByRole('navigation', { name: 'Main' })).not.toContainText('breaker open');
});

test('an injected fault is marked as long as it lasts', async ({ panel, engine }) => {
  await process(engine, 'other');
  await go(panel, '#/traffic');
  await panel.getByRole('button', { name: 'Inject a fault' }).click();
  const dialog = panel.getByRole('dialog');
  await isAccessible(panel, 'fault');
  await dialog.getByLabel('Calls that fail, %').fill('100');
  await dialog.getByLabel('Tool').fill('echo');
  await expect(dialog).toContainText('echo of other: +500 ms, 100 % fail');
  await dialog.getByRole('button', { name: 'Inject fault' }).click();
  const banner = panel.getByRole('main').getByText('Fault injected on purpose');
  await expect(banner).toBeVisible();
  await isAccessible(panel, 'fault is on');
  await panel.getByRole('button', { name: 'End the fault on other, echo now' }).click();
  await expect(banner).toBeHidden();
});

test("a server's page has its part of the traffic", async ({ panel, engine }) => {
  await process(engine, 'steady');
  await go(panel, '#/servers/steady/traffic');
  await expect(panel.getByRole('region', { name: 'Traffic of steady' })).toContainText('steady#1');
  await isAccessible(panel, "server's traffic");

  // Its trends follow the span that the page shows.
  const { address = '' } = await engine.call<GatewayView>('gateway.view');
  const client = new Client(address, 'trends');
  await client.greet();
  await expect.poll(async () => Object.keys(await client.echo('steady', 'once'))).toContain('result');
  await expect(panel.getByRole('img', { name: /^Calls in flight, \S+ to \S+, 0 now$/ })).toBeVisible();
  const to = Date.now();
  await go(panel, `#/servers/steady/traffic?from=${to - 60_000}&to=${to}`);
  await expect(panel.getByRole('img', { name: /^Calls in flight, \S+ to \S+, 0 at the end$/ })).toBeVisible();
});

test('the entry is written into the file of a client as it was shown, and undone byte by byte', async ({
  panel,
  engine,
}, info) => {
  const { address = '' } = await engine.call<GatewayView>('gateway.view');
  const file = (name: string, text: string) => {
    const path = join(engine.userHome, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text, { mode: 0o600 });
    return path;
  };
  const before =
    '{\r\n\t// mine\r\n\t"mcpServers": { "x": { "command": "x", "env": { "API_TOKEN": "sk-1234567890abcdef" } } },\r\n}';
  await go(panel, '#/traffic');
  const open = () => panel.getByRole('main').getByRole('button', { name: 'Write it for me' }).click();
  const dialog = panel.getByRole('dialog', { name: 'Write it for me' });

  // Nobody is there.
  await open();
  await expect(dialog).toContainText('No client was found on this machine');
  await isAccessible(panel, 'no client found');
  await dialog.getByRole('button', { name: 'Cancel' }).click();

  const cursor = file('.cursor/mcp.json', before);
  file('.codeium/windsurf/mcp_config.json', '{ "mcpServers": ');
  await open();
  await expect(dialog.getByRole('radio', { name: /^Cursor/ })).toBeChecked();
  const change = dialog.getByRole('region', { name: /^Change of/ });
  await expect(change).toContainText(address);
  await expect(change).not.toContainText('sk-1234567890abcdef');
  for (const colorScheme of ['light', 'dark'] as const) {
    await panel.emulateMedia({ colorScheme });
    await panel.screenshot({ path: info.outputPath(`write-${colorScheme}.png`) });
    await isAccessible(panel, `a change to be written, ${colorScheme}`);
  }
  await dialog.getByRole('radio', { name: /^Windsurf/ }).check();
  await expect(dialog.getByRole('alert')).toContainText('Not written: failed to read');
  await expect(dialog.getByRole('button', { name: /^Write the file/ })).toBeDisabled();
  await dialog.getByRole('radio', { name: /^Cursor/ }).check();
  await expect(change).toContainText(address);

  // Somebody else is faster: what is shown is shown anew, and only that is written.
  const edited = before.replace('mine', 'theirs');
  writeFileSync(cursor, edited);
  const write = dialog.getByRole('button', { name: 'Write the file of Cursor' });
  await write.click();
  await expect(dialog.getByRole('alert')).toContainText('the file changed since it was shown');
  expect(readFileSync(cursor, 'utf8')).toBe(edited);
  await write.click();
  await expect(dialog).toContainText('Undo restores every byte');
  expect(readFileSync(cursor, 'utf8')).toContain(address);
  expect(statSync(cursor).mode & 0o777).toBe(0o600);
  await isAccessible(panel, 'written');

  // The client comes, and it is said.
  const client = new Client(address, 'cursor-like');
  await client.greet();
  await client.ask('tools/list');
  await expect(dialog).toContainText('cursor-like listed the tools');

  await dialog.getByRole('button', { name: 'Undo' }).click();
  await expect(dialog).toContainText('Undone: the file is as it was, byte by byte.');
  expect(readFileSync(cursor, 'utf8')).toBe(edited);

  // Written again, it is known as connected afterwards, and can be undone from there.
  await write.click();
  await dialog.getByRole('button', { name: 'Close' }).last().click();
  await open();
  await expect(dialog).toContainText('Cursor is connected');
  await isAccessible(panel, 'connected');
  await dialog.getByRole('button', { name: 'Undo' }).click();
  await expect(dialog).toContainText('Undone');
  expect(readFileSync(cursor, 'utf8')).toBe(edited);
});

test('a server on demand says that it sleeps, wakes for a call, and its stop says whom it hits', async ({
  panel,
  engine,
}) => {
  test.slow();
  const { address = '' } = await engine.call<GatewayView>('gateway.view');
  const echo = (client: Client, text: string) => client.ask('tools/call', { name: 'quiet__echo', arguments: { text } });
  await go(panel, '#/servers/quiet');
  const main = panel.getByRole('main');
  await expect(main.getByText(/the next call starts it/).first()).toBeVisible();
  await isAccessible(panel, 'a server that sleeps');
  await go(panel, '#/servers');
  await expect(main.getByRole('row').filter({ hasText: 'quiet' })).toContainText('Sleeping');
  const client = new Client(address, 'seldom');
  await client.greet();
  await go(panel, '#/traffic');
  await expect(main.getByRole('list', { name: 'Servers' })).toContainText('sleeping, starts on call');

  await go(panel, '#/servers/quiet');
  expect(await echo(client, 'wake up')).toHaveProperty('result');
  await expect(main.getByRole('heading', { name: 'Calls of clients' })).toBeVisible();
  await expect(main.getByRole('heading', { name: 'Answer time' })).toBeVisible();
  // Asleep again or not: who called lately would miss it.
  const asked = engine.call<Plan>('server.plan', { verb: 'stop', targets: { servers: ['quiet'] } });
  expect((await asked).hits?.[0]).toContain('seldom (1 call) called in the last 10 min');
  expect(await echo(client, 'once more')).toHaveProperty('result');
  await main.getByRole('button', { name: 'Stop', exact: true }).click();
  const question = panel.getByRole('alertdialog');
  await expect(question).toContainText('seldom (2 calls) called in the last 10 min');
  await question.getByRole('button', { name: 'Stop 1 instance' }).click();
  await expect(main.getByText(/stop requested/i).first()).toBeVisible();
});
