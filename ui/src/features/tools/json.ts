/** Any JSON value. */
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

export type JsonObject = { [key: string]: Json };

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Whether two values are the same JSON; the order of keys does not matter. */
export function same(a: Json | undefined, b: Json | undefined): boolean {
  if (a === b) return true;
  if (Array.isArray(a) && Array.isArray(b)) return a.length === b.length && a.every((item, i) => same(item, b[i]));
  if (isObject(a) && isObject(b)) {
    const keys = Object.keys(a);
    return keys.length === Object.keys(b).length && keys.every((key) => key in b && same(a[key], b[key]));
  }
  return false;
}

/** The object with another value under a key; undefined takes the key out, and its place is kept where it has one. */
export function withKey(object: JsonObject, key: string, value: Json | undefined): JsonObject {
  if (value !== undefined) return { ...object, [key]: value };
  return Object.fromEntries(Object.entries(object).filter(([name]) => name !== key));
}

/** A step into a value: a key of an object or an index of an array. */
export type Path = readonly (string | number)[];

/** The value with another value at a path; undefined takes the key out. What is not on the path is shared. */
export function put(root: Json | undefined, path: Path, value: Json | undefined): Json | undefined {
  const [step, ...rest] = path;
  if (step === undefined) return value;
  if (typeof step === 'number') {
    const list = Array.isArray(root) ? [...root] : [];
    const next = put(list[step], rest, value);
    if (next === undefined) list.splice(step, 1);
    else list[step] = next;
    return list;
  }
  const object: JsonObject = isObject(root) ? root : {};
  return withKey(object, step, put(object[step], rest, value));
}

/** A JSON text read, or why it cannot be and where. */
export type Parsed = { ok: true; value: Json } | { ok: false; message: string; line: number; column: number };

/**
 * Reads JSON and, where it is wrong, says at which line and in plain words. Engines word their errors differently,
 * so the place is found here and not taken from theirs.
 */
export function parse(text: string): Parsed {
  try {
    return { ok: true, value: JSON.parse(text) as Json };
  } catch {
    const { at, message } = new Scanner(text).fault();
    const before = text.slice(0, at).split('\n');
    return { ok: false, message, line: before.length, column: (before[before.length - 1]?.length ?? 0) + 1 };
  }
}

class Fault extends Error {
  constructor(
    readonly at: number,
    message: string,
  ) {
    super(message);
  }
}

/** Walks a text by the grammar of JSON only to find where it leaves it. */
class Scanner {
  #at = 0;

  constructor(readonly text: string) {}

  fault(): { at: number; message: string } {
    try {
      this.#value();
      this.#space();
      if (this.#at < this.text.length)
        throw new Fault(this.#at, `nothing may follow the value, found ${this.#found()}`);
    } catch (error) {
      if (error instanceof Fault) return { at: error.at, message: error.message };
      return { at: this.#at, message: 'nested too deeply' };
    }
    return { at: this.text.length, message: 'not JSON' };
  }

  #found(): string {
    const char = this.text[this.#at];
    return char === undefined ? 'the end' : JSON.stringify(char);
  }

  #space(): void {
    while (/[ \t\r\n]/.test(this.text[this.#at] ?? '')) this.#at += 1;
  }

  #expect(char: string, where: string): void {
    this.#space();
    if (this.text[this.#at] !== char) throw new Fault(this.#at, `expected ${char} ${where}, found ${this.#found()}`);
    this.#at += 1;
  }

  #value(): void {
    this.#space();
    const char = this.text[this.#at];
    if (char === '{') this.#object();
    else if (char === '[') this.#array();
    else if (char === '"') this.#string('a text');
    else {
      const rest = this.text.slice(this.#at);
      const token = /^(?:true|false|null|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?)(?![\w.])/.exec(rest);
      if (!token) {
        const word = /^[\w.+-]+/.exec(rest)?.[0];
        throw new Fault(
          this.#at,
          word ? `${word} is not a JSON value; texts stand in quotes` : `expected a value, found ${this.#found()}`,
        );
      }
      this.#at += token[0].length;
    }
  }

  #object(): void {
    this.#at += 1;
    this.#space();
    if (this.text[this.#at] === '}') {
      this.#at += 1;
      return;
    }
    for (;;) {
      this.#space();
      if (this.text[this.#at] !== '"') throw new Fault(this.#at, `expected a key in quotes, found ${this.#found()}`);
      this.#string('a key');
      this.#expect(':', 'after the key');
      this.#value();
      this.#space();
      if (this.text[this.#at] === '}') break;
      this.#expect(',', 'or } after a value');
    }
    this.#at += 1;
  }

  #array(): void {
    this.#at += 1;
    this.#space();
    if (this.text[this.#at] === ']') {
      this.#at += 1;
      return;
    }
    for (;;) {
      this.#value();
      this.#space();
      if (this.text[this.#at] === ']') break;
      this.#expect(',', 'or ] after a value');
    }
    this.#at += 1;
  }

  #string(what: string): void {
    const start = this.#at;
    this.#at += 1;
    for (;;) {
      const char = this.text[this.#at];
      if (char === undefined || char === '\n') throw new Fault(start, `${what} has no closing quote`);
      if (char < ' ') throw new Fault(this.#at, 'a control character must be escaped');
      if (char === '\\') {
        if (!/^\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})/.test(this.text.slice(this.#at, this.#at + 6))) {
          throw new Fault(this.#at, 'not an escape that JSON knows');
        }
        this.#at += 2;
        continue;
      }
      this.#at += 1;
      if (char === '"') return;
    }
  }
}

/** A piece of JSON text with the role that colours it. */
export interface Token {
  text: string;
  role: 'key' | 'string' | 'number' | 'word' | 'plain';
}

/** Cuts a JSON text into coloured pieces; a text that is not JSON is cut as far as it can be. */
export function tokens(text: string): Token[] {
  const out: Token[] = [];
  const pattern = /("(?:[^"\\\n]|\\.)*")(\s*:)?|(-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)|\b(true|false|null)\b/g;
  let last = 0;
  for (const match of text.matchAll(pattern)) {
    if (match.index > last) out.push({ text: text.slice(last, match.index), role: 'plain' });
    const [whole, string, colon, number] = match;
    if (string !== undefined) {
      out.push({ text: string, role: colon === undefined ? 'string' : 'key' });
      if (colon !== undefined) out.push({ text: colon, role: 'plain' });
    } else out.push({ text: whole, role: number === undefined ? 'word' : 'number' });
    last = match.index + whole.length;
  }
  if (last < text.length) out.push({ text: text.slice(last), role: 'plain' });
  return out;
}

/** JSON with its keys sorted, so that two answers that say the same compare as the same. */
export function sorted(value: Json): Json {
  if (Array.isArray(value)) return value.map(sorted);
  if (!isObject(value)) return value;
  return Object.fromEntries(
    Object.keys(value)
      .sort()
      .map((key) => [key, sorted(value[key] ?? null)]),
  );
}
