/** How well a text answers to what was typed, and where. Every typed word must be found, at a word's start or inside. */
export interface Match {
  score: number;
  /** Stretches of the text to mark: from, to. */
  marks: [number, number][];
}

export function match(typed: string, text: string): Match | undefined {
  const words = typed.toLowerCase().split(/\s+/).filter(Boolean);
  const lower = text.toLowerCase();
  const marks: [number, number][] = [];
  let score = 0;
  let after = 0;
  for (const word of words) {
    const at = find(lower, word, after);
    if (at < 0) return undefined;
    const starts = at === 0 || /[^a-z0-9]/.test(lower.charAt(at - 1));
    score += starts ? 10 : 3;
    if (at === 0) score += 5;
    // In the order typed reads as one phrase.
    if (at >= after) score += 2;
    marks.push([at, at + word.length]);
    after = at + word.length;
  }
  return { score: score - text.length / 100, marks: marks.sort((a, b) => a[0] - b[0]) };
}

/** The best place of a word: a word's start at or after `from`, a word's start anywhere, then anywhere. */
function find(text: string, word: string, from: number): number {
  const start = new RegExp(`(?<![a-z0-9])${word.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}`, 'g');
  start.lastIndex = from;
  const later = start.exec(text);
  if (later) return later.index;
  start.lastIndex = 0;
  return start.exec(text)?.index ?? text.indexOf(word);
}

/** A text cut at its marks, for drawing. */
export function pieces(text: string, marks: readonly [number, number][]): { text: string; marked: boolean }[] {
  const out: { text: string; marked: boolean }[] = [];
  let at = 0;
  for (const [from, to] of marks) {
    if (from < at) continue;
    if (from > at) out.push({ text: text.slice(at, from), marked: false });
    out.push({ text: text.slice(from, to), marked: true });
    at = to;
  }
  if (at < text.length) out.push({ text: text.slice(at), marked: false });
  return out;
}
