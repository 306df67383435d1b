/** Places in a text that is edited. */

/** Where a line begins, counted from 1; the last one's beginning for a line that is not there. */
export function lineStart(text: string, line: number): number {
  let at = 0;
  for (let n = 1; n < line; n += 1) {
    const next = text.indexOf('\n', at);
    if (next < 0) return at;
    at = next + 1;
  }
  return at;
}

/** What a new line after this place begins with: as the one before, deeper after a key without a value, under the text of an item. */
export function nextIndent(text: string, at: number): string {
  const line = text.slice(text.lastIndexOf('\n', at - 1) + 1, at);
  const [, blanks = '', dash = ''] = /^(\s*)(- )?/.exec(line) ?? [];
  const indent = blanks + ' '.repeat(dash.length);
  return /:\s*[|>]?-?\s*$/.test(line) ? `${indent}  ` : indent;
}
