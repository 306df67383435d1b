import { describe, expect, test } from 'vitest';
import { draftOf, fieldsOf, fill, filledIn, formOf, foundWrong, givenIn, read, type Field } from './form';

const field = (kind: string, more: Partial<Field> = {}): Field => ({ name: 'x', kind, options: [], ...more });

test('an address gives values for variables', () => {
  const given = (vars: string) => givenIn(new URLSearchParams({ vars }));
  const fields = [field('integer', { default: 3 }), field('string')].map((one, i) => ({ ...one, name: 'ab'[i] ?? '' }));
  expect(draftOf(fields, given('{"a":"5","b":"x","c":1}'))).toEqual({ a: '5', b: 'x' });
  expect(draftOf(fields, given('[1'))).toEqual({ a: '3', b: '' });
});

describe('a text in a field', () => {
  test.each<[Field, string, unknown]>([
    [field('string'), 'a', 'a'],
    [field('string'), '', undefined],
    [field('string', { default: 'a' }), '', ''],
    [field('integer'), ' 42 ', 42],
    [field('integer'), '4.2', undefined],
    [field('integer'), '', undefined],
    [field('integer'), '99999999999999999999', undefined],
    [field('number'), '4.2', 4.2],
    [field('number'), '', undefined],
    [field('number'), 'x', undefined],
    [field('boolean'), 'true', true],
    [field('boolean'), 'false', false],
    [field('list'), '["a"]', ['a']],
    [field('list'), '{}', undefined],
    [field('object'), '{"a":1}', { a: 1 }],
    [field('object'), '[]', undefined],
    [field('object'), '{', undefined],
    [field('integer', { options: [1, 2] }), '2', 2],
    [field('integer', { options: [1, 2] }), '', undefined],
    [field('string', { options: ['a'] }), 'a', 'a'],
  ])('%o %j', (of, text, expected) => {
    const meant = read(of, text);
    if (expected === undefined) expect(meant).toHaveProperty('wrong');
    else expect(meant).toEqual({ value: expected });
  });
});

test('only what differs from the defaults is sent, and each fault has its field', () => {
  const fields = fieldsOf([
    { name: 'url', kind: 'string' },
    { name: 'days', kind: 'integer', default: 30 },
    { name: 'ask', kind: 'boolean', default: false },
    { name: 'list', kind: 'list', default: ['a'] },
  ]);
  const draft = draftOf(fields);
  expect(fill(fields, draft)).toEqual({ values: {}, wrong: { url: 'A text is needed here.' } });
  expect(fill(fields, { ...draft, url: 'u', days: '7', ask: 'true' })).toEqual({
    values: { url: 'u', days: 7, ask: true },
    wrong: {},
  });
  expect(Object.keys(fill(fields, { ...draft, days: 'x', list: 'x' }).wrong)).toEqual(['url', 'days', 'list']);
});

test('what the engine finds wrong comes to its field', () => {
  const detail = [
    { path: 'vars.days', message: 'it is "x"; accepted is a integer' },
    { path: 'input.note', message: 'it is not given' },
    { path: 'steps.a', message: 'other' },
  ];
  expect(foundWrong(detail)).toEqual({ days: 'it is "x"; accepted is a integer', note: 'it is not given' });
  expect(foundWrong(undefined)).toEqual({});
});

test("an approval's form is read from the input of its step", () => {
  const form = { note: { description: 'Why' }, days: { type: 'integer', default: 3, options: [3, 4] }, odd: 1 };
  expect(formOf({ message: 'x', form })).toEqual([
    { name: 'note', kind: 'string', description: 'Why', options: [] },
    { name: 'days', kind: 'integer', default: 3, options: [3, 4] },
  ]);
  expect(formOf(null)).toEqual([]);
});

test('variables stand filled in where nothing else is worked out', () => {
  const values = { to: '/srv', days: 3 };
  expect(filledIn('cp x ${{ vars.to }} # ${{vars.days}}', values)).toBe('cp x /srv # 3');
  expect(filledIn('$${{ vars.to }} ${{ vars.none }} ${{ vars.to + "x" }}', values)).toBe(
    '$${{ vars.to }} ${{ vars.none }} ${{ vars.to + "x" }}',
  );
});
