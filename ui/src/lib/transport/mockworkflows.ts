import type {
  Asking,
  ReplayParams,
  RunDefinition,
  RunActParams,
  RunParams,
  RunQuery,
  RunSummary,
  RunView,
  SaveParams,
  StepDetail,
  StepState,
  StepView,
  TriggerRef,
  TriggerView,
  WorkflowInfo,
  WorkflowPlan,
  WorkflowShown,
} from '$lib/contract';
import { CallError } from './index';

const step = (id: string, uses: string, needs: string[] = [], given: Record<string, unknown> = {}) => ({
  id,
  uses,
  needs,
  with: given,
});

const PLANS: WorkflowPlan[] = [
  {
    name: 'nightly',
    description: 'Dumps the database, asks, and puts the dump away.',
    vars: [
      { name: 'url', kind: 'string', description: 'The database' },
      { name: 'keep_days', kind: 'integer', default: 30, description: 'For how long dumps are kept' },
      { name: 'mode', kind: 'string', default: 'full', options: ['full', 'schema'] },
      { name: 'ask', kind: 'boolean', default: true, description: 'Ask before the dump is sent' },
    ],
    steps: [
      step('dump', 'shell', [], { run: 'pg_dump "$URL"', env: { URL: '${{ vars.url }}' } }),
      step('check', 'tool/db__count', ['dump']),
      step('approve', 'approval', ['dump'], { message: 'Send the dump?', form: { note: { default: '' } } }),
      step('send', 'shell', ['check', 'approve'], { run: 'rsync dump.sql "$TO"' }),
      step('tell', 'notify', ['send'], { message: 'Done' }),
    ],
  },
  {
    name: 'wide',
    description: 'A thousand steps beside each other.',
    vars: [],
    steps: [
      step('begin', 'data'),
      ...Array.from({ length: 998 }, (_, i) => step(`part_${i}`, 'shell', ['begin'])),
      step(
        'end',
        'data',
        Array.from({ length: 998 }, (_, i) => `part_${i}`),
      ),
    ],
  },
];

/** Workflows in memory: a run that has done its first step and asks; its verbs change it at once. */
export class MockWorkflows {
  runs: RunView[] = [];

  constructor() {
    this.run({ name: 'wide', vars: {} });
    this.run({ name: 'nightly', vars: { url: 'postgresql://localhost/shop' } });
  }

  list(): WorkflowInfo[] {
    return PLANS.map(({ name, description, steps }, i) => ({
      name,
      ...(description === undefined ? {} : { description }),
      built_in: i > 0,
      steps: steps.length,
    }));
  }

  show(name: string): WorkflowShown {
    const plan = this.#plan(name);
    return { text: `name: ${name}\n`, hash: name, plan, findings: [] };
  }

  /** A text that names a workflow that is known would run; all others have a finding. */
  check(text: string): WorkflowShown {
    const name = /^name: (.*)$/m.exec(text)?.[1] ?? '';
    const plan = PLANS.find((one) => one.name === name);
    if (plan) return { text, hash: text, plan, findings: [] };
    return { text, hash: text, findings: [{ path: 'name', message: `no workflow is named "${name}"`, line: 1 }] };
  }

  save({ text }: SaveParams): WorkflowShown {
    return this.check(text);
  }

  triggers: TriggerView[] = [
    {
      workflow: 'nightly',
      trigger: 'schedule',
      kind: 'schedule',
      what: '30 2 * * *',
      timezone: 'Europe/Berlin',
      overlap: 'skip',
      next: [1, 2, 3].map((day) => Date.now() + day * 86_400_000),
      enabled: true,
      queued: 0,
      last: { at: Date.now() - 3_600_000, outcome: 'skipped', why: '1 run is under way' },
    },
  ];

  switch({ workflow }: TriggerRef, enabled: boolean): TriggerView {
    const found = this.triggers.find((one) => one.workflow === workflow);
    if (!found) throw new CallError({ code: 'not_found', message: `find a trigger of ${workflow}` });
    const now: TriggerView = { ...found, enabled, next: enabled ? [Date.now() + 86_400_000] : [] };
    if (enabled) delete now.why;
    else now.why = 'switched off by panel';
    this.triggers = this.triggers.map((one) => (one === found ? now : one));
    return now;
  }

  plan({ name, vars = {} }: RunParams): WorkflowPlan {
    const plan = this.#plan(name);
    return { ...plan, vars: plan.vars.map((one) => (one.name in vars ? { ...one, default: vars[one.name] } : one)) };
  }

  run({ name, vars = {} }: RunParams): RunSummary {
    const plan = this.#plan(name);
    const at = Date.now() - 60_000;
    const steps = plan.steps.map(({ id, uses, needs }, i): StepView => {
      const first = i === 0 || (name === 'wide' && i < 400);
      const asks = uses === 'approval';
      const state: StepState = first
        ? 'completed'
        : asks
          ? 'waiting'
          : i === 1 || (i < 420 && name === 'wide')
            ? 'running'
            : 'pending';
      return {
        id,
        uses,
        needs,
        state,
        attempt: state === 'pending' ? 0 : 1,
        attempts: 2,
        asks,
        ...(asks ? { why: 'Send the dump?' } : {}),
        ...(state === 'pending' ? {} : { began_at: at + 1_000 * Math.min(i, 40) }),
        ...(state === 'completed' ? { ended_at: at + 1_000 * Math.min(i, 40) + 4_000 } : {}),
      };
    });
    const summary: RunSummary = {
      run: this.runs.length + 1,
      workflow: name,
      state: 'running',
      by: 'panel',
      at,
      steps: steps.length,
      ended: steps.filter(({ state }) => state === 'completed').length,
    };
    this.runs.push({ summary, vars, steps });
    return summary;
  }

  replay({ run }: ReplayParams): RunSummary {
    const { summary, vars } = this.view(run);
    return this.run({ name: summary.workflow, vars });
  }

  listRuns({ workflow, limit = 50 }: RunQuery): RunSummary[] {
    const all = this.runs.map(({ summary }) => summary).reverse();
    return all.filter((run) => !workflow || run.workflow === workflow).slice(0, limit);
  }

  asking(): Asking[] {
    return this.runs.flatMap(({ summary, steps }) =>
      steps
        .filter(({ asks }) => asks)
        .map(({ id, why = '', began_at: since }) => ({
          run: summary.run,
          workflow: summary.workflow,
          step: id,
          why,
          approval: true,
          ...(since === undefined ? {} : { since }),
        })),
    );
  }

  view(run: number): RunView {
    const view = this.runs.find(({ summary }) => summary.run === run);
    if (!view) throw new CallError({ code: 'not_found', message: `find the run ${run}` });
    return view;
  }

  detail(run: number, id: string): StepDetail {
    const { summary, steps } = this.view(run);
    const found = steps.find((one) => one.id === id);
    if (!found) throw new CallError({ code: 'unsupported', message: `find the step "${id}" of run ${run}` });
    const input = this.#plan(summary.workflow).steps.find((one) => one.id === id)?.with;
    return { step: found, input, output: null, outputs: {}, tries: [] };
  }

  definition(run: number): RunDefinition {
    const text = this.show(this.view(run).summary.workflow).text;
    return { text, current: text };
  }

  act({ run, act, step: id }: RunActParams): RunSummary {
    const view = this.view(run);
    const { summary } = view;
    const change = (of: (one: StepView) => boolean, state: StepState) => {
      view.steps = view.steps.map((one) => (of(one) ? { ...one, state, asks: false, ended_at: Date.now() } : one));
    };
    if (act === 'pause') summary.state = 'paused';
    else if (act === 'resume' || act === 'restart') summary.state = 'running';
    else if (act === 'cancel') {
      summary.state = 'cancelled';
      summary.ended_at = Date.now();
      change(({ state }) => state === 'running' || state === 'pending' || state === 'waiting', 'cancelled');
    } else
      change(
        (one) => one.id === id,
        act === 'skip' ? 'skipped' : act === 'reject' ? 'failed' : act === 'approve' ? 'completed' : 'running',
      );
    return summary;
  }

  #plan(name: string): WorkflowPlan {
    const plan = PLANS.find((one) => one.name === name);
    if (!plan) throw new CallError({ code: 'not_found', message: `find a workflow named "${name}"` });
    return plan;
  }
}
