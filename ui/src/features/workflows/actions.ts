/** Verbs on runs and steps, from the press to the end that was observed. */
import type { RunAct, RunView } from '$lib/contract';
import { confirmer } from '$kit/confirm.svelte';
import { toasts } from '$kit/toasts.svelte';
import { count, duration, names } from '$lib/format';
import type { Model } from '$lib/state/model';
import { router, runHref } from '$lib/state/router.svelte';
import { CallError } from '$lib/transport';
import type { RunWatch } from './run.svelte';
import { ranFor, runEnded, STEP, stepEnded } from './words';

/** The end of a verb is watched for this long. */
const WATCHED_MS = 30_000;

interface Doing {
  doing: string;
  not: string;
}
const WORDS: Record<RunAct, Doing> = {
  pause: { doing: 'Pausing', not: 'not paused' },
  resume: { doing: 'Resuming', not: 'not resumed' },
  cancel: { doing: 'Cancelling', not: 'not cancelled' },
  restart: { doing: 'Restarting', not: 'not restarted' },
  skip: { doing: 'Skipping', not: 'not skipped' },
  retry: { doing: 'Trying again', not: 'not tried again' },
  approve: { doing: 'Approving', not: 'not approved' },
  reject: { doing: 'Rejecting', not: 'not rejected' },
};

const failed = (error: unknown) =>
  `Failed to ${CallError.of(error).message}.`.replace('Failed to failed to', 'Failed to');
const LATE = 'No end seen after 30 s; it is still watched here.';

/** Does it and tells what came of it; gives what the engine refused it with, or nothing, once it is taken. To cancel asks first. */
export async function act(
  model: Model,
  watch: RunWatch,
  verb: RunAct,
  step?: string,
  input: Record<string, unknown> = {},
): Promise<CallError | undefined> {
  const view = watch.view;
  if (!view) return undefined;
  if (verb === 'cancel' && !(await confirmCancel(view))) return undefined;
  const title = step ?? `${view.summary.workflow}, run ${watch.run}`;
  const toast = toasts.show({ kind: 'working', title, text: WORDS[verb].doing });
  try {
    await model.call('workflow.act', { run: watch.run, act: verb, ...(step === undefined ? {} : { step }), input });
  } catch (error) {
    const refused = CallError.of(error);
    toasts.change(toast, { kind: 'bad', title: `${title}: ${WORDS[verb].not}`, text: failed(refused) });
    await watch.read();
    return refused;
  }
  await watch.read();
  // The end may take long; other verbs need not wait for it.
  void observed(watch, verb, step).then((end) => {
    toasts.change(toast, { title, ...end });
    return model.workflows.read();
  });
  return undefined;
}

interface End {
  kind: 'good' | 'bad' | 'info';
  text: string;
}

async function observed(watch: RunWatch, verb: RunAct, step: string | undefined): Promise<End> {
  const seen = (is: (view: RunView) => boolean) => watch.until(is, WATCHED_MS);
  const state = () => watch.view?.summary.state;
  switch (verb) {
    case 'pause':
      return { kind: 'good', text: `Paused${stillBusy(watch.view)}` };
    case 'resume':
      return { kind: 'good', text: 'Goes on' };
    case 'cancel': {
      if (!(await seen(({ summary }) => runEnded(summary.state)))) return { kind: 'bad', text: LATE };
      const ended = watch.view?.steps.filter((one) => one.state === 'cancelled').length ?? 0;
      return { kind: 'good', text: `Cancelled, ${count(ended, 'step')} ended early` };
    }
    case 'restart':
      if (!(await seen(({ summary }) => runEnded(summary.state)))) return { kind: 'info', text: 'Runs again' };
      return runEnd(watch.view);
    default: {
      const of = (view: RunView) => view.steps.find(({ id }) => id === step);
      const over = await seen((view) => stepEnded(of(view)?.state ?? 'cancelled') || runEnded(view.summary.state));
      const now = watch.view && of(watch.view);
      if (!over || !now)
        return { kind: 'info', text: now?.state === 'running' ? 'At work since; it is watched here' : LATE };
      if (verb === 'skip' || verb === 'approve')
        return {
          kind: 'good',
          text: `${verb === 'skip' ? 'Skipped' : 'Approved'}; the run is ${state() ?? 'going on'}`,
        };
      if (verb === 'reject') return { kind: 'good', text: `Rejected; the run is ${state() ?? 'going on'}` };
      const took = now.began_at && now.ended_at ? ` in ${duration(now.ended_at - now.began_at)}` : '';
      return now.state === 'completed'
        ? { kind: 'good', text: `Done on try ${now.attempt}${took}` }
        : {
            kind: 'bad',
            text: `${STEP[now.state].word} again on try ${now.attempt}${now.error ? `: ${now.error.split('\n')[0]}` : ''}`,
          };
    }
  }
}

function stillBusy(view: RunView | undefined): string {
  const busy = view?.steps.filter(({ state }) => state === 'running').map(({ id }) => id) ?? [];
  return busy.length ? `; ${names(busy)} still ${busy.length === 1 ? 'runs' : 'run'}` : ', nothing is at work';
}

function runEnd(view: RunView | undefined): End {
  if (!view) return { kind: 'info', text: LATE };
  const { summary } = view;
  const time = duration(ranFor(summary, summary.at));
  return summary.state === 'completed'
    ? { kind: 'good', text: `Completed, ${time} since its beginning` }
    : { kind: 'bad', text: `Ended again: ${summary.why ?? summary.state}` };
}

function confirmCancel({ summary, steps }: RunView): Promise<boolean> {
  const by = (state: string) => steps.filter((step) => step.state === state);
  const busy = by('running').map(({ id }) => id);
  const open = steps.filter(({ state }) => !stepEnded(state)).length - busy.length;
  return confirmer.confirm({
    title: `Cancel run ${summary.run} of ${summary.workflow}?`,
    facts: [
      busy.length ? `Ends what is at work, with all its processes: ${names(busy, 4)}` : 'Nothing is at work',
      open ? `${count(open, 'step')} will not be begun` : 'No step is left to begin',
      `${count(by('completed').length, 'step')} stay done: nothing is undone`,
      'It can be restarted afterwards, from what was cancelled',
    ],
    action: 'Cancel 1 run',
    keep: 'Let it go on',
  });
}

/** Starts a new run after another one, from a step or anew, and opens it. */
export async function replay(
  model: Model,
  run: number,
  { from, current = false }: { from?: string; current?: boolean } = {},
): Promise<void> {
  const title = `Run ${run} again${from === undefined ? '' : ` from ${from}`}`;
  try {
    const begun = await model.call('workflow.replay', { run, current, ...(from === undefined ? {} : { from }) });
    toasts.show({ kind: 'good', title, text: `Run ${begun.run} began` });
    router.go(runHref(begun.run));
  } catch (error) {
    toasts.show({ kind: 'bad', title: `${title}: not begun`, text: failed(error) });
  }
}
