// One chart: dygraphs with our looks, marks, keys and pointer.  Two of them are tied together by panel.js.
import { h, say } from "./dom.js";
import { Dygraph } from "./dygraph.js";
import { drawMarks } from "./marks.js";
import { short, value } from "./text.js";
import { colour } from "./theme.js";

// Dragging zooms; there is nothing for touch, so that a finger still scrolls the page.
const model = {
  mousedown: Dygraph.defaultInteractionModel.mousedown,
  willDestroyContextMyself: true,
  dblclick: (event, g) => g.glrReset(),
};

export class Chart {
  // series: [{label, colour, width, dash, step}], one a column; marks(): those to draw; on: {hover(row), zoom(window),
  // reset()}.
  constructor({ title, series, log, marks, markColumn, on }) {
    this.series = series;
    this.marks = marks;
    this.markColumn = markColumn;
    this.log = log;
    this.on = on;
    this.rows = [];
    this.plot = h("div", { class: "plot", tabindex: "0", role: "group", "aria-label": `${title} over steps. Arrow keys walk through the decisions, plus and minus zoom, Escape shows everything.` });
    this.hair = h("div", { class: "hair", hidden: true });
    this.empty = h("p", { class: "plot-empty", hidden: true });
    this.legend = h("div", { class: "legend" });
    this.logButton = h("button", { type: "button", class: "toggle", "aria-pressed": String(log), onclick: () => this.setLog(!this.log) }, "log");
    this.element = h(
      "section",
      { class: "chart", "aria-label": title },
      h("header", null, h("h3", null, title), this.legend, h("span", { class: "spring" }), this.logButton),
      h("div", { class: "plot-box" }, this.plot, this.hair, this.empty)
    );
  }

  // Columns may change; rows: as Series has them.
  draw(rows, series = this.series) {
    const same = this.graph && series.length === this.series.length && series.every((s, i) => s.label === this.series[i].label);
    this.rows = rows;
    this.series = series;
    this.empty.hidden = rows.length > 0;
    say(this.empty, "No reports yet: the curve begins with the first one.");
    const file = rows.length ? rows : [[0, ...series.map(() => null)]];
    if (same) this.graph.updateOptions({ file, logscale: this.log && rows.length > 0 });
    else this.build(file);
  }

  build(file) {
    this.graph?.destroy();
    this.graph = new Dygraph(this.plot, file, this.options());
    this.graph.glrReset = () => this.on.reset();
    this.restyle();
  }

  options() {
    const axis = { axisLineColor: colour("rule"), gridLineColor: colour("rule-faint"), axisLineWidth: 1 };
    return {
      labels: ["step", ...this.series.map((s) => s.label)],
      series: Object.fromEntries(this.series.map((s) => [s.label, seriesOptions(s)])),
      axes: {
        x: { ...axis, axisLabelFormatter: (v, granularity, option, g) => short(v, g.xAxisRange()[1]), drawGrid: false, pixelsPerLabel: 70, axisLabelWidth: 64 },
        y: { ...axis, axisLabelFormatter: (v) => value(v, 3), pixelsPerLabel: 28, axisLabelWidth: 58 },
      },
      interactionModel: model,
      plugins: [{ activate: () => ({ didDrawChart: (e) => this.decorate(e.dygraph, e.drawingContext) }), destroy() {} }],
      logscale: this.log && this.rows.length > 0,
      connectSeparatedPoints: true,
      includeZero: false,
      xRangePad: 10,
      yRangePad: 12,
      rightGap: 12,
      strokeWidth: 1.5,
      highlightCircleSize: 4,
      highlightSeriesOpts: null,
      legend: "never",
      highlightCallback: (event, x, points, row) => this.on.hover(row),
      unhighlightCallback: () => this.on.hover(-1),
      zoomCallback: () => this.on.zoom(this.graph.xAxisRange()),
    };
  }

  // Colours of the theme in force.
  restyle() {
    if (!this.graph) return;
    const options = this.options();
    this.graph.updateOptions({ series: options.series, axes: options.axes });
  }

  setLog(log) {
    this.log = log;
    this.logButton.setAttribute("aria-pressed", String(log));
    this.graph?.updateOptions({ logscale: log && this.rows.length > 0 });
  }

  setWindow(range) {
    this.graph?.updateOptions({ dateWindow: range });
  }

  get window() {
    return this.graph ? this.graph.xAxisRange() : [0, 1];
  }

  decorate(g, context) {
    const area = g.getArea();
    const [low, high] = g.xAxisRange();
    const place = (mark) => {
      if (mark.step < low || mark.step > high) return null;
      const y = this.rows[mark.row]?.[this.markColumn];
      const at = Number.isFinite(y) && y !== null ? g.toDomYCoord(y) : area.y + 8;
      return { x: g.toDomXCoord(mark.step), y: Math.min(Math.max(at, area.y + 6), area.y + area.h - 6) };
    };
    drawMarks(context, area, this.marks(), place);
  }

  // Shows the row in both charts alike; -1: none.
  select(row) {
    const g = this.graph;
    if (!g || row < 0 || row >= this.rows.length) {
      this.hair.hidden = true;
      g?.clearSelection();
      return;
    }
    g.setSelection(row);
    const x = g.toDomXCoord(this.rows[row][0]);
    const area = g.getArea();
    this.hair.hidden = x < area.x || x > area.x + area.w;
    this.hair.style.transform = `translateX(${Math.round(x)}px)`;
  }

  resize() {
    this.graph?.resize();
  }

  destroy() {
    this.graph?.destroy();
    this.graph = null;
  }
}

function seriesOptions(s) {
  return {
    color: colour(s.colour),
    strokeWidth: s.width ?? 1.5,
    strokePattern: s.dash ?? null,
    stepPlot: s.step ?? false,
    drawPoints: s.points ?? false,
    pointSize: 1.5,
  };
}
