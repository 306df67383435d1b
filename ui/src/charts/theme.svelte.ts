/** Colours and faces of the page, read for a canvas, which knows no custom properties. */
export interface Palette {
  lines: string[];
  muted: string;
  grid: string;
  axis: string;
  gap: string;
  gapLine: string;
  limit: string;
  accent: string;
  exit: string;
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
    accent: value('--accent'),
    exit: value('--rst-g'),
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
