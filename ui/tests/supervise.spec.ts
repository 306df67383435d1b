import { process as processOf } from './views';
import { expect, fixtureServer, go, row, test } from './engine';

test.use({
  fleet: [
    fixtureServer('steady', [], 'restart = { delays = ["3s"] }'),
    fixtureServer('web', ['--http', '{port}', '--metrics'], 'port = PORT_web\nmetrics_path = "/metrics"'),
    fixtureServer('broken', ['--crash-at-once', '3'], 'restart = { max_restarts = 1, delays = ["100ms"] }'),
    fixtureServer('talker', ['--stderr', 'a line that tells it apart']),
    fixtureServer('later', [], 'autostart = false'),
  ].join('\n'),
});

test.describe.configure({ mode: 'serial' });

test('a server that is killed from outside shows its countdown and comes back by itself', async ({ panel, engine }) => {
  await go(panel, '#/servers');
  await expect(row(panel, 'steady')).toContainText('Running');
  const before = await processOf(engine, 'steady');
  process.kill(before, 'SIGKILL');
  await expect(row(panel, 'steady')).toContainText(/Retry in \d s/);
  await expect(row(panel, 'steady')).toContainText('Running');
  expect(await processOf(engine, 'steady')).not.toBe(before);
  await expect(row(panel, 'steady')).toContainText('1/3');
});

test('a press on restart tells the end that was seen', async ({ panel, engine }) => {
  await go(panel, '#/servers');
  const before = await processOf(engine, 'steady');
  await row(panel, 'steady').getByRole('button', { name: 'Actions on steady' }).click();
  await panel.getByRole('menuitem', { name: 'Restart' }).click();
  // What works now would stop for a moment, so it may ask.
  const ask = panel.getByRole('alertdialog');
  const end = panel.getByRole('region', { name: 'Notices' });
  await expect(ask.or(end.getByText('steady'))).toBeVisible();
  if (await ask.isVisible()) await ask.getByRole('button', { name: /^Restart/ }).click();
  await expect(end).toContainText(/Running, .*tools/);
  expect(await processOf(engine, 'steady')).not.toBe(before);
});

test('scaled to three, three run, each on its port', async ({ panel, engine }) => {
  await go(panel, '#/servers/web');
  const more = panel.getByRole('button', { name: 'One more' });
  await more.click();
  await expect(panel.getByRole('group', { name: 'replicas' })).toContainText('2');
  await more.click();
  await panel.getByRole('button', { name: 'Scale to 3' }).click();
  await expect(panel.getByRole('region', { name: 'Notices' })).toContainText('web');
  const ports = async () => {
    const { instances } = await engine.call<{ instances: { status: string; port: number }[] }>('server.get', {
      server: 'web',
    });
    const [first] = instances;
    return instances.filter(({ status }) => status === 'running').map(({ port }) => port - (first?.port ?? 0));
  };
  await expect.poll(ports).toEqual([0, 100, 200]);
  // One of them can be chosen with keys.
  await panel.keyboard.press('Shift+R');
  await panel.keyboard.press('Shift+R');
  await expect(panel.getByRole('button', { name: 'Restart replica 2' })).toBeFocused();
  await go(panel, '#/servers');
  await expect(row(panel, 'web')).toContainText('3/3');
});

test('its Prometheus page can be read, and narrowed', async ({ panel, engine }) => {
  await processOf(engine, 'web');
  await go(panel, '#/servers/web');
  await panel.getByRole('button', { name: 'More actions' }).click();
  await panel.getByRole('menuitem', { name: 'Prometheus page' }).click();
  const page = panel.getByRole('dialog', { name: '/metrics of web' });
  const samples = page.getByRole('region', { name: 'Samples' }).getByRole('row');
  await expect(samples.filter({ hasText: 'fixture_requests_total' })).toContainText(/counter\s*\d+/);
  await expect(samples.filter({ hasText: 'fixture_healthy' })).toContainText('gauge');
  await page.getByRole('searchbox').fill('healthy');
  await expect(samples.filter({ hasText: 'fixture_requests_total' })).toHaveCount(0);
  await expect(samples.filter({ hasText: 'fixture_healthy' })).toBeVisible();
  await panel.keyboard.press('Escape');
  await expect(page).toBeHidden();
});

test('its log line can be read', async ({ panel }) => {
  await go(panel, '#/servers/talker/logs');
  await expect(panel.getByText('a line that tells it apart').first()).toBeVisible();
});

test('what failed stands first, with cause and cure', async ({ panel }) => {
  await go(panel, '#/overview');
  const attention = panel.getByRole('region', { name: 'Attention' });
  await expect(attention).toContainText('broken');
  await expect(attention).toContainText('xited with code 3');
  await expect(attention.getByRole('button', { name: /Restart|Retry now/ }).first()).toBeVisible();
});

test('a stop says what it takes with it, and keeps running when told so', async ({ panel, engine }) => {
  await go(panel, '#/servers');
  const before = await processOf(engine, 'talker');
  await row(panel, 'talker').focus();
  await panel.keyboard.press('s');
  const ask = panel.getByRole('alertdialog', { name: 'Stop talker?' });
  await expect(ask.getByRole('button', { name: 'Stop 1 instance' })).toBeVisible();
  await ask.getByRole('button', { name: 'Keep running' }).click();
  expect(await processOf(engine, 'talker')).toBe(before);
  await panel.keyboard.press('s');
  await ask.getByRole('button', { name: 'Stop 1 instance' }).click();
  await expect(row(panel, 'talker')).toContainText('Stopped');
  expect(() => process.kill(before, 0)).toThrow();
});

test('the palette starts a server with keys alone, and says first what it would do', async ({ panel }) => {
  await go(panel, '#/servers');
  await panel.keyboard.press('Control+k');
  await panel.keyboard.type('start later');
  const palette = panel.getByRole('dialog', { name: 'Command palette' });
  await expect(palette.getByRole('option', { selected: true })).toContainText('Start later');
  await expect(palette).toContainText(/Would do.*1 instance/s);
  await panel.keyboard.press('Enter');
  await expect(row(panel, 'later')).toContainText('Running');
});

test('without an engine the last values stay and say how old they are; with it everything is live again', async ({
  panel,
  engine,
}) => {
  await go(panel, '#/servers');
  await expect(row(panel, 'steady')).toContainText('Running');
  await engine.stop('SIGKILL');
  await expect(panel.getByRole('contentinfo')).toContainText('Engine does not answer');
  await expect(panel.getByRole('main')).toContainText('These are the last values');
  await expect(row(panel, 'steady')).toBeVisible();
  await engine.start();
  // Another boot knows no old sessions: a new address lets the browser in.
  await panel.goto(engine.address());
  await expect(panel.getByRole('contentinfo')).toContainText('Engine running');
  await go(panel, '#/servers');
  await expect(row(panel, 'web')).toContainText('3/3');
});
