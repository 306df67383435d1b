import { describe, expect, it } from 'vitest';
import type { Alert } from '$lib/contract';
import { chartHref, questionOf, runbookHref } from './moment';
import { draftOf, ruleOf, spanOf, spanText } from './rules';

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
