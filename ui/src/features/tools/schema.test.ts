import { describe, expect, it } from 'vitest';
import { parse, put, same, tokens, type Json } from './json';
import { complaints, emptyOf, fieldOf, pick, startOf, typeWords, type Field } from './schema';

const kindAt = (field: Field, name: string): Field | undefined =>
  field.kind === 'object' ? field.properties.find((property) => property.name === name)?.field() : undefined;

describe('fields', () => {
  const schema = {
    type: 'object',
    $defs: {
      Point: { type: 'object', properties: { x: { type: 'number' }, y: { type: 'number' } }, required: ['x', 'y'] },
    },
    properties: {
      note: { type: 'string', description: 'free text' },
      question: { type: 'string', minLength: 1 },
      areas: { type: 'array', items: { enum: ['a', 'b'] }, uniqueItems: true },
      limit: { type: ['integer', 'null'], minimum: 1, maximum: 50, default: 10 },
      mode: { oneOf: [{ const: 'fast', title: 'Fast' }, { const: 'exact' }] },
      at: { $ref: '#/$defs/Point' },
      target: {
        anyOf: [
          {
            type: 'object',
            properties: { kind: { const: 'file' }, path: { type: 'string' } },
            required: ['kind', 'path'],
          },
          {
            type: 'object',
            properties: { kind: { const: 'url' }, url: { type: 'string', format: 'uri' } },
            required: ['kind', 'url'],
          },
        ],
      },
      since: { anyOf: [{ type: 'string', format: 'date-time' }, { type: 'null' }], default: null },
      either: { type: ['string', 'number'] },
      pair: { type: 'array', prefixItems: [{ type: 'string' }] },
      free: { type: 'object' },
      labels: { type: 'object', additionalProperties: { type: 'string' } },
      joined: { allOf: [{ $ref: '#/$defs/Point' }, { type: 'object', properties: { z: { type: 'number' } } }] },
      lost: { $ref: '#/$defs/Nowhere' },
    },
    required: ['question', 'at'],
  };
  const form = fieldOf(schema);

  it('reads every shape', () => {
    const kinds = Object.keys(schema.properties).map((name) => [name, kindAt(form, name)?.kind]);
    expect(Object.fromEntries(kinds)).toEqual({
      note: 'text',
      question: 'text',
      areas: 'array',
      limit: 'number',
      mode: 'enum',
      at: 'object',
      target: 'union',
      since: 'text',
      either: 'union',
      pair: 'json',
      free: 'json',
      labels: 'object',
      joined: 'object',
      lost: 'json',
    });
    expect(kindAt(form, 'limit')).toMatchObject({ integer: true, nullable: true, min: 1, max: 50, initial: 10 });
    expect(kindAt(form, 'since')).toMatchObject({ nullable: true, format: 'date-time', initial: null });
    expect(kindAt(form, 'mode')).toMatchObject({ options: [{ label: 'Fast' }, { label: 'exact' }] });
    expect(kindAt(form, 'target')).toMatchObject({ options: [{ label: 'kind file' }, { label: 'kind url' }] });
    expect(kindAt(kindAt(form, 'joined') as Field, 'z')?.kind).toBe('number');
    expect(kindAt(form, 'lost')).toMatchObject({ why: '#/$defs/Nowhere cannot be found in the schema' });
  });

  it('puts what is required first and otherwise keeps the order of the schema', () => {
    expect(form.kind === 'object' && form.properties.map((p) => p.name).slice(0, 4)).toEqual([
      'question',
      'at',
      'note',
      'areas',
    ]);
  });

  it('says types as a person reads them', () => {
    expect(typeWords(kindAt(form, 'areas') as Field)).toBe('array of a, b');
    expect(typeWords(kindAt(form, 'limit') as Field)).toBe('integer, 1 to 50 or null');
  });

  it('starts with defaults and the insides of what is required, and asks for the rest', () => {
    const start = startOf(form);
    expect(start).toEqual({ at: {}, limit: 10 });
    expect(complaints(form, start).map((c) => c.path)).toEqual(['question', 'at.x', 'at.y']);
    expect(complaints(form, { question: 'why', at: { x: 1, y: 2 } })).toEqual([]);
  });

  it('finds the alternative that a value belongs to', () => {
    const target = kindAt(form, 'target');
    if (target?.kind !== 'union') throw new Error('not a union');
    expect(pick(target, { kind: 'url', url: 'x' })).toBe(1);
    expect(pick(target, { kind: 'file' })).toBe(0);
    expect(complaints(form, { question: 'q', at: { x: 1, y: 1 }, target: { kind: 'url' } })).toEqual([
      { path: 'target.url', message: 'is required' },
    ]);
  });

  it('shows a schema that refers to itself, only as deep as it is filled', () => {
    const tree = fieldOf({
      $ref: '#/$defs/Node',
      $defs: {
        Node: {
          type: 'object',
          properties: { name: { type: 'string' }, below: { type: 'array', items: { $ref: '#/$defs/Node' } } },
          required: ['name', 'below'],
        },
      },
    });
    expect(startOf(tree)).toEqual({ below: [] });
    const below = kindAt(tree, 'below');
    expect(below?.kind === 'array' && kindAt(below.item(), 'name')?.kind).toBe('text');
    const circle = fieldOf({ $defs: { A: { $ref: '#/$defs/B' }, B: { $ref: '#/$defs/A' } }, $ref: '#/$defs/A' });
    expect(circle.kind).toBe('json');
    const endless = fieldOf({
      $defs: { N: { type: 'object', properties: { n: { $ref: '#/$defs/N' } }, required: ['n'] } },
      $ref: '#/$defs/N',
    });
    expect(JSON.stringify(startOf(endless)).length).toBeLessThan(200);
  });

  it('survives schemas that are none', () => {
    for (const odd of [
      true,
      false,
      null,
      7,
      'x',
      [],
      {},
      { type: 'nothing' },
      { enum: [] },
      { anyOf: [] },
      { type: [] },
      { properties: 3 },
    ]) {
      const field = fieldOf(odd);
      expect(typeof typeWords(field)).toBe('string');
      complaints(field, {});
      emptyOf(field);
    }
  });
});

/** A small generator of schemas with values that fit them: the same seed gives the same case. */
function random(seed: number): () => number {
  let state = seed * 2_654_435_761 + 1;
  return () => {
    state = (Math.imul(state ^ (state >>> 15), 2_246_822_519) + 374_761_393) | 0;
    return ((state ^ (state >>> 13)) >>> 0) / 4_294_967_296;
  };
}

function sample(next: () => number, depth = 0): { schema: Json; value: Json } {
  const roll = Math.floor(next() * (depth > 2 ? 5 : 8));
  const int = Math.floor(next() * 40) - 20;
  switch (roll) {
    case 0:
      return { schema: { type: 'string', minLength: 1 }, value: `t${int}"\\\n` };
    case 1:
      return { schema: { type: 'integer', minimum: -20, maximum: 20 }, value: int };
    case 2:
      return { schema: { type: ['boolean', 'null'] }, value: int > 0 ? true : null };
    case 3:
      return { schema: { enum: ['a', 3, false] }, value: (['a', 3, false] as const)[Math.abs(int) % 3] ?? 'a' };
    case 4:
      return { schema: { type: 'number' }, value: int / 7 };
    case 5: {
      const item = sample(next, depth + 1);
      return {
        schema: { type: 'array', items: item.schema, maxItems: 3 },
        value: int > 0 ? [item.value, item.value] : [],
      };
    }
    case 6: {
      const a = sample(next, depth + 1);
      const b = sample(next, depth + 1);
      return {
        schema: {
          anyOf: [
            { type: 'object', properties: { tag: { const: 'a' }, v: a.schema }, required: ['tag', 'v'] },
            { type: 'object', properties: { tag: { const: 'b' }, v: b.schema }, required: ['tag', 'v'] },
          ],
        },
        value: int > 0 ? { tag: 'a', v: a.value } : { tag: 'b', v: b.value },
      };
    }
    default: {
      const a = sample(next, depth + 1);
      const b = sample(next, depth + 1);
      return {
        schema: { type: 'object', properties: { a: a.schema, 'b.c': b.schema }, required: ['a'] },
        value: int > 0 ? { a: a.value } : { a: a.value, 'b.c': b.value },
      };
    }
  }
}

describe('round trips', () => {
  it('finds nothing wrong with values made for their schema, through text and back', () => {
    for (let seed = 1; seed <= 400; seed++) {
      const { schema, value } = sample(random(seed));
      const field = fieldOf(schema);
      expect(complaints(field, value), `seed ${seed}: ${JSON.stringify({ schema, value })}`).toEqual([]);
      const back = parse(JSON.stringify(value, null, 2));
      expect(back.ok && same(back.value, value), `seed ${seed}`).toBe(true);
      expect(
        tokens(JSON.stringify(value, null, 2))
          .map((t) => t.text)
          .join(''),
      ).toBe(JSON.stringify(value, null, 2));
    }
  });

  it('never rejects by shape what it itself proposes', () => {
    for (let seed = 1; seed <= 400; seed++) {
      const { schema } = sample(random(seed));
      const field = fieldOf(schema);
      const wrong = complaints(field, emptyOf(field)).filter((c) => !/required|empty|at least/.test(c.message));
      expect(wrong, `seed ${seed}: ${JSON.stringify(schema)}`).toEqual([]);
    }
  });

  it('changes one place and shares the rest', () => {
    const before: Json = { a: [{ b: 1 }, { b: 2 }], c: { d: null } };
    const after = put(before, ['a', 1, 'b'], 3) as { a: Json[]; c: Json };
    expect(after).toEqual({ a: [{ b: 1 }, { b: 3 }], c: { d: null } });
    expect(after.c).toBe(before['c']);
    expect(after.a[0]).toBe((before['a'] as Json[])[0]);
    expect(put(before, ['a', 0], undefined)).toEqual({ a: [{ b: 2 }], c: { d: null } });
    expect(put(undefined, ['x', 0, 'y'], 1)).toEqual({ x: [{ y: 1 }] });
  });
});

describe('json', () => {
  it.each<[string, number, string]>([
    ['{\n  "a": 1,\n  b: 2\n}', 3, 'key in quotes'],
    ['{"a": tru}', 1, 'tru is not a JSON value'],
    ['[1, 2', 1, 'or ] after a value, found the end'],
    ['{"a": "x\n"}', 1, 'no closing quote'],
    ['{"a" 1}', 1, 'expected : after the key'],
    ['{"a": 1,}', 1, 'key in quotes'],
    ['{} x', 1, 'nothing may follow'],
    ['', 1, 'expected a value'],
    ['{"a": 01}', 1, 'not a JSON value'],
    ['"\\q"', 1, 'not an escape'],
  ])('says where %j leaves JSON', (text, line, message) => {
    const parsed = parse(text);
    expect(parsed.ok).toBe(false);
    if (parsed.ok) return;
    expect(parsed.line).toBe(line);
    expect(parsed.message).toContain(message);
  });
});
