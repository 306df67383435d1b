import { describe, expect, it } from 'vitest';
import { linesOf } from './answer.svelte';
import { first, isAsked, over, serversOf, unitOf, words, type Asked } from './asked';
import { csv } from '$charts/csv';
import type { Board } from '$lib/contract';
import { CallError, type Transport } from '$lib/transport';
import { exported, imported, moved, type Pin } from './board';
import { Pins } from './pins.svelte';

describe('a question', () => {
  it('begins with what its name says it is', () => {
    expect(words(first('mcp_server_calls_total'))).toBe('rate(mcp_server_calls_total)');
    expect(words(first('go_goroutines'))).toBe('mean(go_goroutines)');
    expect(words(first('x_seconds_bucket'))).toBe('quantile 0.95 of sum(rate(x_seconds_bucket))');
    expect(unitOf(first('mcp_server_calls_total'))).toEqual({ unit: 'rate', times: 1 });
    expect(unitOf(first('x_seconds_bucket'))).toEqual({ unit: 'ms', times: 1_000 });
    expect(unitOf(first('process_start_time_seconds'))).toEqual({ unit: 'count', times: 1 });
    expect(unitOf(first('flotilla_rss_bytes'))).toEqual({ unit: 'bytes', times: 1 });
  });

  it('is written as it is asked, and a rate looks back a minute at least', () => {
    const asked: Asked = {
      metric: 'x_total',
      labels: [
        { label: 'a', is: true, values: ['1'] },
        { label: 'b', is: false, values: ['2', '3'] },
      ],
      function: 'rate',
      grouping: { aggregate: 'max', by: ['a'] },
    };
    expect(words(asked)).toBe('max by (a) (rate(x_total{a="1", b!~"2|3"}))');
    expect(over(asked, 0, 10, 15_000).range).toBe(60_000);
    expect(over(first('g'), 0, 10, 15_000).range).toBeUndefined();
  });

  it('is not what an address only calls one', () => {
    expect(isAsked(first('x'))).toBe(true);
    for (const wrong of [
      null,
      'x',
      {},
      { ...first('x'), function: 'eval' },
      { ...first('x'), labels: [{ label: 'a', is: true, values: [1] }] },
      { ...first('x'), grouping: { aggregate: 'sum', by: 'a' } },
      { ...first('x'), quantile: 2 },
    ])
      expect(isAsked(wrong), JSON.stringify(wrong)).toBe(false);
  });
});

it('lines are named by the labels in which they differ', () => {
  const line = (labels: [string, string][], values: (number | null)[]) => ({ metric: 'x_seconds', labels, values });
  const answer = {
    times: [0, 1],
    lines: [
      line(
        [
          ['job', 'j'],
          ['server', 'a'],
        ],
        [1, null],
      ),
      line(
        [
          ['job', 'j'],
          ['server', 'b'],
          ['zone', 'z'],
        ],
        [2, 3],
      ),
    ],
  };
  const lines = linesOf(first('x_seconds'), answer);
  expect(lines.map(({ label }) => label)).toEqual(['a', 'b · z']);
  expect(lines[0]?.values).toEqual([1_000, null]);
  expect(linesOf(first('x'), { times: [0], lines: answer.lines.slice(0, 1) })[0]?.label).toBe('x');
  // Of the second line alone it is known how far its samples reached.
  const bound = (by: number) => ({
    ...answer,
    lines: answer.lines.slice(1).map((line) => ({ ...line, values: line.values.map((value) => (value ?? 0) + by) })),
  });
  const [one, two] = linesOf(first('x_seconds'), answer, bound(-1), bound(1));
  expect([one?.high, two?.low, two?.high]).toEqual([undefined, [1_000, 2_000], [3_000, 4_000]]);
});

it('what happened to a server is marked where lines are of it', () => {
  const lines = [{ key: '[["job","x"],["server","a"]]' }, { key: '[["server","b"]]' }, { key: '[["job","c"]]' }];
  expect(serversOf(first('x'), lines)).toEqual(['a', 'b']);
  const asked = { ...first('x'), labels: [{ label: 'server', is: true, values: ['z'] }] };
  expect(serversOf(asked, [{ key: '[]' }])).toEqual(['z']);
  expect(serversOf({ ...first('x'), labels: [{ label: 'server', is: false, values: ['z'] }] }, [])).toEqual([]);
});

it('a table of values is safe to open', () => {
  const text = csv(
    [0],
    [
      { label: 'a "b", c', values: [1.5] },
      { label: '=1+1', values: [null] },
    ],
  );
  expect(text).toBe('time,"a ""b"", c","\'=1+1"\r\n1970-01-01T00:00:00.000Z,1.5,\r\n');
});

describe('a board', () => {
  const pins: Pin[] = ['a', 'b', 'c'].map((metric) => ({ title: metric, asked: first(metric) }));
  const titles = (list: readonly Pin[]) => list.map(({ title }) => title).join('');

  it('is moved about and written out', () => {
    expect(titles(moved(pins, 1, -1))).toBe('bac');
    expect(titles(moved(pins, 2, 1))).toBe('abc');
    expect(imported(exported(pins))).toEqual(pins);
  });

  it('says what a file lacks', () => {
    expect(() => imported('{')).toThrow('not JSON');
    expect(() => imported('{}')).toThrow('accepted is what "Export" writes');
    expect(() => imported('{"flotilla":"board","version":1,"charts":[{"title":"x"}]}')).toThrow('Chart 1');
  });
});

describe('the board of an engine', () => {
  const pin = (title: string): Pin => ({ title, asked: first(title) });
  const titles = (charts: readonly Pin[] = []) => charts.map(({ title }) => title).join('');

  it('sends changes one after the other, and none that was made of one that failed', async () => {
    let board: Board = { version: 3, charts: [pin('a')] };
    const heard: string[] = [];
    const transport = {
      call: async (name: string, params: Board): Promise<Board> => {
        await Promise.resolve();
        if (name === 'board.read') return board;
        heard.push(`${params.version}${titles(params.charts)}`);
        if (params.version !== board.version) throw new CallError({ code: 'conflict', message: 'it changed' });
        return (board = { version: board.version + 1, charts: params.charts });
      },
    } as unknown as Transport;
    const pins = new Pins(transport);
    await pins.read();
    await Promise.all([pins.write([pin('a'), pin('b')]), pins.write([pin('b')])]);
    expect(heard).toEqual(['3ab', '4b']);
    expect(titles(pins.charts)).toBe('b');

    board = { version: 9, charts: [pin('z')] };
    const late = [pins.write([pin('b'), pin('c')]), pins.write([pin('c')])].map((done) => done.catch(String));
    expect(await Promise.all(late)).toEqual(['CallError: it changed', 'CallError: it changed']);
    expect(heard).toEqual(['3ab', '4b', '5bc']);
    expect(titles(pins.charts)).toBe('z');
    await pins.write([pin('z'), pin('y')]);
    expect(heard.at(-1)).toBe('9zy');
  });
});
