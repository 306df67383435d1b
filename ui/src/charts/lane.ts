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
