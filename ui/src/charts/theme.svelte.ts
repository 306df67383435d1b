import type { MarkKind } from './model';

/** How each kind of mark is drawn: a colour of the page, and dashes that tell it apart without one. */
export const MARKS: Readonly<Record<MarkKind, { word: string; color: string; dash: readonly number[] }>> = {
  config: { word: 'config change', color: '--accent', dash: [] },
  exit: { word: 'exit', color: '--rst-g', dash: [3, 3] },
  breaker: { word: 'breaker', color: '--fail-g', dash: [8, 3] },
  alert: { word: 'alert', color: '--deg-g', dash: [8, 3, 2, 3] },
  workflow: { word: 'workflow', color: '--text-2', dash: [1, 4] },
};

/** Colours and faces of the page, read for a canvas, which knows no custom properties. */
export interface Palette {
  lines: string[];
  muted: string;
  grid: string;
  axis: string;
  gap: string;
  gapLine: string;
  limit: string;
  marks: Record<MarkKind, string>;
  sheet: string;
  font: string;
}

/** How lines beyond the fourth are told apart without colour. */
export const DASHES: readonly (readonly number[])[] = [[], [], [], [], [6, 3], [10, 3], [2, 3], [1, 3]];

function read(): Palette {
  const style = getComputedStyle(document.documentElement);
  const value = (name: string): string => style.getPropertyValue(name).trim();
  return {
    lines: Array.from({ length: 8 }, (_, i) => value(`--ch-${i + 1}`)),
    muted: value('--text-4'),
    grid: value('--ch-grid'),
    axis: value('--ch-axis'),
    gap: value('--ch-gap'),
    gapLine: value('--line-2'),
    limit: value('--ch-limit'),
    marks: {
      config: value(MARKS.config.color),
      exit: value(MARKS.exit.color),
      breaker: value(MARKS.breaker.color),
      alert: value(MARKS.alert.color),
      workflow: value(MARKS.workflow.color),
    },
    sheet: value('--bg-sheet'),
    font: `10.5px ${getComputedStyle(document.body).fontFamily}`,
  };
}

/** The palette in force; changes with the theme and with the wish for more contrast. */
class Theme {
  /** Grows with each change; read it to follow. */
  version = $state(0);
  #palette: Palette | undefined;

  constructor() {
    if (typeof window === 'undefined') return;
    const update = () => {
      this.#palette = undefined;
      this.version += 1;
    };
    new MutationObserver(update).observe(document.documentElement, {
      attributes: true,
      attributeFilter: ['data-theme'],
    });
    matchMedia('(prefers-contrast: more)').addEventListener('change', update);
  }

  /** The palette, read when it is first needed (by then the page's styles are there) and kept until it changes. */
  get current(): Palette {
    return (this.#palette ??= read());
  }
}

export const theme = new Theme();

/** The colour of a line: its place in the palette from 1, beyond eight again from the first; 0 is muted. */
export function colorOf(palette: Palette, place: number): string {
  return place === 0 ? palette.muted : (palette.lines[(place - 1) % palette.lines.length] ?? palette.axis);
}

/** The custom property of the same colour, for what is drawn by the page itself. */
export function colorVar(place: number): string {
  return place === 0 ? 'var(--text-4)' : `var(--ch-${((place - 1) % 8) + 1})`;
}
