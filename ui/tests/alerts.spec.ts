import { expect, go, test } from './engine';
import { isAccessible } from './views';

test.use({
  fleet:
    '[gateway]\nport = 0\n[alerts]\ninterval = "1s"\n' +
    '[[alerts.rules]]\nname = "AnyServer"\nexpr = "max by (server) (flotilla_failed) >= 0"\nsummary = "{{ server }} is watched"\n' +
    '[[alerts.rules]]\nname = "NoSuchSeries"\nexpr = "no_such_series > 1"\n' +
    '[[alerts.channels]]\nname = "cat"\nkind = "exec"\ncommand = ["/bin/cat"]\n' +
    '[servers.idle]\ncommand = "sleep"\nargs = ["600"]\n',
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
  await page.getByRole('button', { name: 'Test' }).click();
  await expect(page.getByText('cat took the test message')).toBeVisible();
});

test('a rule is written, changed and deleted, and one that comes with Flotilla is disabled', async ({
  panel: page,
}) => {
  await go(page, '#/alerts?tab=rules');
  await page.getByRole('button', { name: 'New rule' }).click();
  const form = page.getByRole('dialog', { name: 'New rule' });
  await form.getByLabel('Name').fill('Watched');
  await form.getByLabel('Condition').fill('max by (server) (flotilla_failed) >');
  await expect(form.getByText('At character 36')).toBeVisible();
  await form.getByLabel('Condition').fill('max by (server) (flotilla_failed) >= 0');
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
