import { readFileSync } from 'node:fs';
import { expect, fixtureServer, go, test } from './engine';
import { isAccessible, process } from './views';

test.use({ fleet: [fixtureServer('steady'), fixtureServer('other')].join('\n') });

test('a metric is picked, narrowed, written out and pinned; the board is kept, moved about and read in again', async ({
  panel,
  engine,
}, info) => {
  test.slow();
  await process(engine, 'steady');
  await process(engine, 'other');
  const { main, strips } = { main: panel.getByRole('main'), strips: panel.locator('main canvas') };
  await go(panel, '#/metrics');
  await main.getByRole('searchbox', { name: 'Find a metric' }).fill('flotilla rss');
  await main.getByRole('button', { name: /^flotilla_rss_bytes/ }).click();
  await expect(main).toContainText('mean(flotilla_rss_bytes)');
  await expect(strips).toHaveCount(1);

  // One server of the two.
  await main.getByRole('button', { name: /^server 2 values/ }).click();
  await panel
    .getByRole('menuitemcheckbox', { name: 'steady' })
    .or(panel.getByRole('menuitemradio', { name: 'steady' }))
    .click();
  await expect(main).toContainText('mean(flotilla_rss_bytes{server="steady"})');
  await isAccessible(panel, 'a metric');

  // The question is the address: it outlives a reload.
  await panel.reload();
  await expect(main).toContainText('mean(flotilla_rss_bytes{server="steady"})');
  await expect(strips).toHaveCount(1);
  await main.getByRole('button', { name: 'As table' }).click();
  await expect(main.getByRole('table')).toContainText('MiB');
  await main.getByRole('button', { name: 'As chart' }).click();

  const download = panel.waitForEvent('download');
  await main.getByRole('button', { name: 'CSV' }).click();
  const csv = readFileSync(await (await download).path(), 'utf8');
  expect(csv.split('\r\n')[0]).toBe('time,"flotilla_rss_bytes"');
  expect(csv).toMatch(/Z,\d{6,}/);
  const picture = panel.waitForEvent('download');
  await main.getByRole('button', { name: 'PNG' }).click();
  expect(
    readFileSync(await (await picture).path())
      .subarray(1, 4)
      .toString(),
  ).toBe('PNG');

  await main.getByRole('button', { name: 'Pin to the board' }).click();
  await go(
    panel,
    `#/metrics?${new URLSearchParams({ q: '{"metric":"flotilla_threads","labels":[],"function":"max"}' })}`,
  );
  await expect(main).toContainText('max(flotilla_threads)');
  await main.getByRole('button', { name: 'Pin to the board' }).click();
  await main.getByRole('tab', { name: /Board/ }).click();
  const charts = main.getByRole('region');
  await expect(charts).toHaveCount(2);
  await expect(strips).toHaveCount(2);
  await charts.nth(1).getByRole('button', { name: 'Earlier' }).click();
  await expect(charts.nth(0)).toHaveAccessibleName('max(flotilla_threads)');
  const board = panel.waitForEvent('download');
  await main.getByRole('button', { name: 'Export' }).click();
  const file = info.outputPath('board.json');
  await (await board).saveAs(file);
  await panel.reload();
  await expect(charts).toHaveCount(2);
  for (let left = 2; left > 0; left -= 1)
    await charts.nth(0).getByRole('button', { name: 'Take off the board' }).click();
  await expect(main).toContainText('Nothing is pinned');
  await main.getByLabel('File of a board').setInputFiles(file);
  await expect(charts).toHaveCount(2);
});
