// The two charts of a job on one axis of steps, what is under the pointer, and the buttons that zoom.
import { Chart } from "./chart.js";
import { fill, h, say } from "./dom.js";
import { markIcon } from "./marks.js";
import { ACTIONS } from "./series.js";
import { count, value } from "./text.js";
import { onTheme } from "./theme.js";

const SHADOW_COLOURS = ["shadow-1", "shadow-2", "shadow-3", "shadow-4"];

export class Panel {
  // series: a Series; onRange([from, to] or null): what is seen now, null being everything.
  constructor(series, { onRange, onGroup }) {
    this.series = series;
    this.onRange = onRange;
    this.window = null;
    this.row = -1;
    this.doings = []; // rows that are read together, where the pointer is at more than one
    this.showShadows = true;
    const on = { hover: (row) => this.point(row), zoom: (range) => this.setWindow(range), reset: () => this.setWindow(null) };
    this.lossChart = new Chart({
      title: "Loss", series: lossSeries(), log: false, markColumn: 1, on,
      marks: () => this.series.marks.filter((m) => ACTIONS[m.action].line || ["reset", "skip", "nonfinite"].includes(m.action)),
    });
    this.rateChart = new Chart({
      title: "Learning rate", series: this.rateSeries(), log: true, markColumn: 1, on,
      marks: () => this.series.marks.filter((m) => m.action !== "nonfinite"),
    });
    this.charts = [this.lossChart, this.rateChart];
    this.readout = h("div", { class: "readout", role: "status", "aria-live": "polite" });
    this.groupSelect = h("select", { "aria-label": "Parameter group", hidden: true, onchange: () => onGroup(Number(this.groupSelect.value)) });
    this.shadowButton = h("button", { type: "button", class: "toggle", "aria-pressed": "true", hidden: true, onclick: () => this.toggleShadows() }, "shadows");
    this.zoomButtons = h(
      "div",
      { class: "buttons", role: "group", "aria-label": "Zoom" },
      h("button", { type: "button", "aria-label": "Zoom in", onclick: () => this.zoom(0.5) }, "+"),
      h("button", { type: "button", "aria-label": "Zoom out", onclick: () => this.zoom(2) }, "−"),
      h("button", { type: "button", onclick: () => this.lastRows(100) }, "Last 100"),
      (this.allButton = h("button", { type: "button", onclick: () => this.setWindow(null) }, "All"))
    );
    this.element = h(
      "div",
      { class: "card panel" },
      h("div", { class: "toolbar" }, this.readout, h("div", { class: "tools" }, this.groupSelect, this.shadowButton, this.zoomButtons)),
      this.lossChart.element,
      this.rateChart.element
    );
    for (const chart of this.charts) chart.plot.addEventListener("keydown", (event) => this.key(event));
    this.offTheme = onTheme(() => this.restyle());
    this.observer = new ResizeObserver(() => this.charts.forEach((chart) => chart.resize()));
    this.observer.observe(this.element);
  }

  rateSeries() {
    const shadows = this.series.shadows.map((name, i) => ({
      label: `shadow ${name}`, name, colour: SHADOW_COLOURS[i % SHADOW_COLOURS.length], step: true, width: 1.25, dash: [2, 3],
    }));
    return [
      { label: "rate", colour: "rate", step: true, width: 2 },
      { label: "what if", colour: "what-if", step: true, width: 1.75 },
      ...shadows,
    ];
  }

  // names: of the parameter groups.
  setGroups(names) {
    this.groupSelect.hidden = names.length < 2;
    fill(this.groupSelect, names.map((name, i) => h("option", { value: String(i), selected: i === this.series.group }, name)));
  }

  draw() {
    const { series } = this;
    this.shadowButton.hidden = series.shadows.length === 0;
    this.lossChart.draw(series.loss, lossSeries());
    this.rateChart.draw(series.rate, this.rateSeries());
    this.applyShadows();
    this.legends();
    if (this.window) for (const chart of this.charts) chart.setWindow(this.window);
    this.readRow(this.row);
  }

  legends() {
    const seen = new Set(this.series.marks.map((m) => m.action));
    const keys = Object.keys(ACTIONS).filter((action) => seen.has(action));
    const key = (action) => h("span", { class: "key" }, markIcon(action), ACTIONS[action].label);
    fill(this.lossChart.legend, lossSeries().map((s) => swatch(s.label, s.colour)), keys.filter((k) => k === "nonfinite").map(key));
    fill(
      this.rateChart.legend,
      keys.filter((k) => k !== "nonfinite").map(key),
      this.rateChart.rows.some((row) => row[2] !== null) && swatch("what if", "what-if"),
      this.showShadows && this.rateSeries().slice(2).map((s) => swatch(s.name, s.colour, true))
    );
  }

  toggleShadows() {
    this.showShadows = !this.showShadows;
    this.shadowButton.setAttribute("aria-pressed", String(this.showShadows));
    this.applyShadows();
    this.legends();
  }

  applyShadows() {
    const { graph } = this.rateChart;
    graph?.setVisibility(Object.fromEntries(this.series.shadows.map((_, i) => [i + 2, this.showShadows])));
  }

  restyle() {
    for (const chart of this.charts) chart.restyle();
  }

  // range: [from, to] in steps, or null for all.
  setWindow(range, quietly = false) {
    this.window = range;
    for (const chart of this.charts) {
      if (range) chart.setWindow(range);
      else chart.graph?.updateOptions({ dateWindow: null, valueRange: null });
    }
    this.allButton.disabled = !range;
    if (!quietly) this.onRange(range && [Math.max(0, Math.floor(range[0])), Math.ceil(range[1])]);
  }

  get extent() {
    const { loss } = this.series;
    return loss.length ? [loss[0][0], loss[loss.length - 1][0]] : [0, 1];
  }

  zoom(factor) {
    const [first, last] = this.extent;
    const [low, high] = this.window || [first, last];
    const middle = this.row >= 0 ? Math.min(Math.max(this.series.loss[this.row][0], low), high) : (low + high) / 2;
    const from = middle - (middle - low) * factor;
    const to = middle + (high - middle) * factor;
    if (to - from < 2) return;
    this.setWindow(from <= first && to >= last ? null : [Math.max(from, first), Math.min(to, last)]);
  }

  lastRows(n) {
    const { loss } = this.series;
    if (loss.length < 2) return;
    const revision = this.series.last.revision - n;
    const row = this.series.decisions.findIndex((d) => d.revision >= revision);
    this.setWindow([loss[Math.max(0, row)][0], this.extent[1]]);
  }

  pan(share) {
    if (!this.window) return;
    const [first, last] = this.extent;
    const width = this.window[1] - this.window[0];
    const low = Math.min(Math.max(this.window[0] + share * width, first), last - width);
    this.setWindow([low, low + width]);
  }

  // New rows came: a window that ended at the last step goes on with it.
  follow(before) {
    if (!this.window || this.window[1] < before) return;
    const by = this.extent[1] - before;
    this.setWindow([this.window[0] + by, this.window[1] + by], true);
  }

  key(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10 }[event.key];
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (step && event.shiftKey) this.pan(step * 0.25);
    else if (step) this.walk(step);
    else if (event.key === "Home") this.hover(0);
    else if (event.key === "End") this.hover(this.series.loss.length - 1);
    else if (event.key === "+" || event.key === "=") this.zoom(0.5);
    else if (event.key === "-") this.zoom(2);
    else if (event.key === "Escape" || event.key === "0") this.setWindow(null);
    else return;
    event.preventDefault();
  }

  walk(by) {
    const { loss } = this.series;
    if (!loss.length) return;
    let row = this.row + by;
    if (this.row < 0) row = this.window ? this.series.nearest(by > 0 ? this.window[0] : this.window[1]) : by > 0 ? 0 : loss.length - 1;
    row = Math.min(Math.max(row, 0), loss.length - 1);
    const step = loss[row][0];
    if (this.window && (step < this.window[0] || step > this.window[1])) this.pan(Math.sign(by) * 0.5);
    this.hover(row);
  }

  // The pointer is at a row.  Where a line of somebody's doing is drawn, it is that which is meant, and not the report
  // of the same step; keys walk through all of them.
  point(row) {
    const doings = this.series.doingsAt(row);
    this.hover(doings.length ? doings[doings.length - 1] : row, doings);
  }

  hover(row, doings = []) {
    if (row === this.row && doings.length === this.doings.length) return;
    this.row = row;
    this.doings = doings;
    for (const chart of this.charts) chart.select(row);
    this.readRow(row);
  }

  // What is said of a row, or of the last one.
  readRow(row) {
    const at = row >= 0 ? row : this.series.decisions.length - 1;
    const d = this.series.decisions[at];
    this.readout.classList.toggle("pointed", row >= 0);
    this.readout.classList.toggle("tall", this.series.shadows.length > 0);
    if (!d) return void say(this.readout, "");
    const rate = this.series.rateOf(d);
    const told = this.doings.length > 1 && row >= 0 ? this.doings.map((i) => this.series.decisions[i]) : [d];
    const before = this.series.rateBefore(this.series.decisions.indexOf(told[0]));
    const moved = before !== null && rate !== before;
    const whatIf = this.series.rate[at][2];
    fill(
      this.readout,
      h("b", { class: "step" }, d.step === undefined ? "before the first step" : `step ${count(d.step)}`),
      d.value !== undefined && item("loss", value(d.value)),
      d.value !== undefined && d.smoothed !== undefined && value(d.smoothed) !== value(d.value) && item("smoothed", value(d.smoothed)),
      this.series.loss[at][3] !== null && item("best", value(d.best)),
      item("rate", moved ? `${value(before)} → ${value(rate)}` : value(rate)),
      whatIf !== null && item("what if", value(whatIf)),
      this.showShadows && d.shadow?.map((s) => item(s.name, value(s.lrs?.[this.series.group] ?? s.lr))),
      h("span", { class: "reason" }, told.map((x) => [" ", h("span", { class: `action action-${x.action}` }, x.action), " ", x.reason || ""]))
    );
  }

  destroy() {
    this.offTheme();
    this.observer.disconnect();
    for (const chart of this.charts) chart.destroy();
  }
}

function lossSeries() {
  return [
    { label: "loss", colour: "loss", width: 1.25 },
    { label: "smoothed", colour: "smoothed", width: 1.75 },
    { label: "best", colour: "best", width: 1.25, dash: [2, 3], step: true },
  ];
}

function item(name, text) {
  return [" ", h("span", { class: "item" }, h("i", null, name), " ", h("b", null, text))];
}

function swatch(label, colourName, dashed = false) {
  return h("span", { class: "key" }, h("span", { class: `swatch ${dashed ? "dashed" : ""} c-${colourName}` }), label);
}
