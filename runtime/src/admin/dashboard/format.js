// Numbers, units and times as people read them. What is not known is a dash.

const NOTHING = "–";
const decimals = [0, 1, 2].map((digits) => new Intl.NumberFormat("en-US", { maximumFractionDigits: digits }));
const moneyFormats = new Map();
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const minutes = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const moment = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });

/** Whether a value is a number at all. */
const isKnown = (value) => typeof value === "number" && Number.isFinite(value);

/** A count, in full. */
export const count = (value) => (isKnown(value) ? decimals[0].format(value) : NOTHING);

/** A measured number with about three digits. */
export function number(value) {
  if (!isKnown(value)) return NOTHING;
  return decimals[Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2].format(value);
}

/** Something per second. */
export const perSecond = (value) => (isKnown(value) ? `${number(value)}/s` : NOTHING);

/** Part of a whole, as a percentage. */
export const percent = (part, whole) => (whole > 0 ? `${number((100 * part) / whole)} %` : NOTHING);

/** A time in microseconds, in the unit that fits. */
export function duration(us) {
  if (!isKnown(us)) return NOTHING;
  if (us < 1_000) return `${decimals[0].format(us)} µs`;
  if (us < 1_000_000) return `${number(us / 1_000)} ms`;
  return us < 120_000_000 ? `${number(us / 1_000_000)} s` : `${number(us / 60_000_000)} min`;
}

/** Bytes in the unit that fits. */
export function bytes(value) {
  if (!isKnown(value)) return NOTHING;
  const unit = ["B", "KiB", "MiB", "GiB", "TiB"];
  const power = value < 1 ? 0 : Math.min(unit.length - 1, Math.floor(Math.log(value) / Math.log(1024)));
  return `${number(value / 1024 ** power)} ${unit[power]}`;
}

/** Megabytes of memory classes and quotas. */
export const megabytes = (value) => (isKnown(value) ? `${count(value)} MB` : NOTHING);

/** Gigabyte-seconds. */
export const gigabyteSeconds = (value) => (isKnown(value) ? `${number(value)} GB-s` : NOTHING);

/** Money; small sums with as many digits as say something. */
export function money(value, currency) {
  if (!isKnown(value)) return NOTHING;
  const format = moneyFormat(currency, value === 0 || value >= 1 ? 2 : 4);
  return value > 0 && value < 0.00005 ? `< ${format.format(0.0001)}` : format.format(value);
}

/** Making a format takes longer than using it a hundred times. */
function moneyFormat(currency, digits) {
  const name = `${currency} ${digits}`;
  const style = { style: "currency", currency, minimumFractionDigits: digits, maximumFractionDigits: digits };
  if (!moneyFormats.has(name)) moneyFormats.set(name, new Intl.NumberFormat("en-US", style));
  return moneyFormats.get(name);
}

/** `3 instances`, `1 instance`. */
export const plural = (value, one, many = `${one}s`) => `${count(value)} ${value === 1 ? one : many}`;

/** The time of day, to the second. */
export const timeOfDay = (ms) => clock.format(ms);

/** The time of day, to the minute. */
export const hourAndMinute = (ms) => minutes.format(ms);

/** A moment in full, for titles. */
export const absolute = (ms) => (isKnown(ms) ? `${moment.format(ms)} (${new Date(ms).toISOString()})` : NOTHING);

/** How long ago something was, or how long until it is. */
export function relative(ms, now) {
  if (!isKnown(ms)) return NOTHING;
  const seconds = Math.round(Math.abs(now - ms) / 1_000);
  if (seconds < 2) return "now";
  const [size, unit] = [[86_400, "d"], [3_600, "h"], [60, "min"], [1, "s"]].find(([size]) => seconds >= size);
  const span = `${Math.floor(seconds / size)} ${unit}`;
  return ms > now ? `in ${span}` : `${span} ago`;
}
