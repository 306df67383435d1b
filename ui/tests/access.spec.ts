import { AxeBuilder } from '@axe-core/playwright';
import { expect, fixtureServer, go, test } from './engine';

test.use({
  fleet: [
    fixtureServer('steady'),
    fixtureServer('pair', ['--http', '{port}'], 'port = PORT_pair\nreplicas = 2\ncategory = "web"'),
    fixtureServer('broken', ['--crash-at-once'], 'restart = { max_restarts = 0 }'),
    fixtureServer('hidden', [], 'disabled = "not needed"'),
  ].join('\n'),
});

const PLACES: [name: string, hash: string, sign: string][] = [
  ['overview', '#/overview', 'need'],
  ['servers', '#/servers', 'steady'],
  ['server', '#/servers/pair', 'pair'],
  ['tools', '#/servers/steady/tools', 'echo'],
  ['server-logs', '#/servers/broken/logs', 'crashing'],
  ['events', '#/servers/broken/events', 'gave up'],
  ['config', '#/servers/pair/config', 'pair'],
  ['logs', '#/logs', 'crashing'],
  ['agents', '#/agents', 'steady'],
  ['fleets', '#/fleets', 'fleet.toml'],
  ['settings', '#/settings', 'fleet.toml'],
];

for (const theme of ['dark', 'light'] as const) {
  for (const size of [
    { width: 1440, height: 900 },
    { width: 1024, height: 700 },
  ]) {
    test(`every view is without axe violations, ${theme}, ${size.width} px`, async ({ panel }, info) => {
      test.slow();
      await panel.setViewportSize(size);
      await panel.emulateMedia({ colorScheme: theme });
      for (const [name, hash, sign] of PLACES) {
        await go(panel, hash);
        await expect(panel.getByRole('main')).toContainText(sign);
        await panel.screenshot({ path: info.outputPath(`${name}-${theme}-${size.width}.png`) });
        const { violations } = await new AxeBuilder({ page: panel }).analyze();
        const found = violations.map(
          ({ id, nodes }) => `${id}: ${nodes.map((node) => node.target.join(' ')).join(', ')}`,
        );
        expect(found, name).toEqual([]);
      }
    });
  }
}

test('everything is reached with keys: places, list, preview, back', async ({ panel }) => {
  await panel.keyboard.press('g');
  await panel.keyboard.press('s');
  await expect(panel.getByRole('heading', { level: 1 })).toHaveText('Servers');
  await panel.locator('[data-server]').first().focus();
  await panel.keyboard.press('End');
  await expect(panel.locator('[data-server="hidden"]')).toBeFocused();
  await panel.keyboard.press('Home');
  await expect(panel.locator('[data-server="broken"]')).toBeFocused();
  await panel.keyboard.press('x');
  await panel.keyboard.press('Shift+ArrowDown');
  await expect(panel.getByRole('toolbar')).toContainText('2 selected');
  await panel.keyboard.press('Escape');
  await expect(panel.getByRole('toolbar')).toBeHidden();
  await panel.keyboard.press('Enter');
  await expect(panel).toHaveURL(/#\/servers\//);
  await panel.keyboard.press('?');
  await expect(panel.getByRole('dialog', { name: 'Shortcuts' })).toBeVisible();
  await panel.keyboard.press('Escape');
  await expect(panel.getByRole('dialog', { name: 'Shortcuts' })).toBeHidden();
});
