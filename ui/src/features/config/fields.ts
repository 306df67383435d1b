import type { Check, ServerSpec, Value } from '$lib/contract';

/** A value in the form that fleet.toml has. */
export type FileValue = string | number | boolean | null | FileValue[] | { [key: string]: FileValue };

/** How a value is edited. */
export type Edit =
  | { as: 'text' }
  | { as: 'number' }
  | { as: 'switch' }
  | { as: 'choice'; options: readonly string[] }
  /** One item per line. */
  | { as: 'lines' }
  /** In the file's own form: "10s", "512MiB". */
  | { as: 'word'; hint: string }
  | { as: 'json' };

/** One key of a server as it stands in force. */
export interface Row {
  /** Dotted key in the server's table. */
  key: string;
  label: string;
  /** What the key is for, and its default. */
  about: string;
  /** The value in the file's form; undefined where there is none. */
  value: FileValue | undefined;
  /** Whether that is the value it has when the file says nothing. */
  isDefault: boolean;
  edit: Edit;
  /** Set where the value is a reference to a secret. */
  secret?: string;
}

export interface Group {
  id: string;
  title: string;
  rows: Row[];
  /** Whether the group is a table of names and values that can be added to. */
  open?: { prefix: 'env' | 'headers'; word: string };
}

/** "10m", "90s", "250ms": the largest unit that divides it. */
export function durationWord(ms: number): string {
  if (ms % 3_600_000 === 0 && ms > 0) return `${ms / 3_600_000}h`;
  if (ms % 60_000 === 0 && ms > 0) return `${ms / 60_000}m`;
  if (ms % 1_000 === 0) return `${ms / 1_000}s`;
  return `${ms}ms`;
}

/** "512MiB", "1.5GiB". */
export function sizeWord(bytes: number): string {
  const [unit, word] =
    bytes >= 1024 ** 3 ? [1024 ** 3, 'GiB'] : bytes >= 1024 ** 2 ? [1024 ** 2, 'MiB'] : [1024, 'KiB'];
  return `${Number((bytes / unit).toFixed(3))}${word}`;
}

function checkWord(check: Check): FileValue {
  switch (check.kind) {
    case 'mcp':
    case 'none':
      return check.kind;
    case 'http':
      return { http: check.url };
    case 'tcp':
      return { tcp: check.address };
    case 'exec':
      return { exec: check.command };
  }
}

const DURATION: Edit = { as: 'word', hint: 'such as "500ms", "10s" or "2m"' };

/** The default distance of two checks, by what the fleet is for. */
const INTERVALS: Record<string, string> = { production: '30s', development: '10s', test: '1s' };

/** Every key of a server, in the groups that the page shows. */
export function groupsOf(spec: ServerSpec, profile = 'production'): Group[] {
  const interval = INTERVALS[profile] ?? '30s';
  const { transport, restart, health, limits } = spec;
  const row = (
    key: string,
    label: string,
    about: string,
    value: FileValue | undefined,
    initial: FileValue | undefined,
    edit: Edit,
  ): Row => ({
    key,
    label,
    about,
    value,
    isDefault: JSON.stringify(value) === JSON.stringify(initial),
    edit,
  });
  const started = transport.kind === 'stdio' || transport.kind === 'http';
  const groups: Group[] = [];

  groups.push({
    id: 'launch',
    title: started ? 'What is run' : 'Where it is',
    rows: started
      ? [
          row('command', 'Command', 'A path, or a name looked up in PATH', transport.command, undefined, {
            as: 'text',
          }),
          row('args', 'Arguments', '{port} is the port of the replica', transport.args, [], { as: 'lines' }),
          row('cwd', 'Directory', 'Default: your home directory', transport.cwd, undefined, { as: 'text' }),
          ...(transport.kind === 'http'
            ? [
                row('port', 'Port', 'Replica n listens on this port + 100·(n−1)', transport.port, undefined, {
                  as: 'number',
                }),
                row('path', 'Path', 'Its MCP endpoint, default /mcp', transport.path, '/mcp', { as: 'text' }),
              ]
            : []),
        ]
      : [row('url', 'URL', 'Its MCP endpoint', transport.url, undefined, { as: 'text' })],
  });
  if (started)
    groups.push({
      id: 'env',
      title: 'Environment',
      rows: values('env', transport.env),
      open: { prefix: 'env', word: 'variable' },
    });
  if (transport.kind === 'http' || transport.kind === 'url')
    groups.push({
      id: 'headers',
      title: 'Headers',
      rows: values('headers', transport.headers),
      open: { prefix: 'headers', word: 'header' },
    });

  groups.push({
    id: 'running',
    title: 'Running',
    rows: [
      ...(started ? [row('replicas', 'Replicas', '0 to 64, default 1', spec.replicas, 1, { as: 'number' })] : []),
      row(
        'autostart',
        'With the engine',
        started ? 'Whether it starts with the engine' : 'Whether it is watched from the start',
        spec.autostart,
        true,
        { as: 'switch' },
      ),
      ...(started
        ? [
            row(
              'on_demand',
              'On demand',
              'Sleeps while no client calls it; the next call starts it',
              spec.on_demand !== undefined,
              false,
              { as: 'switch' as const },
            ),
            ...(spec.on_demand
              ? [
                  row(
                    'idle_stop',
                    'Sleeps after',
                    'Without a call, default 10m',
                    durationWord(spec.on_demand.idle_stop_ms),
                    '10m',
                    DURATION,
                  ),
                ]
              : []),
          ]
        : []),
      row(
        'depends_on',
        'After',
        'Servers that must be up first',
        spec.depends_on.map((one) =>
          one.condition === 'started' ? one.server : { server: one.server, condition: one.condition },
        ),
        [],
        { as: 'json' },
      ),
      ...(started
        ? [
            row(
              'stop_timeout',
              'Stop within',
              'From the request to SIGKILL, default 5s',
              durationWord(spec.stop_timeout_ms),
              '5s',
              DURATION,
            ),
          ]
        : []),
    ],
  });

  if (started) {
    groups.push({
      id: 'restart',
      title: 'Restart',
      rows: [
        row('restart.policy', 'When', 'Default on_failure', restart.policy, 'on_failure', {
          as: 'choice',
          options: ['on_failure', 'always', 'never'],
        }),
        row(
          'restart.max_restarts',
          'At most',
          'A number, or "unlimited"; default 3',
          restart.max_restarts ?? 'unlimited',
          3,
          { as: 'json' },
        ),
        row(
          'restart.delays',
          'Waits',
          'Before each try, the last repeats; default 1s, 2s, 4s',
          restart.delays_ms.map(durationWord),
          ['1s', '2s', '4s'],
          { as: 'lines' },
        ),
        row(
          'restart.reset_after',
          'Count ends after',
          'Steady running, default 30s',
          durationWord(restart.reset_after_ms),
          '30s',
          DURATION,
        ),
        row('restart.jitter', 'Jitter', 'Share of a wait, 0 to 1; default 0', restart.jitter, 0, { as: 'number' }),
        row(
          'restart.success_exit_codes',
          'Success codes',
          'Mean finished, not crashed; default 0',
          restart.success_exit_codes,
          [0],
          { as: 'json' },
        ),
        row('restart.on_unhealthy', 'When unhealthy too', 'Default no', restart.on_unhealthy, false, { as: 'switch' }),
      ],
    });
  }

  groups.push({
    id: 'health',
    title: 'Health check',
    rows: [
      row(
        'health.check',
        'Asks',
        '"mcp", "none", {"http": …}, {"tcp": …} or {"exec": […]}; default "mcp"',
        checkWord(health.check),
        'mcp',
        { as: 'json' },
      ),
      row(
        'health.interval',
        'Every',
        `While healthy; default ${interval}`,
        durationWord(health.interval_ms),
        interval,
        DURATION,
      ),
      row('health.timeout', 'Answer within', 'Default 5s', durationWord(health.timeout_ms), '5s', DURATION),
      row(
        'health.retry_interval',
        'Again after',
        'While undecided, default 5s',
        durationWord(health.retry_interval_ms),
        '5s',
        DURATION,
      ),
      row(
        'health.start_timeout',
        'First answer within',
        'Default 60s: npx and uvx may download',
        durationWord(health.start_timeout_ms),
        '1m',
        DURATION,
      ),
      row('health.unhealthy_after', 'Unhealthy after', 'Failures in a row, default 3', health.unhealthy_after, 3, {
        as: 'number',
      }),
      row('health.healthy_after', 'Healthy after', 'Successes in a row, default 2', health.healthy_after, 2, {
        as: 'number',
      }),
    ],
  });

  if (started) {
    groups.push({
      id: 'limits',
      title: 'Ceilings',
      rows: [
        row(
          'limits.rss',
          'Memory',
          'Of the whole process tree; crossing it restarts',
          limits.rss_bytes === undefined ? undefined : sizeWord(limits.rss_bytes),
          undefined,
          {
            as: 'word',
            hint: 'such as "512MiB" or "1.5GiB"',
          },
        ),
        row(
          'limits.children',
          'Child processes',
          'Below the first one; crossing it restarts',
          limits.children,
          undefined,
          { as: 'number' },
        ),
      ],
    });
  }

  groups.push({
    id: 'about',
    title: 'About it',
    rows: [
      row('description', 'For', 'In your words', spec.description, undefined, { as: 'text' }),
      row('category', 'Category', 'Default general', spec.category, 'general', { as: 'text' }),
      row('tags', 'Tags', 'Words to find it by', spec.tags, [], { as: 'lines' }),
      row('metrics_path', 'Prometheus page', 'Its path, such as /metrics', spec.metrics_path, undefined, {
        as: 'text',
      }),
    ],
  });
  return groups;
}

function values(prefix: 'env' | 'headers', table: Record<string, Value>): Row[] {
  return Object.entries(table)
    .sort(([a], [b]) => a.localeCompare(b))
    .map(([name, value]) => ({
      key: dotted(prefix, name),
      label: name,
      about: '',
      value: value.from === 'secret' ? { secret: value.name } : value.text,
      isDefault: false,
      edit: { as: 'text' },
      ...(value.from === 'secret' ? { secret: value.name } : {}),
    }));
}

/** A dotted key; a name with other characters than letters, digits, `_` and `-` stands in quotes. */
export function dotted(prefix: string, name: string): string {
  return `${prefix}.${/^[\w-]+$/.test(name) ? name : JSON.stringify(name)}`;
}

/** A value as fleet.toml would write it. */
export function toml(value: FileValue): string {
  if (value === null) return '';
  if (Array.isArray(value)) return `[${value.map(toml).join(', ')}]`;
  if (typeof value === 'object')
    return `{ ${Object.entries(value)
      .map(([key, inner]) => `${key} = ${toml(inner)}`)
      .join(', ')} }`;
  return typeof value === 'string' ? JSON.stringify(value) : String(value);
}

/** A value as a person reads it. */
export function words(value: FileValue | undefined): string {
  if (value === undefined || value === null) return 'none';
  if (typeof value === 'boolean') return value ? 'yes' : 'no';
  if (Array.isArray(value))
    return value.length === 0
      ? 'none'
      : value.map((item) => (typeof item === 'object' ? toml(item) : String(item))).join('  ');
  return typeof value === 'object' ? toml(value) : String(value);
}

/** The text that an edit begins with. */
export function textOf(value: FileValue | undefined, edit: Edit): string {
  if (value === undefined || value === null) return '';
  if (edit.as === 'lines' && Array.isArray(value)) return value.map(String).join('\n');
  if (edit.as === 'json') return JSON.stringify(value);
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}

/** What a text means for a key: a value, null where it was emptied (the key is removed), or why it is none. */
export function readText(text: string, edit: Edit): { ok: true; value: FileValue } | { ok: false; message: string } {
  const trimmed = text.trim();
  switch (edit.as) {
    case 'lines':
      return { ok: true, value: trimmed === '' ? null : trimmed.split('\n').map((line) => line.replace(/\r$/, '')) };
    case 'number': {
      if (trimmed === '') return { ok: true, value: null };
      const number = Number(trimmed);
      return Number.isFinite(number) ? { ok: true, value: number } : { ok: false, message: 'must be a number' };
    }
    case 'switch':
      return { ok: true, value: trimmed === 'true' };
    case 'json':
      if (trimmed === '') return { ok: true, value: null };
      try {
        return { ok: true, value: JSON.parse(trimmed) as FileValue };
      } catch {
        return { ok: false, message: 'must be JSON: texts stand in quotes' };
      }
    default:
      return { ok: true, value: trimmed === '' ? null : text };
  }
}

/** Names that are likely to hold something that must not be read over a shoulder. */
export function sensitive(name: string): boolean {
  return /token|secret|passw|api.?key|authorization|credential|private/i.test(name);
}

/** A literal that hides what it says, but not that it is there: its end and its length. */
export function masked(text: string): string {
  if (text.length < 8) return '••••';
  return `••••${text.slice(-2)}, ${text.length} characters`;
}

/** A change that was made on the page and not yet written. */
export interface Change {
  before: FileValue | undefined;
  after: FileValue;
}

/** The changes as a diff of the lines of the file, secrets by name only. */
export function diffOf(changes: ReadonlyMap<string, Change>): string {
  const out: string[] = [];
  for (const [key, { before, after }] of [...changes].sort(([a], [b]) => a.localeCompare(b))) {
    const hide = (value: FileValue): string =>
      sensitive(key) && typeof value === 'string' ? JSON.stringify(masked(value)) : toml(value);
    if (before !== undefined && before !== null) out.push(`- ${key} = ${hide(before)}`);
    if (after !== null) out.push(`+ ${key} = ${hide(after)}`);
  }
  return out.join('\n');
}

/** Whether a change needs the processes to be started anew. */
export function restarts(keys: Iterable<string>): boolean {
  return [...keys].some((key) => /^(?:command|args|cwd|port|path|url|transport|env|headers)\b/.test(key));
}
