import { describe, expect, it } from 'vitest';
import type { LogEntry, Stream } from '$lib/contract';
import {
  exportText,
  follow,
  gapWords,
  histogram,
  hits,
  Layout,
  levelOf,
  LogBuffer,
  matcher,
  NO_FILTER,
  rowsOf,
  type Follow,
} from './model';

const said = (seq: number, text: string, more: { at?: number; instance?: string; stream?: Stream } = {}): LogEntry => ({
  entry: 'line',
  instance: more.instance ?? 'a#1',
  seq,
  at: more.at ?? seq * 1000,
  stream: more.stream ?? 'stderr',
  text,
});

describe('levels', () => {
  it.each<[string, string]>([
    ['2026-11-20 ERROR could not open', 'error'],
    ['{"level":"error","msg":"x"}', 'error'],
    ['{"level":50,"msg":"x"}', 'error'],
    ['level=warn msg="slow"', 'warning'],
    ['[WARNING] deprecated', 'warning'],
    ["TypeError: cannot read properties of undefined (reading 'x')", 'error'],
    ['Traceback (most recent call last):', 'error'],
    ["thread 'main' panicked at src/main.rs", 'error'],
    ['npm error code E404', 'error'],
    ['DEBUG:asyncio:Using selector', 'debug'],
    ['INFO: 3 errors were repaired', 'info'],
    ['served 12 requests without error', 'info'],
    ['errorless run', 'info'],
    ['stderr is a terminal', 'info'],
  ])('%s is %s', (text, level) => expect(levelOf(text, 'stderr')).toBe(level));

  it('reads the supervisor by its own words', () => {
    expect(levelOf('started, pid 4711', 'supervisor')).toBe('info');
    expect(levelOf('exited with code 1 after 4 s', 'supervisor')).toBe('error');
    expect(levelOf('process 5 exited with code 64 after 2 ms; restart 1 in 1.0 s', 'supervisor')).toBe('error');
    expect(levelOf('process 5 exited with code 0 after 2 s', 'supervisor')).toBe('warning');
    expect(levelOf('try 2 in 2 s', 'supervisor')).toBe('warning');
  });
});

describe('buffer', () => {
  it('orders by time across sources, keeps the order of arrival within one moment', () => {
    const buffer = new LogBuffer();
    buffer.push([
      said(1, 'x', { at: 10 }),
      said(1, 'y', { at: 30, instance: 'b#1' }),
      said(2, 'z', { at: 20 }),
      said(3, 'w', { at: 30 }),
    ]);
    expect(buffer.entries.map((e) => (e.kind === 'line' ? e.text : '')).join('')).toBe('xzyw');
  });

  it('takes no line twice when a subscription starts anew, nor the gap’s', () => {
    const buffer = new LogBuffer();
    expect(buffer.push([said(1, 'x'), said(2, 'y')])).toHaveLength(2);
    expect(
      buffer.push([
        said(1, 'x'),
        said(2, 'y'),
        { entry: 'gap', instance: 'a#1', from_seq: 3, missing: 7 },
        said(10, 'z'),
      ]),
    ).toHaveLength(2);
    expect(buffer.entries.map((e) => e.kind)).toEqual(['line', 'line', 'gap', 'line']);
  });

  it('keeps the words of a coloured line and none of its escapes', () => {
    const buffer = new LogBuffer();
    buffer.push([said(1, '\u001b[31mERROR\u001b[0m \u001b]0;title\u0007down\u0000')]);
    expect(buffer.entries[0]).toMatchObject({ text: 'ERROR down', level: 'error' });
  });

  it('is bounded and counts what it gave up', () => {
    const buffer = new LogBuffer(1_000);
    for (let i = 0; i < 50; i++) buffer.push(Array.from({ length: 100 }, (_, j) => said(i * 100 + j + 1, 'x')));
    expect(buffer.entries.length).toBeLessThanOrEqual(1_100);
    expect(buffer.entries.length + buffer.dropped).toBe(5_000);
    const last = buffer.entries[buffer.entries.length - 1];
    expect(last?.kind === 'line' && last.seq).toBe(5_000);
  });
});

describe('rows', () => {
  const buffer = new LogBuffer();
  buffer.push([
    said(1, 'tick'),
    said(2, 'tick'),
    said(3, 'ERROR lost it'),
    said(4, 'tick'),
    said(5, 'tick', { instance: 'a#2' }),
    { entry: 'gap', instance: 'a#1', from_seq: 6, missing: 1 },
    said(7, 'tick'),
  ]);

  it('puts equal neighbours of one source together; a failure, another source and a gap break the run', () => {
    expect(rowsOf(buffer.entries, NO_FILTER).map((row) => row.times)).toEqual([2, 1, 1, 1, 1, 1]);
    expect(rowsOf(buffer.entries, NO_FILTER)[0]?.until).toBe(2_000);
  });

  it('keeps the gap of a source whatever its lines say, and drops it with its source', () => {
    const errors = rowsOf(buffer.entries, { ...NO_FILTER, levels: new Set(['error']) });
    expect(errors.map((row) => row.entry.kind)).toEqual(['line', 'gap']);
    expect(rowsOf(buffer.entries, { ...NO_FILTER, sources: new Set(['a#2']) })).toHaveLength(1);
  });

  it('holds every facet at once and any value within one', () => {
    const rows = rowsOf(buffer.entries, {
      text: 'LOST',
      levels: new Set(['error', 'info']),
      sources: new Set(['a#1']),
      streams: new Set(['stderr']),
    });
    expect(rows.filter((row) => row.entry.kind === 'line')).toHaveLength(1);
  });

  it('exports what is seen, gaps in words', () => {
    const text = exportText(rowsOf(buffer.entries, NO_FILTER));
    expect(text).toContain('a#1 stderr: tick [x2]');
    expect(text).toContain('--- 1 line of a#1 dropped');
    expect(text.endsWith('\n')).toBe(true);
  });

  it('counts every line once in the histogram', () => {
    const bars = histogram(rowsOf(buffer.entries, NO_FILTER), 60);
    expect(bars.reduce((n, bar) => n + bar.rest, 0)).toBe(5);
    expect(bars.reduce((n, bar) => n + bar.errors, 0)).toBe(1);
    expect(bars.length).toBeLessThanOrEqual(60);
    // A moment is drawn at the end of a span in which the times under it differ.
    const [first] = rowsOf(buffer.entries, NO_FILTER);
    const moment = first ? histogram([first], 60) : [];
    expect(moment.length).toBe(20);
    expect(moment.findIndex((bar) => bar.errors + bar.warnings + bar.rest > 0)).toBeGreaterThan(17);
    expect(histogram([], 60)).toEqual([]);
  });

  it('says a gap in the right number', () => {
    const gap = { kind: 'gap', id: 1, at: 0, instance: 'a#3', server: 'a', fromSeq: 1, missing: 1312 } as const;
    expect(gapWords(gap)).toBe('1\u2009312 lines of a#3 dropped: its buffer was full before a reader took them');
  });
});

describe('search', () => {
  it('is text unless it stands between slashes, and a broken expression hides nothing', () => {
    expect(matcher('a.c').test('xA.Cx')).toBe(true);
    expect(matcher('a.c').test('abc')).toBe(false);
    expect(matcher('/a.c/').test('abc')).toBe(true);
    expect(matcher('/(/').error).not.toBeNull();
    expect(matcher('/(/').test('anything')).toBe(true);
  });

  it('marks every hit, and an expression that matches nothing does not hang', () => {
    expect(hits('abcABC', 'b')).toEqual([
      [1, 2],
      [4, 5],
    ]);
    expect(hits('aaa', '/x*/')).toEqual([]);
  });
});

describe('follow', () => {
  it('never steals the scroll: away by hand it stays away until asked or scrolled back', () => {
    const walk = (...events: Parameters<typeof follow>[1][]): Follow =>
      events.reduce(follow, { following: true, missed: 0 });
    const away = { type: 'scrolled', atEnd: false, byHand: true } as const;
    const came = { type: 'came', lines: 19 } as const;
    expect(walk(came)).toEqual({ following: true, missed: 0 });
    expect(walk(away, came, came)).toEqual({ following: false, missed: 38 });
    expect(walk(away, came, { type: 'scrolled', atEnd: false, byHand: true })).toEqual({
      following: false,
      missed: 19,
    });
    expect(walk(away, came, { type: 'scrolled', atEnd: true, byHand: false })).toEqual({
      following: false,
      missed: 19,
    });
    expect(walk(away, came, { type: 'toggle' })).toEqual({ following: true, missed: 0 });
    expect(walk(away, came, { type: 'scrolled', atEnd: true, byHand: true })).toEqual({ following: true, missed: 0 });
  });
});

describe('layout', () => {
  it('finds rows of differing height by their place', () => {
    const layout = new Layout([24, 24, 72, 24]);
    expect(layout.total).toBe(144);
    expect([0, 23, 24, 48, 119, 120, 500].map((y) => layout.at(y))).toEqual([0, 0, 1, 2, 2, 3, 3]);
    expect(layout.window(48, 24, 0)).toEqual([2, 3]);
    expect(new Layout([]).window(0, 100)).toEqual([0, 0]);
  });
});
