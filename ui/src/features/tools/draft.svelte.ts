import { parse, type Json } from './json';

/** Arguments as a value and as its text: either edits the other. A text that is not JSON changes no value. */
export class Draft {
  value = $state.raw<Json>({});
  text = $state('{}');
  /** Where the text is not JSON; while it is, the form stands still. */
  fault = $state.raw<{ message: string; line: number; column: number } | null>(null);

  constructor(start: Json) {
    this.set(start);
  }

  /** Takes a value, as the form gives it. */
  set(value: Json): void {
    this.value = value;
    this.text = JSON.stringify(value, null, 2);
    this.fault = null;
  }

  /** Takes a text, as it was typed; it is never written back while it is being typed. */
  type(text: string): void {
    this.text = text;
    const parsed = parse(text);
    if (parsed.ok) {
      this.value = parsed.value;
      this.fault = null;
    } else this.fault = { message: parsed.message, line: parsed.line, column: parsed.column };
  }
}
