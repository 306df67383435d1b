import { expect, fixtureServer, go, test } from './engine';

const MANY = 200;
const names = Array.from({ length: MANY }, (_, i) => `s${String(i).padStart(3, '0')}`);

// A trace keeps the page at each of the 200 keys, which takes longer than the keys.
test.use({ trace: 'off', fleet: names.map((name) => fixtureServer(name, [], 'autostart = false')).join('\n') });

test('of 200 servers only a window is drawn, and every row is reached by key and by wheel', async ({ panel }) => {
  await go(panel, '#/servers');
  const list = panel.getByRole('grid', { name: 'Servers' });
  const rows = list.locator('[role=row][data-server]');
  const drawn = () => rows.count();
  await expect(panel.getByText(`${MANY} of ${MANY}`)).toBeVisible();
  // The heading and one group stand beside the servers.
  await expect(list).toHaveAttribute('aria-rowcount', String(MANY + 2));

  await rows.first().focus();
  const reached: string[] = [];
  let most = 0;
  for (const [i] of names.entries()) {
    if (i > 0) await panel.keyboard.press('ArrowDown');
    const at = await list.evaluate(async (grid, before) => {
      const focused = () => (document.activeElement as HTMLElement).dataset['server'] ?? '';
      // The row that the key leads to may have to be drawn first.
      while (focused() === before) await new Promise(requestAnimationFrame);
      return { focused: focused(), drawn: grid.querySelectorAll('[data-server][role=row]').length };
    }, reached.at(-1));
    reached.push(at.focused);
    most = Math.max(most, at.drawn);
  }
  expect(reached).toEqual(names);
  expect(most).toBeLessThan(MANY / 2);

  await panel.keyboard.press('Home');
  await expect(list.locator('[data-server="s000"]')).toBeFocused();
  await panel.keyboard.press('End');
  await expect(list.locator('[data-server="s199"]')).toBeFocused();
  await expect(list.locator('[data-server="s000"]')).toHaveCount(0);

  // By wheel: each row comes into the window at some place.
  await panel.keyboard.press('Home');
  await rows.first().hover();
  const seen = new Set<string>();
  const look = async () => {
    for (const name of await rows.evaluateAll((all) => all.map((row) => (row as HTMLElement).dataset['server'] ?? '')))
      seen.add(name);
  };
  await expect
    .poll(async () => {
      await look();
      await panel.mouse.wheel(0, 300);
      return seen.size;
    })
    .toBe(MANY);
  expect(await drawn()).toBeLessThan(MANY / 2);
});
