// The history as a table, the newest entries first, a page of revisions at a time.
import { allDecisions } from "./api.js";
import { fill, h } from "./dom.js";
import { markIcon } from "./marks.js";
import { ACTIONS } from "./series.js";
import { ago, count, value, when } from "./text.js";

const PAGE = 50;

export class History {
  // known(): decisions that the charts have, ascending, so that a page of revisions can be found by its steps.
  constructor({ job, known, signal }) {
    Object.assign(this, { job, known, signal, newest: -1, to: null, shown: "" });
    this.body = h("tbody");
    this.range = h("span", { class: "hint", role: "status" });
    this.older = h("button", { type: "button", onclick: () => this.go(Math.max(this.end - PAGE, 1)) }, "Older");
    this.newer = h("button", { type: "button", onclick: () => this.go(this.end + PAGE >= this.newest ? null : this.end + PAGE) }, "Newer");
    this.problem = h("p", { class: "problem", role: "alert", hidden: true });
    const heads = [["Revision", 1], ["Step", 1], ["Value", 1], ["Rate", 1], ["Action"], ["Reason"], ["When"]];
    this.element = h(
      "section",
      { class: "card history", "aria-label": "History" },
      h("header", null, h("h2", null, "History"), this.range, h("span", { class: "spring" }), h("div", { class: "buttons" }, this.newer, this.older)),
      this.problem,
      h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Decisions" },
        h("table", null, h("thead", null, h("tr", null, heads.map(([name, numeric]) => h("th", { scope: "col", class: numeric ? "numeric" : null }, name)))), this.body))
    );
  }

  // The last revision of the page in sight.
  get end() {
    return this.to ?? this.newest;
  }

  // A newer revision is there; only the first page moves with it.
  grow(revision) {
    if (revision === this.newest) return;
    this.newest = revision;
    if (this.to === null) this.load();
    else this.buttons();
  }

  go(to) {
    this.to = to;
    this.load();
  }

  buttons() {
    this.older.disabled = this.end <= PAGE;
    this.newer.disabled = this.to === null;
  }

  async load() {
    const to = Math.max(0, this.end);
    const from = Math.max(1, to - PAGE + 1);
    this.buttons();
    try {
      const rows = to ? await this.fetch(from, to) : [];
      if (to !== Math.max(0, this.end) || this.signal.aborted) return;
      this.problem.hidden = true;
      this.show(rows, from, to);
    } catch (error) {
      if (this.signal.aborted) return;
      this.problem.hidden = false;
      this.problem.textContent = error.message;
    }
  }

  // Decisions are asked for by step: from that of the last known one before the page.
  async fetch(from, to) {
    let start;
    let end;
    for (const d of this.known()) {
      if (d.revision <= from && d.step !== undefined) start = d.step;
      if (d.revision > to && d.step !== undefined && end === undefined && start !== undefined) end = d.step;
    }
    const query = { from_step: start, superseded: true };
    const found = await allDecisions(this.job, query, this.signal, (rows) => rows[rows.length - 1].revision < to);
    return found.filter((d) => d.revision >= from && d.revision <= to).reverse();
  }

  show(rows, from, to) {
    const key = JSON.stringify(rows.map((d) => [d.revision, d.superseded]));
    this.range.textContent = rows.length ? `revisions ${count(from)}–${count(to)} of ${count(this.newest)}` : "";
    if (key === this.shown) return;
    this.shown = key;
    fill(this.body, rows.length ? rows.map(row) : h("tr", null, h("td", { colspan: "7", class: "none" },
      this.newest ? "Entries of these revisions are not kept (--history-limit)." : "Nothing was decided yet.")));
  }
}

function row(d) {
  const event = !["hold", "schedule", "ramp"].includes(d.action);
  return h(
    "tr",
    { class: `${d.superseded ? "superseded" : ""} ${event ? "event" : ""}`, title: d.superseded ? "A rewind went back behind this." : null },
    h("td", { class: "numeric" }, count(d.revision)),
    h("td", { class: "numeric" }, d.step === undefined ? "–" : count(d.step)),
    h("td", { class: "numeric" }, d.value === undefined ? "–" : value(d.value)),
    h("td", { class: "numeric" }, (d.lrs || [d.lr]).map((lr) => value(lr)).join(", ")),
    h("td", null, h("span", { class: `action action-${d.action}` }, ACTIONS[d.action] && markIcon(d.action), d.action)),
    h("td", { class: "reason" }, d.reason || "", d.actor && h("span", { class: "hint" }, ` by ${d.actor}`)),
    h("td", { class: "time", title: when(d.time) }, ago(d.time))
  );
}
