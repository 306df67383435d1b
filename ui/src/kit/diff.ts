/** A line of a comparison of two texts. */
export interface DiffLine {
  kind: 'same' | 'removed' | 'added';
  text: string;
}

const DIFF_LIMIT = 1500;

/** Compares two texts line by line (longest common subsequence); very long ones are compared as wholes. */
export function diffLines(before: string, after: string): DiffLine[] {
  const a = before.split('\n');
  const b = after.split('\n');
  if (a.length > DIFF_LIMIT || b.length > DIFF_LIMIT) {
    if (before === after) return a.map((text) => ({ kind: 'same', text }));
    return [
      ...a.map((text): DiffLine => ({ kind: 'removed', text })),
      ...b.map((text): DiffLine => ({ kind: 'added', text })),
    ];
  }
  const width = b.length + 1;
  const table = new Uint16Array((a.length + 1) * width);
  const cell = (i: number, j: number): number => table[i * width + j] ?? 0;
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      table[i * width + j] = a[i] === b[j] ? cell(i + 1, j + 1) + 1 : Math.max(cell(i + 1, j), cell(i, j + 1));
    }
  }
  const out: DiffLine[] = [];
  let i = 0;
  let j = 0;
  while (i < a.length || j < b.length) {
    const [left, right] = [a[i], b[j]];
    if (left !== undefined && right !== undefined && left === right) {
      out.push({ kind: 'same', text: left });
      i += 1;
      j += 1;
    } else if (left !== undefined && (right === undefined || cell(i + 1, j) >= cell(i, j + 1))) {
      out.push({ kind: 'removed', text: left });
      i += 1;
    } else if (right !== undefined) {
      out.push({ kind: 'added', text: right });
      j += 1;
    }
  }
  return out;
}

const CONTEXT = 2;

/** The comparison as a unified diff, with two lines around each change; empty where the texts are the same. */
export function unified(before: string, after: string): string {
  const lines = diffLines(before, after);
  const near = lines.map((_, i) =>
    lines.slice(Math.max(0, i - CONTEXT), i + CONTEXT + 1).some((line) => line.kind !== 'same'),
  );
  const out: string[] = [];
  let number = 0;
  lines.forEach((line, i) => {
    if (line.kind !== 'added') number += 1;
    if (!near[i]) return;
    if (!near[i - 1]) out.push(`@@ line ${Math.max(1, number)} @@`);
    out.push((line.kind === 'added' ? '+' : line.kind === 'removed' ? '-' : ' ') + line.text);
  });
  return out.join('\n');
}
