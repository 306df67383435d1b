import { readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, fixtureServer, go, test } from './engine';
import { process as processOf } from './views';

const mark = join(tmpdir(), `flotilla-ui-lost-${process.pid}-${Date.now()}`);

test.use({
  fleet: [
    fixtureServer('bench'),
    fixtureServer('loses', ['--lose-tools-after-start', mark]),
    fixtureServer('empty', ['--no-tools']),
    fixtureServer('chatty', ['--flood', '40']),
    fixtureServer('asleep', [], 'autostart = false'),
    '[servers.elsewhere]\nurl = "http://127.0.0.1:9/mcp"\n',
    '[servers.dropped]\nurl = "http://127.0.0.1:9/sse"\ntransport = "sse"\n',
  ].join('\n'),
});

test.describe.configure({ mode: 'serial' });
test.afterAll(() => rmSync(mark, { force: true }));

test('form and JSON are twins, a call gives its answer, and can be made again', async ({ panel, engine }) => {
  await processOf(engine, 'bench');
  await go(panel, '#/servers/bench/tools?tool=echo');
  const json = panel.getByRole('textbox', { name: 'Arguments as JSON' });
  await panel.getByRole('textbox', { name: 'text' }).fill('ahoy');
  await expect(json).toHaveValue('{\n  "text": "ahoy"\n}');
  await json.fill('{\n  "text": \n}');
  await expect(panel.getByText('line 3: expected a value')).toBeVisible();
  await expect(panel.getByRole('textbox', { name: 'text' })).toBeDisabled();
  await expect(panel.getByRole('button', { name: 'Call tool' })).toBeDisabled();
  await json.fill('{"text": "from below"}');
  await expect(panel.getByRole('textbox', { name: 'text' })).toHaveValue('from below');
  await panel.keyboard.press('Control+Enter');
  const result = panel.getByRole('region', { name: 'Result', exact: true });
  await expect(result.getByRole('heading', { name: 'Succeeded' })).toBeVisible();
  await expect(result).toContainText('from below');
  await panel.keyboard.press('Alt+3');
  await expect(result).toContainText('"content"');
  await panel.getByRole('button', { name: 'Replay' }).click();
  await expect(panel.getByRole('button', { name: 'Replay' })).toHaveCount(2);
});

test('a call that takes long shows its time and is cancelled with a key', async ({ panel }) => {
  await go(panel, '#/servers/bench/tools?tool=sleep');
  await panel.getByRole('textbox', { name: 'Arguments as JSON' }).fill('{"ms": 30000}');
  await panel.keyboard.press('Control+Enter');
  await expect(panel.getByRole('heading', { name: 'Calling' })).toBeVisible();
  await panel.keyboard.press('Control+.');
  await expect(panel.getByRole('heading', { name: 'Cancelled' })).toBeVisible();
});

test('tools that are gone are said, and accepted as they are now', async ({ panel, engine }) => {
  await processOf(engine, 'loses');
  engine.cli('restart', 'loses');
  await go(panel, '#/servers/loses/tools');
  await expect(panel.getByText('Its tools are not those it had.')).toBeVisible();
  await panel.getByRole('button', { name: 'Accept the tools as they are now' }).click();
  await expect(panel.getByText('Its tools are not those it had.')).toBeHidden();
});

test('none, not running and not ours are three different pictures', async ({ panel }) => {
  await go(panel, '#/servers/empty/tools');
  await expect(panel.getByRole('heading', { name: 'The server advertises no tools' })).toBeVisible();
  await go(panel, '#/servers/asleep/tools');
  await expect(panel.getByRole('button', { name: 'Start asleep' })).toBeVisible();
  await go(panel, '#/servers/elsewhere');
  await expect(panel.getByRole('main')).toContainText('it cannot be restarted or scaled from here');
  await expect(panel.getByRole('button', { name: 'Restart', exact: true })).toHaveCount(0);
  await expect(panel.getByRole('button', { name: 'One more' })).toHaveCount(0);
});

test('what speaks the dropped transport says so and is not offered to be enabled', async ({ panel }) => {
  await go(panel, '#/servers/dropped');
  await expect(panel.getByRole('main')).toContainText('which the protocol has dropped.');
  await expect(panel.getByRole('button', { name: 'Enable' })).toHaveCount(0);
  await panel.getByRole('button', { name: 'More actions' }).click();
  await expect(panel.getByRole('menuitem', { name: 'Remove from fleet.toml' })).toBeVisible();
  await expect(panel.getByRole('menuitem', { name: 'Enable' })).toHaveCount(0);
});

test('# finds a tool and opens it where it is tried', async ({ panel, engine }) => {
  await processOf(engine, 'bench');
  await go(panel, '#/overview');
  await panel.keyboard.press('Control+k');
  await panel.keyboard.type('#echo bench');
  await expect(panel.getByRole('option', { selected: true })).toContainText('echo');
  await panel.keyboard.press('Enter');
  await expect(panel).toHaveURL(/#\/servers\/bench\/tools\?tool=echo/);
  await expect(panel.getByRole('textbox', { name: 'Arguments as JSON' })).toBeVisible();
});

test('a sound that a tool gave can be heard, and what is seen of a log can be kept', async ({ panel }) => {
  const heard = await panel.evaluate(() => {
    // One eighth of a second of silence.
    const wave = new Uint8Array(44 + 1000);
    const view = new DataView(wave.buffer);
    'RIFF____WAVEfmt '.split('').forEach((c, i) => view.setUint8(i, c.charCodeAt(0)));
    view.setUint32(4, 36 + 1000, true);
    view.setUint32(16, 16, true);
    view.setUint32(20, 0x0001_0001, true);
    view.setUint32(24, 8000, true);
    view.setUint32(28, 8000, true);
    view.setUint32(32, 0x0008_0001, true);
    'data'.split('').forEach((c, i) => view.setUint8(36 + i, c.charCodeAt(0)));
    view.setUint32(40, 1000, true);
    const audio = document.createElement('audio');
    audio.src = `data:audio/wav;base64,${btoa(String.fromCharCode(...wave))}`;
    return new Promise((resolve) => {
      audio.onloadedmetadata = () => resolve('loaded');
      audio.onerror = () => resolve('refused');
    });
  });
  expect(heard).toBe('loaded');

  await go(panel, '#/servers/chatty/logs');
  await expect(panel.getByRole('button', { name: 'Export' })).toBeEnabled();
  const kept = panel.waitForEvent('download');
  await panel.getByRole('button', { name: 'Export' }).click();
  const file = await kept;
  expect(file.suggestedFilename()).toMatch(/^chatty-\d+\.log$/);
  expect(readFileSync(await file.path(), 'utf8').split('\n').length).toBeGreaterThan(5);
});

test('charts are walked with arrow keys and read as a table', async ({ panel }) => {
  await go(panel, '#/servers/bench');
  const memory = panel.getByRole('img', { name: /^Memory per replica, last/ });
  await memory.focus();
  await panel.keyboard.press('ArrowLeft');
  await expect(panel.getByText(/^Values at the cursor/)).toBeVisible();
  await panel.keyboard.press('Escape');
  await expect(panel.getByText(/^Values now/)).toBeVisible();
  await panel.getByRole('button', { name: 'As table' }).click();
  await expect(panel.getByRole('columnheader', { name: 'Memory per replica' })).toBeVisible();
  await expect(panel.getByRole('cell', { name: /MiB/ }).first()).toBeVisible();
});

test('a scale says what it will do before it does it, and goes back to what the file says', async ({
  panel,
  engine,
}) => {
  const running = async () =>
    (await engine.call<{ instances: unknown[] }>('server.get', { server: 'bench' })).instances.length;
  await go(panel, '#/servers/bench');
  await panel.getByRole('button', { name: 'One more' }).click();
  await expect(panel.getByText(/Starts 1 instance/)).toBeVisible();
  expect(await running()).toBe(1);
  await panel.getByRole('button', { name: 'Scale to 2' }).click();
  await expect.poll(running).toBe(2);
  await expect(panel.getByText(/Scaled to 2 by .*; the file says 1\./)).toBeVisible();
  await panel.getByRole('button', { name: 'Back to declared' }).click();
  await expect.poll(running).toBe(1);
});

test('the log follows until a hand scrolls, and never takes the scroll back', async ({ panel }) => {
  await go(panel, '#/servers/chatty/logs');
  const log = panel.getByRole('log');
  await expect(panel.getByRole('button', { name: /^Following/ })).toBeVisible();
  await expect.poll(() => log.evaluate((element) => element.scrollHeight > element.clientHeight * 2)).toBe(true);
  await log.hover();
  await panel.mouse.wheel(0, -400);
  await expect(panel.getByRole('button', { name: /^Resume, .* new/ })).toBeVisible();
  const first = await log.getByRole('listitem').nth(10).innerText();
  await expect(panel.getByRole('button', { name: /^Resume, .* new/ })).toContainText(/\d\d/);
  expect(await log.getByRole('listitem').nth(10).innerText()).toBe(first);
  await panel.keyboard.press('f');
  await expect(panel.getByRole('button', { name: /^Following/ })).toBeVisible();
  await panel.keyboard.press('/');
  await panel.keyboard.type('no line says this');
  await expect(panel.getByRole('heading', { name: 'No line matches' })).toBeVisible();
});

test('a variable is staged, shown as a diff, written, and rolled back', async ({ panel, engine }) => {
  const variable = async () => {
    const { spec } = await engine.call<{ spec: { transport: { env: Record<string, { text: string }> } } }>(
      'server.get',
      {
        server: 'asleep',
      },
    );
    return spec.transport.env['GREETING']?.text;
  };
  await go(panel, '#/servers/asleep/config');
  await panel.getByPlaceholder('New variable').fill('GREETING');
  await panel.keyboard.press('Enter');
  await panel.getByRole('textbox', { name: 'GREETING' }).fill('ahoy');
  await panel.keyboard.press('Enter');
  await expect(panel.getByRole('region', { name: 'What would change in fleet.toml' })).toHaveText(
    '+ env.GREETING = "ahoy"',
  );
  expect(await variable()).toBeUndefined();
  await panel.getByRole('button', { name: 'Write 1 change' }).click();
  await expect.poll(variable).toBe('ahoy');
  await panel.getByRole('button', { name: /^r1 / }).click();
  await panel.getByRole('button', { name: 'Roll back to r1' }).click();
  await panel.getByRole('alertdialog').getByRole('button', { name: 'Roll back to r1' }).click();
  await expect.poll(variable).toBeUndefined();
});

test('a file that somebody else changed is not written over, and what differs is shown', async ({ panel, engine }) => {
  await go(panel, '#/servers/asleep/config');
  await panel.getByPlaceholder('New variable').fill('MINE');
  await panel.keyboard.press('Enter');
  await panel.getByRole('textbox', { name: 'MINE' }).fill('1');
  await panel.keyboard.press('Enter');
  const { text } = await engine.call<{ text: string }>('config.get');
  engine.write(`${text}\n# theirs\n`);
  await panel.getByRole('button', { name: 'Write 1 change' }).click();
  await expect(panel.getByRole('region', { name: 'What changed on disk' })).toContainText('+# theirs');
  await panel.getByRole('button', { name: 'Read it again, keep my changes' }).click();
  await panel.getByRole('button', { name: 'Write 1 change' }).click();
  await expect.poll(async () => (await engine.call<{ text: string }>('config.get')).text).toContain('MINE');
  expect((await engine.call<{ text: string }>('config.get')).text).toContain('# theirs');
});
