// The shapes that mark what happened, drawn on a chart's canvas and in its legend alike.
import { colour } from "./theme.js";
import { ACTIONS } from "./series.js";

const SHAPES = {
  up: [[0, -1], [1, 0.75], [-1, 0.75]],
  down: [[0, 1], [1, -0.75], [-1, -0.75]],
  diamond: [[0, -1.15], [1.15, 0], [0, 1.15], [-1.15, 0]],
  square: [[-0.85, -0.85], [0.85, -0.85], [0.85, 0.85], [-0.85, 0.85]],
  left: [[-1.1, 0], [0.8, -1.05], [0.8, 1.05]],
  cross: [[-0.9, -0.5], [-0.5, -0.9], [0, -0.35], [0.5, -0.9], [0.9, -0.5], [0.35, 0], [0.9, 0.5], [0.5, 0.9], [0, 0.35],
    [-0.5, 0.9], [-0.9, 0.5], [-0.35, 0]],
  bar: [[-0.35, -1], [0.35, -1], [0.35, 1], [-0.35, 1]],
};

export function markColour(action) {
  return colour(SHAPES[ACTIONS[action].glyph] === SHAPES.bar ? "mark-other" : `mark-${action}`);
}

function path(context, glyph, x, y, size) {
  context.beginPath();
  for (const [i, [dx, dy]] of SHAPES[glyph].entries()) {
    context[i ? "lineTo" : "moveTo"](x + dx * size, y + dy * size);
  }
  context.closePath();
}

// marks: those of a Series; at(mark): {x, y} in the chart, or null where it is out of sight; area: {y, h}.
// Where marks of raises and cuts are dense they get smaller, and in the end give way to the curve itself.
export function drawMarks(context, area, marks, at) {
  const placed = [];
  for (const mark of marks) {
    const point = at(mark);
    if (point) placed.push({ ...mark, ...point });
  }
  const dense = area.w / Math.max(1, placed.filter((m) => !ACTIONS[m.action].line).length);
  const size = dense > 14 ? 5 : dense > 6 ? 4 : dense > 2.5 ? 3 : 2.2;
  context.save();
  context.lineWidth = 1.5;
  for (const mark of placed) if (ACTIONS[mark.action].line) drawLine(context, area, mark);
  for (const mark of placed) {
    const { glyph, line } = ACTIONS[mark.action];
    const big = line || ["reset", "skip", "nonfinite"].includes(mark.action);
    path(context, glyph, mark.x, line ? area.y + 7 : mark.y, big ? 5 : size);
    context.fillStyle = markColour(mark.action);
    context.strokeStyle = colour("surface");
    if (big || size >= 3) context.stroke();
    context.fill();
  }
  context.restore();
}

function drawLine(context, area, mark) {
  context.strokeStyle = markColour(mark.action);
  context.globalAlpha = 0.7;
  context.setLineDash([4, 3]);
  context.lineWidth = 1;
  context.beginPath();
  context.moveTo(Math.round(mark.x) + 0.5, area.y + 7);
  context.lineTo(Math.round(mark.x) + 0.5, area.y + area.h);
  context.stroke();
  context.setLineDash([]);
  context.globalAlpha = 1;
  context.lineWidth = 1.5;
}

// The shape alone, for a legend.
export function markIcon(action) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "-1.4 -1.4 2.8 2.8");
  svg.setAttribute("width", "12");
  svg.setAttribute("height", "12");
  svg.setAttribute("aria-hidden", "true");
  const { glyph } = ACTIONS[action];
  svg.setAttribute("class", `mark mark-${glyph === "bar" ? "other" : action}`);
  const shape = document.createElementNS("http://www.w3.org/2000/svg", "polygon");
  shape.setAttribute("points", SHAPES[glyph].map((p) => p.join(",")).join(" "));
  svg.append(shape);
  return svg;
}
