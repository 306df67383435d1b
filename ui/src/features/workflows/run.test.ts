import { expect, test } from 'vitest';
import type { RunView, StepView } from '$lib/contract';
import { changed } from './run.svelte';

const step = (id: string, state: StepView['state']): StepView => ({
  id,
  uses: 'data',
  needs: [],
  state,
  attempt: 0,
  attempts: 1,
});

test('what the engine tells of a run replaces only what it names', () => {
  const summary: RunView['summary'] = {
    run: 7,
    workflow: 'w',
    state: 'running',
    by: 'operator',
    at: 1,
    steps: 3,
    ended: 0,
  };
  const view: RunView = { summary, vars: { a: 1 }, steps: ['a', 'b', 'c'].map((id) => step(id, 'pending')) };
  const told = changed(view, {
    update: 'run_changed',
    summary: { ...summary, ended: 1 },
    steps: [step('b', 'completed'), step('strange', 'failed')],
  });
  expect(told.steps.map(({ id, state }) => `${id} ${state}`)).toEqual(['a pending', 'b completed', 'c pending']);
  expect(told.steps[0]).toBe(view.steps[0]);
  expect([told.summary.ended, told.vars]).toEqual([1, { a: 1 }]);
});
