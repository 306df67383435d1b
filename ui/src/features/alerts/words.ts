import type { Alert, LabelMatch } from '$lib/contract';

/** How long a press silences. */
export const SPANS: readonly [label: string, ms: number][] = [
  ['For an hour', 3_600_000],
  ['For 4 hours', 4 * 3_600_000],
  ['For a day', 24 * 3_600_000],
  ['For a week', 7 * 24 * 3_600_000],
];

/** Exactly this alert, whatever its severity becomes. */
export const matchersOf = (alert: Alert): LabelMatch[] =>
  Object.entries(alert.labels)
    .filter(([label]) => label !== 'severity')
    .map(([label, value]) => ({ label, is: true, values: [value] }));

/** `server=a,b alertname!=C` */
export const matchersText = (matchers: readonly LabelMatch[]): string =>
  matchers.map(({ label, is, values }) => `${label}${is ? '=' : '!='}${values.join(',')}`).join(' ');
