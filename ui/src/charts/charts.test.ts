import { describe, expect, it } from 'vitest';
import {
  cluster,
  gaps,
  happenedAt,
  happenedBy,
  nearest,
  peakOf,
  reading,
  sentence,
  shifted,
  tableRows,
  worst,
  type Line,
  type Mark,
} from './model';
import { csv } from './csv';
import { crowd, type Point } from './lane';
import { format, scaleOf } from './units';

const line = (key: string, values: (number | null)[], color = 1): Line => ({ key, label: key, color, values });

describe('model', () => {
  const times = [0, 2, 4, 6, 8, 10].map((s) => s * 1000);

  it('hatches what is missing between samples and up to now, never what came before the first', () => {
    expect(gaps(times, [line('a', [null, 1, null, null, 1, 1])], 2_000, 0, 10_000)).toEqual([[2_000, 8_000]]);
    expect(gaps(times, [line('a', [1, 1, 1, null, null, null])], 2_000, 0, 10_000)).toEqual([[4_000, 10_000]]);
    expect(gaps(times, [line('a', [1, 1, 1, 1, 1, 1])], 2_000, 0, 10_000)).toEqual([]);
    expect(gaps(times, [line('a', [1, 1, 1, 1, 1, 1])], 2_000, 0, 60_000)).toEqual([[10_000, 60_000]]);
    // One line that goes on is enough: the chart is not blind.
    expect(
      gaps(times, [line('a', [1, null, null, null, 1, 1]), line('b', [2, 2, 2, 2, 2, 2])], 2_000, 0, 10_000),
    ).toEqual([]);
  });

  it('puts an earlier day on the axis of today, and leaves out what was not measured then', () => {
    const day = 86_400_000;
    const now = [day + 1_000, day + 3_000, day + 5_000, day + 60_000];
    expect(shifted(now, [0, 4_000, 8_000], [1, null, 3], day, 2_000)).toEqual([1, null, null, null]);
    expect(shifted(now, [900, 3_100, 58_500], [1, 2, 3], day, 2_000)).toEqual([1, 2, 2, 3]);
    expect(shifted(now, [], [], day, 2_000)).toEqual([null, null, null, null]);
  });

  it('names the worst five of more than eight and puts the rest together', () => {
    const lines = Array.from({ length: 12 }, (_, i) => line(`s${i}`, [i, i === 3 ? null : i]));
    const shown = worst(lines);
    expect(shown.map((l) => l.key)).toEqual(['s11', 's10', 's9', 's8', 's7', 'others']);
    expect(shown[5]?.values).toEqual([3, (0 + 1 + 2 + 4 + 5 + 6) / 6]);
    expect(worst(lines.slice(0, 8))).toHaveLength(8);
  });

  describe('marks', () => {
    const mark = (at: number, label: string, kind: Mark['kind'] = 'exit'): Mark => ({ at, kind, label });

    it('that lie on each other are one with a count, each kind its own; beyond a dozen those that stand together', () => {
      const close = [mark(100, 'a'), mark(120, 'b'), mark(130, 'c', 'config'), mark(900, 'd')];
      expect(cluster(close, 0, 60_000).map(({ at, kind, count, labels }) => [at, kind, count, labels])).toEqual([
        [100, 'exit', 2, ['a', 'b']],
        [130, 'config', 1, ['c']],
        [900, 'exit', 1, ['d']],
      ]);
      const many = (n: number) => Array.from({ length: n }, (_, i) => mark(i * 1_000, String(i)));
      expect(cluster(many(12), 0, 60_000)).toHaveLength(12);
      const few = cluster(many(60), 0, 60_000);
      expect(few.reduce((n, { count }) => n + count, 0)).toBe(60);
      expect(few.length).toBeLessThanOrEqual(12);
    });

    it('are said where the cursor is, and in the row of a table that follows them', () => {
      const marks = [mark(1_000, 'x'), mark(1_001, 'x'), mark(1_002, 'r2', 'config'), mark(50_000, 'y')];
      const flags = cluster(marks, 0, 60_000);
      expect(happenedAt(flags, 1_200, 0, 60_000)).toBe('x ×2; r2');
      expect([happenedAt(flags, 30_000, 0, 60_000), happenedAt(flags, null, 0, 60_000)]).toEqual(['', '']);
      expect(happenedBy([40_000, 20_000, 500], marks)).toEqual(['y', 'x ×2; r2', '']);
      expect(
        happenedBy(
          [40_000],
          'abcde'.split('').map((label) => mark(1, label)),
        ),
      ).toEqual(['a; b; c; 2 more']);
      expect(happenedBy([], marks)).toEqual([]);
    });
  });

  it('lets no two numbers of a lane lie on each other, and a failure among them stays one', () => {
    const point = (at: number, number: number, calm = false): Point => ({
      key: String(number),
      at,
      number,
      title: `Exit ${number}`,
      calm,
    });
    const shown = crowd([point(50, 3), point(10, 1, true), point(12, 2), point(54, 4, true)], 6);
    expect(shown.map(({ at, number, calm, title }) => [at, number, calm, title])).toEqual([
      [12, 2, false, 'Exit 2, and 1 just before it'],
      [54, 4, false, 'Exit 4, and 1 just before it'],
    ]);
  });

  it('finds the nearest time', () => {
    expect([-5, 900, 1_100, 5_000, 99_999].map((at) => nearest(times, at))).toEqual([0, 0, 1, 2, 5]);
    expect(nearest([], 1)).toBe(-1);
  });

  it('says in a sentence and in a table what the picture shows', () => {
    const lines = [line('1', [1, 2, 80, null, 3, 4]), line('2', [5, 5, 5, 5, 5, null])];
    expect(sentence('CPU', times, lines, 'percent')).toBe(
      'CPU, last 1 min. Now 1 4 %, 2 no sample. Largest span: 1, 1 % to 80 %.',
    );
    const rows = tableRows(times, lines, 'percent', 3);
    expect(rows.map((row) => row.at)).toEqual([10_000, 6_000, 2_000]);
    // A row has what was highest since the row below it: of the newest two points of the second line the newest is missing.
    expect(rows[0]?.cells).toEqual(['4 %', '–, up to 5 %']);
    expect(rows[1]?.cells).toEqual(['–, up to 80 %', '5 %']);
  });

  it('says how far the samples of a point reached, where that is known', () => {
    const means: Line = { ...line('1', [10, 12, 11]), low: [10, 2, null], high: [10, 96, null] };
    expect([0, 1, 2].map((i) => reading(means, i, 'percent'))).toEqual(['10 %', '12 %, up to 96 %', '11 %']);
    expect(peakOf(means)).toBe(96);
    const at = times.slice(0, 3);
    expect(sentence('CPU', at, [means], 'percent')).toContain('Largest span: 1, 2 % to 96 %.');
    expect(tableRows(at, [means], 'percent').map(({ cells }) => cells[0])).toEqual([
      '11 %',
      '12 %, up to 96 %',
      '10 %',
    ]);
    const rows = csv(at, [means, line('2', [1, 2, 3])]).split('\r\n');
    expect(rows.slice(0, 3)).toEqual([
      'time,"1","1, highest","2"',
      '1970-01-01T00:00:00.000Z,10,10,1',
      '1970-01-01T00:00:02.000Z,12,96,2',
    ]);
  });

  it('counts bytes in binary units and starts every axis at zero with round steps', () => {
    expect(format(512 * 1024 * 1024, 'bytes')).toBe('512 MiB');
    expect(format(null, 'bytes')).toBe('–');
    for (const [reach, unit] of [
      [513 * 1024 * 1024, 'bytes'],
      [37, 'percent'],
      [3, 'count'],
      [0, 'count'],
    ] as const) {
      const { top, marks } = scaleOf(reach, unit);
      expect(marks[0]).toBe(0);
      expect(top).toBeGreaterThanOrEqual(reach);
      expect(marks.length).toBeGreaterThanOrEqual(2);
      expect(marks.length).toBeLessThanOrEqual(5);
    }
  });
});
