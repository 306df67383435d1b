import { describe, expect, test } from 'vitest';
import { ago, bytes, count, duration, names, number, percent, uptime } from './format';

const MiB = 1024 ** 2;

describe('numbers have at most three significant digits', () => {
  test.each([
    [0, '0'],
    [0.126, '0.13'],
    [2.5, '2.5'],
    [38.64, '38.6'],
    [831.4, '831'],
    [12_345, '12\u2009345'],
    [-0.001, '0'],
    [NaN, '–'],
  ])('%s → %s', (value, text) => expect(number(value)).toBe(text));
});

describe('bytes are binary and never reach four digits', () => {
  test.each([
    [0, '0 B'],
    [1000, '0.98 KiB'],
    [512 * MiB, '512 MiB'],
    [999.4 * MiB, '999 MiB'],
    [999.6 * MiB, '0.98 GiB'],
    [4.13 * 1024 * MiB, '4.13 GiB'],
  ])('%s → %s', (value, text) => expect(bytes(value)).toBe(text));
  test('nothing is a dash', () => expect([bytes(null), percent(undefined)]).toEqual(['–', '–']));
});

describe('spans have at most two units', () => {
  test.each([
    [0.4, '0.4 ms'],
    [640, '640 ms'],
    [4_200, '4.2 s'],
    [41_000, '41 s'],
    [93_000, '1 min 33 s'],
    [3_600_000, '1 h'],
    [532_800_000, '6 d 4 h'],
    [-1, '–'],
  ])('%s → %s', (ms, text) => expect(duration(ms)).toBe(text));
  test.each([
    [59_000, '59s'],
    [780_000, '13m'],
    [532_800_000, '6d 4h'],
  ])('uptime %s → %s', (ms, text) => expect(uptime(ms)).toBe(text));
  test.each([
    [900, 'now'],
    [41_000, '41 s ago'],
    [7_300_000, '2 h ago'],
  ])('%s is %s', (ms, text) => expect(ago(ms)).toBe(text));
});

test('lists and counts read as sentences', () => {
  expect(names(['a'])).toBe('a');
  expect(names(['a', 'b'])).toBe('a and b');
  expect(names(['a', 'b', 'c'])).toBe('a, b and c');
  expect(names(['a', 'b', 'c', 'd', 'e'])).toBe('a, b and 3 more');
  expect([count(1, 'server'), count(0, 'server'), count(2, 'entry', 'entries')]).toEqual([
    '1 server',
    '0 servers',
    '2 entries',
  ]);
});
