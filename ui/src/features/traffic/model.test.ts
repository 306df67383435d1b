import { describe, expect, it } from 'vitest';
import type { BreakerView, CallRecord, ClientTraffic, ServerTraffic } from '$lib/contract';
import { MockTransport } from '$lib/transport/mock';
import { mockBreaker, mockTraffic } from '$lib/transport/mockgateway';
import {
  breakerCounts,
  breakerEnd,
  cacheToml,
  callQuery,
  edgeWidth,
  FAILURES,
  faultWords,
  foldClients,
  foldServers,
  hitRatio,
  lastListed,
  lately,
  onlyServer,
  rate,
  snippets,
  shareOf,
} from './model';

const AT = 1_800_000_000_000;

const server = (name: string, perSecond: number, more: Partial<ServerTraffic> = {}): ServerTraffic => ({
  server: name,
  traffic: mockTraffic(perSecond),
  offers: { tools: 3, prompts: 0, resources: 0 },
  lost: [],
  instances: [],
  ...more,
});

const client = (name: string, perSecond: number, more: Partial<ClientTraffic> = {}): ClientTraffic => ({
  client: name,
  transport: 'http',
  protocol: '2025-11-25',
  era: 'legacy',
  sessions: 1,
  traffic: mockTraffic(perSecond),
  last_seen: AT - 1000,
  listed_tools: true,
  ...more,
});

const fleet = (many: number) =>
  Array.from({ length: many }, (_, i) => server(`s${String(i).padStart(3, '0')}`, i / 10));

describe('edges', () => {
  it('are as wide as the root of their calls, the busiest being nine pixels', () => {
    expect(edgeWidth(400, 400)).toBe(9);
    expect(edgeWidth(100, 400)).toBe(4.5);
    expect(edgeWidth(4, 400)).toBe(1);
    expect(edgeWidth(0, 400)).toBe(1);
  });

  it('stay thin in a quiet fleet', () => {
    expect(edgeWidth(1, 1)).toBeLessThan(2.1);
  });

  it('say calls a second with one digit', () => {
    expect([rate(0), rate(0.01), rate(0.4), rate(228.44), rate(12_345.6)]).toEqual([
      '0',
      '0',
      '0.4',
      '228.4',
      '12\u2009346',
    ]);
  });
});

describe('folding', () => {
  it('shows every server while there is room', () => {
    expect(foldServers(fleet(9), [])).toHaveLength(9);
  });

  it('puts the quiet ones of 200 into one row with what they add up to', () => {
    const all = fleet(200);
    const rows = foldServers(all, []);
    expect(rows).toHaveLength(9);
    expect(rows[0]?.name).toBe('s199');
    expect(rows.at(-1)).toMatchObject({ name: '192 more', folded: 192, note: 'all closed' });
    const total = rows.reduce((sum, row) => sum + row.perSecond, 0);
    expect(total).toBeCloseTo(all.reduce((sum, one) => sum + one.traffic.per_second, 0));
  });

  it('puts what is the matter first, and keeps the two busiest in sight', () => {
    const breakers: BreakerView[] = fleet(20).map((one) => mockBreaker(one.server, { state: 'open' }));
    const rows = foldServers(fleet(40), breakers);
    expect(rows.slice(0, 6).every((row) => row.breaker === 'open')).toBe(true);
    expect(rows.slice(6, 8).map((row) => row.name)).toEqual(['s039', 's038']);
    expect(rows.at(-1)).toMatchObject({ name: '32 more', note: '14 open', tone: 'fail' });
  });

  it('says why a server is withdrawn, how a trial goes and what an open breaker refuses', () => {
    const rows = foldServers(
      [
        server('gone', 0, { withdrawn: 'exited with code 1' }),
        server('open', 0, { traffic: mockTraffic(0, { rejected_per_second: 1.4 }) }),
        server('trial', 1),
        server('well', 9),
      ],
      [
        mockBreaker('open', { state: 'open' }),
        mockBreaker('trial', { state: 'half_open', successes: 1 }),
        mockBreaker('well', { tool: 'echo' }),
      ],
    );
    expect(rows.map(({ name, note, tone }) => [name, note, tone])).toEqual([
      ['open', 'open, rejects 1.4/s', 'fail'],
      ['trial', 'half-open, trial 1 of 3', 'deg'],
      ['gone', 'exited with code 1', 'gone'],
      ['well', '', undefined],
    ]);
  });

  it('names the tool whose breaker is open', () => {
    const [row] = foldServers([server('a', 3)], [mockBreaker('a'), mockBreaker('a', { tool: 'add', state: 'open' })]);
    expect(row).toMatchObject({ breaker: 'open', note: 'add open' });
  });

  it('folds clients and says since when one is idle', () => {
    const rows = foldClients([client('old', 0, { last_seen: AT - 1_230_000 }), client('busy', 3)], AT);
    expect(rows.map(({ name, note }) => [name, note])).toEqual([
      ['busy', 'HTTP'],
      ['old', 'idle 20 min'],
    ]);
    const many = foldClients(
      Array.from({ length: 30 }, (_, i) => client(`c${i}`, 0)),
      AT,
    );
    expect(many).toHaveLength(6);
    expect(many.at(-1)).toMatchObject({ name: '25 more', note: 'all idle', idle: true });
  });
});

describe('words', () => {
  it('count breakers and leave out what there is none of', () => {
    expect(breakerCounts([mockBreaker('a'), mockBreaker('b', { state: 'open' })])).toBe('1 open, 1 closed');
  });

  it('say how a breaker stands', () => {
    expect(breakerEnd(mockBreaker('a', { state: 'open', tripped: true }))).toContain('until it is reset');
    expect(breakerEnd(mockBreaker('a'))).toBe('Closed: calls pass');
  });

  it('say what a fault does', () => {
    expect(faultWords({ latency_ms: 200, errors: 0.5, drops: 0 })).toBe('+200 ms, 50 % fail');
    expect(faultWords({ latency_ms: 0, errors: 0, drops: 0.05 })).toBe('5 % are never answered');
  });

  it('give no ratio where nothing was asked', () => {
    expect(hitRatio({ hits: 0, misses: 0 })).toBeUndefined();
    expect(hitRatio({ hits: 1, misses: 3 })).toBe(25);
  });

  it('give the lines for fleet.toml, with keys quoted where they must be', () => {
    expect(cacheToml('search', 'find')).toBe('[servers.search.gateway.tools.find]\ncache = true\n');
    expect(cacheToml('search', 'a.b')).toContain('tools."a.b"]');
  });

  it('give each kind of client text that its file takes', () => {
    const url = 'http://127.0.0.1:8720/mcp';
    for (const { text } of snippets(url)) expect(text).toContain(url);
    const [cursor, claude, code] = snippets(url);
    expect(JSON.parse(cursor?.text ?? '')).toEqual({ mcpServers: { flotilla: { url } } });
    expect(JSON.parse(claude?.text ?? '')).toEqual({ mcpServers: { flotilla: { type: 'http', url } } });
    expect(JSON.parse(code?.text ?? '')).toEqual({ servers: { flotilla: { type: 'http', url } } });
  });

  it('name the client that was seen to list the tools before one that had', () => {
    const both = [client('early', 0), client('fresh', 0, { last_seen: AT - 9000 })];
    expect(lastListed(both, new Map([['fresh', AT - 3000]]))).toEqual({
      client: 'fresh',
      at: AT - 3000,
      observed: true,
    });
    expect(lastListed(both, new Map())).toMatchObject({ client: 'early', observed: false });
    expect(lastListed([client('no', 1, { listed_tools: false })], new Map())).toBeUndefined();
  });
});

describe('calls', () => {
  it('are asked for as the filter says', () => {
    expect(callQuery({ server: '', client: '', text: ' ', failures: false })).toEqual({ ends: [], limit: 200 });
    expect(callQuery({ server: 'a', client: 'c', text: ' x ', failures: true })).toEqual({
      server: 'a',
      client: 'c',
      text: 'x',
      ends: [...FAILURES],
      limit: 200,
    });
  });

  it('tell who called a tool lately', () => {
    const call = (name: string, at: number, target: string) =>
      ({ client: name, at, target, method: 'tools/call' }) as CallRecord;
    const calls = [
      call('a', AT, 'x'),
      call('b', AT, 'x'),
      call('b', AT, 'x'),
      call('b', AT - 900, 'x'),
      call('c', AT, 'y'),
    ];
    expect(lately(calls, AT - 10, 'x')).toEqual([
      { client: 'b', calls: 2 },
      { client: 'a', calls: 1 },
    ]);
    expect(lately(calls, AT - 10)).toHaveLength(3);
  });
});

describe('a server that sleeps', () => {
  it('is quiet in the strip, and no fault of its instances is told', async () => {
    const mock = new MockTransport({ servers: 22, tickMs: 0 });
    const view = onlyServer(await mock.call('gateway.view', {}), 'mail_archive');
    expect(foldServers(view.servers, view.breakers)[0]).toMatchObject({
      note: 'sleeping, starts on call',
      tone: undefined,
      breaker: 'closed',
    });
  });
});

it('a share is a gap where there is nothing to share', () => {
  expect(shareOf([1, 0, null, 3], [4, 0, null, 3])).toEqual([25, null, null, 100]);
});

describe('the gateway of the mock', () => {
  it('trips and resets a breaker, and gives one server its part', async () => {
    const mock = new MockTransport({ servers: 22, tickMs: 0 });
    const view = await mock.call('gateway.view', {});
    expect(view.breakers[0]?.state).toBe('open');
    expect(onlyServer(view, 'git').servers.map((one) => one.server)).toEqual(['git']);
    expect(onlyServer(view, 'git').pools.every((pool) => pool.instance.startsWith('git#'))).toBe(true);
    const tripped = await mock.call('gateway.breaker', { server: 'git', act: 'trip' });
    expect(tripped).toMatchObject({ state: 'open', tripped: true });
    expect(await mock.call('gateway.breaker', { server: 'git', act: 'reset' })).toMatchObject({ state: 'closed' });
    const failures = await mock.call('gateway.calls', callQuery({ server: '', client: '', text: '', failures: true }));
    expect(failures.length).toBeGreaterThan(0);
    expect(failures.every((call) => call.end === 'rejected')).toBe(true);
  });
});
