import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, fixtureServer, go, test } from './engine';
import { isAccessible } from './views';

test.use({
  fleet:
    '[gateway]\nport = 0\n[alerts]\ninterval = "1s"\n' +
    '[[alerts.rules]]\nname = "AnyServer"\nexpr = "max by (server) (flotilla_failed{server=\\"idle\\"}) >= 0"\nsummary = "{{ server }} is watched"\n' +
    '[[alerts.rules]]\nname = "NoSuchSeries"\nexpr = "no_such_series > 1"\n' +
    '[[alerts.channels]]\nname = "cat"\nkind = "exec"\ncommand = ["/bin/cat"]\n' +
    '[servers.idle]\ncommand = "sleep"\nargs = ["600"]\n' +
    fixtureServer('steady'),
});

test('an alert fires, is silenced from its row, and the silence ends', async ({ panel: page }) => {
  await go(page, '#/alerts');
  const row = page.locator('tr[data-alert="AnyServer"]');
  await expect(row).toContainText('idle is watched', { timeout: 20_000 });
  await expect(page.getByRole('navigation').getByText('alert fires')).toBeAttached();
  await isAccessible(page, 'alerts');

  await row.getByRole('button', { name: 'Silence' }).click();
  await page.getByRole('menuitem', { name: 'For an hour' }).click();
  await expect(row).toContainText('silence 1');

  await page.getByRole('tab', { name: 'Silences' }).click();
  await expect(page.getByText('alertname=AnyServer')).toBeVisible();
  await page.getByRole('button', { name: 'End', exact: true }).click();
  await expect(page.getByRole('button', { name: 'End', exact: true })).toBeHidden();

  await page.getByRole('tab', { name: 'Rules' }).click();
  await expect(page.locator('tr[data-rule="NoSuchSeries"]')).toContainText('no such series');
  await expect(page.locator('tr[data-rule="AnyServer"]')).toContainText('firing');
  await isAccessible(page, 'alerts');

  await page.getByRole('tab', { name: 'History' }).click();
  await expect(page.getByText('idle is watched').first()).toBeVisible();

  await page.getByRole('tab', { name: 'Channels' }).click();
  await page.locator('tr[data-channel="cat"]').getByRole('button', { name: 'Test' }).click();
  await expect(page.getByText('cat took the test message')).toBeVisible();
});

/** A receiver of webhooks: it resolves with the bodies that it gets, in their order. */
async function receiver(): Promise<{ url: string; next: () => Promise<Told>; close: () => void }> {
  const told: Told[] = [];
  let wake = () => {};
  const server = createServer((request, response) => {
    let body = '';
    request.on('data', (part: Buffer) => (body += part.toString()));
    request.on('end', () => {
      told.push({ ...(JSON.parse(body) as Told), signature: String(request.headers['x-flotilla-signature']) });
      response.writeHead(204).end();
      wake();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const next = async (): Promise<Told> => {
    while (told.length === 0) await new Promise<void>((resolve) => (wake = resolve));
    return told.shift() as Told;
  };
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, next, close: () => server.close() };
}

interface Told {
  test: boolean;
  signature: string;
  alerts: { labels: Record<string, string>; summary: string }[];
}

test('a channel is added, tested, told, changed and deleted', async ({ panel: page, engine }) => {
  const hook = await receiver();
  await engine.call('secrets.set', { name: 'hook', value: 'not to be seen' });
  await go(page, '#/alerts?tab=channels');
  await page.getByRole('button', { name: 'New channel' }).click();
  const form = page.getByRole('dialog', { name: 'New channel' });
  await form.getByRole('button', { name: 'Write it to fleet.toml' }).click();
  await expect(form.getByLabel('Name', { exact: true })).toHaveAttribute('aria-invalid', 'true');
  await form.getByLabel('Name', { exact: true }).fill('on-call');
  // What the window does not know to be wrong the engine refuses, at its field.
  await form.getByLabel('Address').fill('ftp://x');
  await expect(form.getByText('found "ftp://x"; accepted is an address that begins with http://')).toBeVisible();
  await form.getByLabel('Address').fill(hook.url);
  await form.getByRole('button', { name: 'Signed with' }).click();
  await page.getByRole('menuitemradio', { name: 'a stored secret' }).click();
  await form.getByLabel('Name of the secret').fill('hook');
  await form.getByRole('button', { name: 'Told from' }).click();
  await page.getByRole('menuitemradio', { name: 'critical' }).click();
  await expect(form.getByText(/^critical alerts and their ends, of \d+ rules: ServerFailed/)).toBeVisible();
  await expect(form.getByRole('region', { name: /Change of/ })).toContainText('+secret = "${secret:hook}"');
  await isAccessible(page, 'a new channel');
  await form.getByRole('button', { name: 'Write it to fleet.toml' }).click();

  const row = page.locator('tr[data-channel="on-call"]');
  await row.getByRole('button', { name: 'Test' }).click();
  await expect(page.getByText('on-call took the test message')).toBeVisible();
  expect(await hook.next()).toMatchObject({ test: true, signature: expect.stringMatching(/^sha256=[0-9a-f]{64}$/) });

  // A rule that fires goes there, and nothing milder.
  await page.getByRole('tab', { name: 'Rules' }).click();
  await page.getByRole('button', { name: 'New rule' }).click();
  const rule = page.getByRole('dialog', { name: 'New rule' });
  await rule.getByLabel('Name').fill('Told');
  await rule.getByLabel('Condition').fill('max by (server) (flotilla_failed{server="idle"}) >= 0');
  await rule.getByLabel('Summary').fill('{{ server }} is told of');
  await rule.getByRole('button', { name: 'Severity' }).click();
  await page.getByRole('menuitemradio', { name: 'critical' }).click();
  await expect(rule.getByRole('region', { name: /Change of/ })).toContainText('+severity = "critical"');
  await rule.getByRole('button', { name: 'Write it to fleet.toml' }).click();
  const message = await hook.next();
  expect(message.alerts.map(({ labels }) => labels['alertname'])).toEqual(['Told']);
  expect(message.alerts[0]?.summary).toBe('idle is told of');

  await page.getByRole('tab', { name: 'Channels' }).click();
  await expect(row.locator('td.num').first()).toHaveText('1', { timeout: 20_000 });
  await row.getByRole('button', { name: 'Change' }).click();
  await page.getByRole('menuitem', { name: 'Edit' }).click();
  const edit = page.getByRole('dialog', { name: 'Channel on-call' });
  await expect(edit.getByText('The file says so already.')).toBeVisible();
  await edit.getByLabel('and of ends').uncheck({ force: true });
  await expect(edit.getByRole('region', { name: /Change of/ })).toContainText('+resolved = false');
  await edit.getByRole('button', { name: 'Write it to fleet.toml' }).click();
  await expect(row).not.toContainText('and ends');

  await row.getByRole('button', { name: 'Change' }).click();
  await page.getByRole('menuitem', { name: 'Delete' }).click();
  const gone = page.getByRole('dialog', { name: 'Delete on-call' });
  await expect(gone.getByText('Other channels are told of the same.')).toBeVisible();
  await expect(gone.getByRole('region', { name: /Change of/ })).toContainText('-name = "on-call"');
  await gone.getByRole('button', { name: 'Delete it' }).click();
  await expect(row).toBeHidden();
  expect(await page.content()).not.toContain('not to be seen');
  hook.close();
});

test('a rule is written, changed and deleted, and one that comes with Flotilla is disabled', async ({
  panel: page,
}) => {
  await go(page, '#/alerts?tab=rules');
  await page.getByRole('button', { name: 'New rule' }).click();
  const form = page.getByRole('dialog', { name: 'New rule' });
  await form.getByLabel('Name').fill('Watched');
  await form.getByLabel('Condition').fill('max by (server) (flotilla_failed{server="idle"}) >');
  await expect(form.getByText('At character 51')).toBeVisible();
  await form.getByLabel('Condition').fill('max by (server) (flotilla_failed{server="idle"}) >= 0');
  await expect(form.getByText('Holds now for 1 of 1 series')).toBeVisible({ timeout: 20_000 });
  await form.getByLabel('Holds for').fill('1s');
  await expect(form.getByRole('region', { name: /Change of/ })).toContainText('+for = "1s"');
  await isAccessible(page, 'a new rule');
  await form.getByRole('button', { name: 'Write it to fleet.toml' }).click();
  const row = page.locator('tr[data-rule="Watched"]');
  await expect(row).toContainText('of fleet.toml');

  await row.getByRole('button', { name: 'Change' }).click();
  await page.getByRole('menuitem', { name: 'Edit' }).click();
  const edit = page.getByRole('dialog', { name: 'Rule Watched' });
  await edit.getByLabel('Summary').fill('{{ server }} is seen');
  await edit.getByRole('button', { name: 'Write it to fleet.toml' }).click();
  await page.getByRole('tab', { name: 'Now' }).click();
  const alert = page.locator('tr[data-alert="Watched"]');
  await expect(alert).toContainText('idle is seen', { timeout: 20_000 });
  await expect(alert.getByRole('link', { name: 'idle' })).toHaveAttribute('href', /from=\d+&to=\d+/);
  await expect(alert.locator('td.num a')).toHaveAttribute('href', /flotilla_failed.*from=\d+&to=\d+/);

  await page.getByRole('tab', { name: 'Rules' }).click();
  await row.getByRole('button', { name: 'Change' }).click();
  await page.getByRole('menuitem', { name: 'Delete' }).click();
  await page.getByRole('button', { name: 'Delete it' }).click();
  await expect(row).toBeHidden();

  const standard = page.locator('tr[data-rule="RateLimited"]');
  await standard.getByRole('button', { name: 'Change' }).click();
  await page.getByRole('menuitem', { name: 'Disable' }).click();
  await page.getByRole('button', { name: 'Disable it' }).click();
  await expect(standard).toContainText('off');
});

test('charts mark when a breaker opened and an alert fired, and say which mark is which', async ({
  panel: page,
  engine,
}) => {
  await expect
    .poll(async () => {
      const { servers } = await engine.call<{ servers: { spec: { id: string }; status: string }[] }>('fleet.snapshot');
      return servers.find(({ spec }) => spec.id === 'steady')?.status;
    })
    .toBe('running');
  await engine.call('gateway.breaker', { server: 'steady', act: 'trip' });
  const rule = { name: 'Tripped', expr: 'max by (server) (flotilla_breaker_open{server="steady"}) > 0' };
  const rest = { for_ms: 0, keep_firing_for_ms: 0, severity: 'info', summary: 'calls of {{ server }} are held back' };
  await engine.call('alerts.rule_write', { edit: { act: 'set', rule: { ...rule, ...rest } } });
  await expect
    .poll(async () => {
      const alerts = await engine.call<{ state: string; labels: Record<string, string> }[]>('alerts.list');
      return alerts.find(({ labels }) => labels['alertname'] === 'Tripped')?.state;
    })
    .toBe('firing');

  const main = page.getByRole('main');
  const q = {
    metric: 'flotilla_rss_bytes',
    labels: [{ label: 'server', is: true, values: ['steady'] }],
    function: 'mean',
  };
  for (const place of ['#/servers/steady', `#/metrics?${new URLSearchParams({ q: JSON.stringify(q) })}`]) {
    await go(page, place);
    // The legend has what is in view, and no other.
    for (const word of ['breaker', 'alert']) await expect(main.getByText(word, { exact: true })).toBeVisible();
    await expect(main.getByText('workflow', { exact: true })).toHaveCount(0);
    await isAccessible(page, `marks of ${place}`);
    await main.getByRole('button', { name: 'As table' }).click();
    await expect(main.getByRole('cell', { name: /breaker open: / })).toBeVisible();
    await expect(main.getByRole('cell', { name: /Tripped: calls of steady are held back/ })).toBeVisible();
  }
});
