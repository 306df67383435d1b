/** Variables of a workflow, and fields of an approval, as a form: texts that become values of their kind. */
import type { Finding, VarView } from '$lib/contract';

/** What stands in the fields, by name. */
export type Draft = Record<string, string>;

export type Field = Pick<VarView, 'name' | 'kind' | 'description' | 'default'> & { options: readonly unknown[] };

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Texts stand as they are, everything else as JSON. */
export function asText(kind: string, value: unknown): string {
  if (value === undefined) return kind === 'boolean' ? 'false' : '';
  // An address gives a number or a truth as a text, too.
  if (typeof value === 'string' && kind !== 'list' && kind !== 'object') return value;
  return kind === 'list' || kind === 'object' ? JSON.stringify(value, null, 2) : JSON.stringify(value);
}

export const fieldsOf = (vars: readonly VarView[]): Field[] =>
  vars.map((one) => ({ ...one, options: one.options ?? [] }));

/** The form of an approval, as it stands in the step's input: names and what is known of each. */
export function formOf(input: unknown): Field[] {
  const form = isObject(input) ? input['form'] : undefined;
  if (!isObject(form)) return [];
  return Object.entries(form).flatMap(([name, one]) => {
    if (!isObject(one)) return [];
    const description = typeof one['description'] === 'string' ? one['description'] : undefined;
    return {
      name,
      kind: typeof one['type'] === 'string' ? one['type'] : 'string',
      ...(description === undefined ? {} : { description }),
      ...('default' in one ? { default: one['default'] } : {}),
      options: Array.isArray(one['options']) ? (one['options'] as unknown[]) : [],
    };
  });
}

export const required = (field: Field): boolean => field.default === undefined && field.kind !== 'boolean';

export function draftOf(fields: readonly Field[], given: Record<string, unknown> = {}): Draft {
  return Object.fromEntries(
    fields.map((field) => [field.name, asText(field.kind, field.name in given ? given[field.name] : field.default)]),
  );
}

/** Values that an address gives for variables, as a JSON object in `vars`; what is none is left out. */
export function givenIn(query: URLSearchParams): Record<string, unknown> {
  try {
    const given: unknown = JSON.parse(query.get('vars') ?? '{}');
    return isObject(given) ? given : {};
  } catch {
    return {};
  }
}

type Read = { value: unknown } | { wrong: string };

/** What a text means in a field. */
export function read(field: Field, text: string): Read {
  if (field.options.length && field.kind !== 'string')
    return parsed(text, `one of ${field.options.map(String).join(', ')}`);
  switch (field.kind) {
    case 'string':
      if (text === '' && required(field)) return { wrong: 'A text is needed here.' };
      return { value: text };
    case 'integer':
      if (!/^\s*[+-]?\d+\s*$/.test(text)) return { wrong: needed(text, 'a whole number') };
      return Number.isSafeInteger(Number(text)) ? { value: Number(text) } : { wrong: 'This number is too large.' };
    case 'number':
      if (text.trim() === '' || !Number.isFinite(Number(text))) return { wrong: needed(text, 'a number') };
      return { value: Number(text) };
    case 'boolean':
      return { value: text === 'true' };
    case 'list': {
      const list = parsed(text, 'a list as JSON: ["a", "b"]');
      return 'wrong' in list || Array.isArray(list.value)
        ? list
        : { wrong: 'A list as JSON is needed here: ["a", "b"].' };
    }
    case 'object': {
      const object = parsed(text, 'an object as JSON: {"a": 1}');
      return 'wrong' in object || isObject(object.value)
        ? object
        : { wrong: 'An object as JSON is needed here: {"a": 1}.' };
    }
    default:
      return parsed(text, `a ${field.kind} as JSON`);
  }
}

const needed = (text: string, what: string) =>
  text.trim() === ''
    ? `${what.charAt(0).toUpperCase()}${what.slice(1)} is needed here.`
    : `“${text.trim()}” is not ${what}.`;

function parsed(text: string, what: string): Read {
  try {
    return { value: JSON.parse(text) as unknown };
  } catch {
    return { wrong: needed('', what) };
  }
}

export interface Filled {
  /** What differs from the defaults, and what has none. */
  values: Record<string, unknown>;
  /** What is wrong, by name. */
  wrong: Record<string, string>;
}

export function fill(fields: readonly Field[], draft: Draft): Filled {
  const filled: Filled = { values: {}, wrong: {} };
  for (const field of fields) {
    const text = draft[field.name] ?? '';
    // A default that is left as it is stays the workflow's to change.
    if (field.default !== undefined && text === asText(field.kind, field.default)) continue;
    const meant = read(field, text);
    if ('wrong' in meant) filled.wrong[field.name] = meant.wrong;
    else filled.values[field.name] = meant.value;
  }
  return filled;
}

/** What the engine found wrong, by the name of the field; what belongs to none is left out. */
export function foundWrong(detail: unknown): Record<string, string> {
  const wrong: Record<string, string> = {};
  if (!Array.isArray(detail)) return wrong;
  for (const finding of detail as Partial<Finding>[]) {
    const name = /^(?:vars|input)\.(.+)$/.exec(finding?.path ?? '')?.[1];
    if (name && finding.message) wrong[name] = finding.message;
  }
  return wrong;
}

/** What is wrong without what stands at one field: it is being edited. */
export function cleared(wrong: Record<string, string>, name: string): Record<string, string> {
  return Object.fromEntries(Object.entries(wrong).filter(([field]) => field !== name));
}

/** A text with the variables that it names filled in, where nothing else is worked out. */
export function filledIn(text: string, values: Record<string, unknown>): string {
  return text.replace(/(\$?)\$\{\{\s*vars\.([A-Za-z_]\w*)\s*\}\}/g, (written, escaped: string, name: string) => {
    if (escaped || !(name in values)) return written;
    const value = values[name];
    return typeof value === 'string' ? value : JSON.stringify(value);
  });
}
