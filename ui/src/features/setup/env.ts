import type { Value } from '$lib/contract';
import type { Model } from '$lib/state/model';

/** A variable or header as it is typed. */
export interface EnvRow {
  name: string;
  value: string;
  secret: boolean;
}

/** Whether a name looks as if its value should not be read by others. */
export function looksSecret(name: string): boolean {
  return /(token|secret|passw|api[_-]?key|authorization|credential)/i.test(name);
}

/** Values for the file. Secrets go to their store first and are referred to by name. */
export async function envOf(model: Model, server: string, rows: readonly EnvRow[]): Promise<Record<string, Value>> {
  const values: Record<string, Value> = {};
  for (const { name, value, secret } of rows) {
    if (!name) continue;
    if (!secret) {
      values[name] = { from: 'text', text: value };
      continue;
    }
    const stored = `${server}/${name.replace(/[^A-Za-z0-9_.-]/g, '-')}`;
    await model.call('secrets.set', { name: stored, value });
    values[name] = { from: 'secret', name: stored };
  }
  return values;
}
