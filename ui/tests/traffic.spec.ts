import type { GatewayView } from '../src/lib/contract';
import { expect, fixtureServer, go, test } from './engine';
import { isAccessible, process } from './views';

test.use({
  fleet: ['[gateway]\nport = 0', fixtureServer('steady'), fixtureServer('other')].join('\n'),
});

/** A client of the gateway as small as one can be. */
class Client {
  #session = '';
  #id = 0;

  constructor(
    readonly url: string,
    readonly name: string,
  ) {}

  async ask(method: string, params: unknown = {}): Promise<Record<string, unknown>> {
    const id = ++this.#id;
    const answer = await fetch(this.url, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        accept: 'application/json, text/event-stream',
        ...(this.#session ? { 'mcp-session-id': this.#session, 'mcp-protocol-version': '2025-11-25' } : {}),
      },
      body: JSON.stringify({ jsonrpc: '2.0', ...(method.startsWith('notifications/') ? {} : { id }), method, params }),
    });
    this.#session ||= answer.headers.get('mcp-session-id') ?? '';
    const text = await answer.text();
    const line = text.split('\n').find((one) => one.startsWith('data: {'));
    return text ? (JSON.parse(line?.slice(6) ?? text) as Record<string, unknown>) : {};
  }

  async greet(): Promise<void> {
    await this.ask('initialize', {
      protocolVersion: '2025-11-25',
      capabilities: {},
      clientInfo: { name: this.name, version: '1' },
    });
    await this.ask('notifications/initialized');
  }

  echo = (text: string) => this.ask('tools/call', { name: 'steady__echo', arguments: { text } });
}

test('a client appears, and a tripped breaker refuses its calls until it is reset', async ({ panel, engine }) => {
  test.slow();
  await process(engine, 'steady');
  const { address = '' } = await engine.call<GatewayView>('gateway.view');
  await expect(panel.getByRole('contentinfo')).toContainText(address);
  await go(panel, '#/traffic');
  const main = panel.getByRole('main');
  await expect(main).toContainText('No client yet');
  await expect(main.getByRole('tabpanel')).toContainText(address);
  await isAccessible(panel, 'no client yet');

  const client = new Client(address, 'tests-v1');
  await client.greet();
  await expect
    .poll(async () => {
      const { result } = await client.ask('tools/list');
      return (result as { tools: { name: string }[] }).tools.some((tool) => tool.name === 'steady__echo');
    })
    .toBe(true);
  await expect(main.getByRole('list', { name: 'Clients' })).toContainText('tests-v1');
  await expect(main).toContainText(/tests-v1 (listed|has listed) the tools/);

  expect(await client.echo('first')).toHaveProperty('result');
  const calls = main.getByRole('region', { name: 'Table of calls' });
  const first = calls.getByRole('row').filter({ hasText: 'echo' }).filter({ hasText: 'ok' }).first();
  await expect(first).toContainText('tests-v1');
  await first.getByRole('button', { name: /Details of call/ }).click();
  await expect(calls.getByText('Correlation')).toBeVisible();
  await expect(calls.getByRole('link', { name: 'Open in Tools' })).toHaveAttribute('href', /steady\/tools\?tool=echo/);
  await first.getByRole('button', { name: /Details of call/ }).click();

  await main.getByRole('button', { name: 'Trip steady', exact: true }).click();
  const question = panel.getByRole('alertdialog');
  await expect(question).toContainText('tests-v1 (1 call)');
  await expect(question).toContainText('No call is in flight');
  await question.getByRole('button', { name: 'Trip 1 breaker' }).click();
  const breaker = main.locator('tr[data-breaker="steady"]');
  await expect(breaker).toContainText('when it is reset');
  await expect(panel.getByRole('navigation', { name: 'Main' })).toContainText('breaker open');

  expect(await client.echo('second')).toHaveProperty('error');
  await expect(main.getByRole('list', { name: 'Why calls were rejected' })).toContainText(/steady.*tests-v1/);
  await main.getByRole('switch', { name: 'Only failures' }).click();
  await expect(calls.getByRole('row').filter({ hasText: 'refused' })).toHaveCount(1);
  await expect(calls.getByRole('row').filter({ hasText: 'ok' })).toHaveCount(0);
  await calls.getByRole('button', { name: /Details of call/ }).click();
  await expect(calls.getByText('Arguments and results are not kept')).toBeVisible();
  await main.getByRole('button', { name: 'Older calls, from disk' }).click();
  await expect(main.getByText('all that are kept on disk')).toBeVisible();
  for (const colorScheme of ['light', 'dark'] as const) {
    await panel.emulateMedia({ colorScheme });
    await isAccessible(panel, `traffic, ${colorScheme}`);
  }

  await main.getByRole('button', { name: 'Reset steady', exact: true }).click();
  await expect(breaker).toContainText('closed');
  expect(await client.echo('third')).toHaveProperty('result');
  await expect(panel.getByRole('navigation', { name: 'Main' })).not.toContainText('breaker open');
});

test('an injected fault is marked as long as it lasts', async ({ panel, engine }) => {
  await process(engine, 'other');
  await go(panel, '#/traffic');
  await panel.getByRole('button', { name: 'Inject a fault' }).click();
  const dialog = panel.getByRole('dialog');
  await isAccessible(panel, 'fault');
  await dialog.getByLabel('Calls that fail, %').fill('100');
  await dialog.getByLabel('Tool').fill('echo');
  await expect(dialog).toContainText('echo of other: +500 ms, 100 % fail');
  await dialog.getByRole('button', { name: 'Inject fault' }).click();
  const banner = panel.getByRole('main').getByText('Fault injected on purpose');
  await expect(banner).toBeVisible();
  await isAccessible(panel, 'fault is on');
  await panel.getByRole('button', { name: 'End the fault on other, echo now' }).click();
  await expect(banner).toBeHidden();
});

test("a server's page has its part of the traffic", async ({ panel, engine }) => {
  await process(engine, 'steady');
  await go(panel, '#/servers/steady/traffic');
  await expect(panel.getByRole('region', { name: 'Traffic of steady' })).toContainText('steady#1');
  await isAccessible(panel, "server's traffic");
});
