/**
 * A verb from the press to the end that was observed: the engine's plan gives the effect, what is destructive asks
 * once with that effect, then the call runs and its outcomes are shown. Good ends fade, bad ones stay.
 */
import { SvelteMap } from 'svelte/reactivity';
import type { Outcome, Plan, Verb, WireError } from '$lib/contract';
import { confirmer } from '$kit/confirm.svelte';
import { toasts } from '$kit/toasts.svelte';
import { count, duration, names } from '$lib/format';
import type { Model } from '$lib/state/model';
import { serverHref } from '$lib/state/router.svelte';
import { CallError } from '$lib/transport';
import { VERBS } from './words';

export interface Asked {
  verb: Verb;
  servers: string[];
  /** Only this instance of the one server named. */
  instance?: number;
  /** For `scale`. */
  replicas?: number;
}

/** What is being done to a server right now, and how it ended last; rows show it in place. */
export interface Work {
  verb: Verb;
  phase: 'working' | 'good' | 'bad';
  sentence: string;
}

/** Work under way and its ends, by server. A good end leaves after six seconds, a bad one with the next verb. */
export const work = new SvelteMap<string, Work>();

const FADE_MS = 6_000;

/** What the verb would do, by the engine's own code path. */
export function planOf(model: Model, { verb, servers, instance, replicas }: Asked): Promise<Plan> {
  return model.call('server.plan', { verb, targets: { servers, instance }, replicas });
}

/** Runs it; gives the outcomes, or nothing where it was refused, not confirmed or could not be asked. */
export async function act(model: Model, asked: Asked, { confirmed = false } = {}): Promise<Outcome[] | undefined> {
  try {
    const plan = await planOf(model, asked);
    const refused = new Map(plan.refusals.map((refusal) => [refusal.server, refusal.error]));
    for (const [server, error] of refused) refuse(server, asked.verb, error);
    const servers = asked.servers.filter((server) => !refused.has(server));
    if (asked.servers.length > 0 && servers.length === 0) return undefined;
    if (plan.destructive && !confirmed && !(await ask(asked, servers, plan))) return undefined;
    return await run(model, { ...asked, servers });
  } catch (error) {
    const { message } = CallError.of(error);
    toasts.show({ kind: 'bad', title: `${VERBS[asked.verb].word} was not done`, text: `Failed to ${message}.` });
    return undefined;
  }
}

function refuse(server: string, verb: Verb, error: WireError): void {
  work.set(server, { verb, phase: 'bad', sentence: `Failed to ${error.message}` });
  toasts.show({
    kind: 'bad',
    title: `${server}: ${VERBS[verb].word.toLowerCase()} refused`,
    text: `${sentence(error)}`,
  });
}

const sentence = (error: WireError) => `Failed to ${error.message}.`;

function ask(asked: Asked, servers: string[], plan: Plan): Promise<boolean> {
  const verb = VERBS[asked.verb].word;
  const target = servers.length === 0 ? 'all servers' : names(servers);
  const only = asked.instance === undefined ? '' : ` instance ${asked.instance}`;
  const scaled = asked.verb === 'scale' ? ` to ${asked.replicas}` : '';
  const object = plan.stops > 0 ? count(plan.stops, 'instance') : count(Math.max(1, servers.length), 'server');
  const facts = [plan.sentence, ...(plan.hits ?? [])];
  if (plan.starts > 0) facts.push(`${count(plan.starts, 'instance')} started in turn`);
  if (plan.dependents.length > 0)
    facts.push(`${names(plan.dependents)} ${plan.dependents.length === 1 ? 'depends' : 'depend'} on it and may fail`);
  facts.push(
    asked.verb === 'remove'
      ? 'The entry leaves fleet.toml; the revision before it can be put back'
      : 'Its declaration in fleet.toml stays as it is',
  );
  return confirmer.confirm({
    title: `${verb} ${target}${only}${scaled}?`,
    facts: [...new Set(facts)],
    action: asked.verb === 'scale' ? `Scale${scaled}` : `${verb} ${object}`,
    keep: asked.verb === 'stop' || asked.verb === 'restart' ? 'Keep running' : 'Keep as it is',
  });
}

async function run(model: Model, asked: Asked): Promise<Outcome[]> {
  const { doing, word } = VERBS[asked.verb];
  const target = asked.servers.length === 0 ? 'all servers' : names(asked.servers);
  const toast = toasts.show({ kind: 'working', title: `${doing} ${target}` });
  for (const server of asked.servers) work.set(server, { verb: asked.verb, phase: 'working', sentence: doing });
  try {
    const outcomes = await send(model, asked);
    for (const outcome of outcomes) end(asked.verb, outcome);
    toasts.change(toast, summary(asked, target, outcomes));
    return outcomes;
  } catch (error) {
    const failed = CallError.of(error);
    const text = failed.code === 'timeout' ? 'No end seen in time, still watching.' : `Failed to ${failed.message}.`;
    for (const server of asked.servers) work.set(server, { verb: asked.verb, phase: 'bad', sentence: text });
    toasts.change(toast, { kind: 'bad', title: `${word} ${target}`, text });
    return [];
  }
}

async function send(model: Model, { verb, servers, instance, replicas }: Asked): Promise<Outcome[]> {
  switch (verb) {
    case 'start':
      return (await model.call('server.start', { servers, instance })).outcomes;
    case 'stop':
      return (await model.call('server.stop', { servers, instance })).outcomes;
    case 'restart':
      return (await model.call('server.restart', { servers, instance })).outcomes;
    case 'scale': {
      const all = await Promise.all(
        servers.map((server) => model.call('server.scale', { server, replicas: replicas ?? 1 })),
      );
      return all.flatMap((answer) => answer.outcomes);
    }
    case 'remove':
      for (const server of servers) await model.call('server.remove', { server });
      return servers.map((server) => ({
        server,
        ok: true,
        sentence: 'Removed from fleet.toml',
        status: 'stopped',
        state: 'stopped',
        took_ms: 0,
      }));
  }
}

function end(verb: Verb, outcome: Outcome): void {
  const phase = outcome.ok ? 'good' : 'bad';
  const ended: Work = { verb, phase, sentence: outcome.error ? sentence(outcome.error) : outcome.sentence };
  work.set(outcome.server, ended);
  if (!outcome.ok) return;
  setTimeout(() => {
    if (work.get(outcome.server) === ended) work.delete(outcome.server);
  }, FADE_MS);
}

function summary({ verb, servers }: Asked, target: string, outcomes: Outcome[]) {
  const bad = outcomes.filter((outcome) => !outcome.ok);
  const [first] = bad.length ? bad : outcomes;
  const kind = bad.length ? ('bad' as const) : ('good' as const);
  if (outcomes.length === 1 && first) {
    const text = first.error ? `${first.sentence}. ${sentence(first.error)}` : first.sentence;
    return { kind, title: first.server, text, link: bad.length ? logLink(first.server) : undefined };
  }
  const done = outcomes.length - bad.length;
  const slowest = Math.max(0, ...outcomes.map((outcome) => outcome.took_ms));
  const title = `${VERBS[verb].word} ${servers.length > 3 ? count(servers.length, 'server') : target}`;
  if (!first || bad.length === 0) return { kind, title, text: `${done} done in ${duration(slowest)}` };
  const why = first.sentence || (first.error ? sentence(first.error) : '');
  return { kind, title, text: `${done} done, ${bad.length} not. ${first.server}: ${why}`, link: logLink(first.server) };
}

const logLink = (server: string) => ({ label: 'Read its log', href: serverHref(server, 'logs') });

/** Enables or disables a server in fleet.toml and shows what came of it. */
export async function enable(model: Model, server: string, enabled: boolean): Promise<void> {
  const word = enabled ? 'Enabled' : 'Disabled';
  try {
    const written = await model.call('server.enable', { server, enabled });
    toasts.show({
      kind: 'good',
      title: `${server}: ${word.toLowerCase()}`,
      text: `Revision ${written.revision} of fleet.toml`,
    });
  } catch (error) {
    toasts.show({ kind: 'bad', title: `${server}: not ${word.toLowerCase()}`, text: sentence(CallError.of(error)) });
  }
}

/** Forgets what start, stop and scale changed: back to what the file declares. */
export async function reset(model: Model, server: string): Promise<void> {
  try {
    const { outcomes } = await model.call('server.reset', { servers: [server] });
    const [first] = outcomes;
    toasts.show({ kind: first?.ok === false ? 'bad' : 'good', title: server, text: first?.sentence });
  } catch (error) {
    toasts.show({ kind: 'bad', title: `${server}: not put back`, text: sentence(CallError.of(error)) });
  }
}

/** Asks the server now, beside the schedule. */
export async function probe(model: Model, server: string): Promise<void> {
  const toast = toasts.show({ kind: 'working', title: `Checking ${server}` });
  try {
    const { outcomes } = await model.call('server.probe', { servers: [server] });
    const [first] = outcomes;
    toasts.change(toast, { kind: first?.ok === false ? 'bad' : 'good', title: server, text: first?.sentence });
  } catch (error) {
    toasts.change(toast, { kind: 'bad', title: `${server}: not checked`, text: sentence(CallError.of(error)) });
  }
}
