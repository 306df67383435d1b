import { describe, expect, test } from 'vitest';
import type { RunState, RunSummary, StepState, StepView } from '$lib/contract';
import { legend, runVerbs, stepNote, stepVerbs, touches, usesWords, why } from './words';

const step = (id: string, state: StepState, more: Partial<StepView> = {}): StepView => ({
  id,
  uses: 'shell',
  needs: [],
  state,
  attempt: state === 'pending' ? 0 : 1,
  attempts: 1,
  asks: false,
  ...more,
});
const view = (state: RunState, steps: StepView[], more: Partial<RunSummary> = {}) => ({
  summary: { run: 7, workflow: 'w', state, by: 'panel', at: 0, steps: steps.length, ended: 0, ...more },
  vars: {},
  steps,
});

describe('why a run does not move, in one sentence', () => {
  test.each<[string, ReturnType<typeof view>, string, string | undefined]>([
    [
      'a person is asked before all else',
      view('running', [
        step('ship', 'waiting', { asks: true, uses: 'approval', why: 'Deploy to production?' }),
        step('scan', 'running'),
      ]),
      'ship waits for you. Meanwhile scan runs.',
      'ship',
    ],
    [
      'the next try',
      view('running', [step('send', 'retrying', { attempts: 3, until: 9, error: 'exit code 22:\nmore' })]),
      'send failed: exit code 22. Try 2 of 3 comes in … .',
      'send',
    ],
    [
      'it moves',
      view('running', [step('a', 'completed'), step('b', 'running'), step('c', 'running'), step('d', 'pending')]),
      'It moves: b and c run, 1 step to do.',
      'b',
    ],
    [
      'a time',
      view('running', [step('nap', 'waiting', { uses: 'wait', until: 9 })]),
      'nap waits; it goes on in … .',
      'nap',
    ],
    [
      'what the engine says, where steps say nothing',
      view('running', [step('a', 'pending')], { waits: 'the journal: disk full' }),
      'It waits: the journal: disk full.',
      undefined,
    ],
    [
      'paused, with what goes on',
      view('paused', [step('a', 'running')], { why: 'paused by panel' }),
      'It is paused by panel: nothing new is started until it is resumed; a still goes on.',
      undefined,
    ],
    [
      'failed, and what that holds back',
      view('failed', [
        step('a', 'failed', { error: 'exit code 1', attempt: 2 }),
        step('b', 'blocked'),
        step('c', 'failed'),
      ]),
      'a failed after 2 tries: exit code 1; so did c; 1 step that needs it never started.',
      'a',
    ],
    [
      'completed',
      view('completed', [step('a', 'completed'), step('b', 'skipped'), step('c', 'failed')], { ended_at: 4_200 }),
      'It completed in 4.2 s: 1 step done, 1 skipped, c failed, which it allows.',
      undefined,
    ],
    [
      'cancelled',
      view('cancelled', [step('a', 'completed'), step('b', 'cancelled')], { why: 'cancelled by cli' }),
      'It was cancelled by cli: 1 step of 2 had been done.',
      undefined,
    ],
    ['being cancelled', view('cancelling', [step('a', 'running')]), 'It is being ended: a has not ended yet.', 'a'],
  ])('%s', (_, run, expected, about) => {
    const { text, until, after, step: which } = why(run);
    expect(`${text}${until === undefined ? '' : '… '}${after ?? ''}`).toBe(expected);
    expect(which).toBe(about);
  });
});

test.each<[RunState, string]>([
  ['running', 'pause cancel'],
  ['paused', 'resume cancel'],
  ['cancelling', ''],
  ['completed', ''],
  ['failed', 'restart'],
  ['cancelled', 'restart'],
])('a run that is %s offers: %s', (state, expected) =>
  expect(
    runVerbs(state)
      .map(({ act }) => act)
      .join(' '),
  ).toBe(expected),
);

test.each<[string, RunState, StepView, string]>([
  ['failed, also in a run that has ended', 'failed', step('a', 'failed'), 'retry skip'],
  ['waits for its next try', 'running', step('a', 'retrying'), 'retry skip'],
  ['an approval', 'running', step('a', 'waiting', { asks: true, uses: 'approval' }), 'skip'],
  ['interrupted', 'running', step('a', 'waiting', { asks: true }), 'retry skip'],
  ['waits for a time', 'running', step('a', 'waiting', { until: 9 }), 'skip'],
  ['at work', 'paused', step('a', 'running'), 'skip'],
  ['done', 'running', step('a', 'completed'), ''],
  ['blocked in a run that has ended', 'failed', step('a', 'blocked'), ''],
  ['failed in a run that is being cancelled', 'cancelling', step('a', 'failed'), ''],
])('a step that is %s offers what the engine takes', (_, run, of, expected) =>
  expect(
    stepVerbs(run, of)
      .map(({ act }) => act)
      .join(' '),
  ).toBe(expected),
);

test('a note stands under each step', () => {
  const note = (state: StepState, more: Partial<StepView> = {}) => stepNote(step('a', state, more), 10_000);
  expect(note('retrying', { until: 16_400, attempt: 2 })).toBe('try 3 in 6 s');
  expect(note('running', { began_at: 4_100, items: 8, items_ended: 3 })).toBe('3 of 8, 5 s');
  expect(note('completed', { began_at: 0, ended_at: 640, attempt: 2 })).toBe('640 ms, try 2');
  expect(note('failed', { began_at: 0, ended_at: 4_200 })).toBe('failed, 4.2 s');
  expect(note('waiting', { asks: true })).toBe('waits for you');
});

test('what a workflow touches is told from what its steps use', () => {
  const planned = (id: string, uses: string, given: Record<string, unknown> = {}) => ({
    id,
    uses,
    needs: [],
    with: given,
  });
  const steps = [
    planned('a', 'shell'),
    planned('b', 'file', { operation: 'read' }),
    planned('c', 'file', { operation: 'create' }),
    planned('d', 'tool/db__count_all__rows'),
    planned('e', 'fleet/rolling-restart'),
    planned('f', 'approval'),
    planned('g', 'workflow/nightly'),
    planned('h', 'code-gen-000/generate_code'),
    planned('i', 'file-ops-001/file_operations', { operation: 'publish' }),
    planned('j', 'file-ops-001/file_operations', { operation: 'compare' }),
    planned('k', 'fleet/measure'),
    planned('l', 'web-scraper-000/scrape_web', { to: './fetched' }),
    planned('m', 'system-monitor-000/monitor_system'),
    planned('n', 'fleet/backup'),
    planned('o', 'monitor'),
  ];
  expect(touches({ steps })).toEqual([
    '2 commands on this machine, as your user',
    'Writes files in its workspace: c, i and 2 more',
    'Calls tools of servers: db / count_all__rows',
    'Acts on the fleet: rolling restart',
    '1 step with HTTP requests',
    'Starts other workflows: nightly',
    'May ask a person: f',
  ]);
  expect(touches({ steps: [planned('x', 'data')] })).toEqual([]);
  expect(usesWords('tool/db__count_all__rows')).toBe('tool count_all__rows of db');
  expect(usesWords('code-gen-002/generate_code')).toBe('command on this machine, by code-gen-002');
});

test('the legend names the states that there are, with what waits for a person apart', () => {
  const steps = [
    step('a', 'completed'),
    step('b', 'completed'),
    step('c', 'waiting', { asks: true }),
    step('d', 'waiting'),
    step('e', 'pending'),
  ];
  expect(legend(steps).map(({ word, count }) => `${count} ${word}`)).toEqual([
    '1 to do',
    '1 waits for a person',
    '1 waits for a time',
    '2 done',
  ]);
});
