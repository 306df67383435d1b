/** A call whose answer is known, made at each health check. */
import type { Canary, HealthCheck } from '$lib/contract';
import { toasts } from '$kit/toasts.svelte';
import { confirmer } from '$kit/confirm.svelte';
import { duration } from '$lib/format';
import type { Model } from '$lib/state/model';
import { CallError } from '$lib/transport';

export const canaryWords = ({ tool, answer }: Canary) =>
  answer === undefined ? `${tool} must answer` : `${tool} must answer with "${answer}"`;

/** The text that an answer to this call could be known by: the start of the first text in the result. */
export function knownBy(result: string | undefined): string {
  try {
    const parsed = JSON.parse(result ?? '') as { content?: { text?: unknown }[] };
    const text = parsed.content?.map((part) => part.text).find((one) => typeof one === 'string');
    return (
      (text as string | undefined)
        ?.split('\n')
        .find((line) => line.trim())
        ?.trim()
        .slice(0, 120) ?? ''
    );
  } catch {
    return '';
  }
}

/** What follows for a server from a canary, as facts to read before it is declared. */
export const canaryFacts = (health: HealthCheck) => [
  `It is called at each health check, every ${duration(health.interval_ms)}, in each instance`,
  `After ${health.unhealthy_after} wrong answers in a row the server is unhealthy`,
  'It is written into fleet.toml; no server is restarted',
];

async function write(model: Model, server: string, canary: Canary | null, reason: string): Promise<boolean> {
  try {
    await model.call('server.edit', { server, set: { 'health.canary': canary }, reason });
    toasts.show({ kind: 'good', title: server, text: canary ? canaryWords(canary) : 'The canary is removed' });
    return true;
  } catch (error) {
    toasts.show({ kind: 'bad', title: `${server}: not changed`, text: `Failed to ${CallError.of(error).message}.` });
    return false;
  }
}

export const saveCanary = (model: Model, server: string, canary: Canary) =>
  write(model, server, canary, `a call of ${canary.tool} is saved as check`);

export async function dropCanary(model: Model, server: string, canary: Canary): Promise<void> {
  const sure = await confirmer.confirm({
    title: `Remove the canary of ${server}?`,
    facts: [`${canary.tool} is no longer called at health checks`, 'The other checks stay'],
    action: 'Remove canary',
    keep: 'Keep it',
  });
  if (sure) await write(model, server, null, 'the canary is removed');
}
