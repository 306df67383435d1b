import { expect, test } from 'vitest';
import { fitting, movedTo, ordered, tracks, widened, type Column } from './columns';

const usual = ordered({ order: [] });
const keys = (columns: readonly Column[]) => columns.map((column) => column.key).join(' ');

test('columns stand in the order kept; what it does not know, or knows twice, costs nothing', () => {
  const all = 'state name category replicas cpu ram restarts uptime tools';
  expect(keys(usual)).toBe(all);
  expect(keys(ordered({ order: movedTo(usual, 'tools', 1) }))).toBe(
    'state tools name category replicas cpu ram restarts uptime',
  );
  expect(movedTo(usual, 'state', 99).at(-1)).toBe('state');
  expect(movedTo(usual, 'nobody', 0).join(' ')).toBe(all);
  expect(keys(ordered({ order: ['name', 'p95', 'name', 'state'] }))).toBe(
    'name category replicas cpu ram restarts uptime tools state',
  );
});

test('where there is no room category goes first, then tools, then uptime, and nothing else', () => {
  expect(keys(fitting(usual, 840))).toBe(keys(usual));
  expect(keys(fitting(usual, 760))).toBe('state name replicas cpu ram restarts uptime tools');
  expect(keys(fitting(usual, 690))).toBe('state name replicas cpu ram restarts uptime');
  expect(keys(fitting(usual, 0))).toBe('state name replicas cpu ram restarts');
});

test('a chosen width holds where there is room, and never hides what a column says', () => {
  const [state, name] = usual;
  if (!state || !name) throw new Error('there are columns');
  expect(widened({ cpu: 90 }, name, 12)).toEqual({ cpu: 90, name: name.least });
  expect(widened({}, name, 9999)).toEqual({ name: 480 });
  expect(tracks([state, name], { widths: { name: 200 } })).toBe('24px minmax(96px, 0.9fr) minmax(110px, 200px) 32px');
  expect(tracks([state, name], { widths: { name: 3, state: 120 } })).toBe(
    '24px minmax(96px, 120px) minmax(110px, 110px) minmax(32px, 1fr)',
  );
});
