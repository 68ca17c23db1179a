// From decisions to what charts draw: one row for each decision, the same rows in both charts, so that a row found in one
// is a row of the other.
import { number } from "./text.js";

// What happened, in the order in which it is drawn over each other.  glyph: a shape of marks.js; line: a line down the
// chart as well, since it is not the course of training but somebody's doing.
export const ACTIONS = {
  raise: { glyph: "up", label: "raise" },
  cut: { glyph: "down", label: "cut" },
  reset: { glyph: "diamond", label: "reset" },
  override: { glyph: "square", label: "override", line: true },
  rewind: { glyph: "left", label: "rewind", line: true },
  skip: { glyph: "cross", label: "skipped" },
  nonfinite: { glyph: "cross", label: "not finite" }, // no action of a decision, but what became of its value
  begin: { glyph: "bar", label: "new attempt", line: true },
  fork: { glyph: "bar", label: "fork", line: true },
  import: { glyph: "bar", label: "import", line: true },
  update: { glyph: "bar", label: "settings changed", line: true },
  pause: { glyph: "bar", label: "pause", line: true },
  resume: { glyph: "bar", label: "resume", line: true },
  finish: { glyph: "bar", label: "finish", line: true },
};

// A finite number, NaN where a value was not finite (a gap), null where there is none (the line goes on).
function plotted(x) {
  const n = number(x);
  return n === undefined ? null : Number.isFinite(n) ? n : NaN;
}

export class Series {
  constructor(group = 0) {
    this.group = group;
    this.shadows = [];
    this.clear();
  }

  clear() {
    this.decisions = [];
    this.loss = []; // [step, value, smoothed, best]
    this.rate = []; // [step, rate, what-if, shadows...]
    this.marks = []; // {row, step, action}
  }

  // Ascending by revision; shadows: their names, which may have changed.
  load(decisions, shadows) {
    this.clear();
    this.shadows = shadows;
    for (const d of decisions) this.append(d);
  }

  append(d) {
    const row = this.decisions.length;
    const last = row ? this.loss[row - 1][0] : 0;
    const step = Math.max(d.step ?? last, last);
    this.decisions.push(d);
    this.loss.push([step, plotted(d.value), d.value === undefined ? null : plotted(d.smoothed), plottedBest(d)]);
    this.rate.push([step, this.rateOf(d), null, ...this.shadowRates(d)]);
    if (ACTIONS[d.action]) this.marks.push({ row, step, action: d.action });
    if (Number.isNaN(plotted(d.value)) && d.action !== "skip") this.marks.push({ row, step, action: "nonfinite" });
  }

  rateOf(decision) {
    return plotted(decision.lrs?.[this.group] ?? decision.lr);
  }

  shadowRates(decision) {
    return this.shadows.map((name) => {
      const found = decision.shadow?.find((s) => s.name === name);
      return found ? plotted(found.lrs?.[this.group] ?? found.lr) : null;
    });
  }

  // The rate that was in force when a row was decided; null where the decision before is not here.
  rateBefore(row) {
    if (row === 0 || this.decisions[row - 1].revision !== this.decisions[row].revision - 1) return null;
    return this.rate[row - 1][1];
  }

  // The rows at a row's step that are somebody's doing: of these the chart draws one line.
  doingsAt(row) {
    const found = [];
    if (row < 0) return found;
    const step = this.loss[row][0];
    let at = row;
    while (at > 0 && this.loss[at - 1][0] === step) at--;
    for (; at < this.loss.length && this.loss[at][0] === step; at++) {
      if (ACTIONS[this.decisions[at].action]?.line) found.push(at);
    }
    return found;
  }

  // Puts simulated rates over the rows: steps and rates, ascending by step; none takes them away.
  simulated(steps, rates) {
    let at = -1;
    for (const row of this.rate) {
      while (steps && at + 1 < steps.length && steps[at + 1] <= row[0]) at++;
      row[2] = steps && at >= 0 ? rates[at] : null;
    }
  }

  // The row whose step is nearest.
  nearest(step) {
    let low = 0;
    let high = this.loss.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.loss[middle][0] < step) low = middle + 1;
      else high = middle;
    }
    return low > 0 && step - this.loss[low - 1][0] < this.loss[low][0] - step ? low - 1 : low;
  }

  get last() {
    return this.decisions[this.decisions.length - 1];
  }
}

function plottedBest(d) {
  const best = number(d.best);
  return best !== undefined && Number.isFinite(best) ? best : null;
}
