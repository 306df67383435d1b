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

test('from nothing to a proven server: its command is seen before it runs', async ({ panel, engine }) => {
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
  await isAccessible(panel, 'a proven server');
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
