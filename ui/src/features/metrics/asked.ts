import type { Unit } from '$charts/units';
import type { ChartQuery, RangeAggregate, RangeFunction, RangeQuery } from '$lib/contract';

/** A chart as it is asked for: everything but the span of time. */
export type Asked = ChartQuery;

export const FUNCTIONS: readonly { value: RangeFunction; label: string; note: string }[] = [
  { value: 'last', label: 'last', note: 'the latest value' },
  { value: 'mean', label: 'mean', note: 'the mean of each step' },
  { value: 'max', label: 'max', note: 'the highest of each step' },
  { value: 'min', label: 'min', note: 'the lowest of each step' },
  { value: 'rate', label: 'rate', note: 'how much a counter goes up in a second' },
  { value: 'increase', label: 'increase', note: 'how much a counter goes up in a step' },
  { value: 'delta', label: 'delta', note: 'how much a gauge changes in a step' },
];

export const AGGREGATES: readonly { value: RangeAggregate | ''; label: string }[] = [
  { value: '', label: 'each series' },
  { value: 'sum', label: 'sum' },
  { value: 'avg', label: 'mean' },
  { value: 'max', label: 'highest' },
  { value: 'min', label: 'lowest' },
  { value: 'count', label: 'count' },
];

export const QUANTILES: readonly { value: string; label: string }[] = [
  { value: '0.5', label: 'p50' },
  { value: '0.9', label: 'p90' },
  { value: '0.95', label: 'p95' },
  { value: '0.99', label: 'p99' },
];

/** A counter by its name, as the conventions of Prometheus have it. */
const counts = (metric: string): boolean => /_(total|count|sum|bucket)$/.test(metric);
export const isHistogram = (metric: string): boolean => metric.endsWith('_bucket');

/** What a metric is asked for at first: the rate of a counter, the p95 of a histogram, the mean of anything else. */
export function first(metric: string): Asked {
  if (isHistogram(metric))
    return { metric, labels: [], function: 'rate', grouping: { aggregate: 'sum', by: [] }, quantile: 0.95 };
  return { metric, labels: [], function: counts(metric) ? 'rate' : 'mean' };
}

/** The question over a span. */
export function over(asked: Asked, from: number, to: number, step: number): RangeQuery {
  // A rate needs two samples, which come every 15 s from pages: it looks back a minute at least.
  const counter = ['rate', 'increase', 'delta'].includes(asked.function);
  return { ...asked, from, to, step, ...(counter ? { range: Math.max(step, 60_000) } : {}) };
}

/** The question as Prometheus's users write it. */
export function words(asked: Asked): string {
  const matchers = asked.labels.map(({ label, is, values }) =>
    values.length === 1
      ? `${label}${is ? '=' : '!='}${JSON.stringify(values[0])}`
      : `${label}${is ? '=~' : '!~'}${JSON.stringify(values.join('|'))}`,
  );
  let text = asked.metric + (matchers.length > 0 ? `{${matchers.join(', ')}}` : '');
  if (asked.function !== 'last') text = `${asked.function}(${text})`;
  const by = asked.grouping?.by ?? [];
  if (asked.grouping) text = `${asked.grouping.aggregate}${by.length > 0 ? ` by (${by.join(', ')}) ` : ''}(${text})`;
  return asked.quantile === undefined ? text : `quantile ${asked.quantile} of ${text}`;
}

/** Servers that lines are of, by their labels or by what was asked for: charts mark what happened to them. */
export function serversOf(asked: Asked, lines: readonly { key: string }[]): string[] {
  const named = new Set(asked.labels.flatMap(({ label, is, values }) => (label === 'server' && is ? values : [])));
  if (named.size === 0)
    for (const { key } of lines)
      for (const [label, value] of JSON.parse(key) as [string, string][]) if (label === 'server') named.add(value);
  return [...named];
}

/** What the values are counted in, as far as the name says it; seconds are shown in milliseconds. */
export function unitOf(asked: Asked): { unit: Unit; times: number } {
  const bare = asked.metric.replace(/_(total|bucket|sum|count)$/, '');
  const perSecond = asked.function === 'rate' && asked.quantile === undefined;
  if (asked.grouping?.aggregate === 'count') return { unit: 'count', times: 1 };
  if (perSecond) return { unit: 'rate', times: 1 };
  if (asked.metric.endsWith('_count')) return { unit: 'count', times: 1 };
  if (/_percent$/.test(bare)) return { unit: 'percent', times: 1 };
  if (/_bytes$/.test(bare)) return { unit: 'bytes', times: 1 };
  if (/_ms$/.test(bare)) return { unit: 'ms', times: 1 };
  if (/_(duration_)?seconds$/.test(bare) && !/(timestamp|start_time)_seconds$/.test(bare))
    return { unit: 'ms', times: 1_000 };
  return { unit: 'count', times: 1 };
}

/** Whether a value from a file or an address is a question; what is not one is left out. */
export function isAsked(value: unknown): value is Asked {
  if (typeof value !== 'object' || value === null) return false;
  const asked = value as Partial<Asked>;
  const words = (list: unknown): boolean => Array.isArray(list) && list.every((one) => typeof one === 'string');
  const grouping = asked.grouping;
  return (
    typeof asked.metric === 'string' &&
    asked.metric !== '' &&
    FUNCTIONS.some(({ value: known }) => known === asked.function) &&
    Array.isArray(asked.labels) &&
    asked.labels.every((one) => typeof one.label === 'string' && typeof one.is === 'boolean' && words(one.values)) &&
    (grouping === undefined ||
      (AGGREGATES.some(({ value: known }) => known !== '' && known === grouping.aggregate) && words(grouping.by))) &&
    (asked.quantile === undefined || (asked.quantile >= 0 && asked.quantile <= 1))
  );
}
