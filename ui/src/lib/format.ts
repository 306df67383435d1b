/** Numbers and times as people read them here: at most three significant digits, binary units, 24-hour clock. */

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'] as const;
const THIN = '\u2009';
export const DASH = '–';

/** At most `digits` significant digits, thousands apart by a thin space, no trailing zeros after a point. */
export function number(value: number, digits = 3): string {
  if (!Number.isFinite(value)) return DASH;
  if (value === 0) return '0';
  const whole = Math.trunc(Math.abs(value)).toString().length;
  const decimals = Math.abs(value) < 1 ? digits - 1 : Math.max(0, digits - whole);
  const text = value.toFixed(decimals);
  const [left = '', right] = text.split('.');
  const grouped = left.replace(/\B(?=(\d{3})+(?!\d))/g, THIN);
  const rest = right?.replace(/0+$/, '');
  return rest ? `${grouped}.${rest}` : grouped === '-0' ? '0' : grouped;
}

/** Bytes split into value and unit, so that the unit can be set smaller: [`1.21`, `GiB`]. */
export function bytesParts(bytes: number): [string, string] {
  if (!Number.isFinite(bytes)) return [DASH, ''];
  let unit = 0;
  let value = bytes;
  // 999.5 would round to four digits.
  while (Math.abs(value) >= 999.5 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return [number(value), UNITS[unit] ?? 'B'];
}

export function bytes(value: number | null | undefined): string {
  if (value === null || value === undefined) return DASH;
  const [figure, unit] = bytesParts(value);
  return unit ? `${figure} ${unit}` : figure;
}

/** Whole mebibytes without their unit, for a column that names it. */
export function mebibytes(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return DASH;
  return number(value / 1024 / 1024);
}

export function percent(value: number | null | undefined): string {
  return value === null || value === undefined ? DASH : `${number(value)} %`;
}

const STEPS: readonly [ms: number, unit: string][] = [
  [86_400_000, 'd'],
  [3_600_000, 'h'],
  [60_000, 'min'],
  [1_000, 's'],
];

/** A span with at most two units: `41 s`, `1 min 33 s`, `6 d 4 h`; below a second `640 ms`, below ten `4.2 s`. */
export function duration(ms: number): string {
  if (ms < 0 || !Number.isFinite(ms)) return DASH;
  if (ms < 1) return `${number(ms, 2)} ms`;
  if (ms < 999.5) return `${Math.round(ms)} ms`;
  if (ms < 9_950) return `${number(ms / 1000, 2)} s`;
  const rounded = Math.round(ms / 1000) * 1000;
  const at = STEPS.findIndex(([size]) => rounded >= size);
  const [size, unit] = STEPS[at] ?? [1000, 's'];
  const [smaller, smallerUnit] = STEPS[at + 1] ?? [0, ''];
  const rest = smaller ? Math.floor((rounded % size) / smaller) : 0;
  return rest
    ? `${Math.floor(rounded / size)} ${unit} ${rest} ${smallerUnit}`
    : `${Math.floor(rounded / size)} ${unit}`;
}

/** A span in its largest units without spaces, for narrow columns: `13m`, `6d 4h`. */
export function uptime(ms: number): string {
  if (ms < 60_000) return `${Math.max(0, Math.floor(ms / 1000))}s`;
  if (ms < 3_600_000) return `${Math.floor(ms / 60_000)}m`;
  const hours = Math.floor(ms / 3_600_000);
  if (hours < 24) {
    const minutes = Math.floor((ms % 3_600_000) / 60_000);
    return minutes ? `${hours}h ${minutes}m` : `${hours}h`;
  }
  return hours % 24 ? `${Math.floor(hours / 24)}d ${hours % 24}h` : `${Math.floor(hours / 24)}d`;
}

/** How long ago in one unit, coarse on purpose: `now`, `41 s ago`, `12 min ago`. */
export function ago(ms: number): string {
  if (ms < 1_500) return 'now';
  const [size, unit] = STEPS.find(([step]) => ms >= step) ?? [1000, 's'];
  return `${Math.floor(ms / size)} ${unit} ago`;
}

const two = (value: number) => String(value).padStart(2, '0');

/** `14:32:03` in local time. */
export function clock(at: number): string {
  const time = new Date(at);
  return `${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())}`;
}

/** `14:32` in local time. */
export function minute(at: number): string {
  return clock(at).slice(0, 5);
}

/** `2026-11-20 14:32:03` in local time. */
export function timestamp(at: number): string {
  const time = new Date(at);
  return `${time.getFullYear()}-${two(time.getMonth() + 1)}-${two(time.getDate())} ${clock(at)}`;
}

const DAY_MS = 24 * 3_600_000;

/** A moment on an axis of this length: `14:32:03`, and on one of a day and more `11-20 14:32`. */
export function moment(at: number, span: number): string {
  return span < 0.9 * DAY_MS ? clock(at) : timestamp(at).slice(5, 16);
}

/** The same where it is written below an axis, shorter: `14:32:03`, `14:32`, and over days `11-20` at midnight. */
export function onAxis(at: number, span: number): string {
  if (span < 300_000) return clock(at);
  if (span < 2 * DAY_MS) return minute(at);
  const midnight = minute(at) === '00:00';
  return midnight ? timestamp(at).slice(5, 10) : timestamp(at).slice(5, 16);
}

/** The clock time today, date and time on other days. */
export function when(at: number, now: number): string {
  return new Date(at).toDateString() === new Date(now).toDateString() ? clock(at) : timestamp(at);
}

/** A span that stands still, with the date where it is not of today: `14:32:03 to 14:40:00`. */
export function between(from: number, to: number, now: number): string {
  const sameDay = new Date(from).toDateString() === new Date(to).toDateString();
  return `${when(from, now)} to ${sameDay ? clock(to) : when(to, now)}`;
}

/** `1 server`, `3 servers`. */
export function count(amount: number, one: string, many = `${one}s`): string {
  return `${number(amount, 6)} ${amount === 1 ? one : many}`;
}

/** The text as a whole sentence: with a full stop, where it ends without a mark. */
export function whole(text: string): string {
  return !text || /[.!?…]$/.test(text) ? text : `${text}.`;
}

/** Names in a sentence: `a`, `a and b`, `a, b and 3 more`. */
export function names(list: readonly string[], most = 3): string {
  if (list.length <= 1) return list[0] ?? '';
  const shown = list.slice(0, list.length > most ? most - 1 : list.length);
  const last = list.length > most ? `${list.length - shown.length} more` : shown.pop();
  return `${shown.join(', ')} and ${last}`;
}
