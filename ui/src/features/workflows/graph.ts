/** Where the steps of a workflow are drawn: left to right, each in the layer after the last of those that it needs. */

export interface Linked {
  id: string;
  needs: readonly string[];
}

export interface Node {
  id: string;
  /** Column, from 0: the longest way from a step that needs nothing. */
  layer: number;
  x: number;
  y: number;
}

export interface Edge {
  from: string;
  to: string;
  /** As the `d` of an SVG path. */
  line: string;
  /** Its tip, a triangle. */
  tip: string;
  /** The corners of what it covers. */
  box: [left: number, top: number, right: number, bottom: number];
}

export interface Layout {
  nodes: Node[];
  at: Map<string, Node>;
  edges: Edge[];
  width: number;
  height: number;
}

export const NODE = { width: 124, height: 46 } as const;
const GAP = { x: 38, y: 14, wrapped: 10 } as const;
/** Steps in one column at most; a layer with more is set in several. */
const COLUMN = 24;
const SWEEPS = 4;

/** The layers in order, steps of each in the order of the definition. What is in a circle stands in the last layer. */
export function layers(steps: readonly Linked[]): string[][] {
  const place = new Map(steps.map(({ id }, i) => [id, i]));
  const dependents: number[][] = steps.map(() => []);
  const open = steps.map(() => 0);
  for (const [i, { needs }] of steps.entries()) {
    for (const need of new Set(needs)) {
      const from = place.get(need);
      if (from === undefined) continue;
      dependents[from]?.push(i);
      open[i] = (open[i] ?? 0) + 1;
    }
  }
  const layer = steps.map(() => -1);
  let ready = open.flatMap((many, i) => (many === 0 ? [i] : []));
  let depth = 0;
  for (; ready.length > 0; depth += 1) {
    const next: number[] = [];
    for (const i of ready) {
      layer[i] = depth;
      for (const dependent of dependents[i] ?? []) {
        open[dependent] = (open[dependent] ?? 0) - 1;
        if (open[dependent] === 0) next.push(dependent);
      }
    }
    ready = next;
  }
  const all: string[][] = Array.from({ length: depth }, () => []);
  for (const [i, { id }] of steps.entries()) {
    const at = layer[i] === -1 || layer[i] === undefined ? depth : layer[i];
    (all[at] ??= []).push(id);
  }
  return all;
}

const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;

/** Puts the steps of each layer beside those they are joined with, so that fewer edges cross. */
function ordered(all: string[][], needs: Map<string, readonly string[]>, serves: Map<string, readonly string[]>): void {
  const rank = new Map<string, number>();
  const number = (layer: readonly string[]) =>
    layer.forEach((id, i) => rank.set(id, (i + 0.5) / Math.max(1, layer.length)));
  all.forEach(number);
  const sort = (layer: string[], joined: Map<string, readonly string[]>) => {
    const key = new Map(
      layer.map((id) => {
        const ranks = (joined.get(id) ?? []).flatMap((other) => rank.get(other) ?? []);
        return [id, ranks.length ? mean(ranks) : (rank.get(id) ?? 0)] as const;
      }),
    );
    layer.sort((a, b) => (key.get(a) ?? 0) - (key.get(b) ?? 0));
    number(layer);
  };
  for (let sweep = 0; sweep < SWEEPS; sweep += 1) {
    if (sweep % 2 === 0) for (const layer of all) sort(layer, needs);
    else for (const layer of [...all].reverse()) sort(layer, serves);
  }
}

/** Heights of a column: as near as can be to what each is joined with, in order, not over each other. */
function settled(wanted: readonly number[]): number[] {
  const pitch = NODE.height + GAP.y;
  const set: number[] = [];
  for (const want of wanted) set.push(Math.max(want, (set.at(-1) ?? -Infinity) + pitch));
  const shift = set.length ? mean(set.map((y, i) => (wanted[i] ?? 0) - y)) : 0;
  return set.map((y) => y + shift);
}

export function layout(steps: readonly Linked[]): Layout {
  const needs = new Map<string, readonly string[]>(steps.map((step) => [step.id, step.needs]));
  const serves = new Map<string, string[]>(steps.map((step) => [step.id, []]));
  for (const step of steps) for (const need of step.needs) serves.get(need)?.push(step.id);
  const all = layers(steps);
  ordered(all, needs, serves);

  const at = new Map<string, Node>();
  let x = 0;
  for (const [depth, layer] of all.entries()) {
    const columns = Math.ceil(layer.length / COLUMN);
    if (columns > 1) {
      // As many columns as make it about as wide as it is high.
      const most = Math.max(COLUMN, Math.ceil(Math.sqrt((layer.length * (NODE.width + GAP.wrapped)) / NODE.height)));
      const rows = Math.ceil(layer.length / Math.ceil(layer.length / most));
      const pitch = NODE.height + GAP.wrapped;
      for (const [i, id] of layer.entries()) {
        const column = Math.floor(i / rows);
        const left = x + column * (NODE.width + GAP.wrapped);
        at.set(id, { id, layer: depth, x: left, y: ((i % rows) - (rows - 1) / 2) * pitch });
      }
      x += Math.ceil(layer.length / rows) * (NODE.width + GAP.wrapped) - GAP.wrapped + 2 * GAP.x;
      continue;
    }
    const wanted = layer.map((id, i) => {
      const from = (needs.get(id) ?? []).flatMap((need) => at.get(need)?.y ?? []);
      return from.length ? mean(from) : (i - (layer.length - 1) / 2) * (NODE.height + GAP.y);
    });
    for (const [i, y] of settled(wanted).entries()) {
      const id = layer[i];
      if (id !== undefined) at.set(id, { id, layer: depth, x, y });
    }
    x += NODE.width + GAP.x;
  }

  const nodes = steps.flatMap(({ id }) => at.get(id) ?? []);
  const top = Math.min(0, ...bounds(nodes, 'y'));
  for (const node of nodes) node.y = Math.round(node.y - top);
  const edges = steps.flatMap((step) =>
    step.needs.flatMap((need) => {
      const [from, to] = [at.get(need), at.get(step.id)];
      return from && to ? [edge(from, to)] : [];
    }),
  );
  const [, right = 0] = bounds(nodes, 'x');
  const [, bottom = 0] = bounds(nodes, 'y');
  return { nodes, at, edges, width: right + NODE.width, height: bottom + NODE.height };
}

function bounds(nodes: readonly Node[], axis: 'x' | 'y'): [number, number] | [] {
  if (nodes.length === 0) return [];
  let [least, most] = [Infinity, -Infinity];
  for (const node of nodes) {
    least = Math.min(least, node[axis]);
    most = Math.max(most, node[axis]);
  }
  return [least, most];
}

function edge(from: Node, to: Node): Edge {
  const [x1, y1] = [from.x + NODE.width, from.y + NODE.height / 2];
  const [x2, y2] = [to.x - 6, to.y + NODE.height / 2];
  const bend = Math.max(12, (x2 - x1) / 2);
  return {
    from: from.id,
    to: to.id,
    line: `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`,
    box: [Math.min(x1, x2 - bend), Math.min(y1, y2), Math.max(x2, x1 + bend), Math.max(y1, y2)],
    tip: `M${x2 - 1} ${y2 - 3.2}L${x2 + 5} ${y2}L${x2 - 1} ${y2 + 3.2}z`,
  };
}

export type Way = 'left' | 'right' | 'up' | 'down';

/** The step that an arrow key leads to: along an edge, or to the neighbour in the column. */
export function neighbour(of: Layout, steps: readonly Linked[], from: string, way: Way): string | undefined {
  const here = of.at.get(from);
  if (!here) return steps[0]?.id;
  const nearest = (ids: readonly string[]) =>
    ids
      .flatMap((id) => of.at.get(id) ?? [])
      .sort(
        (a, b) => Math.abs(a.y - here.y) - Math.abs(b.y - here.y) || Math.abs(a.x - here.x) - Math.abs(b.x - here.x),
      )
      .at(0)?.id;
  if (way === 'left') return nearest(steps.find(({ id }) => id === from)?.needs ?? []);
  if (way === 'right') return nearest(steps.filter(({ needs }) => needs.includes(from)).map(({ id }) => id));
  const down = way === 'down';
  return of.nodes
    .filter((node) => node.x === here.x && (down ? node.y > here.y : node.y < here.y))
    .sort((a, b) => (down ? a.y - b.y : b.y - a.y))
    .at(0)?.id;
}

/** What part of the graph is seen: its scale, and where its origin lies in the window. */
export interface Sight {
  scale: number;
  x: number;
  y: number;
}

export const SCALE = { least: 0.04, most: 2 } as const;
const MARGIN = 20;

interface Size {
  width: number;
  height: number;
}

/** All of it, no larger than it is drawn; with a `least` scale its beginning, where all of it would be smaller. */
export function fitted({ width, height }: Size, window: Size, least: number = SCALE.least): Sight {
  const room = (size: number) => Math.max(40, size - 2 * MARGIN);
  const scale = Math.max(
    least,
    Math.min(1, room(window.width) / Math.max(1, width), room(window.height) / Math.max(1, height)),
  );
  return {
    scale,
    x: Math.max(MARGIN, (window.width - width * scale) / 2),
    y: Math.max(MARGIN, (window.height - height * scale) / 2),
  };
}

/** Larger or smaller by a factor, with the point of the window that it is about staying where it is. */
export function zoomed(sight: Sight, factor: number, about: { x: number; y: number }): Sight {
  const scale = Math.min(SCALE.most, Math.max(SCALE.least, sight.scale * factor));
  const by = scale / sight.scale;
  return { scale, x: about.x - (about.x - sight.x) * by, y: about.y - (about.y - sight.y) * by };
}

/** Moved as little as possible so that a step is in the window. */
export function revealed(sight: Sight, node: Node, window: Size): Sight {
  const axis = (from: number, size: number, origin: number, room: number) => {
    const start = origin + from * sight.scale;
    const end = start + size * sight.scale;
    if (start < MARGIN) return origin + MARGIN - start;
    return end > room - MARGIN ? origin - (end - room + MARGIN) : origin;
  };
  return {
    scale: sight.scale,
    x: axis(node.x, NODE.width, sight.x, window.width),
    y: axis(node.y, NODE.height, sight.y, window.height),
  };
}

/** The part of the graph that the window shows. */
function shown(sight: Sight, window: Size): [left: number, top: number, right: number, bottom: number] {
  const [left, top] = [-sight.x / sight.scale, -sight.y / sight.scale];
  return [left, top, left + window.width / sight.scale, top + window.height / sight.scale];
}

/** The steps of which anything is in the window. */
export function inSight(of: Layout, sight: Sight, window: Size): Node[] {
  const [left, top, right, bottom] = shown(sight, window);
  return of.nodes.filter(({ x, y }) => x + NODE.width >= left && x <= right && y + NODE.height >= top && y <= bottom);
}

/** The edges that may cross the window. */
export function edgesInSight(of: Layout, sight: Sight, window: Size): Edge[] {
  const [left, top, right, bottom] = shown(sight, window);
  return of.edges.filter(({ box: [x1, y1, x2, y2] }) => x2 >= left && x1 <= right && y2 >= top && y1 <= bottom);
}
