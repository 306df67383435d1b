import { describe, expect, test } from 'vitest';
import { edgesInSight, fitted, inSight, layers, layout, neighbour, NODE, revealed, zoomed, type Linked } from './graph';

const step = (id: string, ...needs: string[]): Linked => ({ id, needs });
const DIAMOND = [step('a'), step('b', 'a'), step('c', 'a'), step('d', 'b'), step('e', 'c', 'd')];

/** A graph of which each step needs some of those before it, by a fixed lot. */
function drawn(size: number, seed: number): Linked[] {
  let state = seed;
  const lot = (below: number) => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
    return Math.floor((state / 2_147_483_648) * below);
  };
  const steps = Array.from({ length: size }, (_, i) => {
    const needs = Array.from({ length: i === 0 ? 0 : lot(4) }, () => `s${lot(i)}`);
    return step(`s${i}`, ...new Set(needs));
  });
  // The order of a definition is not that of the needs.
  return lot(2) ? steps.reverse() : steps;
}

describe('layers', () => {
  test.each<[string, Linked[], string[][]]>([
    ['nothing', [], []],
    ['a diamond: by the longest way', DIAMOND, [['a'], ['b', 'c'], ['d'], ['e']]],
    ['needs before their steps, and unknown ones', [step('b', 'a', 'x'), step('a')], [['a'], ['b']]],
    ['a circle stands at the end', [step('a'), step('b', 'a', 'c'), step('c', 'b')], [['a'], ['b', 'c']]],
  ])('%s', (_, steps, expected) => expect(layers(steps)).toEqual(expected));
});

test.each([1, 2, 3, 4, 5])('every step stands right of what it needs and over no other, lot %i', (seed) => {
  const steps = drawn(120, seed);
  const { at, nodes, width, height, edges } = layout(steps);
  expect(nodes).toHaveLength(steps.length);
  expect(edges).toHaveLength(steps.reduce((sum, { needs }) => sum + needs.length, 0));
  for (const { id, needs } of steps)
    for (const need of needs) expect(at.get(need)?.x ?? Infinity).toBeLessThan((at.get(id)?.x ?? 0) - NODE.width);
  const over: string[] = [];
  for (const [i, a] of nodes.entries()) {
    if (a.x < 0 || a.y < 0 || a.x + NODE.width > width || a.y + NODE.height > height) over.push(a.id);
    for (const b of nodes.slice(i + 1))
      if (Math.abs(a.x - b.x) < NODE.width && Math.abs(a.y - b.y) < NODE.height) over.push(`${a.id} ${b.id}`);
  }
  expect(over).toEqual([]);
});

test('a thousand steps beside each other are set about as wide as high, and only those in sight are given', () => {
  const parts = Array.from({ length: 998 }, (_, i) => `p${i}`);
  const of = layout([step('a'), ...parts.map((id) => step(id, 'a')), step('z', ...parts)]);
  expect(of.width / of.height).toBeGreaterThan(0.5);
  expect(of.width / of.height).toBeLessThan(2);
  const window = { width: 800, height: 400 };
  expect(inSight(of, { scale: 1, x: 0, y: 0 }, window).length).toBeLessThan(60);
  // All edges begin at one step and end at one: those far from both do not cross the window.
  expect(edgesInSight(of, { scale: 1, x: 0, y: 0 }, window).length).toBeLessThan(of.edges.length);
  const all = fitted(of, window);
  expect(edgesInSight(of, all, window)).toHaveLength(of.edges.length);
  expect(inSight(of, all, window)).toHaveLength(1000);
  expect(of.width * all.scale).toBeLessThanOrEqual(800);
  expect(of.height * all.scale).toBeLessThanOrEqual(400);
  expect(fitted(of, window, 0.6)).toEqual({ scale: 0.6, x: 20, y: 20 });
});

test('arrow keys walk along edges and in columns', () => {
  const of = layout(DIAMOND);
  const go = (from: string, way: 'left' | 'right' | 'up' | 'down') => neighbour(of, DIAMOND, from, way);
  const upper = (of.at.get('b')?.y ?? 0) < (of.at.get('c')?.y ?? 0);
  expect(go('b', upper ? 'down' : 'up')).toBe('c');
  expect([go('d', 'left'), go('d', 'right'), go('a', 'left'), go('e', 'right'), go('a', 'up')]).toEqual([
    'b',
    'e',
    undefined,
    undefined,
    undefined,
  ]);
  expect(go('gone', 'left')).toBe('a');
});

test('zoom keeps the point under the pointer, and a step is revealed with the least movement', () => {
  const before = { scale: 1, x: 10, y: 20 };
  const about = { x: 300, y: 100 };
  const after = zoomed(before, 1.5, about);
  const point = (sight: typeof before) => [(about.x - sight.x) / sight.scale, (about.y - sight.y) / sight.scale];
  expect(point(after)[0]).toBeCloseTo(point(before)[0] ?? NaN);
  expect(point(after)[1]).toBeCloseTo(point(before)[1] ?? NaN);
  expect(zoomed(before, 1e9, about).scale).toBe(2);
  const window = { width: 400, height: 200 };
  const node = { id: 'a', layer: 0, x: 1_000, y: 50 };
  const shown = revealed(before, node, window);
  expect(node.x + NODE.width + shown.x).toBeLessThanOrEqual(400);
  expect(shown.y).toBe(20);
  expect(revealed(shown, node, window)).toEqual(shown);
});
