import type { GatewayView } from '../src/lib/contract';
import { Client } from './client';
import { expect, FIXTURE, test } from './engine';
import { isAccessible } from './views';

test.use({ fleet: '' });

for (const theme of ['dark', 'light'] as const)
  test(`the first run is without axe violations, ${theme}`, async ({ panel }, info) => {
    await panel.emulateMedia({ colorScheme: theme });
    await expect(panel.getByRole('heading', { name: 'No servers yet. Choose a way in.' })).toBeVisible();
    await panel.screenshot({ path: info.outputPath(`first-run-${theme}.png`) });
    await isAccessible(panel, 'first run');
    await panel.getByLabel('Command, address or JSON entry').fill(`${FIXTURE} --tools 2`);
    await panel.getByRole('button', { name: 'Check it' }).click();
    await expect(panel.getByRole('dialog', { name: 'Add a server' })).toContainText('Runs exactly this');
    await panel.screenshot({ path: info.outputPath(`first-add-${theme}.png`) });
    await isAccessible(panel, 'a server to add');
  });

test("from nothing to a client's first call: a command is seen before it runs", async ({ panel, engine }, info) => {
  await expect(panel.getByRole('heading', { name: 'No servers yet. Choose a way in.' })).toBeVisible();
  await panel.getByLabel('Command, address or JSON entry').fill(`${FIXTURE} --tools 2`);
  await panel.getByRole('button', { name: 'Check it' }).click();

  const dialog = panel.getByRole('dialog', { name: 'Add a server' });
  await expect(dialog).toContainText('Runs exactly this');
  await expect(dialog).toContainText(FIXTURE);
  expect(await engine.call<{ servers: unknown[] }>('fleet.snapshot')).toMatchObject({ servers: [] });
  await dialog.getByLabel('Name').fill('first');
  await dialog.getByRole('button', { name: 'Declare and start' }).click();

  const setup = panel.getByRole('region', { name: 'First run' });
  await expect(setup).toContainText(/first is proven: it listed \d+ tools/);
  const { address = '' } = await engine.call<GatewayView>('gateway.view');
  await expect(setup.getByRole('region', { name: 'Connect a client' })).toContainText(address);
  await expect(setup.getByRole('button', { name: 'Done' })).toBeHidden();
  await expect(setup.getByRole('button', { name: 'Skip' })).toBeVisible();
  for (const colorScheme of ['light', 'dark'] as const) {
    await panel.emulateMedia({ colorScheme });
    await panel.screenshot({ path: info.outputPath(`first-connect-${colorScheme}.png`) });
    await isAccessible(panel, `a proven server, ${colorScheme}`);
  }

  // To list the tools is no call yet.
  const client = new Client(address, 'editor');
  await client.greet();
  await expect.poll(async () => JSON.stringify(await client.ask('tools/list'))).toContain('first__echo');
  const clients = panel.getByRole('region', { name: 'Clients' });
  await expect(clients).toContainText('editor 1');
  await expect(setup.getByRole('button', { name: 'Done' })).toBeHidden();
  expect(await client.echo('first', 'hello')).toHaveProperty('result');
  await expect(setup).toContainText('editor made its first call');
  await expect(clients).toContainText('1 call');
  await expect(clients).toContainText('legacy, MCP 2025-11-25');
  await isAccessible(panel, 'a first call');
  await setup.getByRole('button', { name: 'Done' }).click();
  await expect(setup).toBeHidden();
  await expect(panel.getByRole('region', { name: 'Attention' })).toContainText('Nothing needs attention');
});

test('a pasted JSON entry is reviewed, its secret named, and not started unless asked', async ({ panel, engine }) => {
  await panel.keyboard.press('Control+2');
  await panel.getByRole('button', { name: 'Add server' }).click();
  const entry = {
    mcpServers: { pasted: { command: FIXTURE, args: ['--modern'], env: { API_TOKEN: 'sk-1234567890abcdef' } } },
  };
  await panel.getByLabel('Command, address, or a JSON entry from any README').fill(JSON.stringify(entry));
  await panel.getByRole('button', { name: 'Review' }).click();

  const dialog = panel.getByRole('dialog', { name: /^Import/ });
  await expect(dialog).toContainText(`${FIXTURE} --modern`);
  await expect(dialog).not.toContainText('sk-1234567890abcdef');
  await dialog.getByLabel('Start them and wait for their tools').uncheck();
  await dialog.getByRole('button', { name: 'Import 1' }).click();
  await expect(panel.locator('[data-server="pasted"]')).toContainText('Stopped');
  const text = await engine.call<{ text: string }>('config.get');
  expect(text.text).not.toContain('sk-1234567890abcdef');
});
