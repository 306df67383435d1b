/**
 * Lines as pixels. A canvas without GPU strokes a noisy line of some thousand points in ten milliseconds and more; here a
 * line is, in each column of pixels, the span that it covers there: its cost is that of the pixels in which it is seen, and
 * none of its samples is passed over.
 */

/** Where lines are drawn: the window, and the picture in pixels. */
export interface View {
  /** In milliseconds. */
  from: number;
  to: number;
  /** Two samples further apart than this, in milliseconds, are not joined. */
  reach: number;
  width: number;
  height: number;
  /** The value at the upper edge; at the lower one it is 0. */
  highest: number;
}

/** What a line covers in each column of pixels, in pixels from the upper edge; NaN where it is not. */
export interface Trace {
  top: Float32Array;
  bottom: Float32Array;
  /** Number of the first column since 1970: a column is the same one in each picture of the same width in time. */
  first: number;
}

/** How a line is drawn; lengths in pixels. */
export interface Pen {
  /** As the page writes it. */
  color: string;
  alpha: number;
  width: number;
  /** Lengths of dashes and gaps in turn; none is a whole line. */
  dash: readonly number[];
}

/** A colour in its parts, and as a pixel that has it alone. */
interface Ink {
  red: number;
  green: number;
  blue: number;
  word: number;
}

const NO_INK: Ink = { red: 0, green: 0, blue: 0, word: 0 };

/** How many of the times come before `at`. */
export function before(times: readonly number[], at: number): number {
  let [low, high] = [0, times.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((times[middle] ?? 0) < at) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Where the samples of a picture stand, the same for each of its lines. */
export interface Places {
  view: View;
  /** The first sample that counts; the others follow it. */
  begin: number;
  /** Of each sample: where it stands in pixels from the left edge, and in which column. */
  x: Float64Array;
  column: Int32Array;
  /** Whether it is near enough to the one before it to be joined with it. */
  near: Uint8Array;
  /** Number of the first column since 1970. */
  first: number;
}

/**
 * Columns begin at whole multiples of their width in time, so that samples stay together while the window moves; a picture is
 * up to a pixel off for it. Lines run to both edges: the nearest samples outside of the window count, too.
 */
export function place(times: readonly number[], view: View): Places {
  const { from, to, reach, width } = view;
  const perMs = width / (to - from);
  const first = Math.floor(to * perMs) + 1 - width;
  const begin = Math.max(0, before(times, from) - 1);
  const count = Math.min(times.length, before(times, to) + 1) - begin;
  const x = new Float64Array(count);
  const column = new Int32Array(count);
  const near = new Uint8Array(count);
  let last = -Infinity;
  for (let i = 0; i < count; i += 1) {
    const at = times[begin + i] as number;
    const left = at * perMs - first;
    x[i] = left;
    // A sample far outside of the window stands just outside of it: lines are only followed within.
    column[i] = Math.floor(Math.min(Math.max(left, -1), width));
    near[i] = at - last <= reach ? 1 : 0;
    last = at;
  }
  return { view, begin, x, column, near, first };
}

/** What a line covers. */
export function trace({ view, begin, x, column, near, first }: Places, values: readonly (number | null)[]): Trace {
  const { width, height, highest } = view;
  const top = new Float32Array(width).fill(NaN);
  const bottom = new Float32Array(width).fill(NaN);
  const perUnit = height / highest;
  // The sample before it, if there is one to be joined with.
  let present = false;
  let lastX = 0;
  let lastY = 0;
  let lastColumn = -1;
  for (let i = 0; i < x.length; i += 1) {
    const value = values[begin + i] ?? null;
    if (value === null) {
      present = false;
      continue;
    }
    const y = height - value * perUnit;
    const here = column[i] as number;
    const joined = present && near[i] === 1;
    if (joined && here === lastColumn && here >= 0 && here < width) {
      if (y < (top[here] as number)) top[here] = y;
      else if (y > (bottom[here] as number)) bottom[here] = y;
    } else {
      const at = x[i] as number;
      const slope = joined && at > lastX ? (y - lastY) / (at - lastX) : 0;
      for (let c = Math.max(0, joined ? lastColumn : here); c <= here && c < width; c += 1) {
        // Where the line comes into the column, and where it leaves it or ends.
        const left = !joined ? y : c <= lastX ? lastY : lastY + (c - lastX) * slope;
        const right = c === here ? y : lastY + (c + 1 - lastX) * slope;
        const high = left < right ? left : right;
        const low = left < right ? right : left;
        if (!((top[c] as number) <= high)) top[c] = high;
        if (!((bottom[c] as number) >= low)) bottom[c] = low;
      }
    }
    present = true;
    lastX = x[i] as number;
    lastY = y;
    lastColumn = here;
  }
  return { top, bottom, first };
}

/** A picture of lines in memory, drawn into a canvas when it is whole. One serves all charts: they are drawn in turn. */
export class Raster {
  #pen: CanvasRenderingContext2D | null | undefined;
  #buffer = new ArrayBuffer(0);
  #bytes = new Uint8ClampedArray(0);
  #words = new Uint32Array(0);
  #width = 0;
  #height = 0;
  #inks = new Map<string, Ink>();

  /** An empty picture. */
  begin(width: number, height: number): void {
    // Kept in memory that pixels can be written to: from there it is copied, not read back.
    this.#pen ??= document.createElement('canvas').getContext('2d', { willReadFrequently: true });
    const size = width * height;
    if (this.#buffer.byteLength < size * 4) this.#buffer = new ArrayBuffer(size * 4);
    this.#bytes = new Uint8ClampedArray(this.#buffer, 0, size * 4);
    this.#words = new Uint32Array(this.#buffer, 0, size).fill(0);
    [this.#width, this.#height] = [width, height];
  }

  /** Puts it into a canvas, over what is there. */
  end(onto: CanvasRenderingContext2D, left: number, top: number): void {
    const pen = this.#pen;
    const [width, height] = [this.#width, this.#height];
    if (!pen || width === 0 || height === 0) return;
    if (pen.canvas.width < width) pen.canvas.width = width;
    if (pen.canvas.height < height) pen.canvas.height = height;
    pen.putImageData(new ImageData(this.#bytes, width, height), 0, 0);
    onto.drawImage(pen.canvas, 0, 0, width, height, left, top, width, height);
  }

  /** A line: in each column from its highest to its lowest, half its width more on either side. */
  line({ top, bottom, first }: Trace, { color, alpha, width, dash }: Pen): void {
    const ink = this.#ink(color);
    const period = dash.reduce((sum, length) => sum + length, 0);
    const words = this.#words;
    const columns = this.#width;
    const rows = this.#height;
    for (let x = 0; x < columns; x += 1) {
      const high = top[x] as number;
      const low = bottom[x] as number;
      const rise = low - high;
      if (rise >= 2 * width && alpha === 1) {
        // What is steep takes whole pixels.
        const end = Math.min(rows, Math.ceil(low)) * columns;
        for (let pixel = Math.max(0, Math.floor(high)) * columns + x; pixel < end; pixel += columns)
          words[pixel] = ink.word;
        continue;
      }
      // Only what is level has dashes: no spike falls into a gap between two of them.
      if (Number.isNaN(rise) || (period > 0 && rise < width && !isOn(dash, (first + x) % period))) continue;
      // What rises by little is as thick across itself as what is level, with soft edges.
      const half = (width / 2) * Math.sqrt(1 + Math.min(3, rise * rise));
      this.#span(x, high - half, low + half, Math.min(rise, 2 * half), ink, alpha);
    }
  }

  /** From a line down to the lower edge. */
  area({ top }: Trace, color: string, alpha: number): void {
    const ink = this.#ink(color);
    for (let x = 0; x < this.#width; x += 1) this.#span(x, top[x] ?? NaN, this.#height, 0, ink, alpha);
  }

  /** From one line to another below it, where both are. */
  band(high: Trace, low: Trace, color: string, alpha: number): void {
    const ink = this.#ink(color);
    for (let x = 0; x < this.#width; x += 1) this.#span(x, high.top[x] ?? NaN, low.bottom[x] ?? NaN, 0, ink, alpha);
  }

  /** Covers a part of a column; over `soft` pixels it comes and goes by and by. */
  #span(x: number, top: number, bottom: number, soft: number, { red, green, blue, word }: Ink, alpha: number): void {
    if (!(top < bottom)) return;
    const start = Math.max(0, Math.floor(top));
    const end = Math.min(this.#height, Math.ceil(bottom));
    // Where it covers pixels whole, nothing is to be mixed.
    const whole = alpha === 1 ? Math.max(start, Math.ceil(top + soft)) : end;
    const ended = alpha === 1 ? Math.min(end, Math.floor(bottom - soft)) : end;
    const [words, width] = [this.#words, this.#width];
    for (let pixel = whole * width + x; pixel < ended * width; pixel += width) words[pixel] = word;
    for (let y = start; y < end; y += 1) {
      if (y === whole && whole < ended) y = ended;
      if (y >= end) break;
      const above = Math.min(1, (y + 1 - top) / (soft + 1));
      const below = Math.min(1, (bottom - y) / (soft + 1));
      this.#blend(y * width + x, red, green, blue, alpha * (above + below - 1));
    }
  }

  /** Lays a colour over what a pixel has ("source over" of straight alpha: Porter and Duff, 1984). */
  #blend(pixel: number, red: number, green: number, blue: number, alpha: number): void {
    if (alpha <= 0) return;
    const bytes = this.#bytes;
    const at = pixel * 4;
    const has = bytes[at + 3] as number;
    // Of what comes out, the share that is new: all over nothing, as much as it covers over what is opaque.
    const whole = has === 255 ? 1 : alpha + (has / 255) * (1 - alpha);
    const share = alpha / whole;
    const [r, g, b] = [bytes[at] as number, bytes[at + 1] as number, bytes[at + 2] as number];
    bytes[at] = (r + (red - r) * share + 0.5) | 0;
    bytes[at + 1] = (g + (green - g) * share + 0.5) | 0;
    bytes[at + 2] = (b + (blue - b) * share + 0.5) | 0;
    bytes[at + 3] = (whole * 255 + 0.5) | 0;
  }

  #ink(color: string): Ink {
    let ink = this.#inks.get(color);
    if (!ink && this.#pen) {
      this.#pen.fillStyle = color;
      this.#pen.fillRect(0, 0, 1, 1);
      const { data } = this.#pen.getImageData(0, 0, 1, 1);
      const [red = 0, green = 0, blue = 0] = data;
      ink = { red, green, blue, word: new Uint32Array(data.buffer)[0] ?? 0 };
      this.#inks.set(color, ink);
    }
    return ink ?? NO_INK;
  }
}

function isOn(dash: readonly number[], at: number): boolean {
  let on = false;
  for (let [i, end] = [0, 0]; end <= at && i < dash.length; i += 1) {
    end += dash[i] ?? 0;
    on = i % 2 === 0;
  }
  return on;
}

export const raster = new Raster();
