import type { LabelMatch } from '$lib/contract';
import { toasts } from '$kit/toasts.svelte';
import type { Model } from '$lib/state/model';
import { CallError } from '$lib/transport';

/** Tells nobody of some alerts for a time, and says how that went. */
export async function silence(model: Model, matchers: LabelMatch[], ms: number, comment: string): Promise<void> {
  try {
    const made = await model.call('alerts.silence', { matchers, for_ms: ms, comment });
    toasts.show({ kind: 'good', title: `Silence ${made.id} holds` });
  } catch (error) {
    toasts.show({ kind: 'bad', title: `Failed to ${CallError.of(error).message}` });
  }
  await model.alerts.read();
}

/** Ends a silence. */
export async function unsilence(model: Model, id: number): Promise<void> {
  try {
    await model.call('alerts.unsilence', { id });
    toasts.show({ kind: 'good', title: `Silence ${id} has ended` });
  } catch (error) {
    toasts.show({ kind: 'bad', title: `Failed to ${CallError.of(error).message}` });
  }
  await model.alerts.read();
}

/** Sends a test message over a channel. */
export async function test(model: Model, name: string): Promise<void> {
  try {
    const { took_ms } = await model.call('alerts.test_channel', { name });
    toasts.show({ kind: 'good', title: `${name} took the test message in ${took_ms} ms` });
  } catch (error) {
    toasts.show({ kind: 'bad', title: `Failed to ${CallError.of(error).message}` });
  }
  await model.alerts.read();
}
