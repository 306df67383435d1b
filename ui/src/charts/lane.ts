/** A stretch of one state on a lane. */
export interface Span {
  from: number;
  to: number;
  /** How it looks; each tone has its own form as well as its own colour. */
  tone: 'up' | 'warn' | 'bad' | 'start' | 'wait' | 'down';
  word: string;
}

/** A numbered moment on a lane. */
export interface Point {
  key: string;
  at: number;
  number: number;
  title: string;
  /** Nothing went wrong: drawn in grey. */
  calm: boolean;
}

/** Points that would lie on each other as one: it bears the last one's number and says how many it stands for. */
export function crowd(points: readonly Point[], width: number): Point[] {
  const out: (Point & { count: number })[] = [];
  for (const point of [...points].sort((a, b) => a.at - b.at)) {
    const last = out[out.length - 1];
    if (last && point.at - last.at < width) {
      const count = last.count + 1;
      out[out.length - 1] = {
        ...point,
        calm: point.calm && last.calm,
        count,
        title: `${point.title}, and ${count - 1} just before it`,
      };
    } else out.push({ ...point, count: 1 });
  }
  return out;
}
