import { existsSync } from 'node:fs';
import { defineConfig } from '@playwright/test';

/** A browser of the system, where there is one; otherwise the one that Playwright keeps. */
const system = process.env['FLOTILLA_CHROMIUM'] ?? '/usr/bin/chromium';

export default defineConfig({
  testDir: 'tests',
  outputDir: 'test-results',
  // Generous: a busy machine with two cores must not decide about a test.
  timeout: 180_000,
  expect: { timeout: 45_000 },
  // Each worker has an engine of its own with its own home.
  workers: 2,
  fullyParallel: false,
  forbidOnly: Boolean(process.env['CI']),
  reporter: [['list']],
  use: {
    viewport: { width: 1440, height: 900 },
    colorScheme: 'dark',
    trace: 'retain-on-failure',
    launchOptions: {
      ...(existsSync(system) ? { executablePath: system } : {}),
      args: [
        '--no-sandbox',
        '--disable-gpu',
        '--disable-quic',
        '--no-first-run',
        '--disable-background-networking',
        '--disable-component-update',
        '--disable-sync',
      ],
    },
  },
});
