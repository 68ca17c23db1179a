// What if: the rates that other settings would have decided on the recorded losses, drawn over the real curve.
import { allDecisions, simulate } from "./api.js";
import { policyField, policyName } from "./badges.js";
import { command, debounce, fill, h } from "./dom.js";
import { count, plural, value } from "./text.js";

const MOST = 10000; // values of a simulation that the daemon takes
const MOST_RATES = 200000; // values times groups

// Sliders of a policy: the setting, its range, and how its scale runs.
const KNOBS = {
  greedy: [
    { name: "patience", min: 0, max: 20, whole: true },
    { name: "factor", min: 0.3, max: 0.99, step: 0.01 },
    { name: "threshold", min: 1e-6, max: 0.1, log: true },
    { name: "window_size", min: 1, max: 50, whole: true },
    { name: "cooldown", min: 0, max: 20, whole: true },
    { name: "warmup", min: 0, max: 20, whole: true },
  ],
  plateau: [
    { name: "patience", min: 0, max: 30, whole: true },
    { name: "factor", min: 0.05, max: 0.95, step: 0.01 },
    { name: "threshold", min: 1e-6, max: 0.1, log: true },
    { name: "cooldown", min: 0, max: 20, whole: true },
  ],
};
const DEFAULTS = {
  greedy: { patience: 2, factor: 0.8, threshold: 1e-3, window_size: 5, cooldown: 0, warmup: 0 },
  plateau: { patience: 10, factor: 0.1, threshold: 1e-4, cooldown: 0 },
};

export class WhatIf {
  // onRates(steps, rates): to be drawn, both undefined: nothing is; group(): which of the parameter groups.
  constructor({ job, signal, onRates, group }) {
    Object.assign(this, { job, signal, onRates, group, losses: null, values: {}, running: null });
    this.knobs = h("div", { class: "knobs" });
    this.result = h("div", { class: "result", role: "status", "aria-live": "polite" });
    this.apply = h("div");
    this.policy = h("select", { id: "what-if-policy", onchange: () => this.choose(this.policy.value) });
    this.reset = h("button", { type: "button", onclick: () => this.choose(this.own) }, "Reset");
    this.details = h(
      "details",
      { class: "card what-if", ontoggle: () => this.details.open ? this.open() : this.close() },
      h("summary", null, h("h2", null, "What if?"), h("span", { class: "hint" }, "other settings on the recorded losses")),
      h("p", { class: "note" }, "The violet curve shows the rates that these settings would have decided on the losses that were recorded. It is not how the model would have trained: with other rates its losses would have been others. It starts from the initial rates and knows nothing of overrides, pauses or attempts."),
      h("div", { class: "policy-row" }, h("label", { for: "what-if-policy" }, "Policy"), this.policy, this.reset),
      this.knobs,
      this.result,
      this.apply
    );
    this.element = this.details;
    this.later = debounce(() => this.run(), 150);
  }

  update(job) {
    const first = !this.current;
    this.current = job;
    this.own = policyField(job.spec);
    if (first) this.choose(this.own);
  }

  choose(policy) {
    this.chosen = policy;
    this.values = {};
    const offered = [this.own, ...Object.keys(KNOBS).filter((name) => name !== this.own)];
    fill(this.policy, offered.map((name) =>
      h("option", { value: name, selected: name === policy }, name === this.own ? `${policyName({ [name]: {} })} (this job's)` : policyName({ [name]: {} }))));
    const effective = this.current.effective?.[policy];
    const knobs = (KNOBS[policy] || []).filter((knob) => knob.name !== "window_size" || effective?.smooth !== false);
    fill(this.knobs, knobs.length
      ? knobs.map((knob) => this.slider(knob))
      : h("p", { class: "hint" }, "This policy counts reports and takes no notice of losses: choose another one to see what it would have decided."));
    this.changed();
  }

  base(name) {
    const effective = this.chosen === this.own ? this.current.effective?.[this.own] : undefined;
    return effective?.[name] ?? DEFAULTS[this.chosen][name];
  }

  slider(knob) {
    const at = this.base(knob.name);
    const max = knob.whole ? Math.max(knob.max, 2 * at) : Math.max(knob.max, at);
    const min = Math.min(knob.min, knob.log && at <= 0 ? knob.min : at);
    const scale = knob.log
      ? { min: Math.log10(min), max: Math.log10(max), step: 0.05, of: (x) => Math.log10(Math.max(x, min)), to: (x) => Number((10 ** x).toPrecision(2)) }
      : { min, max, step: knob.whole ? 1 : knob.step, of: (x) => x, to: Number };
    const output = h("output", null, value(at));
    const id = `what-if-${knob.name}`;
    const input = h("input", {
      type: "range", id, min: String(scale.min), max: String(scale.max), step: String(scale.step), value: String(scale.of(at)),
      "aria-valuetext": value(at),
      oninput: () => {
        const x = scale.to(input.value);
        this.values[knob.name] = x;
        if (Math.abs(scale.of(x) - scale.of(at)) < scale.step / 2) delete this.values[knob.name];
        output.textContent = value(x);
        input.setAttribute("aria-valuetext", value(x));
        input.classList.toggle("moved", knob.name in this.values);
        this.changed();
      },
    });
    return h("div", { class: "knob" }, h("label", { for: id }, knob.name.replace("_", " ")), output, input);
  }

  get asIs() {
    return this.chosen === this.own && Object.keys(this.values).length === 0;
  }

  changed() {
    this.reset.disabled = this.asIs;
    if (!this.details.open) return;
    this.running?.abort();
    if (this.asIs) {
      this.later.cancel();
      this.onRates();
      fill(this.result, h("p", { class: "hint" }, KNOBS[this.own] ? "Move a slider." : "Choose another policy."));
      fill(this.apply);
    } else {
      this.later();
    }
  }

  open() {
    this.changed();
  }

  close() {
    this.onRates();
  }

  // The job's spec with what was changed; only what decides.
  spec() {
    const { job, labels, ranks, shadow, group_names, strict, ...spec } = this.current.spec;
    const inner = this.chosen === this.own ? spec[this.own] : {};
    delete spec[this.own];
    if (this.chosen === "plateau") delete spec.on_nonfinite;
    return { ...spec, [this.chosen]: { ...inner, ...this.values } };
  }

  // The recorded values, as many as a simulation takes, from the first on; fetched once for each revision.
  async record() {
    if (this.losses?.revision === this.current.revision) return this.losses;
    const { revision } = this.current;
    const groups = this.current.spec.lr.length;
    const most = Math.min(MOST, Math.floor(MOST_RATES / groups));
    fill(this.result, h("p", { class: "hint" }, "Reading the recorded losses…"));
    const enough = (rows) => rows.length < 1.2 * most + 1000;
    const rows = (await allDecisions(this.job, {}, this.signal, enough)).filter((d) => d.value !== undefined);
    const used = rows.slice(0, most);
    this.losses = { revision, used, partly: rows.length > most || used.length < rows.length };
    return this.losses;
  }

  async run() {
    const running = (this.running = new AbortController());
    this.signal.addEventListener("abort", () => running.abort());
    try {
      const { used, partly } = await this.record();
      if (running.signal.aborted) return;
      if (used.length === 0) return void fill(this.result, h("p", { class: "hint" }, "No losses are recorded yet."));
      const answer = await simulate(this.spec(), used.map((d) => d.value), running.signal);
      this.show(used, answer.decisions, partly);
    } catch (error) {
      if (running.signal.aborted) return;
      this.onRates();
      fill(this.result, h("p", { class: "problem", role: "alert" }, error.message));
      fill(this.apply);
    }
  }

  show(used, decisions, partly) {
    const group = this.group();
    const last = used[used.length - 1];
    const of = (d) => d.lrs?.[group] ?? d.lr;
    this.simulated = { used, decisions, partly };
    this.onRates(used.map((d) => d.step ?? 0), decisions.map(of));
    const line = (name, rows) => h("tr", null, h("th", { scope: "row" }, name),
      ["raise", "cut", "reset"].map((action) => h("td", { class: "numeric" }, count(rows.filter((d) => d.action === action).length))),
      h("td", { class: "numeric" }, value(of(rows[rows.length - 1]))));
    fill(
      this.result,
      h("table", null,
        h("thead", null, h("tr", null, ["", "raises", "cuts", "resets", `rate at step ${count(last.step ?? 0)}`].map((name) => h("th", { scope: "col", class: name ? "numeric" : null }, name)))),
        h("tbody", null, line("decided", used), line("what if", decisions))),
      partly && h("p", { class: "hint" }, `Of the first ${plural(used.length, "report")}: a simulation takes no more.`)
    );
    this.offer();
  }

  // What would make it so.  Another policy cannot be given to a live job: it can be a shadow of it, or of a fork.
  offer() {
    const own = this.chosen === this.own;
    const setting = { [this.chosen]: own ? this.values : { ...this.values } };
    const spec = own ? setting : { shadow: [...(this.current.spec.shadow || []), { name: "what-if", ...setting }] };
    fill(this.apply,
      h("p", { class: "hint" }, own ? "To use these settings from now on:" : "To watch this policy beside the live run, as a shadow:"),
      command(`curl -s -X PATCH ${location.origin}/v1/jobs/${this.job} -d '${JSON.stringify({ spec })}'`));
  }

  // Another group is looked at.
  regroup() {
    if (this.details.open && !this.asIs && this.simulated) this.show(this.simulated.used, this.simulated.decisions, this.simulated.partly);
  }

  // Newer reports came: what is shown is of the older ones until a slider moves or this is called.
  refresh() {
    if (this.details.open && !this.asIs) this.later();
  }
}
