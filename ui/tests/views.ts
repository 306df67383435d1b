import { AxeBuilder } from '@axe-core/playwright';
import { expect, type Page } from '@playwright/test';
import type { Engine } from './engine';

interface View {
  instances: { pid?: number; status: string }[];
}

/** Process id of the first instance, once it runs. */
export async function process(engine: Engine, server: string): Promise<number> {
  for (;;) {
    const { instances } = await engine.call<View>('server.get', { server });
    const pid = instances[0]?.pid;
    if (pid !== undefined && instances[0]?.status === 'running') return pid;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** Nothing on the page keeps anybody out. */
export async function isAccessible(page: Page, name: string): Promise<void> {
  const { violations } = await new AxeBuilder({ page }).analyze();
  const found = violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.target.join(' ')).join(', ')}`);
  expect(found, name).toEqual([]);
}
