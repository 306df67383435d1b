/** A made-up fleet for development and unit tests: servers in every state, repeatable from one seed. */
import type { EngineInfo, HealthReport, InstanceView, LastExit, ServerSpec, ServerView, Status } from '$lib/contract';

const NAMES: [name: string, category: string, replicas: number, tools: number, args: string[]][] = [
  ['reasoning_agent', 'reasoning', 3, 9, ['reasoning-server', '--context', '512']],
  ['fetch', 'web', 2, 1, ['mcp-server-fetch']],
  ['filesystem', 'files', 1, 14, ['-y', '@modelcontextprotocol/server-filesystem', '/srv/projects']],
  ['memory', 'knowledge', 1, 9, ['-y', '@modelcontextprotocol/server-memory']],
  ['everything', 'reference', 1, 13, ['-y', '@modelcontextprotocol/server-everything']],
  ['sequential-thinking', 'reasoning', 1, 1, ['-y', '@modelcontextprotocol/server-sequential-thinking']],
  ['time', 'utility', 1, 2, ['mcp-server-time']],
  ['git', 'code', 2, 12, ['mcp-server-git', '--repository', '/srv/projects/site']],
  ['sqlite', 'database', 1, 6, ['mcp-server-sqlite', '--db-path', 'inventory.db']],
  ['docs_search', 'text', 4, 5, ['docs-search', '--index', 'handbook']],
  ['vector_similarity', 'vectors', 2, 5, ['vector-similarity']],
  ['vector_ranking', 'vectors', 1, 5, ['vector-ranking']],
  ['data_standardization', 'data', 2, 12, ['data-standardization']],
  ['session_management', 'sessions', 1, 3, ['session-management']],
  ['transport_layer', 'protocol', 1, 2, ['transport-layer']],
  ['confidence_calculator', 'reasoning', 1, 6, ['confidence-calculator']],
  ['resource_streaming', 'streaming', 1, 2, ['resource-streaming']],
  ['semantic_similarity', 'text', 3, 7, ['semantic-similarity']],
  ['issue_tracker', 'web', 1, 21, []],
  ['playwright', 'web', 1, 24, ['-y', '@playwright/mcp', '--headless']],
  ['calendar', 'utility', 1, 7, ['calendar-server']],
  ['mail_archive', 'text', 1, 4, ['mail-archive']],
];

/** Numbers between 0 and 1, the same ones for the same seed. */
export function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 1664525 + 1013904223) % 4294967296;
    return state / 4294967296;
  };
}

export function mockEngine(boot: string, startedAt: number): EngineInfo {
  return {
    boot,
    version: '0.1.0',
    started_at: startedAt,
    host: 'atlas',
    home: '/home/ada/.local/share/flotilla',
    config_path: '/home/ada/.local/share/flotilla/fleet.toml',
    profile: 'development',
    production: false,
    revision: 42,
    config_findings: [],
    listeners: [
      { serves: 'panel', address: '127.0.0.1:3000' },
      { serves: 'gateway', address: '127.0.0.1:8720' },
    ],
    sample_interval: 2000,
    secrets: 'Secrets are kept in the keyring of this desktop session.',
    notices: [],
  };
}

function spec(i: number): ServerSpec {
  const known = NAMES[i];
  const name = known?.[0] ?? `service-${String(i - NAMES.length + 1).padStart(3, '0')}`;
  const [, category = 'general', replicas = 1, , args = []] = known ?? [name, 'general', 1, 3, ['service', name]];
  const program = args[0] === '-y' ? 'npx' : 'uvx';
  return {
    id: name,
    category,
    tags: known ? [category] : ['generated'],
    transport:
      name === 'issue_tracker'
        ? { kind: 'url', url: 'https://tracker.example.com/mcp', headers: {} }
        : i % 5 === 0
          ? { kind: 'http', command: program, args, env: {}, port: 8105 + i, path: '/mcp', headers: {} }
          : {
              kind: 'stdio',
              command: program,
              args,
              env: name === 'git' ? { TOKEN: { from: 'secret', name: 'git-token' } } : {},
            },
    replicas,
    autostart: true,
    depends_on: name === 'docs_search' ? [{ server: 'memory', condition: 'healthy' }] : [],
    restart: {
      policy: 'on_failure',
      delays_ms: [1000, 2000, 4000],
      jitter: 0,
      max_restarts: 3,
      reset_after_ms: 30_000,
      success_exit_codes: [0],
      on_unhealthy: false,
    },
    stop_timeout_ms: 5000,
    health: {
      check: { kind: 'mcp' },
      interval_ms: 30_000,
      timeout_ms: 5000,
      retry_interval_ms: 5000,
      start_timeout_ms: 60_000,
      unhealthy_after: 3,
      healthy_after: 2,
    },
    limits: name === 'reasoning_agent' ? { rss_bytes: 512 * 1024 ** 2 } : {},
  };
}

export function lastExit(at: number): LastExit {
  return {
    at,
    signal: 'SIGKILL',
    reason: 'killed at its memory ceiling: 512.3 MiB of 512 MiB',
    ran_ms: 93_000,
    peak_rss_bytes: 537_200_000,
    last_lines: ['context: 486 blocks held', 'context: 498 blocks held', 'gc: 0.4 MiB freed, 506 held'],
  };
}

const proven = (tools: number, since: number): HealthReport => ({
  level: 'healthy',
  since,
  code: 'proven',
  sentence: `Answers with ${tools} tools.`,
  action: 'none',
  checked_at: since,
  check_ms: 4.2,
});

export function instance(server: ServerSpec, index: number, now: number, chance: () => number): InstanceView {
  const since = now - Math.floor(chance() * 500_000_000) - 60_000;
  return {
    id: `${server.id}#${index}`,
    process: { state: 'running', since, reason: 'started with the engine' },
    health: proven(3, since),
    status: 'running',
    pid: 40_000 + Math.floor(chance() * 20_000),
    ...(server.transport.kind === 'http' ? { port: server.transport.port + 100 * (index - 1) } : {}),
    started_at: since,
    restarts: 0,
    restarts_total: 0,
    sample: {
      at: now,
      cpu_percent: chance() * chance() * 40,
      rss_bytes: Math.floor((40 + chance() * 220) * 1024 ** 2),
      open_files: 24,
      threads: 11,
      children: 1,
    },
  };
}

/** Puts one word over a server and its instances, with the sentence that goes with it. */
export function put(server: ServerView, status: Status, now: number): ServerView {
  const down = { pid: undefined, started_at: undefined, sample: undefined };
  const health = (code: HealthReport['code'], sentence: string, action: HealthReport['action']): HealthReport => ({
    level: status === 'degraded' ? 'degraded' : status === 'starting' ? 'starting' : 'unknown',
    since: now,
    code,
    sentence,
    action,
  });
  const all = (change: (i: InstanceView) => InstanceView, report: HealthReport): ServerView => ({
    ...server,
    status,
    health: report,
    instances: server.instances.map(change),
  });
  switch (status) {
    case 'running': {
      const report = proven(server.tools ?? 3, now);
      return all(
        (i) => ({
          ...i,
          status,
          health: report,
          process: { state: 'running', since: now, reason: 'asked from the panel' },
          pid: i.pid ?? 51_342,
          started_at: i.started_at ?? now,
          sample: i.sample ?? {
            at: now,
            cpu_percent: 2,
            rss_bytes: 64 * 1024 ** 2,
            open_files: 20,
            threads: 9,
            children: 1,
          },
        }),
        report,
      );
    }
    case 'failed': {
      const report = health(
        'port_taken',
        'Both instances gave up after 3 restarts. Port 8110 is held by node (pid 48213).',
        'edit_config',
      );
      const exit: LastExit = {
        at: now - 2_100_000,
        code: 1,
        reason: 'exited with code 1 after 0.4 s',
        ran_ms: 412,
        last_lines: ['Error: listen EADDRINUSE 127.0.0.1:8110', '    at Server.setupListenHandle'],
      };
      return all(
        (i) => ({
          ...i,
          ...down,
          status,
          health: report,
          restarts: 3,
          restarts_total: 3,
          last_exit: exit,
          process: { state: 'failed', since: exit.at, reason: exit.reason },
        }),
        report,
      );
    }
    case 'degraded': {
      const next = now + 12_000;
      const exit = lastExit(now - 4_000);
      const report = health(
        'some_down',
        '2 of 3 instances serve. Instance 3 was killed at its 512 MiB memory ceiling.',
        'retry_now',
      );
      return all((i) => {
        if (!i.id.endsWith('#3')) return i;
        const sad: HealthReport = {
          level: 'unknown',
          since: exit.at,
          code: 'restarting',
          sentence: exit.reason,
          action: 'retry_now',
        };
        return {
          ...i,
          ...down,
          status: 'restarting',
          health: sad,
          restarts: 3,
          restarts_total: 5,
          last_exit: exit,
          process: { state: 'restarting', since: exit.at, reason: exit.reason, next_try: next },
        };
      }, report);
    }
    case 'stopped':
      return all(
        (i) => ({
          ...i,
          ...down,
          status,
          process: { state: 'stopped', since: now, reason: 'stopped from the panel' },
          health: health('stopped', 'Stopped from the panel.', 'start'),
        }),
        health('stopped', 'Stopped from the panel.', 'start'),
      );
    case 'sleeping': {
      const report = health('sleeping', 'Sleeping: no call for 10 min; the next call starts it', 'none');
      return all(
        (i) => ({
          ...i,
          ...down,
          status,
          process: { state: 'sleeping', since: now, reason: 'no call for 10 min' },
          health: report,
        }),
        report,
      );
    }
    case 'disabled':
      return all(
        (i) => ({ ...i, ...down, status, process: { state: 'stopped', since: now, reason: 'disabled' } }),
        health('disabled', 'Disabled: not needed this quarter.', 'enable'),
      );
    case 'starting':
      return all(
        (i) => ({
          ...i,
          status,
          sample: undefined,
          health: health('first_answer', 'Starting, waits for tools.', 'wait'),
          process: { state: 'running', since: now, reason: 'started' },
        }),
        health('first_answer', 'Starting, waits for tools.', 'wait'),
      );
    default:
      return { ...server, status };
  }
}

export function mockServers(count: number, now: number): ServerView[] {
  const chance = random(7);
  return Array.from({ length: count }, (_, i) => {
    const declared = spec(i);
    const tools = NAMES[i]?.[3] ?? 3;
    const server: ServerView = {
      spec: declared,
      wanted: true,
      wanted_replicas: declared.replicas,
      health: proven(tools, now - 600_000),
      status: 'running',
      instances: Array.from({ length: declared.replicas }, (_, n) => instance(declared, n + 1, now, chance)),
      peer: {
        era: i % 7 === 3 ? 'modern' : 'legacy',
        protocol_version: i % 7 === 3 ? '2026-07-28' : '2025-11-25',
        name: declared.id,
        version: '1.4.2',
        capabilities: { tools: { listChanged: true } },
      },
      tools,
      era: i % 7 === 3 ? 'modern' : 'legacy',
      revision: 30 + (i % 12),
    };
    if (i === 0) return put(server, 'degraded', now);
    if (i === 1) return put(server, 'failed', now);
    if (declared.id === 'everything')
      return put(
        { ...server, wanted: false, wanted_replicas: 0, spec: { ...declared, disabled: 'not needed this quarter' } },
        'disabled',
        now,
      );
    if (declared.id === 'calendar')
      return put(
        { ...server, wanted: false, wanted_replicas: 0, override: { running: false, by: 'panel', at: now - 400_000 } },
        'stopped',
        now,
      );
    if (declared.id === 'mail_archive')
      return put({ ...server, spec: { ...declared, on_demand: { idle_stop_ms: 600_000 } } }, 'sleeping', now);
    if (declared.id === 'playwright') return put(server, 'starting', now);
    return server;
  });
}
