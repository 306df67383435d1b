import { CONTRACT_VERSION } from '$lib/contract';
import type {
  Event,
  EventKind,
  FleetCounts,
  Hello,
  LogEntry,
  Metric,
  Outcomes,
  ServerView,
  Status,
  Topic,
  Update,
} from '$lib/contract';
import {
  CallError,
  Signal,
  type CallOptions,
  type CommandName,
  type LinkStatus,
  type Params,
  type Result,
  type Transport,
} from './index';
import { mockEngine, mockServers, put, random } from './mockfleet';
import { MockClients } from './mockclients';
import { MockGateway } from './mockgateway';
import { MockWorkflows } from './mockworkflows';

export interface MockOptions {
  servers: number;
  /** Real time between ticks in milliseconds; 0 lets the test drive with `tick()`. */
  tickMs?: number;
  /** How long a verb takes. */
  verbMs?: number;
}

interface Subscription {
  topic: Topic;
  onUpdate: (update: Update) => void;
  onBinary?: ((bytes: ArrayBuffer) => void) | undefined;
}

const RING = 900;
const OF_INSTANCES: readonly Metric[] = ['cpu_percent', 'rss_bytes', 'restarts', 'health'];
const OF_CALLS: readonly Metric[] = [
  'calls_per_second',
  'call_error_percent',
  'call_p50_ms',
  'call_p95_ms',
  'call_p99_ms',
  'calls_cached_per_second',
  'calls_refused_per_second',
  'calls_in_flight',
];

/** A fleet in memory that behaves like an engine: snapshot, deltas, events, ticks, verbs that end. */
export class MockTransport implements Transport {
  readonly boot = 'mock-boot';
  seq = 1;
  servers = new Map<string, ServerView>();
  calls: { command: string; params: unknown }[] = [];
  readonly clients = new MockClients();
  readonly workflows = new MockWorkflows();

  #options: Required<MockOptions>;
  #subscriptions = new Set<Subscription>();
  #status = new Signal<LinkStatus>();
  #hello = new Signal<Hello>();
  #events: Event[] = [];
  #lines: LogEntry[] = [];
  #chance = random(11);
  #gateway = new MockGateway(() => [...this.servers.values()]);
  #startedAt = Date.now() - 532_000_000;
  #secrets = new Map([
    ['git-token', true],
    ['tracker-key', false],
  ]);

  constructor(options: MockOptions) {
    this.#options = { tickMs: 2000, verbMs: 900, ...options };
    const now = Date.now();
    for (const server of mockServers(options.servers, now)) this.servers.set(server.spec.id, server);
    if (options.servers > 0) this.#seed(now);
    this.#events.sort((a, b) => a.at - b.at).forEach((event, i) => (event.seq = i + 1));
    const script = typeof location === 'undefined' ? null : new URLSearchParams(location.search).get('link');
    this.#status.set({ state: 'connecting', since: now, failures: 0 });
    if (script === 'never') return;
    queueMicrotask(() => this.#greet());
    if (script === 'down') setTimeout(() => this.drop(), 2500);
    if (this.#options.tickMs > 0) setInterval(() => this.tick(), this.#options.tickMs);
  }

  async call<C extends CommandName>(command: C, params: Params<C>, _options?: CallOptions): Promise<Result<C>> {
    this.calls.push({ command, params });
    if (this.#status.value?.state === 'unreachable')
      throw new CallError({ code: 'unreachable', message: 'reach the engine' });
    const handler = this.#handlers[command] as ((params: Params<C>) => Result<C> | Promise<Result<C>>) | undefined;
    if (!handler) throw new CallError({ code: 'bad_request', message: `find a command named "${command}"` });
    await Promise.resolve();
    return structuredClone(await handler(params));
  }

  subscribe(topic: Topic, onUpdate: (update: Update) => void, onBinary?: (bytes: ArrayBuffer) => void): () => void {
    const subscription = { topic, onUpdate, onBinary };
    this.#subscriptions.add(subscription);
    if (this.#status.value?.state === 'live') queueMicrotask(() => this.#open(subscription));
    return () => this.#subscriptions.delete(subscription);
  }

  watchStatus(on: (status: LinkStatus) => void): () => void {
    return this.#status.watch(on);
  }

  watchHello(on: (hello: Hello) => void): () => void {
    return this.#hello.watch(on);
  }

  retryNow(): void {
    this.#greet();
  }

  /** Breaks the link. */
  drop(): void {
    this.#status.set({ state: 'unreachable', since: Date.now(), nextTry: Date.now() + 5000, failures: 3 });
  }

  /** Puts a server into a state and tells it, with an event where there is one. */
  change(name: string, status: Status, what?: EventKind): void {
    const server = this.servers.get(name);
    if (!server) return;
    this.replace(put(server, status, Date.now()), what);
  }

  replace(server: ServerView, what?: EventKind): void {
    this.servers.set(server.spec.id, server);
    this.emit({ servers: [server] });
    if (what) this.#tell(what, server.spec.id);
  }

  /** Sends a delta; `seq` may be set to make a hole. */
  emit({
    servers = [],
    removed = [],
    seq = this.seq + 1,
  }: {
    servers?: ServerView[];
    removed?: string[];
    seq?: number;
  }): void {
    this.seq = seq;
    this.#send('fleet', { update: 'changed', seq, now: Date.now(), servers, removed, counts: this.#counts() });
  }

  /** One sampling: moves CPU and memory, sends the binary frame and the servers that moved. */
  tick(): void {
    if (this.#status.value?.state !== 'live') return;
    const at = Date.now();
    const series = this.#series();
    const bytes = new ArrayBuffer(16 + series.length * 8);
    const view = new DataView(bytes);
    view.setUint32(0, 0x31584d46, true);
    view.setBigUint64(4, BigInt(at), true);
    view.setUint32(12, series.length, true);
    series.forEach(({ number, metric, server, instance }, i) => {
      view.setUint32(16 + i * 4, number, true);
      view.setFloat32(16 + series.length * 4 + i * 4, this.#value(metric, `${server}#${instance}`, at), true);
    });
    for (const subscription of this.#subscriptions) subscription.onBinary?.(bytes);
    const moved = [...this.servers.values()].filter(
      (server) => server.status === 'running' || server.status === 'degraded',
    );
    for (const server of moved) {
      const instances = server.instances.map((i) =>
        i.sample
          ? {
              ...i,
              sample: {
                ...i.sample,
                at,
                cpu_percent: this.#value('cpu_percent', i.id, at),
                rss_bytes: this.#value('rss_bytes', i.id, at),
              },
            }
          : i,
      );
      this.servers.set(server.spec.id, { ...server, instances });
    }
    this.emit({ servers: moved.map((server) => this.servers.get(server.spec.id) ?? server) });
    this.#say('filesystem#1', `served list_directory in ${Math.ceil(this.#chance() * 9)} ms`);
  }

  #greet(): void {
    this.#status.set({ state: 'live', since: Date.now(), failures: 0 });
    this.#hello.set({ contract: CONTRACT_VERSION, version: '0.1.0', boot: this.boot, now: Date.now() });
    for (const subscription of this.#subscriptions) this.#open(subscription);
  }

  #open({ topic, onUpdate }: Subscription): void {
    if (topic.topic === 'fleet') onUpdate({ update: 'fleet', ...this.#snapshot() });
    if (topic.topic === 'metrics') onUpdate({ update: 'series', interval: 2000, series: this.#series() });
    if (topic.topic === 'run') onUpdate({ update: 'run', ...this.workflows.view(topic.run) });
    if (topic.topic === 'step') onUpdate({ update: 'step', ...this.workflows.detail(topic.run, topic.step) });
    if (topic.topic === 'logs') onUpdate({ update: 'logs', entries: this.#read(topic.query.servers ?? []) });
  }

  #send(topic: Topic['topic'], update: Update): void {
    for (const subscription of this.#subscriptions)
      if (subscription.topic.topic === topic) subscription.onUpdate(update);
  }

  #snapshot() {
    const engine = mockEngine(this.boot, this.#startedAt);
    return {
      boot: this.boot,
      seq: this.seq,
      now: Date.now(),
      engine,
      servers: [...this.servers.values()],
      counts: this.#counts(),
    };
  }

  #counts(): FleetCounts {
    const all = [...this.servers.values()];
    const up = (server: ServerView) => server.instances.filter((i) => i.process.state === 'running').length;
    return {
      total: all.length,
      running: all.filter((server) => up(server) > 0).length,
      healthy: all.filter((server) => up(server) > 0 && server.health.level === 'healthy').length,
      unhealthy: all.filter((server) => up(server) > 0 && server.health.level === 'unhealthy').length,
      failed: all.filter((server) => server.status === 'failed').length,
      instances_running: all.reduce((sum, server) => sum + up(server), 0),
      instances_wanted: all.reduce((sum, server) => sum + server.wanted_replicas, 0),
    };
  }

  #series() {
    let number = 0;
    return [...this.servers.values()].flatMap((view) => {
      const server = view.spec.id;
      return [
        ...view.instances.flatMap((_, i) =>
          OF_INSTANCES.map((metric) => ({ number: number++, metric, server, instance: i + 1 })),
        ),
        ...OF_CALLS.map((metric) => ({ number: number++, metric, server, instance: 0 })),
      ];
    });
  }

  /** A value at a time: a slow wave, some noise, and for the memory of one instance a saw that its ceiling cuts. */
  #value(metric: Metric, id: string, at: number): number {
    const hash = [...id].reduce((sum, char) => (sum * 31 + char.charCodeAt(0)) % 997, 7);
    const base = 1 + (hash % 83) / 6;
    const server = this.servers.get(id.slice(0, id.lastIndexOf('#')));
    if (OF_CALLS.includes(metric)) {
      // Nobody calls what does not run, and for a minute of every ten nobody calls at all.
      const up = server?.instances.some((i) => i.process.state === 'running') ?? false;
      if (!up || (at / 1000) % 600 < 60) return metric.endsWith('_ms') || metric.endsWith('_percent') ? NaN : 0;
      const wave = 1 + 0.2 * Math.sin(at / 90_000 + hash);
      switch (metric) {
        case 'calls_per_second':
          return base * 4 * wave;
        case 'calls_cached_per_second':
          return base * 0.6 * wave;
        case 'calls_refused_per_second':
          return (at / 1000) % 300 < 6 ? 0.4 : 0;
        case 'calls_in_flight':
          return Math.round(base * wave);
        case 'call_error_percent':
          return 0.4 * wave;
        case 'call_p50_ms':
          return 3 * wave;
        case 'call_p95_ms':
          return 24 * wave;
        default:
          return 61 * wave;
      }
    }
    const view = server?.instances.find((i) => i.id === id);
    const saw = id === 'reasoning_agent#3';
    const phase = ((at / 1000) % 340) / 340;
    if (metric === 'restarts') return saw ? Math.floor(at / 340_000) % 100 : (view?.restarts_total ?? 0);
    if (!view || (view.process.state !== 'running' && !(saw && at < Date.now() - 20_000))) return NaN;
    if (saw && phase > 0.96) return NaN;
    if (metric === 'health') return saw && phase > 0.9 ? 0.5 : 1;
    if (metric === 'rss_bytes')
      return saw ? (170 + phase * 340) * 1024 ** 2 : (40 + hash / 4 + 2 * Math.sin(at / 90_000 + hash)) * 1024 ** 2;
    const noise = Math.sin(at / 7_000 + hash) * Math.sin(at / 2_300 + hash * 3);
    return Math.max(0.1, base * (1 + 0.25 * Math.sin(at / 240_000 + hash) + 0.18 * noise) + (saw ? phase * 18 : 0));
  }

  #tell(what: EventKind, server?: string, instance?: number, at = Date.now()): void {
    const event: Event = {
      seq: this.#events.length + 1,
      at,
      ...(server ? { server } : {}),
      ...(instance ? { instance } : {}),
      ...what,
    };
    this.#events.push(event);
    this.#send('events', { update: 'events', events: [event], durable: event.seq });
  }

  #say(instance: string, text: string, at = Date.now(), stream: 'stderr' | 'supervisor' = 'stderr'): void {
    const seq = this.#lines.filter((line) => line.instance === instance).length + 1;
    const entry: LogEntry = { entry: 'line', instance, seq, at, stream, text };
    this.#lines.push(entry);
    for (const { topic, onUpdate } of this.#subscriptions) {
      if (topic.topic !== 'logs') continue;
      const wanted = topic.query.servers ?? [];
      if (wanted.length === 0 || wanted.some((name) => instance.startsWith(`${name}#`)))
        onUpdate({ update: 'logs', entries: [entry] });
    }
  }

  #read(servers: readonly string[]): LogEntry[] {
    return this.#lines.filter(
      (line) => servers.length === 0 || servers.some((name) => line.instance.startsWith(`${name}#`)),
    );
  }

  #seed(now: number): void {
    this.#tell({ kind: 'engine:started', boot: this.boot }, undefined, undefined, now - 1_790_000);
    this.#tell(
      {
        kind: 'config:applied',
        revision: 42,
        changes: ['reasoning_agent: args changed, 3 instances restarted in turn'],
      },
      undefined,
      undefined,
      now - 830_000,
    );
    const exit = {
      at: now,
      signal: 'SIGKILL',
      reason: 'killed at its memory ceiling: 512.3 MiB of 512 MiB',
      ran_ms: 93_000,
      last_lines: ['gc: 0.4 MiB freed, 506 held'],
    };
    for (let i = 1; i <= 3 && this.servers.has('reasoning_agent'); i += 1) {
      const at = now - 640_000 + i * 200_000;
      this.#tell({ kind: 'server:ceiling', reason: '512.3 MiB of 512 MiB' }, 'reasoning_agent', 3, at - 1000);
      this.#tell(
        { kind: 'server:restarting', attempt: i, delay: 4000, next_try: at + 4000, exit },
        'reasoning_agent',
        3,
        at,
      );
      if (i < 3) this.#tell({ kind: 'server:recovered', attempts: i }, 'reasoning_agent', 3, at + 6000);
      this.#say('reasoning_agent#3', 'context: 498 blocks held, 506.2 MiB', at - 1500);
      this.#say('reasoning_agent#3', 'SIGKILL to the process group: 512.3 MiB, ceiling 512 MiB', at, 'supervisor');
    }
    if (this.servers.has('fetch')) {
      for (const instance of [1, 2]) {
        this.#say(`fetch#${instance}`, 'Error: listen EADDRINUSE 127.0.0.1:8110', now - 700_000);
        this.#tell(
          { kind: 'server:failed', restarts: 3, error: 'port 8110 is held by node (pid 48213)', exit: null },
          'fetch',
          instance,
          now - 700_000 + instance,
        );
      }
    }
    this.#tell(
      {
        kind: 'action',
        actor: 'panel',
        command: 'server.scale',
        outcome: 'docs_search: Running, 4 instances, 3.1 s',
        ok: true,
      },
      'docs_search',
      undefined,
      now - 300_000,
    );
    this.#tell({ kind: 'server:tools', count: 12, findings: [] }, 'git', undefined, now - 90_000);
    for (let i = 0; i < 400; i += 1) {
      const names = [...this.servers.values()].filter((server) => server.status === 'running');
      const server = names[Math.floor(this.#chance() * names.length)];
      if (server)
        this.#say(
          `${server.spec.id}#1`,
          `served ${['tools/list', 'tools/call', 'ping'][i % 3]} in ${Math.ceil(this.#chance() * 40)} ms`,
          now - (400 - i) * 4000,
        );
    }
    this.#lines.push({ entry: 'gap', instance: 'git#1', from_seq: 900, missing: 312 });
  }

  #pause = () => new Promise((resolve) => setTimeout(resolve, this.#options.verbMs));

  async #verb(
    names: readonly string[],
    through: Status,
    to: Status,
    sentence: (server: ServerView) => string,
  ): Promise<Outcomes> {
    const servers = names.length ? names : [...this.servers.keys()];
    for (const name of servers) this.change(name, through);
    await this.#pause();
    const outcomes = servers.flatMap((name) => {
      const server = this.servers.get(name);
      if (!server) return [];
      const fails = name === 'fetch' && to === 'running';
      this.change(
        name,
        fails ? 'failed' : to,
        fails
          ? { kind: 'server:failed', restarts: 3, error: 'port 8110 is held by node (pid 48213)', exit: null }
          : undefined,
      );
      const took_ms = 4200;
      const state: 'failed' | 'running' | 'stopped' = fails ? 'failed' : to === 'stopped' ? 'stopped' : 'running';
      if (fails)
        return [
          { server: name, ok: false, sentence: 'Exited again, code 1', status: 'failed' as const, state, took_ms },
        ];
      return [{ server: name, ok: true, sentence: sentence(server), status: to, state, took_ms }];
    });
    return { outcomes };
  }

  #written(changes: string[], added: string[] = []) {
    return { revision: 43, hash: 'abc', changes, added };
  }

  #handlers: { [C in CommandName]: (params: Params<C>) => Result<C> | Promise<Result<C>> } = {
    'engine.info': () => mockEngine(this.boot, this.#startedAt),
    'fleet.snapshot': () => this.#snapshot(),
    'server.get': ({ server }) => this.#server(server),
    'server.start': ({ servers = [] }) =>
      this.#verb(servers, 'starting', 'running', (s) => `Running, ${s.tools ?? 0} tools, 4.2 s`),
    'server.stop': ({ servers = [] }) =>
      this.#verb(servers, 'stopping', 'stopped', () => 'Stopped, no process left, 0.3 s'),
    'server.restart': ({ servers = [] }) =>
      this.#verb(servers, 'starting', 'running', (s) => `Running, ${s.tools ?? 0} tools, 4.2 s`),
    'server.scale': async ({ server, replicas }) => {
      const before = this.#server(server);
      await this.#pause();
      const template = before.instances[0];
      const instances = Array.from(
        { length: replicas },
        (_, i) => before.instances[i] ?? { ...(template as NonNullable<typeof template>), id: `${server}#${i + 1}` },
      );
      this.replace(
        { ...before, wanted_replicas: replicas, override: { replicas, by: 'panel', at: Date.now() }, instances },
        { kind: 'server:scaled', from: before.wanted_replicas, to: replicas },
      );
      return {
        outcomes: [
          {
            server,
            ok: true,
            sentence: `Running, ${replicas} instances, 1.2 s`,
            status: before.status,
            state: 'running',
            took_ms: 1200,
          },
        ],
      };
    },
    'server.reset': ({ servers = [] }) => this.#verb(servers, 'starting', 'running', () => 'Back to what is declared'),
    'server.plan': ({ verb, targets, replicas }) => {
      const servers = (targets.servers ?? []).map((name) => this.#server(name));
      const instances =
        targets.instance === undefined
          ? servers.reduce(
              (sum, server) => sum + server.instances.filter((i) => i.process.state === 'running').length,
              0,
            )
          : 1;
      const word = `${instances} ${instances === 1 ? 'instance' : 'instances'}`;
      const refusals = servers
        .filter((s) => s.spec.transport.kind === 'url' && (verb === 'restart' || verb === 'scale'))
        .map((s) => ({
          server: s.spec.id,
          error: { code: 'unsupported' as const, message: `${verb} ${s.spec.id}: it is started by somebody else` },
        }));
      const less = verb === 'scale' && servers.some((s) => (replicas ?? 0) < s.wanted_replicas);
      const sentence = {
        start: `Starts ${servers.reduce((sum, s) => sum + s.spec.replicas, 0)} instances`,
        stop: `Stops ${word}`,
        restart: `Restarts ${word} in turn`,
        scale: less
          ? `Stops ${Math.max(0, (servers[0]?.wanted_replicas ?? 0) - (replicas ?? 0))} of ${servers[0]?.wanted_replicas ?? 0} instances`
          : `Starts ${(replicas ?? 0) - (servers[0]?.wanted_replicas ?? 0)} more`,
        remove: `Stops ${word} and takes the entry out of fleet.toml`,
      }[verb];
      const dependents = servers.some((s) => s.spec.id === 'memory') && verb !== 'start' ? ['docs_search'] : [];
      return {
        sentence,
        stops: verb === 'start' ? 0 : instances,
        starts: verb === 'restart' ? instances : 0,
        dependents,
        ...(verb === 'stop' || verb === 'remove' || verb === 'restart' || less
          ? {
              clients: [
                { client: 'n8n', calls: 3120, per_second: 5.2 },
                { client: 'Claude Code', calls: 960, per_second: 1.6 },
              ],
              in_flight: 3,
              hits: [
                'n8n (5.2 calls/s) and Claude Code (1.6 calls/s) called in the last 10 min',
                '3 calls are under way and may be cut off',
              ],
            }
          : { in_flight: 0 }),
        refusals,
        destructive: verb === 'stop' || verb === 'remove' || less,
      };
    },
    'server.probe': ({ servers = [] }) =>
      this.#verb(servers, 'running', 'running', (s) => `Answers with ${s.tools ?? 0} tools, 4 ms`),
    'server.add': ({ name, command, args = [], url }) => {
      const like = mockServers(1, Date.now())[0] as ServerView;
      const transport = url
        ? ({ kind: 'url', url, headers: {} } as const)
        : ({ kind: 'stdio', command: command ?? '', args, env: {} } as const);
      const fresh: ServerView = {
        ...like,
        spec: { ...like.spec, id: name, transport, replicas: 1, limits: {} },
        instances: like.instances.slice(0, 1).map((i) => ({ ...i, id: `${name}#1` })),
        wanted: false,
        wanted_replicas: 0,
      };
      this.replace(put(fresh, 'stopped', Date.now()), { kind: 'server:registered' });
      return this.#written([`${name} added`], [name]);
    },
    'server.edit': ({ server }) => this.#written([`${server} changed`]),
    'server.remove': ({ server }) => {
      this.servers.delete(server);
      this.emit({ removed: [server] });
      return this.#written([`${server} removed`]);
    },
    'server.enable': ({ server, enabled }) => {
      const before = this.#server(server);
      this.replace(
        put(
          { ...before, spec: { ...before.spec, disabled: enabled ? undefined : 'disabled from the panel' } },
          enabled ? 'stopped' : 'disabled',
          Date.now(),
        ),
      );
      return this.#written([`${server} ${enabled ? 'enabled' : 'disabled'}`]);
    },
    'server.page': () => [
      {
        name: 'http_requests_total',
        labels: [['method', 'post']],
        value: '1027',
        kind: 'counter',
        help: 'Requests served.',
      },
      { name: 'process_resident_memory_bytes', labels: [], value: '72351744', kind: 'gauge', help: 'Resident memory.' },
    ],
    'tools.list': ({ server }) => ({
      server,
      listed_at: Date.now() - 60_000,
      fingerprint: '9f2c41d07a',
      peer: this.#server(server).peer ?? { era: 'legacy', protocol_version: '2025-11-25', capabilities: {} },
      tools: TOOLS,
    }),
    'tools.accept': ({ server }) => ({
      server,
      listed_at: Date.now(),
      fingerprint: '9f2c41d07a',
      peer: { era: 'legacy', protocol_version: '2025-11-25', capabilities: {} },
      tools: TOOLS,
    }),
    'tools.call': async ({ server, tool, arguments: args }) => {
      await this.#pause();
      return {
        call: 7,
        server,
        instance: 1,
        tool,
        arguments: args,
        at: Date.now(),
        duration_ms: 12.4,
        outcome: {
          outcome: 'result',
          is_error: false,
          result: { content: [{ type: 'text', text: `Echo: ${JSON.stringify(args)}` }] },
        },
        correlation: 'c-2b48',
      };
    },
    'tools.cancel': () => ({}),
    'tools.history': () => [],
    'workflow.list': () => this.workflows.list(),
    'workflow.show': ({ name }) => this.workflows.show(name),
    'workflow.validate': ({ text }) => this.workflows.check(text),
    'workflow.save': (params) => this.workflows.save(params),
    'workflow.schedules': () => this.workflows.triggers,
    'workflow.trigger.enable': (which) => this.workflows.switch(which, true),
    'workflow.trigger.disable': (which) => this.workflows.switch(which, false),
    'workflow.plan': (params) => this.workflows.plan(params),
    'workflow.run': (params) => this.workflows.run(params),
    'workflow.replay': (params) => this.workflows.replay(params),
    'workflow.runs': (query) => this.workflows.listRuns(query),
    'workflow.asking': () => this.workflows.asking(),
    'workflow.view': ({ run }) => this.workflows.view(run),
    'workflow.definition': ({ run }) => this.workflows.definition(run),
    'workflow.step': ({ run, step }) => this.workflows.detail(run, step),
    'workflow.act': (params) => this.workflows.act(params),
    'workflow.wait': ({ run }) => this.workflows.view(run).summary,
    'alerts.list': () => [],
    'alerts.rules': () => [],
    'alerts.check': () => ({ series: 0, holds: 0, samples: [] }),
    'alerts.rule_preview': () => ({ path: 'fleet.toml', hash: '', diff: '' }),
    'alerts.rule_write': () => ({ revision: 1, hash: '', changes: [], added: [] }),
    'alerts.history': () => [],
    'alerts.silences': () => [],
    'alerts.channels': () => [],
    'alerts.channel_preview': () => ({ path: 'fleet.toml', hash: '', diff: '' }),
    'alerts.channel_write': () => ({ revision: 1, hash: '', changes: [], added: [] }),
    'alerts.silence': ({ matchers, from = Date.now(), for_ms, comment = '' }) => ({
      id: 1,
      matchers,
      from,
      to: from + for_ms,
      by: 'panel',
      comment,
    }),
    'alerts.unsilence': ({ id }) => ({ id, matchers: [], from: 0, to: Date.now(), by: 'panel', comment: '' }),
    'alerts.test_channel': () => ({ took_ms: 3 }),
    'gateway.view': () => this.#gateway.view(),
    'gateway.calls': (query) => this.#gateway.calls(query),
    'gateway.call': (pick) => this.#gateway.call(pick),
    'gateway.breaker': (params) => {
      const breaker = this.#gateway.breaker(params);
      const { server, tool, state, reason = 'an operator said so' } = breaker;
      this.#tell({ kind: 'gateway:breaker', ...(tool === undefined ? {} : { tool }), state, reason }, server);
      return breaker;
    },
    'gateway.cache_clear': () => this.#gateway.clear(),
    'gateway.fault': (params) => this.#gateway.fault(params),
    'gateway.targets': () => this.clients.targets(),
    'gateway.connect_preview': (params) => this.clients.preview(params),
    'gateway.connect_write': (params) => this.clients.write(params),
    'gateway.connect_undo': (params) => this.clients.undo(params),
    'logs.read': ({ servers = [] }) => this.#read(servers),
    'events.read': ({ server, kinds = [], limit = 100 }) => {
      const matching = this.#events.filter(
        (event) => (!server || event.server === server) && (kinds.length === 0 || kinds.includes(event.kind)),
      );
      return { events: matching.reverse().slice(0, limit), more: false };
    },
    'actions.read': () => ({ events: this.#events.filter((event) => event.kind === 'action').reverse(), more: false }),
    'metrics.names': () => [],
    'metrics.series': () => ({ series: [], total: 0 }),
    'metrics.range': () => ({ times: [], lines: [] }),
    'metrics.targets': () => [],
    'board.read': () => ({ version: 0, charts: [] }),
    'board.write': ({ version, charts }) => ({ version: version + 1, charts }),
    'metrics.query': ({ metrics, server }) => {
      const now = Date.now();
      const times = Array.from({ length: RING }, (_, i) => now - (RING - i) * 2000);
      const asked = [...this.servers.values()].filter((s) => !server || s.spec.id === server);
      const series = metrics.flatMap((metric) =>
        asked
          .flatMap((s) => (OF_CALLS.includes(metric) ? [`${s.spec.id}#0`] : s.instances.map((i) => i.id)))
          .map((id) => {
            const at = id.lastIndexOf('#');
            const values = times.map((time) => {
              if (!OF_CALLS.includes(metric) && !OF_INSTANCES.includes(metric)) return null;
              const value = this.#value(metric, id, time);
              return Number.isNaN(value) ? null : value;
            });
            return { metric, server: id.slice(0, at), instance: Number(id.slice(at + 1)), values };
          }),
      );
      return { times, step: 2000, series };
    },
    'agents.list': ({ search = '' }) =>
      [...this.servers.values()]
        .filter((s) => s.spec.id.includes(search.toLowerCase()))
        .map((s) => ({
          id: s.spec.id,
          name: s.spec.id,
          version: '1.4.2',
          category: s.spec.category,
          tags: s.spec.tags,
          enabled: !s.spec.disabled,
          deployed_at: this.#startedAt,
          config: {},
          capabilities: Array.from({ length: Math.min(s.tools ?? 0, 6) }, (_, i) => ({
            name: `${s.spec.id}_${['read', 'list', 'search', 'write', 'move', 'describe'][i]}`,
            description: 'Works on what the server holds.',
            input_schema: { type: 'object' },
            output_schema: { type: 'object' },
          })),
        })),
    'agents.stats': () => {
      const by_category: Record<string, number> = {};
      for (const s of this.servers.values()) by_category[s.spec.category] = (by_category[s.spec.category] ?? 0) + 1;
      const disabled = [...this.servers.values()].filter((s) => s.spec.disabled).length;
      return {
        total: this.servers.size,
        enabled: this.servers.size - disabled,
        disabled,
        by_category,
        by_tag: by_category,
      };
    },
    'agents.enable': ({ id, enabled }) => ({
      id,
      name: id,
      version: '1.4.2',
      capabilities: [],
      tags: [],
      category: 'general',
      enabled,
      deployed_at: this.#startedAt,
      config: {},
    }),
    'config.get': () => ({
      path: mockEngine('', 0).config_path,
      text: CONFIG,
      hash: 'abc',
      revision: 42,
      findings: [],
    }),
    'config.check': ({ text }) =>
      text.includes('replica =')
        ? {
            findings: [
              {
                line: 3,
                column: 1,
                key: 'servers.fetch.replica',
                message: 'unknown key "replica"; did you mean "replicas"',
              },
            ],
            changes: [],
          }
        : { findings: [], changes: ['fetch: replicas 2 to 3'] },
    'config.write': () => this.#written(['fetch: replicas 2 to 3']),
    'config.revisions': () => [
      {
        number: 42,
        at: Date.now() - 830_000,
        by: 'panel',
        reason: 'longer histories',
        changes: ['reasoning_agent: args changed'],
        diff: '@@ -4,1 +4,1 @@\n-args = ["--context", "64"]\n+args = ["--context", "512"]',
      },
      {
        number: 41,
        at: Date.now() - 86_400_000,
        by: 'file',
        reason: '',
        changes: ['docs_search added'],
        diff: '@@ -10,0 +11,2 @@\n+[servers.docs_search]\n+command = "uvx"',
      },
    ],
    'config.rollback': ({ number }) => this.#written([`back to revision ${number}`]),
    'import.scan': () => [
      { client: 'Claude Code', path: '~/.claude.json', servers: 4 },
      { client: 'Cursor', path: '~/.cursor/mcp.json', servers: 3 },
      { client: 'VS Code', path: '~/projects/site/.vscode/mcp.json', servers: 0, error: 'not valid JSON at line 4' },
    ],
    'import.preview': () => ({
      client: 'Claude Code',
      ticket: 't-1',
      servers: [
        {
          source_name: 'filesystem',
          id: 'filesystem',
          kind: 'stdio',
          runs: 'npx -y @modelcontextprotocol/server-filesystem /srv/projects',
          env: {},
          secrets: [],
          notes: [],
        },
        {
          source_name: 'github',
          id: 'github',
          kind: 'stdio',
          runs: 'docker run -i --rm ghcr.io/github/github-mcp-server',
          env: { GITHUB_TOKEN: 'secret github-token' } as Record<string, string>,
          secrets: ['github-token'],
          notes: ['Its token stands in plain text in the source file and would be kept as a secret.'],
        },
        {
          source_name: 'legacy-crm',
          id: 'legacy-crm',
          kind: 'sse',
          runs: 'https://crm.example.com/sse',
          env: {},
          secrets: [],
          notes: ['Kept disabled: the old SSE transport was dropped from the protocol.'],
        },
        {
          source_name: 'bad name',
          id: 'bad-name',
          kind: 'stdio',
          runs: '',
          env: {},
          secrets: [],
          notes: [],
          refused: 'has no command and no url',
        },
      ],
    }),
    'import.apply': ({ names }) => {
      for (const name of names) void this.#handlers['server.add']({ name, command: 'npx', args: ['-y', name] });
      return this.#written(
        names.map((name) => `${name} added`),
        [...names],
      );
    },
    'secrets.list': () => ({
      kept: mockEngine('', 0).secrets,
      secrets: [...this.#secrets].map(([name, present]) => ({
        name,
        present,
        used_by: [...this.servers.keys()].slice(7, 8),
      })),
    }),
    'secrets.set': ({ name }) => (this.#secrets.set(name, true), {}),
    'secrets.remove': ({ name }) => (this.#secrets.delete(name), {}),
    'doctor.run': () => [
      { name: 'npx', level: 'ok', found: '11.2.0 at /usr/bin/npx' },
      { name: 'uvx', level: 'ok', found: '0.9.5 at ~/.local/bin/uvx' },
      {
        name: 'Keyring',
        level: 'warning',
        found: 'no secret service on this session',
        remedy: 'Start gnome-keyring, or set FLOTILLA_SECRETS_KEY',
      },
      { name: 'Docker', level: 'neutral', found: 'not found; only container servers need it' },
      { name: 'Port 3000', level: 'ok', found: 'held by this engine' },
    ],
    'engine.shutdown': () => ({}),
  };

  #server(name: string): ServerView {
    const server = this.servers.get(name);
    if (!server) throw new CallError({ code: 'not_found', message: `find a server named ${name}` });
    return server;
  }
}

const TOOLS = [
  {
    name: 'list_directory',
    description: 'Lists the files and folders of a directory.',
    inputSchema: {
      type: 'object',
      properties: {
        path: { type: 'string', description: 'Directory to list' },
        hidden: { type: 'boolean', default: false },
      },
      required: ['path'],
    },
    annotations: { readOnlyHint: true },
  },
  {
    name: 'write_file',
    description: 'Creates or replaces a file.',
    inputSchema: {
      type: 'object',
      properties: { path: { type: 'string' }, content: { type: 'string' } },
      required: ['path', 'content'],
    },
    annotations: { destructiveHint: true },
  },
  {
    name: 'search_files',
    description: 'Finds files by pattern, recursively.',
    inputSchema: {
      type: 'object',
      properties: {
        path: { type: 'string' },
        pattern: { type: 'string' },
        limit: { type: 'integer', minimum: 1, maximum: 500 },
        order: { enum: ['name', 'time'] },
      },
      required: ['path', 'pattern'],
    },
    annotations: { readOnlyHint: true, openWorldHint: true },
  },
];

const CONFIG = `# The fleet of this machine.
[servers.fetch]
command = "uvx"
args = ["mcp-server-fetch"]
replicas = 2

[servers.filesystem]
command = "npx"
args = ["-y", "@modelcontextprotocol/server-filesystem", "/srv/projects"]
`;
