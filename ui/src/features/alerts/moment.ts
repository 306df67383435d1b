/** From an alert to what its series did when it fired. */
import type { Alert, LabelMatch, RangeAggregate, RangeFunction } from '$lib/contract';
import { href, serverHref, workflowHref } from '$lib/state/router.svelte';

/** A chart shows this much of the time before. */
const BEFORE_MS = 30 * 60_000;

const FUNCTIONS: Readonly<Record<string, RangeFunction>> = {
  rate: 'rate',
  increase: 'increase',
  delta: 'delta',
  avg_over_time: 'mean',
  max_over_time: 'max',
  min_over_time: 'min',
  sum_over_time: 'mean',
  count_over_time: 'mean',
};
const AGGREGATES: readonly string[] = ['sum', 'avg', 'min', 'max', 'count'];

/** What a condition asks first. */
export interface Question {
  metric: string;
  labels: LabelMatch[];
  function: RangeFunction;
  grouping?: { aggregate: RangeAggregate; by: string[] };
  quantile?: number;
}

/** The first question of a condition; nothing where no metric is named. */
export function questionOf(expr: string): Question | undefined {
  const word = /"(?:[^"\\]|\\.)*"|\{[^}]*\}|\[[^\]]*\]|\bby\s*\(([^)]*)\)|([A-Za-z_:][\w:]*)\s*(\(|\{[^}]*\})?/g;
  let [fn, by, aggregate] = [
    'mean' as RangeFunction,
    undefined as string[] | undefined,
    undefined as string | undefined,
  ];
  for (const [, grouped, name, after] of expr.matchAll(word)) {
    if (grouped !== undefined) {
      by ??= grouped.split(',').map((label) => label.trim());
    } else if (name !== undefined && AGGREGATES.includes(name)) {
      aggregate ??= name;
    } else if (name !== undefined && after === '(') {
      fn = FUNCTIONS[name] ?? fn;
    } else if (name !== undefined) {
      const quantile = /histogram_quantile\(\s*([\d.]+)/.exec(expr)?.[1];
      const labels = (by ?? []).filter((label) => label !== 'le' && label !== '');
      return {
        metric: name,
        labels: matchersIn(after ?? ''),
        function: fn,
        ...(aggregate ? { grouping: { aggregate: aggregate as RangeAggregate, by: labels } } : {}),
        ...(quantile === undefined ? {} : { quantile: Number(quantile) }),
      };
    }
  }
  return undefined;
}

/** The matchers of `{server="a", tool!="b"}`. */
function matchersIn(text: string): LabelMatch[] {
  const matcher = /(\w+)\s*(!?=)\s*"((?:[^"\\]|\\.)*)"/g;
  return [...text.matchAll(matcher)].map(([, label = '', sign, value = '']) => ({
    label,
    is: sign === '=',
    values: [value.replaceAll(/\\(.)/g, '$1')],
  }));
}

/** The span to look at: from half an hour before it fired to its end, or now. */
export const spanAround = (alert: Alert, now: number): { from: string; to: string } => ({
  from: String((alert.fired ?? alert.since) - BEFORE_MS),
  to: String(alert.ended ?? now),
});

/** The explorer with the alert's own series; `own` are the labels that its rule gave it, which no series has. */
export function chartHref(alert: Alert, own: readonly string[], now: number): string | undefined {
  const question = questionOf(alert.expr);
  if (!question) return undefined;
  const by = question.grouping?.by;
  const ofSeries = Object.entries(alert.labels).filter(
    ([label]) => !['alertname', 'severity', ...own].includes(label) && (by === undefined || by.includes(label)),
  );
  const equal = ofSeries.map(([label, value]) => ({ label, is: true, values: [value] }));
  const rest = question.labels.filter(({ label }) => !equal.some((one) => one.label === label));
  const q = JSON.stringify({ ...question, labels: [...equal, ...rest] });
  return href('metrics', { q, ...spanAround(alert, now) });
}

/** The page of the alert's server at that time. */
export const serverAt = (alert: Alert, server: string, now: number): string =>
  serverHref(server, 'overview', spanAround(alert, now));

/** Where a runbook leads: an address, or the page of a workflow, whose variables are filled in from the alert's labels. */
export function runbookHref(alert: Alert): string | undefined {
  const runbook = alert.runbook ?? '';
  if (/^https?:\/\//i.test(runbook)) return runbook;
  if (!/^[\w.-]+$/.test(runbook)) return undefined;
  const vars = { ...alert.labels, alert: alert.id };
  return `${workflowHref(runbook)}?${new URLSearchParams({ vars: JSON.stringify(vars) })}`;
}
