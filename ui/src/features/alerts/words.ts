import type { Alert, LabelMatch, RuleView, Severity } from '$lib/contract';

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

/** From the mildest to the worst. */
export const SEVERITIES: readonly { value: Severity; label: string }[] = [
  { value: 'info', label: 'info' },
  { value: 'warning', label: 'warning' },
  { value: 'critical', label: 'critical' },
];

const rank = (severity: Severity): number => SEVERITIES.findIndex(({ value }) => value === severity);

/** The severities that a channel is told of, the worst last. */
export const toldOf = (least: Severity): Severity[] => SEVERITIES.slice(rank(least)).map(({ value }) => value);

/** The rules whose alerts go to a channel. */
export const rulesTo = (least: Severity, rules: readonly RuleView[]): RuleView[] =>
  rules.filter(({ severity, state }) => state !== 'off' && rank(severity) >= rank(least));

/** What is told to nobody when a channel is gone and others stay, in a sentence. */
export function withoutIt(least: Severity, others: readonly Severity[]): string {
  if (others.length === 0) return 'Then nobody is told of any alert.';
  const lowest = Math.min(...others.map(rank));
  const lost = SEVERITIES.slice(rank(least), lowest).map(({ label }) => label);
  return lost.length === 0
    ? 'Other channels are told of the same.'
    : `Then nobody is told of ${lost.join(' and ')} alerts.`;
}
