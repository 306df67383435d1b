/** Runs and steps in words: states, what may be done, and why a run does not move. */
import type { Failure, Finding, RunAct, RunState, RunSummary, RunView, StepView, WorkflowPlan } from '$lib/contract';
import type { StepState, TriggerOutcome } from '$lib/contract';
import type { Tone } from '$kit/status';
import { count, duration, names, whole } from '$lib/format';

export interface Look {
  word: string;
  tone: Tone | 'accent';
  /** Whether the word takes the colour. */
  loud: boolean;
}

export const STEP: Record<StepState, Look> = {
  pending: { word: 'to do', tone: 'stop', loud: false },
  running: { word: 'running', tone: 'accent', loud: false },
  retrying: { word: 'retrying', tone: 'rst', loud: true },
  waiting: { word: 'waits', tone: 'deg', loud: true },
  completed: { word: 'done', tone: 'ok', loud: false },
  failed: { word: 'failed', tone: 'fail', loud: true },
  skipped: { word: 'skipped', tone: 'stop', loud: false },
  blocked: { word: 'blocked', tone: 'stop', loud: false },
  cancelled: { word: 'cancelled', tone: 'stop', loud: false },
};

export const RUN: Record<RunState, Look> = {
  running: { word: 'Running', tone: 'accent', loud: false },
  paused: { word: 'Paused', tone: 'deg', loud: true },
  cancelling: { word: 'Being cancelled', tone: 'stop', loud: false },
  completed: { word: 'Completed', tone: 'ok', loud: false },
  failed: { word: 'Failed', tone: 'fail', loud: true },
  cancelled: { word: 'Cancelled', tone: 'stop', loud: false },
};

/** What came of the last firing of a trigger. */
export const OUTCOME: Record<TriggerOutcome, string> = {
  started: 'started',
  queued: 'waits',
  skipped: 'skipped',
  dropped: 'too many',
  refused: 'could not start',
};

export const FAILURE: Record<Failure, string> = {
  timeout: 'took too long',
  unavailable: 'not reached',
  failed: 'failed',
  refused: 'refused',
  interrupted: 'interrupted',
};

export const runEnded = (state: RunState): boolean =>
  state === 'completed' || state === 'failed' || state === 'cancelled';
const OPEN: readonly StepState[] = ['pending', 'running', 'retrying', 'waiting'];
export const stepEnded = (state: StepState): boolean => !OPEN.includes(state);

/** An approval that waits for a person. */
export const approves = (step: StepView): boolean => (step.asks ?? false) && step.uses === 'approval';

/** How long a step took, or has been at it. */
export function took(step: StepView, now: number): number | undefined {
  if (step.began_at === undefined) return undefined;
  return Math.max(0, (step.ended_at ?? now) - step.began_at);
}

/** How long a run took, or goes on. */
export const ranFor = (run: RunSummary, now: number): number => Math.max(0, (run.ended_at ?? now) - run.at);

/** What stands under the name of a step: how long, which try, or why not. */
export function stepNote(step: StepView, now: number): string {
  const time = took(step, now);
  const tries = step.attempt > 1 ? `, try ${step.attempt}` : '';
  switch (step.state) {
    case 'pending':
      return 'to do';
    case 'retrying': {
      const left = (step.until ?? now) - now;
      return `try ${step.attempt + 1} ${left > 500 ? `in ${duration(Math.max(1, Math.floor(left / 1000)) * 1000)}` : 'now'}`;
    }
    case 'waiting':
      return step.asks ? 'waits for you' : `waits ${time === undefined ? '' : duration(seconds(time))}`.trim();
    case 'skipped':
    case 'blocked':
    case 'cancelled':
      return STEP[step.state].word;
    case 'running': {
      const items = step.items === undefined ? '' : `${step.items_ended ?? 0} of ${step.items}, `;
      return `${items}${duration(seconds(time ?? 0))}${tries}`;
    }
    case 'failed':
      return `failed${tries || `, ${duration(time ?? 0)}`}`;
    default:
      return `${duration(time ?? 0)}${tries}`;
  }
}

/** What the engine says, as a sentence. */
export const sentence = (text: string): string => whole(text.charAt(0).toUpperCase() + text.slice(1));

const seconds = (ms: number) => Math.floor(ms / 1000) * 1000;

/** Why a run does not move, or that it does, as one sentence; `until` is said as a countdown between its halves. */
export interface Why {
  tone: Tone | 'accent';
  /** The step that it is about. */
  step?: string;
  text: string;
  until?: number;
  after?: string;
}

const only = (steps: readonly StepView[], state: StepState) => steps.filter((step) => step.state === state);
const ids = (steps: readonly StepView[]) => names(steps.map(({ id }) => id));
const clip = (text: string) => (text.length > 240 ? `${text.slice(0, 239)}…` : text);
/** The first line of an error: the rest is read in the step. */
const firstLine = (text: string) => clip(text.split('\n').find((line) => line.trim()) ?? '').replace(/[.:]$/, '');

export function why({ summary, steps }: RunView): Why {
  switch (summary.state) {
    case 'completed':
      return completed(summary, steps);
    case 'failed':
      return failed(summary, steps);
    case 'cancelled': {
      const text = `It was ${summary.why ?? 'cancelled'}: ${count(only(steps, 'completed').length, 'step')} of ${steps.length} had been done.`;
      return { tone: 'stop', text };
    }
    case 'cancelling': {
      const open = steps.filter(({ state }) => !stepEnded(state));
      const [first] = open;
      const left = open.length ? `: ${ids(open)} ${open.length === 1 ? 'has' : 'have'} not ended yet` : '';
      return { tone: 'stop', text: `It is being ended${left}.`, ...(first ? { step: first.id } : {}) };
    }
    case 'paused': {
      const busy = only(steps, 'running');
      const still = busy.length ? `; ${ids(busy)} still ${busy.length === 1 ? 'goes' : 'go'} on` : '';
      return {
        tone: 'deg',
        text: `It is ${summary.why ?? 'paused'}: nothing new is started until it is resumed${still}.`,
      };
    }
    case 'running':
      return running(summary, steps);
  }
}

function completed(summary: RunSummary, steps: readonly StepView[]): Why {
  const parts = [`${count(only(steps, 'completed').length, 'step')} done`];
  const skipped = only(steps, 'skipped').length;
  const bad = only(steps, 'failed');
  if (skipped) parts.push(`${skipped} skipped`);
  if (bad.length) parts.push(`${ids(bad)} failed, which it allows`);
  return { tone: 'ok', text: `It completed in ${duration(ranFor(summary, summary.at))}: ${parts.join(', ')}.` };
}

function failed(summary: RunSummary, steps: readonly StepView[]): Why {
  const bad = only(steps, 'failed');
  const first = bad.find((step) => step.error) ?? bad[0];
  if (!first) return { tone: 'fail', text: whole(`It failed${summary.why ? `: ${summary.why}` : ''}`) };
  const tries = first.attempt > 1 ? ` after ${count(first.attempt, 'try', 'tries')}` : '';
  const error = first.error ? `: ${firstLine(first.error)}` : '';
  const more = bad.length > 1 ? `; so did ${ids(bad.filter((step) => step !== first))}` : '';
  const blocked = only(steps, 'blocked').length;
  const held = blocked ? `; ${count(blocked, 'step')} that ${blocked === 1 ? 'needs' : 'need'} it never started` : '';
  return { tone: 'fail', step: first.id, text: `${first.id} failed${tries}${error}${more}${held}.` };
}

function running(summary: RunSummary, steps: readonly StepView[]): Why {
  const asking = steps.filter((step) => step.asks);
  const busy = only(steps, 'running');
  const retrying = only(steps, 'retrying').sort((a, b) => (a.until ?? 0) - (b.until ?? 0));
  const timed = steps
    .filter((step) => step.state === 'waiting' && !step.asks)
    .sort((a, b) => (a.until ?? 0) - (b.until ?? 0));
  const bad = only(steps, 'failed');
  const broke = bad.length ? ` ${ids(bad)} failed.` : '';
  const besides = busy.length ? ` Meanwhile ${ids(busy)} ${busy.length === 1 ? 'runs' : 'run'}.` : '';
  const [asks] = asking;
  if (asks) {
    const more = asking.length > 1 ? ` (and ${count(asking.length - 1, 'other step')})` : '';
    return { tone: 'deg', step: asks.id, text: `${asks.id}${more} waits for you.${besides}${broke}` };
  }
  const [again] = retrying;
  if (again && !busy.length) {
    const error = again.error ? `: ${firstLine(again.error)}` : '';
    return {
      tone: 'rst',
      step: again.id,
      text: `${again.id} failed${error}. Try ${again.attempt + 1} of ${again.attempts} comes in `,
      ...(again.until === undefined ? {} : { until: again.until }),
      after: `.${broke}`,
    };
  }
  if (busy.length) {
    const left = steps.filter(({ state }) => state === 'pending').length;
    const tries = retrying.length ? `; ${ids(retrying)} will be tried again` : '';
    const text = `It moves: ${ids(busy)} ${busy.length === 1 ? 'runs' : 'run'}, ${left ? `${count(left, 'step')} to do` : 'nothing is left to do after that'}${tries}.${broke}`;
    return { tone: 'accent', text, ...(busy[0] ? { step: busy[0].id } : {}) };
  }
  const [waits] = timed;
  if (waits)
    return {
      tone: 'unk',
      step: waits.id,
      text: `${waits.id} waits; it goes on in `,
      ...(waits.until === undefined ? {} : { until: waits.until }),
      after: `.${broke}`,
    };
  // For instance a journal that cannot be written.
  return {
    tone: summary.waits ? 'deg' : 'accent',
    text: whole(summary.waits ? `It waits: ${summary.waits}` : 'It has just begun'),
  };
}

/** What comes after an approval, as a sentence. */
export function afterApproval({ steps }: RunView, id: string): string {
  const byId = new Map(steps.map((step) => [step.id, step]));
  const then = steps.filter(({ needs, state }) => needs.includes(id) && state === 'pending');
  const met = (need: string) => {
    const state = byId.get(need)?.state;
    return need === id || state === 'completed' || state === 'skipped';
  };
  const ready = then.filter(({ needs }) => needs.every(met));
  if (ready.length) return `When approved, ${ids(ready)} ${ready.length === 1 ? 'goes' : 'go'} on.`;
  const [first] = then;
  if (!first) return 'Nothing comes after it.';
  return `${first.id} comes after it, and needs ${names(first.needs.filter((need) => !met(need)))} too.`;
}

export interface Verb {
  act: RunAct;
  label: string;
}

/** What the engine lets be done with a run in this state. */
export function runVerbs(state: RunState): Verb[] {
  switch (state) {
    case 'running':
      return [
        { act: 'pause', label: 'Pause' },
        { act: 'cancel', label: 'Cancel run' },
      ];
    case 'paused':
      return [
        { act: 'resume', label: 'Resume' },
        { act: 'cancel', label: 'Cancel run' },
      ];
    case 'failed':
    case 'cancelled':
      return [{ act: 'restart', label: 'Restart' }];
    default:
      return [];
  }
}

/** What the engine lets be done with a step in this state. */
export function stepVerbs(run: RunState, step: StepView): Verb[] {
  if (run === 'cancelling') return [];
  if (step.state === 'failed')
    return [
      { act: 'retry', label: 'Retry step' },
      { act: 'skip', label: 'Skip' },
    ];
  if (runEnded(run) || stepEnded(step.state)) return [];
  const verbs: Verb[] = [];
  if (step.state === 'retrying') verbs.push({ act: 'retry', label: 'Try now' });
  else if (step.asks && !approves(step)) verbs.push({ act: 'retry', label: 'Run it again' });
  verbs.push({ act: 'skip', label: 'Skip' });
  return verbs;
}

const KINDS: Record<string, string> = {
  shell: 'command on this machine',
  file: 'file operation in the workspace',
  data: 'value worked out',
  monitor: 'look at this machine',
  notify: 'notice to people',
  approval: 'question to a person',
  wait: 'wait',
  http: 'HTTP request',
};

/** What agents that come with Flotilla do, by their capability. */
const CAPABILITIES: Record<string, string> = {
  file_operations: 'file operation in the workspace',
  generate_code: 'command on this machine',
  process_data: 'records worked on',
  scrape_web: 'pages of the web',
  monitor_system: 'look at this machine',
};

/** Verbs that only look. */
const LOOKS = ['status', 'check', 'measure', 'doctor', 'backup'];

/** File operations that only look. */
const READS = ['read', 'list', 'scan', 'compare', 'analyze_structure', 'sqlite_check'];

/** What does the work of a step, for people: `tool echo of steady`. */
export function usesWords(uses: string): string {
  const [kind = '', rest = ''] = uses.split(/\/(.*)/s);
  if (kind === 'tool') {
    const [server = rest, tool = ''] = rest.split(/__(.*)/s);
    return tool ? `tool ${tool} of ${server}` : `tool ${rest}`;
  }
  if (kind === 'fleet') return `fleet: ${rest.replaceAll('-', ' ')}`;
  if (kind === 'workflow') return `workflow ${rest}`;
  const does = CAPABILITIES[rest];
  if (does) return `${does}, by ${kind}`;
  return KINDS[uses] ?? uses;
}

/** What a run of it touches, each as a line; nothing for a workflow that only thinks. */
export function touches({ steps, confinement }: Pick<WorkflowPlan, 'steps' | 'confinement'>): string[] {
  const kind = (name: string) => steps.filter(({ uses }) => uses === name || uses.startsWith(`${name}/`));
  const able = (capability: string) => steps.filter(({ uses }) => uses.endsWith(`/${capability}`));
  const parts = (name: string) => [...new Set(kind(name).map(({ uses }) => uses.slice(name.length + 1)))];
  const lines: string[] = [];
  const shell = kind('shell').length + able('generate_code').length;
  if (shell) lines.push(`${count(shell, 'command')} on this machine, as your user`);
  if (confinement) lines.push(confinement);
  const files = [...kind('file'), ...able('file_operations')].filter(
    ({ with: given }) => !READS.includes(String(given['operation'])),
  );
  const saved = ['save_to', 'output_file', 'to'];
  files.push(
    ...['process_data', 'scrape_web', 'monitor_system']
      .flatMap(able)
      .filter(({ with: given }) => saved.some((field) => field in given)),
    ...kind('http').filter(({ with: given }) => 'to' in given),
    ...kind('monitor').filter(({ with: given }) => 'output_file' in given),
    ...kind('fleet/backup'),
  );
  if (files.length) lines.push(`Writes files in its workspace: ${names(files.map(({ id }) => id))}`);
  const tools = parts('tool').map((tool) => tool.replace('__', ' / '));
  if (tools.length) lines.push(`Calls tools of servers: ${names(tools, 4)}`);
  const acts = parts('fleet').filter((verb) => !LOOKS.includes(verb));
  const verbs = acts.map((verb) => verb.replaceAll('-', ' '));
  if (verbs.length) lines.push(`Acts on the fleet: ${names(verbs, 4)}`);
  const requests = kind('http').length + able('scrape_web').length;
  if (requests) lines.push(`${count(requests, 'step')} with HTTP requests`);
  const others = parts('workflow');
  if (others.length) lines.push(`Starts other workflows: ${names(others, 4)}`);
  const asked = kind('approval').length;
  if (asked) lines.push(`May ask a person: ${names(kind('approval').map(({ id }) => id))}`);
  return lines;
}

/** What is wrong with a definition, and where. */
export function wrong(finding: Finding | undefined): string {
  if (finding === undefined) return '';
  return finding.path === '' ? finding.message : `${finding.path}: ${finding.message}`;
}

export interface Counted {
  state: StepState;
  /** Waits for a person, not for a time. */
  asks: boolean;
  word: string;
  count: number;
}

/** The states of steps that there are, in the order in which a step goes through them. */
export function legend(steps: readonly StepView[]): Counted[] {
  const order = Object.keys(STEP) as StepState[];
  return order.flatMap((state) =>
    [true, false].flatMap((asks) => {
      const count = steps.filter((step) => step.state === state && (step.asks ?? false) === asks).length;
      const word = asks ? 'waits for a person' : state === 'waiting' ? 'waits for a time' : STEP[state].word;
      return count ? [{ state, asks, word, count }] : [];
    }),
  );
}
