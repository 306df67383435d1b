import type {
  BreakerParams,
  BreakerView,
  CallDetail,
  CallPick,
  CallQuery,
  CallRecord,
  CacheCleared,
  Fault,
  FaultParams,
  GatewayView,
  ServerView,
  Traffic,
} from '$lib/contract';
import { CallError } from './index';
import { random } from './mockfleet';

/** Traffic of so many calls a second. */
export function mockTraffic(perSecond: number, more: Partial<Traffic> = {}): Traffic {
  return {
    per_second: perSecond,
    error_share: 0,
    p50_ms: perSecond > 0 ? 3 : 0,
    p95_ms: perSecond > 0 ? 24 : 0,
    p99_ms: perSecond > 0 ? 61 : 0,
    cached_per_second: 0,
    rejected_per_second: 0,
    in_flight: Math.round(perSecond / 10),
    queued: 0,
    calls: Math.round(perSecond * 5000),
    errors: 0,
    rejected: 0,
    cached: 0,
    retries: 0,
    ...more,
  };
}

const CLIENTS: [name: string, perSecond: number, transport: string, sessions: number][] = [
  ['atlas-backend', 228.4, 'http', 4],
  ['n8n', 71.3, 'http', 1],
  ['claude-code', 24.6, 'http', 2],
  ['cursor', 11.9, 'stdio', 1],
  ['vscode', 4.4, 'http', 1],
  ['inspector', 0, 'http', 0],
];

/** A breaker at rest. */
export function mockBreaker(server: string, more: Partial<BreakerView> = {}): BreakerView {
  return {
    server,
    state: 'closed',
    since: Date.now() - 900_000,
    failures: 0,
    limit: 5,
    successes: 0,
    needed: 3,
    rejected: 0,
    opens_last_hour: 0,
    tripped: false,
    ...more,
  };
}

/** A gateway in memory: its breakers and faults do what they are told, its figures stand still. */
export class MockGateway {
  #breakers = new Map<string, BreakerView>();
  #faults: Fault[] = [];
  #entries = 1204;
  #chance = random(5);
  #startedAt = Date.now();

  constructor(private readonly servers: () => ServerView[]) {}

  view(): GatewayView {
    const now = Date.now();
    const all = this.servers().map((server, i) => {
      const id = server.spec.id;
      const up = server.instances.some((instance) => instance.process.state === 'running');
      const asleep = server.status === 'sleeping';
      const perSecond = up ? Math.round(680 / (i + 1.5)) / 10 : 0;
      return {
        server: id,
        traffic: mockTraffic(perSecond),
        offers: { tools: server.tools ?? 0, prompts: 0, resources: 0 },
        ...(asleep ? { asleep } : {}),
        ...(asleep || up ? {} : { withdrawn: server.health.sentence }),
        lost: [],
        instances: server.instances.map((instance) => ({
          instance: instance.id,
          score: up ? 1 : 0.3,
          available: instance.process.state === 'running',
          ...(instance.process.state === 'running' ? {} : { reason: instance.process.reason }),
          response_ms: up ? 4 + (i % 7) : 0,
          in_flight: Math.round(perSecond / 20),
          failures: 0,
        })),
      };
    });
    for (const { server, withdrawn } of all) {
      if (this.#breakers.has(this.#key(server))) continue;
      this.#breakers.set(
        this.#key(server),
        mockBreaker(
          server,
          withdrawn === undefined
            ? {}
            : { state: 'open', failures: 5, rejected: 412, opens_last_hour: 11, next: now + 18_000, reason: withdrawn },
        ),
      );
    }
    const order = { open: 0, half_open: 1, closed: 2 };
    return {
      address: 'http://127.0.0.1:8720/mcp',
      at: now,
      totals: mockTraffic(340.6, { cached_per_second: 52.4, rejected_per_second: 1.4, in_flight: 31, queued: 5 }),
      added_p95_ms: 3,
      servers: all,
      clients:
        all.length === 0
          ? []
          : CLIENTS.map(([client, perSecond, transport, sessions]) => ({
              client,
              version: '1.0',
              transport,
              protocol: '2025-11-25',
              era: 'legacy' as const,
              sessions,
              traffic: mockTraffic(perSecond),
              last_seen: perSecond > 0 ? now - 400 : this.#startedAt - 1_200_000,
              listed_tools: true,
            })),
      breakers: [...this.#breakers.values()].sort((a, b) => order[a.state] - order[b.state]),
      cache: {
        entries: this.#entries,
        bytes: this.#entries * 34_000,
        max_bytes: 100 * 1024 ** 2,
        hits: 15_400,
        misses: 84_600,
        saved_ms: 1_120_000,
        tools: [{ server: 'semantic_similarity', tool: 'compare', hits: 2870, misses: 7130, saved_ms: 640_000 }],
        candidates: [{ server: 'vector_ranking', tool: 'rank', repeated: 41, equal: 41 }],
      },
      // Every third server is an HTTP one on this machine: the others' connections are not counted.
      pools: all.flatMap(({ instances }, i) =>
        (i % 3 === 0 ? instances : []).map(({ instance, in_flight, available, reason }) => ({
          instance,
          open: available ? Math.max(5, in_flight) : 0,
          in_use: in_flight,
          max: 50,
          waiting: 0,
          oldest_wait_ms: 0,
          state: available ? ('connected' as const) : ('error' as const),
          ...(reason === undefined ? {} : { reason }),
        })),
      ),
      limits: {
        tool_rate: { burst: 100, per_second: 10 },
        tracked: 14,
        refused: 12,
        met: [{ client: 'n8n', tool: 'call_skill', refused: 12, last: now - 215_000 }],
      },
      rejections: [
        {
          last: now - 215_000,
          first: now - 230_000,
          count: 12,
          by: 'limit',
          server: 'reasoning_agent',
          tool: 'call_skill',
          client: 'n8n',
          reason: 'n8n has reached its limit of 10 calls of call_skill a second',
        },
      ],
      faults: this.#faults.filter((fault) => fault.until > now),
    };
  }

  calls({ server, client, text = '', ends = [], limit = 200, before }: CallQuery): CallRecord[] {
    const now = this.#startedAt;
    const list = this.servers().filter((one) => one.spec.id);
    const all = Array.from({ length: list.length ? 300 : 0 }, (_, i): CallRecord => {
      const bad = i % 17 === 3;
      const upstream_ms = 2 + this.#chance() * 30;
      return {
        call: 300 - i,
        at: now - i * 700,
        client: CLIENTS[i % 5]?.[0] ?? 'cursor',
        method: 'tools/call',
        server: list[(i * 7) % list.length]?.spec.id ?? '',
        instance: 1,
        target: ['search', 'read', 'echo'][i % 3] ?? 'echo',
        duration_ms: upstream_ms + 0.3,
        upstream_ms,
        bytes_in: 80,
        bytes_out: bad ? 0 : 900,
        end: bad ? 'rejected' : 'ok',
        ...(bad ? { reason: 'the breaker is open' } : {}),
        cached: i % 9 === 0,
        retries: i % 31 === 0 ? 1 : 0,
        correlation: `${(300 - i).toString(16)}-mock`,
        stored: bad || i % 10 === 0,
      };
    });
    const has = (call: CallRecord) =>
      [call.target, call.reason, call.correlation].some((part) => part?.toLowerCase().includes(text.toLowerCase()));
    return all
      .filter(
        (call) =>
          (before === undefined || call.at < before) &&
          (!server || call.server === server) &&
          (!client || call.client === client) &&
          (ends.length === 0 || ends.includes(call.end)) &&
          (!text || has(call)),
      )
      .slice(0, limit);
  }

  call({ call, at }: CallPick): CallDetail {
    const record = this.calls({ limit: 300, ends: [] }).find((one) => one.call === call);
    if (!record) throw new CallError({ code: 'not_found', message: `find call ${call}: it is not kept on disk` });
    return { record: { ...record, at }, arguments: '{"query":"ships"}', result: '{"content":[]}' };
  }

  breaker({ server, tool, act }: BreakerParams): BreakerView {
    const key = this.#key(server, tool);
    const before = this.#breakers.get(key);
    if (!before) throw new CallError({ code: 'not_found', message: `find a breaker: ${server}` });
    const at = { since: Date.now(), failures: 0, successes: 0 };
    const rest = mockBreaker(server, {
      ...(tool === undefined ? {} : { tool }),
      ...at,
      rejected: before.rejected,
      opens_last_hour: before.opens_last_hour,
    });
    const after: BreakerView =
      act === 'trip'
        ? {
            ...rest,
            state: 'open',
            tripped: true,
            opens_last_hour: before.opens_last_hour + 1,
            reason: 'An operator tripped the breaker; it stays open until it is reset',
          }
        : { ...rest, state: act === 'reset' ? 'closed' : 'half_open' };
    this.#breakers.set(key, after);
    return after;
  }

  clear(): CacheCleared {
    const entries = this.#entries;
    this.#entries = 0;
    return { entries };
  }

  fault({ server, tool, latency_ms = 0, errors = 0, drops = 0, for_ms = 600_000 }: FaultParams): Fault[] {
    this.#faults = this.#faults.filter((fault) => fault.server !== server || fault.tool !== tool);
    if (for_ms > 0)
      this.#faults.push({
        server,
        ...(tool === undefined ? {} : { tool }),
        latency_ms,
        errors,
        drops,
        until: Date.now() + for_ms,
      });
    return this.#faults;
  }

  #key = (server: string, tool?: string) => `${server} ${tool ?? ''}`;
}
