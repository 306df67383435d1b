/** A column of a file of values. */
export interface Column {
  label: string;
  values: readonly (number | null)[];
  /** The highest of the samples that each value stands for, where that is known. */
  high?: readonly (number | null)[];
}

/** Lines as comma-separated values: a time in ISO 8601, then a column for each line, and one for its highest where that is known; what is missing is empty. */
export function csv(times: readonly number[], lines: readonly Column[]): string {
  // A cell that begins as a formula would be one in a spreadsheet.
  const cell = (text: string): string => `"${(/^[=+\-@\t\r]/.test(text) ? `'${text}` : text).replaceAll('"', '""')}"`;
  const columns = lines.flatMap(({ label, values, high }) => [
    { label, values },
    ...(high ? [{ label: `${label}, highest`, values: high }] : []),
  ]);
  const head = ['time', ...columns.map((column) => cell(column.label))].join(',');
  const rows = times.map((time, i) =>
    [new Date(time).toISOString(), ...columns.map((column) => column.values[i] ?? '')].join(','),
  );
  return [head, ...rows, ''].join('\r\n');
}
