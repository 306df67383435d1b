/** Rules as forms: texts that become a rule, and back. */
import type { AlertRule, Severity } from '$lib/contract';

/** What stands in the fields. */
export interface RuleDraft {
  name: string;
  expr: string;
  for: string;
  keep: string;
  severity: Severity;
  /** `team=search, tier=1` */
  labels: string;
  summary: string;
  description: string;
  runbook: string;
}

const UNITS: readonly [unit: string, ms: number][] = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['m', 60_000],
  ['s', 1_000],
  ['ms', 1],
];

/** Milliseconds of `5m` or `1h30m`, units from large to small; an empty text is none at all. */
export function spanOf(text: string): number | undefined {
  let rest = text.replaceAll(/\s/g, '');
  let [ms, from] = [0, 0];
  while (rest !== '') {
    const [all = '', digits = '', unit = ''] = /^(\d+)([a-z]+)/.exec(rest) ?? [];
    const at = UNITS.findIndex(([name], i) => i >= from && name === unit);
    if (at < 0) return undefined;
    ms += Number(digits) * (UNITS[at]?.[1] ?? 0);
    [rest, from] = [rest.slice(all.length), at + 1];
  }
  return Number.isSafeInteger(ms) ? ms : undefined;
}

/** The shortest text that is read as this; none for none at all. */
export function spanText(ms: number): string {
  let [text, rest] = ['', ms];
  for (const [unit, size] of UNITS) {
    if (rest >= size) text += `${Math.floor(rest / size)}${unit}`;
    rest %= size;
  }
  return text;
}

export const draftOf = (rule?: AlertRule): RuleDraft => ({
  name: rule?.name ?? '',
  expr: rule?.expr ?? '',
  for: spanText(rule?.for_ms ?? 0),
  keep: spanText(rule?.keep_firing_for_ms ?? 0),
  severity: rule?.severity ?? 'warning',
  labels: Object.entries(rule?.labels ?? {})
    .map((pair) => pair.join('='))
    .join(', '),
  summary: rule && rule.summary !== rule.expr ? rule.summary : '',
  description: rule?.description ?? '',
  runbook: rule?.runbook ?? '',
});

export type Wrong = Partial<Record<keyof RuleDraft, string>>;

const IS_NAME = /^[A-Za-z_]\w{0,63}$/;

/** The rule that the fields say, or what is wrong with them; the engine says the rest. */
export function ruleOf(draft: RuleDraft): { rule: AlertRule } | { wrong: Wrong } {
  const wrong: Wrong = {};
  const name = draft.name.trim();
  if (!IS_NAME.test(name)) wrong.name = 'Letters, digits and underscores, no digit first';
  if (draft.expr.trim() === '') wrong.expr = 'A condition such as flotilla_health < 0.5';
  const span = (key: 'for' | 'keep') => {
    const ms = spanOf(draft[key]);
    if (ms === undefined) wrong[key] = 'A duration such as 5m or 1h30m';
    return ms ?? 0;
  };
  const [for_ms, keep_firing_for_ms] = [span('for'), span('keep')];
  const labels: Record<string, string> = {};
  for (const pair of draft.labels.split(',').filter((text) => text.trim() !== '')) {
    const at = pair.indexOf('=');
    const label = pair.slice(0, Math.max(at, 0)).trim();
    if (IS_NAME.test(label)) labels[label] = pair.slice(at + 1).trim();
    else wrong.labels = 'Pairs with commas between them: team=search, tier=1';
  }
  if (Object.keys(wrong).length > 0) return { wrong };
  const [description, runbook] = [draft.description.trim(), draft.runbook.trim()];
  return {
    rule: {
      name,
      expr: draft.expr.trim(),
      for_ms,
      keep_firing_for_ms,
      severity: draft.severity,
      summary: draft.summary.trim(),
      ...(Object.keys(labels).length > 0 ? { labels } : {}),
      ...(description ? { description } : {}),
      ...(runbook ? { runbook } : {}),
    },
  };
}
