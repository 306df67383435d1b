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
