import { isObject, same, type Json, type JsonObject } from './json';

/** What all fields have. */
interface Common {
  title: string | null;
  description: string | null;
  /** The value that stands in the schema as the default. */
  initial: Json | undefined;
  /** Whether null is a value besides those of the field. */
  nullable: boolean;
}

/** A field of a form, as a schema describes it. */
export type Field = Common &
  (
    | {
        kind: 'text';
        format: string | null;
        minLength: number;
        maxLength: number | null;
        pattern: string | null;
        examples: string[];
      }
    | {
        kind: 'number';
        integer: boolean;
        min: number | null;
        max: number | null;
        above: boolean;
        below: boolean;
        step: number | null;
      }
    | { kind: 'boolean' }
    | { kind: 'enum'; options: { value: Json; label: string }[] }
    | { kind: 'const'; value: Json }
    | { kind: 'null' }
    | {
        kind: 'array';
        item: () => Field;
        minItems: number;
        maxItems: number | null;
        choices: { value: Json; label: string }[] | null;
      }
    | { kind: 'object'; properties: Property[]; extra: (() => Field) | null }
    | { kind: 'union'; options: { label: string; field: Field }[] }
    | { kind: 'json'; why: string }
  );

/** A named field of an object. Its field is made when it is first needed, so that a schema may refer to itself. */
export interface Property {
  name: string;
  required: boolean;
  field: () => Field;
}

const DEEPEST = 12;

/** The form of a schema (JSON Schema 2020-12). What a form cannot express becomes a field of raw JSON that says why. */
export function fieldOf(schema: unknown, root: unknown = schema, depth = 0): Field {
  if (schema === true || schema === undefined) return json(common({}), 'any value is accepted');
  if (schema === false) return json(common({}), 'no value is accepted');
  if (!isObject(schema)) return json(common({}), 'its schema is not an object');
  if (depth > DEEPEST) return json(common(schema), 'it is nested more deeply than a form can show');

  const resolved = resolve(schema, root);
  if (resolved === null)
    return json(common(schema), `${text(schema['$ref']) ?? 'its reference'} cannot be found in the schema`);
  const merged = Array.isArray(resolved['allOf']) ? mergeAll(resolved, root) : resolved;
  if (merged === null) return json(common(resolved), 'it combines schemas that a form cannot join');
  const base = common(merged);

  if ('const' in merged) return { ...base, kind: 'const', value: merged['const'] ?? null };
  const values = merged['enum'];
  if (Array.isArray(values)) return choice(base, values, texts(merged['enumNames']));

  const alternatives = merged['oneOf'] ?? merged['anyOf'];
  if (Array.isArray(alternatives)) return union(merged, alternatives, root, depth);

  const types = typesOf(merged);
  const concrete = types.filter((type) => type !== 'null');
  const nullable = types.length > concrete.length;
  if (concrete.length === 0 && nullable) return { ...base, kind: 'null' };
  if (concrete.length > 1) {
    const options = concrete.map((type) => ({
      label: type,
      field: fieldOf({ ...merged, type, title: null }, root, depth + 1),
    }));
    return { ...base, kind: 'union', nullable, options };
  }
  return { ...single(merged, concrete[0] ?? '', base, root, depth), nullable };
}

function single(schema: JsonObject, type: string, base: Common, root: unknown, depth: number): Field {
  switch (type) {
    case 'string':
      return {
        ...base,
        kind: 'text',
        format: text(schema['format']),
        minLength: number(schema['minLength']) ?? 0,
        maxLength: number(schema['maxLength']),
        pattern: text(schema['pattern']),
        examples: texts(schema['examples']) ?? [],
      };
    case 'number':
    case 'integer': {
      const above = number(schema['exclusiveMinimum']);
      const below = number(schema['exclusiveMaximum']);
      return {
        ...base,
        kind: 'number',
        integer: type === 'integer',
        min: above ?? number(schema['minimum']),
        max: below ?? number(schema['maximum']),
        above: above !== null,
        below: below !== null,
        step: number(schema['multipleOf']),
      };
    }
    case 'boolean':
      return { ...base, kind: 'boolean' };
    case 'array':
      return array(schema, base, root, depth);
    case 'object':
      return object(schema, base, root, depth);
    default:
      return json(base, 'its schema names no type');
  }
}

function array(schema: JsonObject, base: Common, root: unknown, depth: number): Field {
  if (Array.isArray(schema['prefixItems'])) return json(base, 'its places differ in shape');
  const item = memo(() => fieldOf(schema['items'] ?? true, root, depth + 1));
  const inner = isObject(schema['items']) ? resolve(schema['items'], root) : null;
  const values = inner?.['enum'];
  return {
    ...base,
    kind: 'array',
    item,
    minItems: number(schema['minItems']) ?? 0,
    maxItems: number(schema['maxItems']),
    // A set of known words is picked, not typed.
    choices: Array.isArray(values) && schema['uniqueItems'] !== false ? options(values, null) : null,
  };
}

function object(schema: JsonObject, base: Common, root: unknown, depth: number): Field {
  const properties = isObject(schema['properties']) ? schema['properties'] : {};
  if (isObject(schema['patternProperties']) && Object.keys(properties).length === 0)
    return json(base, 'its keys follow patterns');
  const required = new Set(texts(schema['required']) ?? []);
  const additional = schema['additionalProperties'];
  const open = isObject(additional) ? memo(() => fieldOf(additional, root, depth + 1)) : null;
  if (Object.keys(properties).length === 0 && open === null && additional !== false && depth > 0) {
    return json(base, 'an object with keys of any name');
  }
  return {
    ...base,
    kind: 'object',
    extra: open,
    properties: Object.entries(properties)
      .map(([name, inner]) => ({
        name,
        required: required.has(name),
        field: memo(() => fieldOf(inner, root, depth + 1)),
      }))
      // What must be given stands first; within that the order of the schema is kept.
      .sort((a, b) => Number(b.required) - Number(a.required)),
  };
}

function union(schema: JsonObject, alternatives: Json[], root: unknown, depth: number): Field {
  const base = common(schema);
  const rest = without(schema, ['oneOf', 'anyOf', 'default', 'title', 'description']);
  const concrete: { label: string; field: Field }[] = [];
  let nullable = false;
  for (const alternative of alternatives) {
    const inner = isObject(alternative) ? resolve(alternative, root) : null;
    if (inner && inner['type'] === 'null') {
      nullable = true;
      continue;
    }
    const joined = inner && Object.keys(rest).length > 0 ? mergeTwo(rest, inner) : inner;
    const field = fieldOf(joined ?? alternative, root, depth + 1);
    concrete.push({ label: field.title ?? labelOf(field, concrete.length), field });
  }
  const consts = concrete.map((option) => option.field);
  if (concrete.length > 0 && consts.every((field) => field.kind === 'const')) {
    const picks = concrete.flatMap(({ field }) =>
      field.kind === 'const' ? [{ value: field.value, label: field.title ?? show(field.value) }] : [],
    );
    return { ...base, kind: 'enum', nullable, options: picks };
  }
  const only = concrete[0];
  if (concrete.length === 1 && only) {
    return {
      ...only.field,
      nullable: nullable || only.field.nullable,
      title: base.title ?? only.field.title,
      description: base.description ?? only.field.description,
      initial: base.initial === undefined ? only.field.initial : base.initial,
    };
  }
  if (concrete.length === 0) return { ...base, kind: 'null' };
  const labels = new Map<string, number>();
  for (const option of concrete) labels.set(option.label, (labels.get(option.label) ?? 0) + 1);
  const distinct = concrete.map((option, i) =>
    (labels.get(option.label) ?? 0) > 1 ? { ...option, label: `${option.label} ${i + 1}` } : option,
  );
  return { ...base, kind: 'union', nullable, options: distinct };
}

function labelOf(field: Field, index: number): string {
  if (field.kind === 'object') {
    const named = field.properties.find((property) => property.field().kind === 'const');
    const inner = named?.field();
    if (named && inner?.kind === 'const') return `${named.name} ${show(inner.value)}`;
    return `object ${index + 1}`;
  }
  if (field.kind === 'const') return show(field.value);
  return typeWords(field);
}

function choice(base: Common, values: Json[], names: string[] | null): Field {
  const all = options(values, names);
  const concrete = all.filter((option) => option.value !== null);
  return { ...base, kind: 'enum', nullable: concrete.length < all.length, options: concrete };
}

function options(values: Json[], names: string[] | null): { value: Json; label: string }[] {
  return values.map((value, i) => ({ value, label: names?.[i] ?? show(value) }));
}

function show(value: Json): string {
  return typeof value === 'string' ? value : JSON.stringify(value);
}

/** The types that a schema names, or that its other words imply. */
function typesOf(schema: JsonObject): string[] {
  const named = schema['type'];
  if (typeof named === 'string') return [named];
  const list = texts(named);
  if (list) return list;
  if ('properties' in schema || 'required' in schema || 'additionalProperties' in schema) return ['object'];
  if ('items' in schema || 'prefixItems' in schema) return ['array'];
  if ('pattern' in schema || 'minLength' in schema || 'maxLength' in schema) return ['string'];
  if ('minimum' in schema || 'maximum' in schema || 'multipleOf' in schema) return ['number'];
  return [];
}

/** Follows `$ref` within the schema; words beside the reference win. Null when it leads nowhere or in a circle. */
function resolve(schema: JsonObject, root: unknown): JsonObject | null {
  let current = schema;
  for (let hops = 0; hops < 16; hops++) {
    const reference = current['$ref'];
    if (typeof reference !== 'string') return current;
    const target = reference === '#' ? root : point(root, reference);
    if (!isObject(target)) return null;
    current = { ...target, ...without(current, ['$ref']) };
  }
  return null;
}

function point(root: unknown, reference: string): unknown {
  if (!reference.startsWith('#/')) return undefined;
  let at: unknown = root;
  for (const step of reference.slice(2).split('/')) {
    const key = decodeURIComponent(step).replaceAll('~1', '/').replaceAll('~0', '~');
    if (Array.isArray(at)) at = at[Number(key)];
    else if (isObject(at)) at = at[key];
    else return undefined;
  }
  return at;
}

function mergeAll(schema: JsonObject, root: unknown): JsonObject | null {
  let merged: JsonObject | null = without(schema, ['allOf']);
  for (const part of schema['allOf'] as Json[]) {
    const inner: JsonObject | null = isObject(part) ? resolve(part, root) : null;
    const flat = inner && Array.isArray(inner['allOf']) ? mergeAll(inner, root) : inner;
    if (!flat || !merged) return null;
    merged = mergeTwo(merged, flat);
  }
  return merged;
}

/** Both schemas as one, where a form can say so: types must agree, properties and required names add up. */
function mergeTwo(a: JsonObject, b: JsonObject): JsonObject | null {
  if (a['type'] !== undefined && b['type'] !== undefined && !same(a['type'], b['type'])) return null;
  if ((a['oneOf'] ?? a['anyOf']) !== undefined && (b['oneOf'] ?? b['anyOf']) !== undefined) return null;
  const merged: JsonObject = { ...b, ...a };
  if (isObject(a['properties']) && isObject(b['properties']))
    merged['properties'] = { ...b['properties'], ...a['properties'] };
  const required = [...(texts(a['required']) ?? []), ...(texts(b['required']) ?? [])];
  if (required.length > 0) merged['required'] = [...new Set(required)];
  return merged;
}

function common(schema: JsonObject): Common {
  return {
    title: text(schema['title']),
    description: text(schema['description']),
    initial: schema['default'],
    nullable: schema['nullable'] === true,
  };
}

function json(base: Common, why: string): Field {
  return { ...base, kind: 'json', why };
}

function without(object: JsonObject, keys: string[]): JsonObject {
  return Object.fromEntries(Object.entries(object).filter(([key]) => !keys.includes(key)));
}

function text(value: Json | undefined): string | null {
  return typeof value === 'string' ? value : null;
}

function texts(value: Json | undefined): string[] | null {
  if (!Array.isArray(value)) return null;
  const out = value.filter((item): item is string => typeof item === 'string');
  return out.length === value.length ? out : null;
}

function number(value: Json | undefined): number | null {
  return typeof value === 'number' ? value : null;
}

function memo<T>(make: () => T): () => T {
  let made: { value: T } | null = null;
  return () => (made ??= { value: make() }).value;
}

/** What a field starts with when it must have a value: its default, or the emptiest value that has its shape. */
export function emptyOf(field: Field, depth = 0): Json {
  if (field.initial !== undefined) return field.initial;
  if (field.nullable) return null;
  switch (field.kind) {
    case 'text':
      return '';
    case 'number':
      return field.min === null ? 0 : field.above ? field.min + (field.integer ? 1 : (field.step ?? 1)) : field.min;
    case 'boolean':
      return false;
    case 'enum':
      return field.options[0]?.value ?? null;
    case 'const':
      return field.value;
    case 'null':
    case 'json':
      return null;
    case 'array':
      return depth > DEEPEST ? [] : Array.from({ length: field.minItems }, () => emptyOf(field.item(), depth + 1));
    case 'object':
      return depth > DEEPEST ? {} : startOf(field, depth);
    case 'union': {
      const first = field.options[0];
      return first ? emptyOf(first.field, depth + 1) : null;
    }
  }
}

/**
 * What a form opens with: constants, defaults and the insides of required objects. A required text or number without
 * a default stays out until it is given, so that an empty form does not pass for a filled one.
 */
export function startOf(field: Field, depth = 0): JsonObject {
  if (field.kind !== 'object') return {};
  const out: JsonObject = {};
  for (const property of field.properties) {
    const inner = property.field();
    // An optional null says no more than silence does, and some servers declare it where they do not accept it.
    if (inner.initial !== undefined && (property.required || inner.initial !== null))
      out[property.name] = inner.initial;
    else if (!property.required) continue;
    else if (inner.kind === 'const') out[property.name] = inner.value;
    else if (inner.kind === 'object' && depth < DEEPEST) out[property.name] = startOf(inner, depth + 1);
    else if (inner.kind === 'array' && inner.minItems === 0) out[property.name] = [];
    else if (inner.kind === 'boolean') out[property.name] = false;
  }
  return out;
}

/** Something wrong with a value, at its place (`filters[0].name`; empty for the whole). */
export interface Complaint {
  path: string;
  message: string;
}

/** What a field has against a value. The server has the last word; this spares a call that cannot succeed. */
export function complaints(field: Field, value: Json | undefined, path = ''): Complaint[] {
  const say = (message: string): Complaint[] => [{ path, message }];
  if (value === undefined) return say('is required');
  if (value === null && (field.nullable || field.kind === 'null')) return [];
  switch (field.kind) {
    case 'json':
      return [];
    case 'null':
      return say('must be null');
    case 'const':
      return same(value, field.value) ? [] : say(`must be ${show(field.value)}`);
    case 'enum':
      return field.options.some((option) => same(option.value, value))
        ? []
        : say(`must be one of ${field.options.map((o) => o.label).join(', ')}`);
    case 'boolean':
      return typeof value === 'boolean' ? [] : say('must be true or false');
    case 'text':
      return typeof value === 'string' ? textFaults(field, value).flatMap(say) : say('must be a text');
    case 'number':
      return typeof value === 'number' ? numberFaults(field, value).flatMap(say) : say('must be a number');
    case 'array': {
      if (!Array.isArray(value)) return say('must be a list');
      const own =
        value.length < field.minItems
          ? say(`needs at least ${field.minItems}`)
          : field.maxItems !== null && value.length > field.maxItems
            ? say(`takes at most ${field.maxItems}`)
            : [];
      return [...own, ...value.flatMap((item, i) => complaints(field.item(), item, `${path}[${i}]`))];
    }
    case 'object': {
      if (!isObject(value)) return say('must be an object');
      const inside = (name: string): string => (path === '' ? name : `${path}.${name}`);
      const named = field.properties.flatMap((property) => {
        const given = value[property.name];
        if (given === undefined && !property.required) return [];
        return complaints(property.field(), given, inside(property.name));
      });
      const extra = field.extra;
      if (extra === null) return named;
      const known = new Set(field.properties.map((property) => property.name));
      return [
        ...named,
        ...Object.keys(value).flatMap((key) => (known.has(key) ? [] : complaints(extra(), value[key], inside(key)))),
      ];
    }
    case 'union': {
      const all = field.options.map((option) => complaints(option.field, value, path));
      if (all.some((list) => list.length === 0)) return [];
      return all[pick(field, value)] ?? say('fits none of the alternatives');
    }
  }
}

function textFaults(field: Extract<Field, { kind: 'text' }>, value: string): string[] {
  const length = [...value].length;
  if (length < field.minLength)
    return [field.minLength === 1 ? 'must not be empty' : `needs at least ${field.minLength} characters`];
  if (field.maxLength !== null && length > field.maxLength) return [`takes at most ${field.maxLength} characters`];
  if (field.pattern !== null) {
    try {
      if (!new RegExp(field.pattern, 'u').test(value)) return [`must match ${field.pattern}`];
    } catch {
      return []; // A pattern of another dialect is the server's to judge.
    }
  }
  return [];
}

function numberFaults(field: Extract<Field, { kind: 'number' }>, value: number): string[] {
  if (field.integer && !Number.isInteger(value)) return ['must be a whole number'];
  if (field.min !== null && (field.above ? value <= field.min : value < field.min))
    return [`must be ${field.above ? 'above' : 'at least'} ${field.min}`];
  if (field.max !== null && (field.below ? value >= field.max : value > field.max))
    return [`must be ${field.below ? 'below' : 'at most'} ${field.max}`];
  return [];
}

/** Which alternative of a union a value belongs to: the one with the fewest complaints, the first of several. */
export function pick(field: Extract<Field, { kind: 'union' }>, value: Json | undefined): number {
  if (value === undefined) return 0;
  let best = 0;
  let fewest = Infinity;
  field.options.forEach((option, i) => {
    const wrong = weight(option.field, value);
    if (wrong < fewest) {
      best = i;
      fewest = wrong;
    }
  });
  return best;
}

function weight(field: Field, value: Json): number {
  const list = complaints(field, value);
  // A value of another type altogether is further off than one with a few wrong insides; a mismatched tag decides.
  return list.reduce(
    (sum, { path, message }) => sum + (path === '' ? 100 : message.startsWith('must be ') ? 10 : 1),
    0,
  );
}

/** The type of a field in words: "array of string", "number, 0 to 1". */
export function typeWords(field: Field): string {
  const nullable = field.nullable ? ' or null' : '';
  switch (field.kind) {
    case 'text':
      return (field.format ?? 'string') + nullable;
    case 'number': {
      const word = field.integer ? 'integer' : 'number';
      const range =
        field.min !== null && field.max !== null
          ? `, ${field.min} to ${field.max}`
          : field.min !== null
            ? `, from ${field.min}`
            : field.max !== null
              ? `, up to ${field.max}`
              : '';
      return word + range + nullable;
    }
    case 'enum':
      return `one of ${field.options.length}` + nullable;
    case 'array':
      if (field.choices && field.choices.length <= 4)
        return `array of ${field.choices.map((c) => c.label).join(', ')}${nullable}`;
      return `array of ${typeWords(field.item())}${nullable}`;
    case 'union':
      return `one of ${field.options.length} shapes${nullable}`;
    case 'json':
      return 'JSON' + nullable;
    case 'const':
      return 'constant';
    default:
      return field.kind + nullable;
  }
}
