// The page of one job: what it is, its curves, its ranks, settings and history, kept up to date by its stream.
import { ApiError, getJob, listDecisions, passes, watch } from "./api.js";
import { badges, labels, lastReport, policyField, policyName } from "./badges.js";
import { command, debounce, fill, h, say } from "./dom.js";
import { History } from "./history.js";
import { Panel } from "./panel.js";
import { showRound } from "./round.js";
import { Series } from "./series.js";
import { showSettings } from "./settings.js";
import { ago, asOf, count, number, value, when } from "./text.js";
import { WhatIf } from "./whatif.js";

const POINTS = 1000; // of a curve: more than a screen is wide
const DRAW_EVERY = 250; // ms, however fast decisions come
// After these the history that counts is another one.
const REWRITES = new Set(["rewind", "begin", "import", "fork"]);

export class JobPage {
  constructor(root, name, { live }) {
    this.name = name;
    this.live = live;
    this.stop = new AbortController();
    this.signal = this.stop.signal;
    this.overview = []; // the whole history, thinned out, and what came since
    this.detail = null; // {from, to, decisions}: a part of it, in full or thinned out less
    this.series = new Series();
    this.panel = new Panel(this.series, { onRange: debounce((range) => this.zoomed(range), 200), onGroup: (group) => this.regroup(group) });
    this.whatIf = new WhatIf({
      job: name, signal: this.signal, group: () => this.series.group, onRates: (steps, rates) => this.simulated(steps, rates),
    });
    this.history = new History({ job: name, signal: this.signal, known: () => this.overview });
    this.build(root);
    this.refreshSoon = debounce(() => this.refresh(), 300);
    this.start();
  }

  build(root) {
    this.heading = h("h1", null, this.name);
    this.badges = h("span", { class: "badges" });
    this.labels = h("div", { class: "labels" });
    this.facts = h("p", { class: "facts" });
    this.problem = h("div", { class: "problem", role: "alert", hidden: true });
    this.tiles = h("dl", { class: "tiles" });
    this.round = h("section", { class: "card round", hidden: true, "aria-label": "Ranks" });
    this.settings = h("section", { class: "card settings-card", "aria-label": "Settings" });
    this.first = h(
      "section",
      { class: "card empty", hidden: true, "aria-label": "No reports yet" },
      h("h2", null, "Waiting for the first report"),
      h("p", null, "The curves begin with it. From the training run, or from a shell:"),
      command(`curl -s ${location.origin}/v1/jobs/${this.name}:report -d '{"step":1,"loss":2.31}'`)
    );
    this.content = h(
      "div",
      { class: "job", hidden: true },
      h("div", { class: "main-column" }, this.tiles, this.first, this.panel.element, this.whatIf.element, this.history.element),
      h("aside", null, this.round, this.settings)
    );
    fill(root,
      h("div", { class: "job-head" }, h("a", { href: "#/", class: "back" }, "← Jobs"),
        h("div", { class: "job-title" }, this.heading, this.badges, this.labels), this.facts),
      this.problem, this.content);
  }

  // ended: the stream has said the last word.
  complain(error) {
    if (this.ended) return;
    this.problem.hidden = !error;
    say(this.problem, error ? error.message + (passes(error) ? asOf(this.heard) : "") : "");
  }

  async start() {
    try {
      await this.loadJob();
      await this.loadDecisions();
      this.content.hidden = false;
      this.draw();
      this.poll();
      this.follow();
    } catch (error) {
      if (this.signal.aborted) return;
      this.complain(error);
      this.live(passes(error) ? "waiting" : "off");
      if (passes(error)) this.again = setTimeout(() => this.start(), 3000);
    }
  }

  async loadJob() {
    this.job = await getJob(this.name, this.signal);
    this.heard = new Date();
    this.complain(null);
    this.showJob();
  }

  async thinned(query) {
    return (await listDecisions(this.name, { ...query, max_points: POINTS }, this.signal)).decisions;
  }

  async loadDecisions() {
    this.overview = await this.thinned({});
    if (this.detail) this.detail.decisions = await this.thinned({ from_step: this.detail.from, to_step: this.detail.to });
    this.reload();
  }

  get lastRevision() {
    return Math.max(this.overview.length ? this.overview[this.overview.length - 1].revision : 0, this.streamed || 0);
  }

  // Puts overview and detail together.
  reload() {
    const { detail } = this;
    let rows = this.overview;
    if (detail) {
      const inside = (d) => d.step !== undefined && d.step >= detail.from && d.step <= detail.to;
      rows = [...rows.filter((d) => !inside(d)), ...detail.decisions].sort((a, b) => a.revision - b.revision);
    }
    const shadows = (this.job.spec.shadow || []).map((s) => s.name);
    this.series.load(rows, shadows);
    this.restoreSimulation();
  }

  draw() {
    this.drawn = performance.now();
    this.first.hidden = this.overview.length > 0;
    this.panel.element.hidden = this.whatIf.element.hidden = this.overview.length === 0;
    this.panel.setGroups(this.groupNames());
    this.panel.draw();
    this.history.grow(this.job.revision);
    this.showBadges();
  }

  groupNames() {
    const { lrs } = this.job.state;
    return (lrs || []).map((_, i) => this.job.spec.group_names?.[i] || `group ${i}`);
  }

  // A part is looked at: fetched more densely, where the overview has left something out.
  async zoomed(range) {
    try {
      if (!range) {
        this.detail = null;
      } else {
        const [from, to] = range;
        const decisions = await this.thinned({ from_step: from, to_step: to });
        const [low, high] = this.panel.window || [];
        if (low === undefined || Math.floor(low) > to || Math.ceil(high) < from) return;
        this.detail = { from, to, decisions };
      }
      this.reload();
      this.panel.draw();
    } catch (error) {
      if (!this.signal.aborted) this.complain(error);
    }
  }

  regroup(group) {
    this.series.group = group;
    this.reload();
    this.panel.draw();
    this.showTiles();
    this.whatIf.regroup();
  }

  simulated(steps, rates) {
    this.simulation = steps && { steps, rates };
    this.restoreSimulation();
    this.panel.draw();
  }

  restoreSimulation() {
    this.series.simulated(this.simulation?.steps, this.simulation?.rates);
  }

  async follow() {
    const on = { state: (state) => this.signal.aborted || this.streamIs(state), decision: (d) => this.decided(d) };
    const { signal } = this;
    signal.addEventListener("abort", () => this.stream?.abort());
    document.addEventListener("visibilitychange", () => document.hidden && this.stream?.abort(), { signal });
    while (!this.signal.aborted) {
      if (document.hidden) await this.untilSeen();
      this.stream = new AbortController();
      const end = await watch(this.name, this.lastRevision, this.stream.signal, on);
      if (end instanceof ApiError) {
        this.live("off");
        this.complain(end);
        this.ended = true;
        return;
      }
    }
  }

  // What the stream's state means for the rest of the page is asked at once.
  streamIs(state) {
    this.streams = state === "live";
    this.live(state);
    if (state === "waiting" || !this.problem.hidden) this.refreshSoon();
  }

  // A tab out of sight keeps none of the few connections that a browser has for one host.
  untilSeen() {
    this.live("waiting");
    return new Promise((done) => {
      const look = () => document.hidden || done();
      document.addEventListener("visibilitychange", look, { signal: this.signal });
      this.signal.addEventListener("abort", done);
    });
  }

  decided(d) {
    if (d.revision <= this.lastRevision) return;
    this.streamed = d.revision;
    const before = this.panel.extent[1];
    if (REWRITES.has(d.action) || (d.step !== undefined && d.step < before) || this.overview.length > 3 * POINTS) {
      this.reloadSoon();
    } else {
      this.overview.push(d);
      this.detail?.decisions.push(d);
      if (this.detail) this.detail.to = Math.max(this.detail.to, d.step ?? 0);
      this.series.append(d);
      this.panel.follow(before);
      this.drawSoon();
    }
    this.refreshSoon();
  }

  reloadSoon = debounce(async () => {
    try {
      await this.loadDecisions();
      this.draw();
    } catch (error) {
      if (!this.signal.aborted) this.complain(error);
    }
  }, 200);

  drawSoon() {
    if (this.drawing) return;
    const wait = Math.max(0, this.drawn + DRAW_EVERY - performance.now());
    this.drawing = setTimeout(() => {
      this.drawing = 0;
      this.restoreSimulation();
      this.draw();
    }, wait);
  }

  // State and settings: after decisions, and now and then, since a round that opens decides nothing yet.
  async refresh() {
    if (this.ended) return;
    try {
      const { revision, uid } = this.job;
      await this.loadJob();
      if (this.job.uid !== uid || this.job.revision < revision) return void (await this.anew());
      this.history.grow(this.job.revision);
      if (this.job.revision !== revision) this.whatIf.refresh();
      // A stream that sleeps while the job goes on (a laptop that slept) is begun anew.
      const late = this.job.revision > this.lastRevision;
      if (late && this.wasLate) this.stream?.abort();
      this.wasLate = late;
    } catch (error) {
      if (this.signal.aborted) return;
      this.complain(error);
      // A stream that is silent meanwhile may be a dead one.
      if (error.status === 0 && this.streams) this.stream?.abort();
    }
  }

  // The daemon has another history for this name: of a backup, or of a job created again.
  async anew() {
    this.streamed = 0;
    await this.loadDecisions();
    this.stream?.abort();
    this.draw();
  }

  poll() {
    const ranks = this.job.spec.ranks?.world_size > 1;
    this.timer = setTimeout(async () => {
      if (!document.hidden) await this.refresh();
      if (!this.signal.aborted && !this.ended) this.poll();
    }, ranks ? 2000 : 10000);
  }

  showJob() {
    const { job } = this;
    this.showBadges();
    fill(this.labels, labels(job.spec));
    const restarts = job.attempt > 0 ? ` · attempt ${count(job.attempt)}` : "";
    say(this.facts, `${policyName(job.spec)} · created ${ago(job.create_time)} · updated ${ago(job.update_time)}${restarts} · revision ${count(job.revision)}`);
    this.facts.title = `created ${when(job.create_time)}, updated ${when(job.update_time)}, uid ${job.uid}`;
    this.showTiles();
    showRound(this.round, job);
    const text = JSON.stringify([job.spec, job.effective]);
    if (text !== this.settingsText) {
      this.settingsText = text;
      showSettings(this.settings, job);
    }
    this.whatIf.update(job);
  }

  showBadges() {
    this.job.last = lastReport(this.overview);
    fill(this.badges, badges(this.job));
  }

  showTiles() {
    const { state } = this.job;
    const policy = this.job.effective?.[policyField(this.job.spec)] || {};
    const best = number(state.best);
    const groups = this.groupNames();
    const tile = (name, text, more) => h("div", null, h("dt", null, name), h("dd", null, text), h("dd", { class: "hint" }, more || " "));
    const rate = (lr, i) => `${groups[i]} ${value(lr)}`;
    const shown = this.series.group;
    fill(
      this.tiles,
      tile(groups.length > 1 ? `Rate, ${groups[shown]}` : "Rate", value(state.lrs?.[shown] ?? state.lr),
        groups.length > 1 ? (state.lrs || []).map(rate).filter((_, i) => i !== shown).slice(0, 3).join(", ") : `lr given: ${value(this.job.spec.lr[0])}`),
      tile("Best", Number.isFinite(best) ? value(best) : "–", state.best_step === undefined ? "" : `step ${count(state.best_step)}`),
      tile("Step", state.step === undefined ? "–" : count(state.step), state.reports === undefined ? "" : `${count(state.reports)} reports`),
      state.num_bad !== undefined && tile("In a row", inRow(state), policy.patience === undefined ? "" : `patience ${policy.patience}`),
      state.resets_left !== undefined && tile("Resets in", count(state.resets_left), "cuts at the floor")
    );
  }

  destroy() {
    this.stop.abort();
    clearTimeout(this.timer);
    clearTimeout(this.again);
    clearTimeout(this.drawing);
    this.refreshSoon.cancel();
    this.reloadSoon.cancel();
    this.panel.destroy();
  }
}

function inRow(state) {
  if (state.num_bad > 0) return h("span", { class: "worse" }, `${count(state.num_bad)} worse`);
  if (state.num_good > 0) return h("span", { class: "better" }, `${count(state.num_good)} better`);
  return "–";
}
