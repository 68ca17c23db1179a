// A curve in a line of the list: no axes, no pointer, only the shape.
import { Dygraph } from "./dygraph.js";
import { colour } from "./theme.js";

// rows: [x, y]; returns what removes it.
export function spark(element, rows, { colourName, step = false, log = false }) {
  const finite = rows.filter(([, y]) => y !== null && Number.isFinite(y) && (!log || y > 0));
  if (finite.length < 2) return () => {};
  const graph = new Dygraph(element, rows, {
    labels: ["x", "y"],
    axes: { x: { drawAxis: false, drawGrid: false }, y: { drawAxis: false, drawGrid: false } },
    colors: [colour(colourName)],
    strokeWidth: 1.5,
    stepPlot: step,
    logscale: log,
    connectSeparatedPoints: true,
    includeZero: false,
    xRangePad: 1,
    yRangePad: 3,
    highlightCircleSize: 0,
    interactionModel: {},
    legend: "never",
    plugins: [],
  });
  return () => graph.destroy();
}
