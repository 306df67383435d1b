import { expect, test } from 'vitest';
import type { StepView, TryView } from '$lib/contract';
import { bars, span, ticks } from './gantt';

const axis = { from: 0, to: 100_000 };
const step = (more: Partial<StepView>): StepView => ({
  id: 'a',
  uses: 'shell',
  needs: [],
  state: 'completed',
  attempt: 1,
  attempts: 3,
  asks: false,
  ...more,
});
const tried = (from: number, to: number): TryView => ({ attempt: 1, from, to, failure: 'failed', error: 'x' });

test('a step is one bar, or its tries with the waits between them', () => {
  const shown = (of: StepView, tries: TryView[] = []) =>
    bars(of, axis, 80_000, tries).map(({ look, left, width }) => [look, left, width]);
  expect(shown(step({ state: 'pending' }))).toEqual([]);
  expect(shown(step({ began_at: 10_000, ended_at: 30_000 }))).toEqual([['done', 10, 20]]);
  expect(shown(step({ state: 'running', began_at: 50_000 }))).toEqual([['run', 50, 30]]);
  expect(shown(step({ state: 'waiting', asks: true, began_at: 50_000 }))).toEqual([['asks', 50, 30]]);
  expect(shown(step({ state: 'retrying', began_at: 10_000 }), [tried(10_000, 20_000), tried(40_000, 50_000)])).toEqual([
    ['failed', 10, 10],
    ['waits', 20, 20],
    ['failed', 40, 10],
    ['waits', 50, 30],
  ]);
  const twice = [tried(10_000, 20_000), tried(40_000, 50_000)];
  expect(shown(step({ state: 'failed', began_at: 10_000, ended_at: 50_000 }), twice)).toHaveLength(3);
});

test('the axis goes from the beginning to now, or to the end', () => {
  const summary = { run: 1, workflow: 'w', by: 'x', at: 5_000, steps: 1, ended: 0 };
  const of = (state: 'running' | 'completed', ended_at?: number) =>
    span({ summary: { ...summary, state, ...(ended_at ? { ended_at } : {}) }, vars: {}, steps: [] }, 60_000);
  expect(of('running')).toEqual({ from: 5_000, to: 60_000 });
  expect(of('completed', 9_000)).toEqual({ from: 5_000, to: 9_000 });
  expect(of('completed', 5_010)).toEqual({ from: 5_000, to: 6_000 });
});

test.each([800, 7_000, 90_000, 3_600_000, 400_000_000, 9_000_000_000])(
  '%i ms have round marks, not too many',
  (length) => {
    const marks = ticks({ from: 1_700_000_000_123, to: 1_700_000_000_123 + length });
    expect(marks.length).toBeGreaterThan(1);
    expect(marks.length).toBeLessThanOrEqual(9);
    for (const { left } of marks) expect(left).toBeGreaterThanOrEqual(0);
  },
);
