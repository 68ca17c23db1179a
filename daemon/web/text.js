// Numbers and times for people.

const whole = new Intl.NumberFormat("en-US");

// 12345 -> "12,345"
export function count(n) {
  return whole.format(n);
}

// As JSON has it: a number, or "NaN", "Infinity", "-Infinity".
export function number(x) {
  return typeof x === "number" ? x : x === undefined || x === null ? undefined : Number(x);
}

// A loss or a rate in four digits: 0.01234, 1.235, 3.2e-5.
export function value(x, digits = 4) {
  const n = number(x);
  if (n === undefined) return "–";
  if (!Number.isFinite(n)) return Number.isNaN(n) ? "NaN" : n > 0 ? "∞" : "−∞";
  if (n === 0) return "0";
  const size = Math.abs(n);
  const text = size >= 1e6 || size < 1e-3 ? n.toExponential(digits - 1) : n.toPrecision(digits);
  return text.replace(/(\.\d*?)0+(e|$)/, "$1$2").replace(/\.(e|$)/, "$1").replace("e+", "e").replace("-", "−").replace("e-", "e−");
}

// A step on an axis that ends at most: 1,500, 25k, 1.5M, in one unit all along.
export function short(n, most) {
  if (n === 0) return "0";
  if (most >= 1e6) return `${+(n / 1e6).toPrecision(4)}M`;
  if (most >= 1e4) return `${+(n / 1e3).toPrecision(5)}k`;
  return Number.isInteger(n) ? count(n) : "";
}

export function plural(n, one, many = `${one}s`) {
  return `${count(n)} ${n === 1 ? one : many}`;
}

const UNITS = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];

// "3 min ago"; clocks that differ a little do not make it the future.
export function ago(time, now = Date.now()) {
  const seconds = Math.max(0, (now - Date.parse(time)) / 1000);
  if (Number.isNaN(seconds)) return "–";
  if (seconds < 2) return "just now";
  const [unit, size] = UNITS.find(([, s]) => seconds >= s) || UNITS[3];
  return `${Math.floor(seconds / size)} ${unit} ago`;
}

export function when(time) {
  const date = new Date(time);
  return Number.isNaN(date.getTime()) ? "–" : date.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
}

// What is added to a failure where an older answer is still in sight.
export function asOf(time) {
  return time ? ` What is shown is of ${time.toLocaleTimeString()}.` : "";
}

// "21600s" -> "6 h", "90s" -> "90 s"
export function duration(text) {
  const seconds = Number.parseFloat(text) * (text.endsWith("ms") ? 0.001 : 1);
  if (!Number.isFinite(seconds)) return text;
  const [unit, size] = UNITS.find(([, s]) => seconds >= 2 * s && seconds % s === 0) || ["s", 1];
  return `${seconds / size} ${unit}`;
}

// [0, 1, 2, 5] -> "0–2, 5"
export function ranges(numbers) {
  const parts = [];
  for (const n of numbers) {
    const last = parts[parts.length - 1];
    if (last && last[1] === n - 1) last[1] = n;
    else parts.push([n, n]);
  }
  return parts.map(([a, b]) => (a === b ? a : b === a + 1 ? `${a}, ${b}` : `${a}–${b}`)).join(", ");
}
