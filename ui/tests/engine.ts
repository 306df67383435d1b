/** An engine for a test file: a home in a temporary folder, real processes, the built panel served from `ui/dist`. */
import { test as base, expect, type Page } from '@playwright/test';
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const target = process.env['FLOTILLA_TARGET'] ?? join(root, 'target', 'debug');
const program = (name: string) => join(target, process.platform === 'win32' ? `${name}.exe` : name);

export const FLOTILLA = program('flotilla');
export const FIXTURE = program('flotilla-fixture');
const PANEL = join(root, 'ui', 'dist');

/** A server of `fleet.toml` that is the fixture with these flags. */
export function fixtureServer(name: string, flags: string[] = [], more = ''): string {
  const args = JSON.stringify(flags);
  return `[servers.${name}]\ncommand = ${JSON.stringify(FIXTURE)}\nargs = ${args}\n${more}\n`;
}

/** Fills each `PORT_name` with a port that is free now, and so are the next two that replicas of it would take. */
async function withPorts(fleet: string): Promise<string> {
  const chosen = new Map<string, number>();
  for (const [word] of fleet.matchAll(/PORT_\w+/g)) {
    while (!chosen.has(word)) {
      const first = 20_000 + Math.floor(Math.random() * 12_000);
      const free = await Promise.all([first, first + 100, first + 200].map(isFree));
      if (free.every(Boolean)) chosen.set(word, first);
    }
  }
  return fleet.replace(/PORT_\w+/g, (word) => String(chosen.get(word)));
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}

export class Engine {
  readonly home = mkdtempSync(join(tmpdir(), 'flotilla-ui-'));
  readonly userHome = mkdtempSync(join(tmpdir(), 'flotilla-user-'));
  #child: ChildProcess | undefined;
  #port = 0;

  write(fleet: string): void {
    writeFileSync(join(this.home, 'fleet.toml'), fleet);
  }

  async start(): Promise<void> {
    // Clients' files are looked for in the home of the user: that of the test has what the test puts there.
    const env: NodeJS.ProcessEnv = { ...process.env, FLOTILLA_HOME: this.home, HOME: this.userHome };
    delete env['XDG_CONFIG_HOME'];
    // The same address again after a restart: an open page finds it.
    const child = spawn(FLOTILLA, ['serve', '--port', String(this.#port), '--ui', PANEL], {
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#child = child;
    let said = '';
    child.stderr?.on('data', (text: Buffer) => (said += text.toString()));
    await new Promise<void>((resolve, reject) => {
      child.once('exit', (code) => reject(new Error(`the engine exited with ${code}: ${said}`)));
      createInterface({ input: child.stdout as NodeJS.ReadableStream }).on('line', (line) => {
        if (line.startsWith('Panel: ')) resolve();
      });
    });
    this.#port = Number(new URL(this.boot().url).port);
  }

  boot(): { url: string; token: string } {
    return JSON.parse(readFileSync(join(this.home, 'engine.json'), 'utf8')) as { url: string; token: string };
  }

  /** An address that lets one browser in, once. */
  address(): string {
    return this.cli('open').trim();
  }

  cli(...args: string[]): string {
    return execFileSync(FLOTILLA, [...args, '--home', this.home], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  }

  /** Asks the engine as the panel would. */
  async call<T>(command: string, params: unknown = {}): Promise<T> {
    const { url, token } = this.boot();
    const answer = await fetch(`${url}/api/v1/call/${command}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: JSON.stringify(params),
    });
    if (!answer.ok) throw new Error(`${command}: ${answer.status} ${await answer.text()}`);
    return (await answer.json()) as T;
  }

  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    const child = this.#child;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise((resolve) => child.once('exit', resolve));
    child.kill(signal);
    await gone;
  }

  async remove(): Promise<void> {
    await this.stop();
    for (const folder of [this.home, this.userHome]) rmSync(folder, { recursive: true, force: true });
  }
}

interface Fixtures {
  /** The panel, let in. */
  panel: Page;
}

interface WorkerFixtures {
  /** Text of `fleet.toml`; a file of tests sets its own with `test.use`. */
  fleet: string;
  engine: Engine;
}

export const test = base.extend<Fixtures, WorkerFixtures>({
  fleet: ['', { option: true, scope: 'worker' }],
  engine: [
    async ({ fleet }, use) => {
      for (const needed of [FLOTILLA, FIXTURE, join(PANEL, 'index.html')])
        if (!existsSync(needed)) throw new Error(`${needed} is missing: cargo xtask test builds it`);
      const engine = new Engine();
      engine.write(await withPorts(fleet));
      await engine.start();
      await use(engine);
      await engine.remove();
    },
    { scope: 'worker' },
  ],
  panel: async ({ page, engine }, use) => {
    const wrong: string[] = [];
    page.on('pageerror', (error) => wrong.push(String(error)));
    page.on('console', (message) => {
      // A refused connection is what some tests are about.
      if (message.type() === 'error' && !/WebSocket|ERR_CONNECTION|Failed to load resource/.test(message.text()))
        wrong.push(message.text());
    });
    await page.goto(engine.address());
    await expect(page.getByRole('navigation', { name: 'Main' })).toBeVisible();
    await use(page);
    expect(wrong).toEqual([]);
  },
});

/** Goes to a place of the panel without loading it anew. */
export async function go(page: Page, hash: string): Promise<void> {
  await page.evaluate((to) => {
    location.hash = to;
  }, hash);
}

/** A row of the list of servers. */
export const row = (page: Page, name: string) => page.locator(`[role=row][data-server="${name}"]`);

export { expect };
