// The ranks of a job: who has reported the open round, and who is missing.
import { fill, h } from "./dom.js";
import { count, duration, plural, ranges } from "./text.js";

const CELLS = 256; // ranks that are drawn one by one

export function showRound(element, job) {
  const ranks = job.effective?.ranks || job.spec.ranks || {};
  const world = ranks.world_size ?? 1;
  const round = job.state.open_round;
  element.hidden = world < 2 && !round;
  if (element.hidden) return;
  fill(
    element,
    h("header", null, h("h2", null, "Ranks"), h("span", { class: "hint" }, `${plural(world, "rank")}, ${ranks.reduce || "mean"}`)),
    round ? openRound(round, ranks) : h("p", { class: "hint" }, "No round is open: every rank that reported has its decision.")
  );
}

function openRound(round, ranks) {
  const missing = new Set(round.missing || []);
  const absent = round.world_size - round.reported;
  const named = missing.size === absent;
  return [
    h("p", null, h("b", null, `Step ${count(round.step)}`), `: ${count(round.reported)} of ${count(round.world_size)} reported`,
      round.overdue && h("span", { class: "badge bad" }, "overdue")),
    h("div", { class: "meter", role: "img", "aria-label": `${round.reported} of ${round.world_size} ranks reported` },
      meter(round.reported / round.world_size)),
    named && round.world_size <= CELLS && h("ol", { class: "ranks", start: "0", "aria-label": "Ranks" }, cells(round.world_size, missing)),
    h("p", { class: "missing" }, "Missing: ", h("b", null, ranges(round.missing || [])), !named && ` and ${plural(absent - missing.size, "other")}`),
    h("p", { class: "hint" },
      round.overdue
        ? "The deadline passed without a quorum. The values stay: the next report waits on, and a quorum decides at once."
        : `Decides when all are there${round.quorum < round.world_size ? `, or with ${count(round.quorum)} at the deadline` : ""}. The deadline is ${duration(ranks.deadline || "60s")} after the first report.`),
    round.rounds_behind > 0 && h("p", { class: "hint" }, `${plural(round.rounds_behind, "later step")} wait behind it.`),
  ];
}

function meter(share) {
  const bar = h("span");
  bar.style.width = `${Math.round(1000 * share) / 10}%`;
  return bar;
}

function cells(world, missing) {
  return Array.from({ length: world }, (_, rank) =>
    h("li", { class: missing.has(rank) ? "absent" : "there", title: `rank ${rank}: ${missing.has(rank) ? "missing" : "reported"}` }, String(rank)));
}
