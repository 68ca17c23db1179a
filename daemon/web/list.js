// The list of jobs.  All of them are fetched, so that search and sort see all; curves are fetched for what is in sight.
import { listDecisions, listJobs, passes } from "./api.js";
import { badges, conditions, labels, lastReport, needsALook, policyName } from "./badges.js";
import { command, debounce, fill, h, say } from "./dom.js";
import { spark } from "./spark.js";
import { ago, asOf, count, number, plural, value, when } from "./text.js";
import { onTheme } from "./theme.js";

const PAGE = 25;
const MOST = 20000; // jobs that are fetched; beyond, the beginning of an id narrows it down
const POINTS = 80; // of a curve

const COLUMNS = [
  { key: "job", label: "Job", of: (j) => j.job },
  { key: "status", label: "State", of: (j) => `${needsALook(j) ? 0 : 1}${j.status}` },
  { key: "step", label: "Step", of: (j) => j.state.step ?? -1, down: true, numeric: true },
  { key: "best", label: "Best loss", of: (j) => finite(j.state.best), numeric: true },
  { key: "lr", label: "Rate", of: (j) => j.state.lr, down: true, numeric: true },
  { key: "update", label: "Updated", of: (j) => j.update_time || j.create_time, down: true },
];

const FILTERS = [
  { key: "all", label: "All", has: () => true },
  { key: "look", label: "Needs a look", has: needsALook },
  { key: "active", label: "Active", has: (j) => j.status === "active" },
  { key: "paused", label: "Paused", has: (j) => j.status === "paused" },
  { key: "finished", label: "Finished", has: (j) => j.status === "finished" },
];

function finite(x) {
  const n = number(x);
  return n === undefined || !Number.isFinite(n) ? Infinity : n;
}

// What the list looked like when it was left: coming back finds it so.
const view = { text: "", filter: "all", sort: "update", up: false, page: 0 };

export class ListPage {
  constructor(root, { live }) {
    this.live = live;
    this.jobs = [];
    this.curves = new Map(); // job -> {revision, decisions}
    this.rows = new Map(); // job -> {element, clear, ...}
    this.stop = new AbortController();
    this.queue = [];
    this.fetching = 0;
    this.build(root);
    this.observer = new IntersectionObserver((seen) => this.sight(seen), { rootMargin: "200px" });
    this.offTheme = onTheme(() => this.redraw());
    this.refresh();
  }

  build(root) {
    this.search = h("input", {
      type: "search", id: "search", placeholder: "Search by name, label or policy", "aria-label": "Search jobs", "aria-keyshortcuts": "/",
      value: view.text, spellcheck: "false", autocomplete: "off", oninput: () => this.searched(),
    });
    this.search.setAttribute("value", view.text);
    this.filters = h("div", { class: "filters", role: "group", "aria-label": "Filter by state" });
    this.body = h("tbody");
    this.headers = COLUMNS.map((c) =>
      h("th", { scope: "col", class: c.numeric ? "numeric" : null },
        h("button", { type: "button", onclick: () => this.sortBy(c) }, c.label, h("span", { class: "arrow", "aria-hidden": "true" }))));
    this.table = h("table", { class: "jobs" }, h("caption", { class: "unseen" }, "Jobs"), h("thead", null, h("tr", null, this.headers)), this.body);
    this.pager = h("nav", { class: "pager", "aria-label": "Pages" });
    this.note = h("div", { role: "status" });
    this.problem = h("p", { class: "problem", role: "alert", hidden: true });
    fill(
      root,
      h("h1", { class: "unseen" }, "Jobs"),
      h("div", { class: "bar" }, h("div", { class: "search" }, this.search, h("kbd", { "aria-hidden": "true" }, "/")), this.filters),
      this.problem,
      this.note,
      h("div", { class: "card table-card" }, this.table),
      this.pager
    );
    this.table.parentElement.hidden = true;
    fill(this.note, h("p", { class: "hint" }, "Loading…"));
  }

  // Fetches all jobs, then again after a while that grows with what it took.
  async refresh() {
    const start = performance.now();
    try {
      await this.fetchAll();
      this.live("live");
    } catch (error) {
      if (this.stop.signal.aborted) return;
      this.live(passes(error) ? "waiting" : "off");
      say(this.problem, error.message + asOf(this.loaded));
      this.problem.hidden = false;
      if (!this.loaded) fill(this.note);
    }
    if (this.stop.signal.aborted) return;
    const pause = Math.max(2500, 5 * (performance.now() - start));
    this.timer = setTimeout(() => (document.hidden ? this.waitForSight() : this.refresh()), pause);
  }

  waitForSight() {
    document.addEventListener("visibilitychange", () => this.refresh(), { once: true, signal: this.stop.signal });
  }

  async fetchAll() {
    const jobs = [];
    let more;
    do {
      const answer = await listJobs({ page_size: 1000, page_token: more, prefix: this.prefix }, this.stop.signal);
      jobs.push(...answer.jobs);
      more = answer.next_page_token;
    } while (more && jobs.length < MOST);
    for (const job of jobs) job.last = this.curves.get(job.job)?.last; // of those that were in sight
    this.jobs = jobs;
    this.more = Boolean(more);
    this.loaded = new Date();
    this.problem.hidden = true;
    this.show();
  }

  searched() {
    view.text = this.search.value;
    view.page = 0;
    this.show();
    // Too many to have them all: the daemon looks among them by the beginning of the name.
    if (this.more || this.prefix) this.narrow();
  }

  narrow = debounce(() => {
    this.prefix = /^[A-Za-z0-9._-]+$/.test(view.text.trim()) ? view.text.trim() : undefined;
    this.fetchAll().catch(() => {});
  }, 300);

  sortBy(column) {
    if (view.sort === column.key) view.up = !view.up;
    else Object.assign(view, { sort: column.key, up: !column.down });
    view.page = 0;
    this.show();
  }

  chosen() {
    const words = view.text.toLowerCase().split(/\s+/).filter(Boolean);
    const filter = FILTERS.find((f) => f.key === view.filter);
    const column = COLUMNS.find((c) => c.key === view.sort);
    const found = this.jobs.filter((j) => filter.has(j) && words.every((word) => text(j).includes(word)));
    const sign = view.up ? 1 : -1;
    return found
      .map((job) => ({ job, key: column.of(job) }))
      .sort((a, b) => (a.key < b.key ? -sign : a.key > b.key ? sign : a.job.job < b.job.job ? -1 : 1))
      .map(({ job }) => job);
  }

  show() {
    const found = this.chosen();
    const pages = Math.max(1, Math.ceil(found.length / PAGE));
    view.page = Math.min(view.page, pages - 1);
    this.showFilters();
    this.showHeaders();
    this.showNote(found);
    this.table.parentElement.hidden = found.length === 0;
    this.showRows(found.slice(view.page * PAGE, (view.page + 1) * PAGE));
    this.showPager(found.length, pages);
  }

  showFilters() {
    const buttons = FILTERS.map((f) => {
      const n = this.jobs.filter(f.has).length;
      if (f.key !== "all" && f.key !== view.filter && n === 0) return null;
      return { f, text: `${f.label} ${count(n)}${this.more && f.key === "all" ? "+" : ""}` };
    }).filter(Boolean);
    const state = JSON.stringify([view.filter, buttons.map((b) => b.text)]);
    if (state === this.filterState) return;
    const focused = this.filters.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    this.filterState = state;
    fill(this.filters, buttons.map(({ f, text: label }) =>
      h("button", {
        type: "button", class: `toggle ${f.key}`, "data-key": f.key, "aria-pressed": String(view.filter === f.key),
        onclick: () => (Object.assign(view, { filter: f.key, page: 0 }), this.show()),
      }, label)));
    if (focused) this.filters.querySelector(`[data-key="${focused}"]`)?.focus();
  }

  showHeaders() {
    COLUMNS.forEach((c, i) => {
      const sorted = view.sort === c.key;
      this.headers[i].setAttribute("aria-sort", sorted ? (view.up ? "ascending" : "descending") : "none");
      say(this.headers[i].querySelector(".arrow"), sorted ? (view.up ? "▲" : "▼") : "");
    });
  }

  showNote(found) {
    if (!this.loaded) return;
    if (this.jobs.length === 0 && !this.prefix) return void (this.noteState !== "empty" && fill(this.note, this.firstJob()), (this.noteState = "empty"));
    this.noteState = "";
    fill(
      this.note,
      this.more && h("p", { class: "hint" }, `The first ${count(this.jobs.length)} jobs by name. Type the beginning of a name to see others.`),
      found.length === 0 && h("div", { class: "card empty" }, h("h2", null, "No job matches"), h("p", null, "Search looks at names, labels and policies; every word has to be there."),
        h("button", { type: "button", onclick: () => this.clearSearch() }, "Show all jobs"))
    );
  }

  clearSearch() {
    Object.assign(view, { text: "", filter: "all", page: 0 });
    this.search.value = "";
    this.prefix = undefined;
    this.fetchAll().catch(() => {});
    this.show();
    this.search.focus();
  }

  firstJob() {
    const url = location.origin;
    return h(
      "div",
      { class: "card empty" },
      h("h2", null, "No jobs yet"),
      h("p", null, "A job is there with its first report. Paste this into a shell, and watch it appear here:"),
      command(`curl -s ${url}/v1/jobs/demo:report -d '{"step":1,"loss":2.31,"lr":0.1}'`),
      h("p", null, "From a training run in Python, in place of ReduceLROnPlateau:"),
      command(`scheduler = greedylr.GreedyLR(optimizer, job="demo", url="${url}")\n...\nscheduler.step(validation_loss)`)
    );
  }

  showRows(jobs) {
    const names = new Set(jobs.map((j) => j.job));
    const focused = this.body.contains(document.activeElement) && document.activeElement;
    for (const [name, row] of this.rows) {
      if (!names.has(name)) this.drop(name, row);
    }
    jobs.forEach((job, i) => {
      let row = this.rows.get(job.job);
      if (!row) {
        row = this.newRow(job);
        this.rows.set(job.job, row);
        this.observer.observe(row.element);
      }
      if (this.body.children[i] !== row.element) this.body.insertBefore(row.element, this.body.children[i] || null);
      this.update(row, job);
    });
    if (focused?.isConnected) focused.focus({ preventScroll: true }); // an element that is moved loses it
  }

  drop(name, row) {
    row.clear();
    this.observer.unobserve(row.element);
    row.element.remove();
    this.rows.delete(name);
  }

  newRow(job) {
    const href = `#/jobs/${encodeURIComponent(job.job)}`;
    const row = { job, seen: false, clear: () => {}, drawn: -1 };
    row.state = h("td", { class: "state" });
    row.step = h("td", { class: "numeric step" });
    row.lossText = h("span", { class: "number" });
    row.rateText = h("span", { class: "number" });
    row.lossSpark = h("div", { class: "spark", "aria-hidden": "true" });
    row.rateSpark = h("div", { class: "spark", "aria-hidden": "true" });
    row.update = h("td", { class: "updated" });
    row.sub = h("div", { class: "sub" });
    row.element = h(
      "tr",
      { onclick: (event) => event.target.closest("a") || String(getSelection()) || (location.hash = href) },
      h("th", { scope: "row" }, h("a", { href }, job.job), row.sub),
      row.state,
      row.step,
      h("td", { class: "curve" }, h("div", null, row.lossSpark, row.lossText)),
      h("td", { class: "curve" }, h("div", null, row.rateSpark, row.rateText)),
      row.update
    );
    row.element.dataset.job = job.job;
    return row;
  }

  update(row, job) {
    const text = JSON.stringify([job.status, job.state, job.spec, conditions(job)]);
    row.job = job;
    say(row.update, ago(job.update_time || job.create_time));
    row.update.title = when(job.update_time || job.create_time);
    if (text === row.text) return;
    row.text = text;
    fill(row.sub, h("span", { class: "policy" }, policyName(job.spec)), labels(job.spec));
    fill(row.state, badges(job));
    say(row.step, job.state.step === undefined ? "–" : count(job.state.step));
    say(row.rateText, value(job.state.lr));
    const best = number(job.state.best);
    say(row.lossText, Number.isFinite(best) ? value(best) : "–");
    row.lossText.title = "Best so far";
    this.want(row);
  }

  sight(entries) {
    for (const entry of entries) {
      const row = this.rows.get(entry.target.dataset.job);
      if (!row) continue;
      row.seen = entry.isIntersecting;
      this.want(row);
    }
  }

  // Fetches the curve of a row that is in sight and has a newer revision than what is drawn.
  want(row) {
    if (!row.seen || row.drawn === row.job.revision || row.wanted) return;
    const known = this.curves.get(row.job.job);
    if (known?.revision === row.job.revision) return this.curve(row, known);
    row.wanted = true;
    this.queue.push(row);
    this.next();
  }

  async next() {
    if (this.fetching >= 4) return;
    const row = this.queue.shift();
    if (!row) return;
    this.fetching++;
    const { job, revision } = row.job;
    try {
      const answer = await listDecisions(job, { max_points: POINTS }, this.stop.signal);
      this.curves.set(job, { revision, decisions: answer.decisions, last: lastReport(answer.decisions) });
      if (this.rows.get(job) === row) this.curve(row, this.curves.get(job));
    } catch {
      // It is asked for again with the next revision.
    }
    row.wanted = false;
    this.fetching--;
    if (!this.stop.signal.aborted) this.next();
  }

  curve(row, { revision, decisions, last }) {
    row.clear();
    row.drawn = revision;
    row.job.last = last;
    fill(row.state, badges(row.job));
    const x = (d, i) => d.step ?? i;
    const loss = decisions.filter((d) => d.value !== undefined).map((d, i) => [x(d, i), plotted(d.smoothed ?? d.value)]);
    const rate = decisions.map((d, i) => [x(d, i), plotted(d.lr)]);
    const latest = loss.length ? loss[loss.length - 1][1] : null;
    if (latest !== null && !Number.isFinite(number(row.job.state.best))) say(row.lossText, value(latest));
    const ends = [
      spark(row.lossSpark, loss, { colourName: "smoothed" }),
      spark(row.rateSpark, rate, { colourName: "rate", step: true, log: true }),
    ];
    row.clear = () => ends.forEach((end) => end());
  }

  redraw() {
    for (const row of this.rows.values()) {
      row.drawn = -1;
      this.want(row);
    }
  }

  showPager(n, pages) {
    const go = (page) => () => ((view.page = page), this.show(), scrollTo(0, 0), this.pager.querySelector("button:not([disabled])")?.focus());
    const first = view.page * PAGE + 1;
    const state = `${n} ${view.page} ${pages}`;
    if (state === this.pagerState) return;
    this.pagerState = state;
    fill(
      this.pager,
      n > 0 && h("span", null, pages === 1 ? plural(n, "job") : `${count(first)}–${count(Math.min(n, first + PAGE - 1))} of ${plural(n, "job")}`),
      pages > 1 && h("button", { type: "button", disabled: view.page === 0, onclick: go(view.page - 1) }, "Previous"),
      pages > 1 && h("button", { type: "button", disabled: view.page === pages - 1, onclick: go(view.page + 1) }, "Next")
    );
  }

  focusSearch() {
    this.search.focus();
    this.search.select();
  }

  destroy() {
    this.stop.abort();
    clearTimeout(this.timer);
    this.narrow.cancel();
    this.offTheme();
    this.observer.disconnect();
    for (const row of this.rows.values()) row.clear();
  }
}

function plotted(x) {
  const n = number(x);
  return n === undefined || !Number.isFinite(n) ? null : n;
}

// What search looks at; made once for each answer.
const texts = new WeakMap();
function text(job) {
  let found = texts.get(job);
  if (!found) {
    found = [job.job, job.status, policyName(job.spec), ...(job.spec.labels || [])].join(" ").toLowerCase();
    texts.set(job, found);
  }
  return found;
}
