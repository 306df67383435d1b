/** What is done to the gateway, from the press to the end that it reports. */
import type { BreakerAct, BreakerView, FaultParams } from '$lib/contract';
import { confirmer } from '$kit/confirm.svelte';
import { now } from '$kit/now.svelte';
import { toasts } from '$kit/toasts.svelte';
import { count, names } from '$lib/format';
import type { Model } from '$lib/state/model';
import { CallError } from '$lib/transport';
import { breakerEnd, breakerName, faultWords, lately } from './model';

const LATELY_MS = 600_000;
const WORDS: Record<BreakerAct, string> = { trip: 'tripped', reset: 'reset', half_open: 'half-opened' };

const failed = (error: unknown) => `Failed to ${CallError.of(error).message}.`;

/** Trips, resets or half-opens a breaker; to trip asks first, with what it would take with it. */
export async function operate(model: Model, breaker: BreakerView, act: BreakerAct): Promise<void> {
  const { server, tool } = breaker;
  const title = breakerName(breaker);
  if (act === 'trip' && !(await confirmTrip(model, breaker))) return;
  try {
    const end = await model.call('gateway.breaker', { server, ...(tool === undefined ? {} : { tool }), act });
    toasts.show({ kind: 'good', title, text: breakerEnd(end) });
  } catch (error) {
    toasts.show({ kind: 'bad', title: `${title}: not ${WORDS[act]}`, text: failed(error) });
  }
  await model.gateway.read();
}

async function confirmTrip(model: Model, { server, tool }: BreakerView): Promise<boolean> {
  const calls = await model.call('gateway.calls', { server, limit: 2000 }).catch(() => undefined);
  const traffic = model.gateway.view?.servers.find((one) => one.server === server)?.traffic;
  const facts = [`Every call to ${tool ?? server} is refused at once, until the breaker is reset`];
  if (calls) {
    const who = lately(calls, now.exact() - LATELY_MS, tool);
    facts.push(
      who.length === 0
        ? 'No client called it in the last 10 minutes, as far as calls are kept'
        : `Called in the last 10 minutes: ${names(
            who.map((one) => `${one.client} (${count(one.calls, 'call')})`),
            4,
          )}`,
    );
  }
  if (traffic) {
    const under = traffic.in_flight > 0 ? `${count(traffic.in_flight, 'call')} in flight` : 'No call is in flight';
    facts.push(traffic.in_flight > 0 ? `${under} to ${server} may still end` : `${under} to ${server}`);
  }
  facts.push(tool === undefined ? 'Its processes keep running' : `The other tools of ${server} stay reachable`);
  return confirmer.confirm({
    title: tool === undefined ? `Trip the breaker of ${server}?` : `Trip the breaker of ${tool} at ${server}?`,
    facts,
    action: 'Trip 1 breaker',
    keep: 'Keep it closed',
  });
}

/** Takes answers out of the cache: of one tool, or all. */
export async function clearCache(model: Model, what: { server?: string; tool?: string } = {}): Promise<void> {
  const { server, tool } = what;
  const title = server === undefined ? 'Cache' : tool === undefined ? server : `${server}, ${tool}`;
  try {
    const { entries } = await model.call('gateway.cache_clear', what);
    toasts.show({ kind: 'good', title, text: `${count(entries, 'answer')} taken out of the cache` });
  } catch (error) {
    toasts.show({ kind: 'bad', title: `${title}: not cleared`, text: failed(error) });
  }
  await model.gateway.read();
}

/** Injects a fault; gives whether it is on. */
export async function inject(model: Model, fault: Required<Omit<FaultParams, 'tool'>> & { tool?: string }) {
  try {
    await model.call('gateway.fault', fault);
    toasts.show({ kind: 'info', title: `Fault on ${breakerName(fault)}`, text: faultWords(fault) });
    await model.gateway.read();
    return true;
  } catch (error) {
    toasts.show({ kind: 'bad', title: `${breakerName(fault)}: no fault injected`, text: failed(error) });
    return false;
  }
}

/** Ends a fault before its time. */
export async function endFault(model: Model, { server, tool }: { server: string; tool?: string }): Promise<void> {
  const target = { server, ...(tool === undefined ? {} : { tool }) };
  const title = breakerName(target);
  try {
    const left = await model.call('gateway.fault', { ...target, for_ms: 0 });
    const on = left.some((fault) => fault.server === server && fault.tool === tool);
    toasts.show({ kind: on ? 'bad' : 'good', title, text: on ? 'The fault is still on' : 'The fault is ended' });
  } catch (error) {
    toasts.show({ kind: 'bad', title: `${title}: the fault is not ended`, text: failed(error) });
  }
  await model.gateway.read();
}
