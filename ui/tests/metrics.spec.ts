import { readFileSync, writeFileSync } from 'node:fs';
import type { Board } from '../src/lib/contract';
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
  expect(csv.split('\r\n')[0]).toBe('time,"flotilla_rss_bytes","flotilla_rss_bytes, highest"');
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
  // It is the engine's: what the window keeps has nothing to do with it.
  await panel.evaluate(() => localStorage.clear());
  await panel.reload();
  await expect(charts).toHaveCount(2);

  // Changed elsewhere, it is shown as it is, and nothing is written over.
  const elsewhere = await engine.call<Board>('board.read', {});
  await engine.call('board.write', { ...elsewhere, charts: elsewhere.charts.slice(0, 1) });
  await charts.nth(1).getByRole('button', { name: 'Earlier' }).click();
  await expect(panel.getByLabel('Notices')).toContainText('The board was changed elsewhere');
  await expect(charts).toHaveCount(1);
  await engine.call('board.write', { version: elsewhere.version + 1, charts: elsewhere.charts });
  await panel.reload();
  await expect(charts).toHaveCount(2);
  for (let left = 2; left > 0; left -= 1)
    await charts.nth(0).getByRole('button', { name: 'Take off the board' }).click();
  await expect(main).toContainText('Nothing is pinned');
  await main.getByLabel('File of a board').setInputFiles(file);
  await expect(charts).toHaveCount(2);
});

test('charts are zoomed by keys and by an address, stand still, and say what happened', async ({
  panel,
  engine,
}, info) => {
  test.slow();
  const pid = await process(engine, 'steady');
  await go(panel, '#/servers/steady');
  const main = panel.getByRole('main');
  const memory = panel.getByRole('img', { name: /^Memory per replica/ });
  await expect(memory).toHaveAccessibleName(/Now replica 1 [\d.]+ MiB/);

  // Keys of the chart that has the focus; the same key elsewhere on the page would scale the server.
  await memory.focus();
  await panel.keyboard.press('End');
  await panel.keyboard.press('+');
  const zoomed = panel.getByRole('button', { name: /^Zoomed/ });
  await expect(zoomed).toBeVisible();
  await expect(panel).toHaveURL(/from=\d+&to=\d+/);
  const [from, to] = ['from', 'to'].map((name) => Number(new URLSearchParams(panel.url().split('?').pop()).get(name)));
  expect((to ?? 0) - (from ?? 0)).toBeGreaterThanOrEqual(10_000);
  await expect(memory).toHaveAccessibleName(/ At its end replica 1 [\d.]+ MiB/);
  await expect(memory).toBeFocused();
  await isAccessible(panel, 'a zoomed chart');

  // What is drawn is to be had as a file, all charts at once.
  const written = async (what: string) => {
    const download = panel.waitForEvent('download');
    await main.getByRole('button', { name: 'Export' }).click();
    await panel.getByRole('menuitem', { name: what }).click();
    return readFileSync(await (await download).path());
  };
  const numbers = (await written('Numbers as CSV')).toString();
  expect(numbers).toContain('"Memory per replica: replica 1 (bytes)"');
  expect(numbers).toMatch(/Z,.*\d{6,}/);
  const picture = await written('Picture as PNG');
  expect(picture.subarray(1, 4).toString()).toBe('PNG');
  // Width and height: of more than one strip.
  expect(picture.readUInt32BE(20)).toBeGreaterThan(400);
  writeFileSync(info.outputPath('picture.png'), picture);

  // Ticks do not move it; keys do.
  const address = panel.url();
  const said = await memory.getAttribute('aria-label');
  const ticks = async () => {
    const { times } = await engine.call<{ times: number[] }>('metrics.query', { metrics: ['rss_bytes'] });
    return times;
  };
  const last = (await ticks()).at(-1) ?? 0;
  await expect.poll(async () => (await ticks()).filter((time) => time > last).length).toBeGreaterThan(1);
  expect(panel.url()).toBe(address);
  expect((await memory.getAttribute('aria-label'))?.split('.')[0]).toBe(said?.split('.')[0]);
  await memory.focus();
  await panel.keyboard.press('Shift+ArrowLeft');
  await expect(panel).not.toHaveURL(address);
  await panel.keyboard.press('0');
  await expect(zoomed).toHaveCount(0);
  await expect(panel).not.toHaveURL(/from=/);

  // A link opens the same span, in the explorer too, and goes back to what is new.
  await go(panel, `#/servers/steady?from=${from}&to=${to}`);
  await panel.reload();
  await expect(memory).toHaveAccessibleName(/ At its end /);
  const q = '{"metric":"flotilla_rss_bytes","labels":[],"function":"mean"}';
  await go(panel, `#/metrics?${new URLSearchParams({ q, from: String(from), to: String(to) })}`);
  await expect(panel.getByRole('img', { name: /^flotilla_rss_bytes, .* At its end / })).toBeVisible();
  await zoomed.click();
  await expect(panel.getByRole('img', { name: /^flotilla_rss_bytes, last/ })).toBeVisible();

  // What happened stands in the table.
  globalThis.process.kill(pid, 'SIGKILL');
  await go(panel, '#/servers/steady');
  await expect(main.getByText('exit', { exact: true })).toBeVisible();
  await main.getByRole('button', { name: 'As table' }).click();
  await expect(main.getByRole('columnheader', { name: 'What happened' })).toBeVisible();
  await expect(main.getByRole('cell', { name: /#1 SIGKILL/ })).toBeVisible();
  await isAccessible(panel, 'a table with what happened');
});

test('a chart is zoomed by dragging over it, and a double click comes back', async ({ panel, engine }) => {
  await process(engine, 'other');
  await go(panel, '#/servers/other');
  const memory = panel.getByRole('img', { name: /^Memory per replica/ });
  await expect(memory).toHaveAccessibleName(/Now replica 1 [\d.]+ MiB/);
  const over = memory.locator('.u-over');
  const { x, y, width, height } = (await over.boundingBox()) ?? { x: 0, y: 0, width: 0, height: 0 };
  const at = (share: number): [number, number] => [x + width * share, y + height / 2];
  await panel.mouse.move(...at(0.5));
  await panel.mouse.down();
  // To the newest samples: there may be no others yet.
  await panel.mouse.move(...at(0.7), { steps: 5 });
  await panel.mouse.move(...at(0.99), { steps: 5 });
  await panel.mouse.up();
  const zoomed = panel.getByRole('button', { name: /^Zoomed/ });
  await expect(zoomed).toBeVisible();
  const [from, to] = ['from', 'to'].map((name) => Number(new URLSearchParams(panel.url().split('?').pop()).get(name)));
  const [zoom, whole] = [(to ?? 0) - (from ?? 0), 30 * 60_000];
  // Of a window that is a minute wide at least and half an hour at most, nearly half.
  expect(zoom).toBeGreaterThan(60_000 * 0.47);
  expect(zoom).toBeLessThan(whole * 0.51);
  await expect(memory).toHaveAccessibleName(/ At its end /);

  await over.dblclick();
  await expect(zoomed).toHaveCount(0);
  await expect(memory).toHaveAccessibleName(/, last /);
});

test('a peak of one tick is seen over hours', async ({ panel, engine }) => {
  test.slow();
  // Memory rises for some seconds and falls with the process: no mean of ten seconds is as high as the highest tick.
  const restart = 'restart = { policy = "always", delays = ["100ms"], max_restarts = "unlimited" }';
  const spiky = fixtureServer('spiky', ['--leak', '40000000', '--crash-after', '4s'], restart);
  engine.write([fixtureServer('steady'), fixtureServer('other'), spiky].join('\n'));
  const highest = async () => {
    const query = { metrics: ['rss_bytes'], server: 'spiky' };
    const { times, series } = await engine.call<{ times: number[]; series: { values: (number | null)[] }[] }>(
      'metrics.query',
      query,
    );
    const values = series[0]?.values ?? [];
    // Points that are whole have their highest in the store.
    const end = Math.floor((times.at(-1) ?? 0) / 10_000) * 10_000;
    const first = times[values.findIndex((value) => value !== null)] ?? Infinity;
    return {
      whole: end - first,
      bytes: Math.max(...values.map((value, i) => ((times[i] ?? 0) < end ? (value ?? 0) : 0))),
    };
  };
  await expect.poll(async () => (await highest()).whole).toBeGreaterThan(20_000);
  const peak = (await highest()).bytes / 2 ** 20;

  await go(panel, '#/servers/spiky');
  await panel.getByRole('radio', { name: '1 h' }).click();
  const main = panel.getByRole('main');
  await main.getByRole('button', { name: 'As table' }).click();
  const read = async () => {
    const cells = await main.getByRole('cell', { name: / MiB/ }).allTextContents();
    const found = cells.map((cell) => /^([\d.]+) MiB, up to ([\d.]+) MiB/.exec(cell) ?? []);
    return found.map(([, mean, most]) => ({ mean: Number(mean), most: Number(most) }));
  };
  const seen = async () => (await read()).some(({ mean, most }) => most > peak * 0.99 && mean < most * 0.9);
  await expect.poll(seen).toBe(true);
  await main.getByRole('button', { name: 'As charts' }).click();
  const memory = panel.getByRole('img', { name: /^Memory per replica/ });
  await memory.focus();
  await panel.keyboard.press('End');
  await panel.keyboard.press('ArrowLeft');
  await expect(main.getByText(/^up to [\d.]+ MiB$/)).toBeVisible();
  await isAccessible(panel, 'a chart with its highest values');
});
