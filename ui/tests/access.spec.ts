import type { Page } from '@playwright/test';
import { expect, fixtureServer, go, row, test } from './engine';
import { isAccessible } from './views';

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
  ['events', '#/servers/broken/events', 'restart limit is 0'],
  ['config', '#/servers/pair/config', 'pair'],
  ['server-traffic', '#/servers/pair/traffic', 'Circuit breakers'],
  ['traffic', '#/traffic', 'Connect a client'],
  ['workflows', '#/workflows', 'cicd-pipeline'],
  ['workflow', '#/workflows/definitions/cicd-pipeline', 'What it touches'],
  ['workflow-runs', '#/workflows?tab=runs', 'No runs yet'],
  ['workflow-waits', '#/workflows?tab=waiting', 'Nothing waits for you'],
  ['no-workflow', '#/workflows/definitions/none', 'No such workflow'],
  ['no-run', '#/workflows/runs/9', 'No such run'],
  ['alerts', '#/alerts', 'Channels'],
  ['alert-rules', '#/alerts?tab=rules', 'ServerFailed'],
  ['schedules', '#/workflows?tab=schedules', 'chedule'],
  ['metrics', '#/metrics', 'Pick a metric'],
  [
    'metric',
    `#/metrics?${new URLSearchParams({ q: JSON.stringify({ metric: 'flotilla_threads', labels: [], function: 'mean' }) })}`,
    'Pin to the board',
  ],
  ['board', '#/metrics?tab=board', 'Nothing is pinned'],
  ['scraped', '#/metrics?tab=targets', 'No page is scraped'],
  ['logs', '#/logs', 'crashing'],
  ['agents', '#/agents', 'steady'],
  ['fleets', '#/fleets', 'fleet.toml'],
  ['settings', '#/settings', 'fleet.toml'],
];

/** What stands over a place: how it is opened from the list of servers, and what it holds then. */
const OVER: [
  name: string,
  open: (panel: Page) => Promise<void>,
  role: 'dialog' | 'alertdialog' | 'menu',
  sign: string,
][] = [
  ['palette', (panel) => panel.keyboard.press('Control+k'), 'dialog', 'Restart a server'],
  [
    'palette-would-do',
    async (panel) => {
      await panel.keyboard.press('Control+k');
      await panel.keyboard.type('stop steady');
    },
    'dialog',
    'Stops 1 instance',
  ],
  [
    'palette-tools',
    async (panel) => {
      await panel.keyboard.press('Control+k');
      await panel.keyboard.type('#echo');
    },
    'dialog',
    'steady',
  ],
  ['shortcuts', (panel) => panel.keyboard.press('?'), 'dialog', 'Everywhere'],
  ['add', (panel) => panel.getByRole('button', { name: 'Add server' }).click(), 'dialog', 'Add a server'],
  ['import', (panel) => panel.getByRole('button', { name: 'Import' }).click(), 'dialog', 'Import servers'],
  [
    'import-plan',
    async (panel) => {
      await panel.getByRole('button', { name: 'Import' }).click();
      const entry = { mcpServers: { one: { command: 'npx', args: ['-y', 'one'] }, old: { url: 'http://x/sse' } } };
      await panel.getByLabel('Another file, or its text').fill(JSON.stringify(entry));
      await panel.getByRole('button', { name: 'Review text' }).click();
    },
    'dialog',
    'npx -y one',
  ],
  ['actions', (panel) => press(panel, 'Actions on steady'), 'menu', 'Check now'],
  [
    'stop',
    async (panel) => {
      await row(panel, 'steady').focus();
      await panel.keyboard.press('s');
    },
    'alertdialog',
    'Stop steady?',
  ],
];

const press = (panel: Page, name: string) => row(panel, 'steady').getByRole('button', { name }).click();

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
        await isAccessible(panel, name);
      }
    });

    test(`palette, menus and dialogs are without axe violations, ${theme}, ${size.width} px`, async ({
      panel,
    }, info) => {
      test.slow();
      await panel.setViewportSize(size);
      await panel.emulateMedia({ colorScheme: theme });
      await go(panel, '#/servers');
      await expect(row(panel, 'steady')).toContainText('Running');
      for (const [name, open, role, sign] of OVER) {
        await open(panel);
        const over = panel.getByRole(role);
        await expect(over).toContainText(sign);
        await panel.screenshot({ path: info.outputPath(`${name}-${theme}-${size.width}.png`) });
        await isAccessible(panel, name);
        await panel.keyboard.press('Escape');
        await expect(over).toBeHidden();
      }
    });
  }
}

test('columns keep the place and the width that a user gave them, and go back', async ({ panel }) => {
  await go(panel, '#/servers');
  const heads = panel.locator('[role=columnheader][data-column]');
  const order = () => heads.evaluateAll((all) => all.map((head) => (head as HTMLElement).dataset['column']).join(' '));
  const box = async (column: string) => {
    const found = await panel.locator(`[data-column=${column}]`).boundingBox();
    if (!found) throw new Error(`${column} is not shown`);
    return found;
  };
  const drag = async (from: [number, number], to: number) => {
    await panel.mouse.move(...from);
    await panel.mouse.down();
    await panel.mouse.move(to, from[1], { steps: 5 });
    await panel.mouse.up();
  };
  await expect(row(panel, 'steady')).toContainText('Running');
  const usual = 'state name category replicas cpu ram restarts uptime tools';
  expect(await order()).toBe(usual);

  // By its head in front of another, which sorts nothing; by its edge to a width; by keys.
  const [tools, state, name] = await Promise.all(['tools', 'state', 'name'].map(box));
  if (!tools || !state || !name) throw new Error('unreachable');
  await drag([tools.x + tools.width - 14, tools.y + tools.height / 2], state.x + 20);
  await expect.poll(order).toBe('tools state name category replicas cpu ram restarts uptime');
  await expect(panel.locator('[data-column=name]')).toHaveAttribute('aria-sort', 'ascending');
  const wide = await box('name');
  await drag([wide.x + wide.width - 1, wide.y + wide.height / 2], wide.x + 250);
  await panel.getByRole('button', { name: 'Category' }).focus();
  await panel.keyboard.press('Control+Shift+ArrowLeft');
  await expect(panel.getByRole('button', { name: 'Category' })).toBeFocused();
  const kept = 'tools state category name replicas cpu ram restarts uptime';
  await expect.poll(order).toBe(kept);

  await panel.reload();
  await expect(row(panel, 'steady')).toContainText('Running');
  expect(await order()).toBe(kept);
  expect(Math.abs((await box('name')).width - 251)).toBeLessThan(4);

  await panel.getByRole('button', { name: 'Columns' }).click();
  const menu = panel.getByRole('dialog', { name: 'Columns' });
  await menu.getByRole('button', { name: 'Tools: further to the right' }).click();
  await expect.poll(order).toBe('state tools category name replicas cpu ram restarts uptime');
  await expect(menu.getByRole('button', { name: 'Tools: further to the right' })).toBeFocused();
  await isAccessible(panel, 'columns');
  await menu.getByRole('button', { name: 'As they were at first' }).click();
  await expect.poll(order).toBe(usual);
  // The button is disabled by its own press, and the focus is nowhere.
  await panel.keyboard.press('Escape');
  await expect(menu).toBeHidden();
});

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
