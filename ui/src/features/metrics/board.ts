import type { Pin } from '$lib/contract';
import { isAsked } from './asked';

export type { Pin };

/** Charts that a board holds at most. */
export const MOST_PINS = 24;

/** A board as a file. */
export function exported(pins: readonly Pin[]): string {
  return `${JSON.stringify({ flotilla: 'board', version: 1, charts: pins }, undefined, 2)}\n`;
}

/** The charts of a file, or why it is none. */
export function imported(text: string): Pin[] {
  let file: unknown;
  try {
    file = JSON.parse(text);
  } catch (error) {
    throw new Error(`The file is not JSON: ${error instanceof Error ? error.message : String(error)}`, {
      cause: error,
    });
  }
  const { flotilla, version, charts } = (file ?? {}) as { flotilla?: unknown; version?: unknown; charts?: unknown };
  if (flotilla !== 'board' || version !== 1 || !Array.isArray(charts))
    throw new Error(
      'The file is no board: accepted is what "Export" writes, {"flotilla": "board", "version": 1, "charts": […]}.',
    );
  if (charts.length > MOST_PINS)
    throw new Error(`The file has ${charts.length} charts; accepted are up to ${MOST_PINS}.`);
  return charts.map((chart: unknown, i) => {
    if (!isPin(chart)) throw new Error(`Chart ${i + 1} of the file is none: it needs a title and what is asked.`);
    return chart;
  });
}

function isPin(value: unknown): value is Pin {
  const pin = value as Partial<Pin> | null;
  return typeof pin === 'object' && pin !== null && typeof pin.title === 'string' && isAsked(pin.asked);
}

/** The same list with one of its charts a place earlier or later; at an end, as it was. */
export function moved(pins: readonly Pin[], from: number, by: -1 | 1): Pin[] {
  const list = [...pins];
  const to = from + by;
  const [pin] = list.slice(from, from + 1);
  if (pin === undefined || to < 0 || to >= list.length) return list;
  list.splice(from, 1);
  list.splice(to, 0, pin);
  return list;
}
