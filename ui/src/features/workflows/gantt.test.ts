import { expect, test } from 'vitest';
import type { StepView, TryView } from '$lib/contract';
import { bars, collapsed, linear, span, ticks } from './gantt';

const axis = linear({ from: 0, to: 100_000 });
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
    const marks = ticks(linear({ from: 1_700_000_000_123, to: 1_700_000_000_123 + length }));
    expect(marks.length).toBeGreaterThan(1);
    expect(marks.length).toBeLessThanOrEqual(9);
    for (const { left } of marks) expect(left).toBeGreaterThanOrEqual(0);
  },
);

test('idle time is drawn short, and all else in proportion', () => {
  const steps = [
    step({ began_at: 0, ended_at: 10_000 }),
    step({ uses: 'approval', state: 'waiting', asks: true, began_at: 10_000 }),
    step({ began_at: 90_000, ended_at: 100_000 }),
  ];
  const short = collapsed({ steps }, { from: 0, to: 100_000 }, 100_000);
  expect(short.gaps).toEqual([{ from: 10_000, to: 90_000, left: 47.5, width: 5 }]);
  expect([-1, 0, 5_000, 10_000, 50_000, 90_000, 95_000, 100_000, 200_000].map(short.at)).toEqual([
    0, 0, 23.75, 47.5, 50, 52.5, 76.25, 100, 100,
  ]);
  // Nothing waits: as long as it was.
  const busy = collapsed({ steps: [step({ began_at: 0, ended_at: 100_000 })] }, { from: 0, to: 100_000 }, 100_000);
  expect([busy.gaps, busy.at(25_000)]).toEqual([[], 25]);
  // Nothing was ever at work.
  expect(collapsed({ steps: [] }, { from: 0, to: 100_000 }, 0).at(100_000)).toBe(5);
});
