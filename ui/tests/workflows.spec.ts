import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Page } from '@playwright/test';
import type { RunSummary } from '../src/lib/contract';
import { expect, go, test, type Engine } from './engine';
import { isAccessible } from './views';

test.use({ fleet: '[gateway]\nport = 0' });

/** Builds beside a check that fails until a file is there, asks with a form, and puts the result away. */
const SHIP = `name: ship
description: Builds, asks, and puts the page where it is served.
vars:
  target: { description: Folder that is served }
  days: { type: integer, default: 3 }
steps:
  - id: build
    uses: shell
    with: { run: "echo built page; echo page > index.html" }
  - id: check
    uses: shell
    needs: [build]
    with: { run: "test -e allowed || { echo 'no file named allowed' >&2; exit 3; }" }
    retry: { attempts: 2, backoff: 100ms }
  - id: approve
    uses: approval
    needs: [build]
    with: { message: "Put the page to \${{ vars.target }}?", form: { copies: { type: integer, description: How many } } }
  - id: put
    uses: shell
    needs: [check, approve]
    with:
      run: 'mkdir -p "$TO" && cp index.html "$TO/page-$COPIES.html"'
      env: { TO: "\${{ vars.target }}", COPIES: "\${{ string(steps.approve.output.input.copies) }}" }
`;
const BROKEN = 'name: broken\nsteps:\n  - id: a\n    uses: shell\n    needs: [nowhere]\n    with: { run: "true" }\n';
const SLOW = 'name: slow\nsteps:\n  - id: nap\n    uses: shell\n    with: { run: "sleep 600" }\n    timeout: 1h\n';

/** A thousand steps: one, many in stages, one. */
function thousand(): string {
  const [stages, beside] = [20, 50];
  const id = (stage: number, i: number) => `part_${stage}_${i}`;
  const steps = ['  - { id: begin, uses: data, with: { value: 1 } }'];
  for (let stage = 0; stage < stages; stage += 1)
    for (let i = 0; i < beside; i += 1)
      steps.push(
        `  - { id: ${id(stage, i)}, uses: data, needs: [${stage ? id(stage - 1, i) : 'begin'}], with: { value: ${i} } }`,
      );
  steps.push('  - { id: ask, uses: approval, needs: [begin], with: { message: "Go on?" } }');
  return `name: thousand\nsteps:\n${steps.join('\n')}\n`;
}

function define(engine: Engine, name: string, text: string): void {
  const folder = join(engine.home, 'workflows');
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, `${name}.yaml`), text);
}

const node = (page: Page, step: string) => page.locator(`.surface [data-step="${step}"]`);
const toast = (page: Page, text: string | RegExp) => page.getByRole('region', { name: 'Notices' }).getByText(text);

test('a run is started from the gallery, watched, approved, fails, is tried again, and its result is seen', async ({
  panel,
  engine,
}, info) => {
  test.slow();
  define(engine, 'ship', SHIP);
  define(engine, 'broken', BROKEN);
  const served = join(engine.home, 'served');
  await panel.keyboard.press('g');
  await panel.keyboard.press('w');
  const main = panel.getByRole('main');

  // The gallery: templates, own definitions, and why one cannot run.
  await expect(main.locator('[data-workflow="cicd-pipeline"]')).toContainText('10 steps');
  await expect(main.locator('[data-workflow="broken"]')).toContainText('no step has the id or name "nowhere"');
  await isAccessible(panel, 'gallery');
  await main.locator('[data-workflow="ship"]').click();

  // The form: what is wrong stands at its field, a dry run starts nothing.
  await main.getByRole('button', { name: 'Run', exact: true }).click();
  await expect(main.getByText('A text is needed here.')).toBeVisible();
  await expect(main.getByLabel('target')).toBeFocused();
  await main.getByLabel('target').fill(served);
  await main.getByLabel('days').fill('many');
  await main.getByRole('button', { name: 'Dry run' }).click();
  await expect(main.getByText('“many” is not a whole number.')).toBeVisible();
  await main.getByLabel('days').fill('4');
  await main.getByRole('button', { name: 'Dry run' }).click();
  await expect(main.getByText('Checked with these values; nothing ran')).toBeVisible();
  await expect(main.getByRole('list', { name: 'Steps' })).toContainText(`Put the page to ${served}?`);
  expect(await engine.call<RunSummary[]>('workflow.runs')).toEqual([]);
  await isAccessible(panel, 'definition with its dry run');
  await main.getByRole('button', { name: 'Run', exact: true }).click();

  // Its commands are new to the engine: they are shown, and confirmed once.
  const question = panel.getByRole('alertdialog');
  await expect(question).toContainText('build: echo built page; echo page > index.html');
  await isAccessible(panel, 'commands to confirm');
  await question.getByRole('button', { name: 'Confirm 3 commands and run' }).click();

  // Watched: the check fails, the approval waits, and the navigation tells of it.
  await expect(panel).toHaveURL(/#\/workflows\/runs\/\d+$/);
  await expect(node(panel, 'check')).toHaveAttribute('data-state', 'failed');
  await expect(main.locator('[data-why]')).toContainText('approve waits for you. check failed.');
  await expect(panel.getByRole('navigation', { name: 'Main' })).toContainText('waits for you');
  for (const colorScheme of ['light', 'dark'] as const) {
    await panel.emulateMedia({ colorScheme });
    for (const width of [1024, 1440]) {
      await panel.setViewportSize({ width, height: width === 1024 ? 700 : 900 });
      await panel.screenshot({ path: info.outputPath(`asks-${colorScheme}-${width}.png`) });
      await isAccessible(panel, `a run that asks, ${colorScheme}, ${width} px`);
    }
  }

  // From the list of what waits to the question, and its form.
  await go(panel, '#/workflows?tab=waiting');
  await isAccessible(panel, 'waits for you');
  await main
    .getByRole('list', { name: 'Waits for you' })
    .getByRole('link', { name: /approve.*of ship/ })
    .click();
  const bar = main.getByRole('region', { name: 'approve waits for you' });
  await expect(bar).toContainText('put comes after it, and needs check too.');
  await bar.getByRole('button', { name: 'Approve' }).click();
  const dialog = panel.getByRole('dialog', { name: 'Approve approve?' });
  await dialog.getByRole('button', { name: 'Approve', exact: true }).click();
  await expect(dialog.getByText('A whole number is needed here.')).toBeVisible();
  await isAccessible(panel, 'an approval with its form');
  await dialog.getByLabel('copies').fill('2');
  await dialog.getByRole('button', { name: 'Approve', exact: true }).click();
  await expect(dialog).toBeHidden();
  await expect(toast(panel, /^Approved; the run is/)).toBeVisible();

  // It has failed for the check; the step says why, and is tried again when that is cured.
  const why = main.locator('[data-why]');
  await expect(why).toContainText('check failed after 2 tries: exit code 3: no file named allowed');
  await expect(why).toContainText('1 step that needs it never started');
  await why.getByRole('button', { name: 'Show check' }).click();
  const step = panel.getByRole('complementary', { name: 'Step check' });
  await expect(step.getByRole('region', { name: 'Error', exact: true })).toContainText('no file named allowed');
  await expect(step.getByRole('region', { name: 'Tries' }).getByRole('listitem')).toHaveCount(2);
  await isAccessible(panel, 'a step that failed');
  await panel.screenshot({ path: info.outputPath('failed.png') });
  const [{ run } = { run: 0 }] = await engine.call<RunSummary[]>('workflow.runs');
  writeFileSync(join(engine.home, 'runs', String(run), 'allowed'), '');
  await step.getByRole('button', { name: 'Retry step' }).click();
  await expect(toast(panel, /^Done on try/)).toBeVisible();
  await expect(why).toContainText(/It completed in .*: 4 steps done\./);
  expect(readFileSync(join(served, 'page-2.html'), 'utf8')).toBe('page\n');

  // The result of a step, and the run in the history.
  await node(panel, 'build').click();
  const built = panel.getByRole('complementary', { name: 'Step build' });
  await expect(built.getByRole('region', { name: 'Log' })).toContainText('built page');
  await expect(panel.getByRole('navigation', { name: 'Main' })).not.toContainText('waits for you');
  await main.getByRole('radio', { name: 'List' }).click();
  await expect(main.getByRole('grid', { name: 'Steps' }).getByRole('row').filter({ hasText: 'put' })).toContainText(
    'done',
  );
  await isAccessible(panel, 'steps as a list');
  await go(panel, '#/workflows?tab=runs');
  await expect(main.locator(`[data-run="${run}"]`)).toContainText('Completed');
  await main.getByRole('radio', { name: 'Failed' }).click();
  await expect(main.getByText('No run matches')).toBeVisible();
  await isAccessible(panel, 'no run matches');
});

test('a run is paused, resumed and cancelled, and each end is told as it was seen', async ({ panel, engine }) => {
  define(engine, 'slow', SLOW);
  const hash = createHash('sha256').update(SLOW).digest('hex');
  const { run } = await engine.call<RunSummary>('workflow.run', { name: 'slow', confirm: hash });
  await go(panel, `#/workflows/runs/${run}`);
  const main = panel.getByRole('main');
  await expect(main.locator('[data-why]')).toContainText('It moves: nap runs');
  await main.getByRole('button', { name: 'Pause' }).click();
  await expect(toast(panel, 'Paused; nap still runs')).toBeVisible();
  await main.getByRole('button', { name: 'Resume' }).click();
  await expect(main.locator('[data-why]')).toContainText('It moves');
  await main.getByRole('button', { name: 'Cancel run' }).click();
  const question = panel.getByRole('alertdialog');
  await expect(question).toContainText('Ends what is at work, with all its processes: nap');
  await isAccessible(panel, 'cancel');
  await question.getByRole('button', { name: 'Cancel 1 run' }).click();
  await expect(toast(panel, 'Cancelled, 1 step ended early')).toBeVisible();
  await expect(node(panel, 'nap')).toHaveAttribute('data-state', 'cancelled');

  // What is watched to its end holds no other verb back.
  await main.getByRole('button', { name: 'Restart' }).click();
  await expect(main.locator('[data-why]')).toContainText('It moves: nap runs');
  await expect(main.getByRole('button', { name: 'Cancel run' })).toBeEnabled();
  await engine.call('workflow.act', { run, act: 'cancel' });
  await expect(toast(panel, /^Ended again: cancelled by/)).toBeVisible();

  // Another run after it, from a step.
  await node(panel, 'nap').click();
  await panel.getByRole('complementary').getByRole('button', { name: 'Run again from here' }).click();
  await expect(panel).toHaveURL(new RegExp(`runs/${run + 1}$`));
  await engine.call('workflow.act', { run: run + 1, act: 'cancel' });
  await expect(main.locator('[data-why]')).toContainText('It was cancelled by');
  expect(existsSync(join(engine.home, 'runs.db'))).toBe(true);
});

test('of a run of a thousand steps only a window is drawn, and any step is reached', async ({ panel, engine }) => {
  test.slow();
  define(engine, 'thousand', thousand());
  const { run } = await engine.call<RunSummary>('workflow.run', { name: 'thousand' });
  await go(panel, `#/workflows/runs/${run}`);
  const main = panel.getByRole('main');
  await expect(main).toContainText('1001 of 1002');
  // From afar steps are marks in a few paths; near, those in the window stand there.
  await expect(main.locator('.surface [data-step]')).toHaveCount(0);
  const drawn = await main.locator('.surface svg path').count();
  expect(drawn).toBeLessThan(20);
  const surface = main.getByRole('application');
  await surface.focus();
  await panel.keyboard.press('ArrowRight');
  await panel.keyboard.press('ArrowRight');
  await expect(panel.getByRole('complementary')).toContainText('part_0_');
  await panel.getByRole('complementary').getByRole('button', { name: 'begin' }).click();
  await expect(node(panel, 'begin')).toBeVisible();
  const near = await main.locator('.surface [data-step]').count();
  expect(near).toBeLessThan(200);
  await panel.keyboard.press('Escape');
  const list = main.getByRole('radio', { name: 'List' });
  await list.click();
  const grid = main.getByRole('grid', { name: 'Steps' });
  await expect(grid).toHaveAttribute('aria-rowcount', '1003');
  await grid.getByRole('row').nth(1).focus();
  await panel.keyboard.press('End');
  await expect(grid.locator('[data-step="ask"]')).toBeFocused();
  expect(await grid.getByRole('row').count()).toBeLessThan(100);
  await engine.call('workflow.act', { run, act: 'cancel' });
});

test('a definition is written with its faults told as it is typed, runs by its schedule, and is watched while it writes', async ({
  panel,
  engine,
}, info) => {
  test.slow();
  const main = panel.getByRole('main');
  await go(panel, '#/workflows');
  await panel.getByRole('link', { name: 'New workflow' }).click();
  const text = main.getByRole('textbox', { name: 'Definition' });
  const findings = main.getByRole('list', { name: 'Findings' });
  const save = main.getByRole('button', { name: 'Save …' });
  const definition = `name: ticker
on:
  - id: yearly
    schedule: { cron: "0 4 1 1 *", timezone: Europe/Berlin }
steps:
  - id: talk
    uses: shell
    with: { run: "echo it begins; until [ -e go ]; do sleep 0.05; done; echo it ends; exit 4" }
`;
  await text.fill(definition.replace('uses: shell', 'uses: shel'));
  await expect(findings).toContainText('shel');
  await expect(save).toBeDisabled();
  await isAccessible(panel, 'a definition with a finding');
  await findings.getByRole('button', { name: /^line/ }).first().click();
  await expect(text).toBeFocused();
  await text.fill(definition);
  await expect(main.getByText('It can run: 1 step, 0 variables.')).toBeVisible();
  await save.click();
  const asks = panel.getByRole('dialog', { name: 'Keep ticker' });
  await expect(asks).toContainText('+  - id: talk');
  await isAccessible(panel, 'what is kept of a definition');
  await asks.getByRole('button', { name: 'Save' }).click();
  await expect(panel).toHaveURL(/#\/workflows\/definitions\/ticker$/);
  expect(readFileSync(join(engine.home, 'workflows', 'ticker.yaml'), 'utf8')).toBe(definition);

  // What starts it, and its switch.
  await go(panel, '#/workflows?tab=schedules');
  const row = main.locator('[data-trigger="ticker yearly"]');
  await expect(row).toContainText('0 4 1 1 *');
  await expect(row).toContainText('Europe/Berlin');
  await expect(row).toContainText(/in \d+/);
  await isAccessible(panel, 'schedules');
  await row.getByRole('switch').click();
  await expect(row.getByText('off', { exact: true })).toBeVisible();
  await row.getByRole('switch').click();
  await expect(row).toContainText(/in \d+/);

  // Its command is read while it writes, and after it failed.
  await go(panel, '#/workflows/definitions/ticker');
  await main.getByRole('button', { name: 'Run', exact: true }).click();
  await panel.getByRole('alertdialog').getByRole('button', { name: 'Confirm 1 command and run' }).click();
  await expect(panel).toHaveURL(/#\/workflows\/runs\/\d+$/);
  await node(panel, 'talk').click();
  const step = panel.getByRole('complementary', { name: 'Step talk' });
  const log = step.getByRole('region', { name: 'Log', exact: true });
  await expect(log).toContainText('it begins');
  await expect(log).toContainText('so far');
  await expect(node(panel, 'talk')).toHaveAttribute('data-state', 'running');
  await expect(main.getByRole('list', { name: 'States' })).toContainText('1 running');
  await panel.screenshot({ path: info.outputPath('live.png') });
  await isAccessible(panel, 'a step that writes');
  const [{ run } = { run: 0 }] = await engine.call<RunSummary[]>('workflow.runs');
  writeFileSync(join(engine.home, 'runs', String(run), 'go'), '');
  await expect(node(panel, 'talk')).toHaveAttribute('data-state', 'failed');
  await expect(log).toContainText('it ends');
  await expect(log).not.toContainText('so far');

  // The run keeps the definition that it began with.
  define(engine, 'ticker', definition.replace('exit 4', 'exit 0'));
  await main.getByRole('button', { name: 'Definition' }).click();
  const defined = panel.getByRole('dialog', { name: `Definition of run ${run}` });
  await expect(defined).toContainText('ticker has changed since.');
  await expect(defined.getByRole('group', { name: /^Definition of run/ })).toContainText('exit 4');
  await isAccessible(panel, 'the definition of a run');
  await panel.screenshot({ path: info.outputPath('definition.png') });
  await defined.getByRole('button', { name: 'Close' }).last().click();

  // A template says what its steps give.
  await go(panel, '#/workflows/definitions/security-audit');
  await main.getByRole('tab', { name: 'Sample output' }).click();
  await expect(main.getByRole('region', { name: 'check_secrets' })).toContainText('"findings"');
  await isAccessible(panel, 'sample output');
  await panel.screenshot({ path: info.outputPath('sample.png') });
});
