/** A column of a file of values. */
export interface Column {
  label: string;
  values: readonly (number | null)[];
}

/** Lines as comma-separated values: a time in ISO 8601, then a column for each line; what is missing is empty. */
export function csv(times: readonly number[], lines: readonly Column[]): string {
  // A cell that begins as a formula would be one in a spreadsheet.
  const cell = (text: string): string => `"${(/^[=+\-@\t\r]/.test(text) ? `'${text}` : text).replaceAll('"', '""')}"`;
  const head = ['time', ...lines.map((line) => cell(line.label))].join(',');
  const rows = times.map((time, i) =>
    [new Date(time).toISOString(), ...lines.map((line) => line.values[i] ?? '')].join(','),
  );
  return [head, ...rows, ''].join('\r\n');
}
