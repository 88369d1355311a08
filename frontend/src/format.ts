// Numbers and times for people.

const UNITS = ["B", "kB", "MB", "GB", "TB"];

/** Bytes with three digits. */
export function bytes(count: number): string {
  let [value, unit] = [count, 0];
  // What would be rounded to 1000 has the next unit.
  while (value >= (unit === 0 ? 1000 : 999.5) && unit < UNITS.length - 1) {
    value /= 1000;
    unit++;
  }
  const digits = unit === 0 || value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return `${value.toFixed(digits)} ${UNITS[unit]}`;
}

/** A duration of so many milliseconds. */
export function duration(ms: number): string {
  if (ms < 1) return "0 ms";
  if (ms < 999.5) return `${Math.round(ms)} ms`;
  if (ms < 59_950) return `${(ms / 1000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1000);
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
  const rest = String(seconds % 60).padStart(2, "0");
  return hours > 0 ? `${hours}:${String(minutes).padStart(2, "0")}:${rest} h` : `${minutes}:${rest} min`;
}

const TODAY: Intl.DateTimeFormatOptions = { hour: "2-digit", minute: "2-digit", second: "2-digit" };
const EARLIER: Intl.DateTimeFormatOptions = { year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" };

/** Making one takes longer than a hundred uses. */
const formats = new Map<string, Intl.DateTimeFormat>();

/** A point in time, short; today's without the date. */
export function when(time: string, language: string, now = new Date()): string {
  const date = new Date(time);
  const today = date.toDateString() === now.toDateString();
  const key = `${language} ${today}`;
  const format = formats.get(key) ?? new Intl.DateTimeFormat(language, today ? TODAY : EARLIER);
  formats.set(key, format);
  return format.format(date);
}

/** The part of an id or digest that people look at. */
export function short(id: string): string {
  return id.replace(/^sha256:/, "").slice(0, 12);
}
