import { describe, expect, it, vi } from 'vitest';
import type { Alert, ChannelSpec, EditPreview, RuleView } from '$lib/contract';
import { CallError } from '$lib/transport';
import { Change } from './change.svelte';
import { channelOf, draftOf as channelDraft, type ChannelDraft } from './channels';
import { chartHref, questionOf, runbookHref } from './moment';
import { draftOf, ruleOf, spanOf, spanText } from './rules';
import { rulesTo, withoutIt } from './words';

describe('rules', () => {
  it('reads and writes durations', () => {
    const table: [string, number | undefined][] = [
      ['', 0],
      ['5m', 300_000],
      ['1h30m', 5_400_000],
      ['500ms', 500],
      ['2d', 172_800_000],
      ['5', undefined],
      ['5x', undefined],
      ['5s1h', undefined],
    ];
    for (const [text, ms] of table) expect(spanOf(text), text).toBe(ms);
    for (const ms of [0, 500, 300_000, 5_400_000, 172_800_000]) expect(spanOf(spanText(ms))).toBe(ms);
  });

  it('makes a rule of the fields, and fields of the rule', () => {
    const rule = {
      name: 'Hot',
      expr: 'heat > 5',
      for_ms: 60_000,
      keep_firing_for_ms: 0,
      severity: 'critical' as const,
      labels: { team: 'a', tier: '1' },
      summary: 'it is hot',
      runbook: 'cool',
    };
    expect(ruleOf(draftOf(rule))).toEqual({ rule });
    expect(ruleOf({ ...draftOf(rule), name: '1', for: 'soon', labels: 'team' })).toEqual({
      wrong: { name: expect.any(String), for: expect.any(String), labels: expect.any(String) },
    });
    expect(draftOf({ ...rule, summary: rule.expr }).summary).toBe('');
  });
});

describe('channels', () => {
  it('makes a channel of the fields, and fields of the channel', () => {
    const all = { name: 'on-call', severity: 'warning' as const, resolved: false };
    const channels: ChannelSpec[] = [
      { ...all, kind: 'webhook', url: 'https://x.example', secret: { from: 'secret', name: 'hook' } },
      { ...all, kind: 'webhook', url: '${secret:url}', secret: { from: 'file' } },
      { ...all, kind: 'alertmanager', url: 'http://am.example' },
      { ...all, kind: 'exec', command: ['/bin/page', '--now', 'a word'], timeout_ms: 90_000 },
      {
        ...all,
        kind: 'smtp',
        host: 'mail.example',
        port: 465,
        tls: 'tls',
        ca: '/etc/ssl/own.pem',
        login: { user: 'me', password: { from: 'variable', name: 'MAIL' } },
        from: 'Flotilla <f@x.example>',
        to: ['a@x.example', 'Ops, EU <b@x.example>'],
      },
      { ...all, kind: 'desktop' },
    ];
    for (const channel of channels) expect(channelOf(channelDraft(channel))).toEqual({ channel });
    // The port is said where it is not the usual one; what other fields hold is of other kinds.
    expect(channelDraft(channels[4]).port).toBe('');
    expect(channelOf({ ...channelDraft(channels[4]), kind: 'desktop' })).toEqual({ channel: channels[5] });
  });

  it('says what is wrong at its field', () => {
    const wrong = (channel: Partial<ChannelDraft>) => {
      const read = channelOf({ ...channelDraft(), name: 'x', ...channel });
      return 'wrong' in read ? Object.keys(read.wrong).sort() : [];
    };
    expect(wrong({ name: 'a b' })).toEqual(['name', 'url']);
    expect(wrong({ url: 'x', secret: { from: 'secret', name: '${x}' } })).toEqual(['secret']);
    expect(wrong({ url: 'x', secret: { from: 'variable', name: '1X' } })).toEqual(['secret']);
    expect(wrong({ kind: 'exec', timeout: 'soon' })).toEqual(['command', 'timeout']);
    expect(wrong({ kind: 'smtp', host: 'h', port: '0', from: 'x', to: 'a@b\nnobody', user: 'me' })).toEqual([
      'from',
      'password',
      'port',
      'to',
    ]);
  });

  it('says what goes where', () => {
    const rules = (['info', 'warning', 'critical'] as const).map((severity) => ({
      name: severity,
      severity,
      state: 'inactive' as const,
    })) as RuleView[];
    const off = { ...rules[2], state: 'off' } as RuleView;
    expect(rulesTo('warning', [...rules, off]).map(({ name }) => name)).toEqual(['warning', 'critical']);
    expect(withoutIt('info', [])).toBe('Then nobody is told of any alert.');
    expect(withoutIt('info', ['critical'])).toBe('Then nobody is told of info and warning alerts.');
    expect(withoutIt('warning', ['critical', 'info'])).toBe('Other channels are told of the same.');
  });
});

describe('a change of the file', () => {
  const shown = { path: '/home/fleet.toml', hash: 'h', diff: '+x' };
  const invalid = (findings: unknown[]) =>
    new CallError({ code: 'invalid_config', message: 'accept the configuration: line 5', detail: { findings } });

  it('says at its field what the engine refuses, and at large what is about none', async () => {
    vi.useFakeTimers();
    const preview = vi.fn<(edit: string) => Promise<EditPreview>>();
    const change = new Change<string>(
      {
        preview,
        write: () => Promise.reject(new Error('never')),
        read: async () => {},
      },
      ['url', 'tls', 'secret'],
    );
    const shows = async (answer: EditPreview | CallError) => {
      preview.mockImplementationOnce(() =>
        answer instanceof CallError ? Promise.reject(answer) : Promise.resolve(answer),
      );
      change.show('edit');
      await vi.runAllTimersAsync();
      return [change.wrong, change.trouble, change.ready];
    };
    expect(
      await shows(
        invalid([
          { line: 5, column: 7, key: 'alerts.channels[1].url', message: 'found "x"; accepted is more' },
          { line: 5, column: 7, key: 'alerts.channels[1]', message: 'tls is "none" and the host is x' },
        ]),
      ),
    ).toEqual([{ url: 'found "x"; accepted is more', tls: 'tls is "none" and the host is x' }, '', false]);
    const other = { line: 9, column: 1, key: 'alerts.channels[1].resolved', message: 'found "x"' };
    expect(await shows(invalid([other]))).toEqual([{}, 'Failed to accept the configuration: line 5.', false]);
    const large = invalid([{ line: 1, column: 1, key: 'panel', message: 'no' }]);
    expect(await shows(large)).toEqual([{}, 'Failed to accept the configuration: line 5.', false]);
    const named = new CallError({ code: 'bad_request', message: 'write secret: found "x"; accepted is a name' });
    expect(await shows(named)).toEqual([{ secret: 'found "x"; accepted is a name' }, '', false]);
    expect(await shows(shown)).toEqual([{}, '', true]);
    vi.useRealTimers();
  });
});

describe('from an alert to its chart', () => {
  it('finds the first question of a condition', () => {
    expect(questionOf('max by (server, instance) (increase(flotilla_restarts_total[10m])) >= 3')).toEqual({
      metric: 'flotilla_restarts_total',
      labels: [],
      function: 'increase',
      grouping: { aggregate: 'max', by: ['server', 'instance'] },
    });
    expect(questionOf('a{x="by (y)", z!="q\\"r"} / b > 1')).toEqual({
      metric: 'a',
      labels: [
        { label: 'x', is: true, values: ['by (y)'] },
        { label: 'z', is: false, values: ['q"r'] },
      ],
      function: 'mean',
    });
    expect(questionOf('histogram_quantile(0.95, sum by (le, server) (rate(x_bucket[5m]))) > 5')).toEqual({
      metric: 'x_bucket',
      labels: [],
      function: 'rate',
      grouping: { aggregate: 'sum', by: ['server'] },
      quantile: 0.95,
    });
    expect(questionOf('1 > 0')).toBeUndefined();
  });

  const alert = {
    id: 'i',
    state: 'resolved',
    severity: 'warning',
    labels: { alertname: 'Hot', severity: 'warning', team: 'a', server: 's' },
    summary: '',
    expr: 'heat{server!=""} > 5',
    value: 6,
    since: 9_000_000,
    fired: 10_000_000,
    ended: 11_000_000,
  } satisfies Alert;

  it('asks for the series of the alert, at its time', () => {
    const query = new URLSearchParams(chartHref(alert, ['team'], 0)?.split('?')[1]);
    expect(query.get('from')).toBe('8200000');
    expect(query.get('to')).toBe('11000000');
    expect(JSON.parse(query.get('q') ?? '')).toEqual({
      metric: 'heat',
      labels: [{ label: 'server', is: true, values: ['s'] }],
      function: 'mean',
    });
  });

  it('leads to a runbook that is an address or a workflow, and to nothing else', () => {
    const at = (runbook: string) => runbookHref({ ...alert, runbook });
    expect(at('https://wiki.example/x')).toBe('https://wiki.example/x');
    expect(at('javascript:alert(1)')).toBeUndefined();
    const [page, search] = at('cool-down')?.split('?') ?? [];
    expect(page).toBe('#/workflows/definitions/cool-down');
    expect(JSON.parse(new URLSearchParams(search).get('vars') ?? '')).toMatchObject({ server: 's', alert: 'i' });
  });
});
