// A job's state at a glance, the same words and colours in the list and on its page.
import { h } from "./dom.js";
import { ago, number, plural, ranges, value } from "./text.js";

const SILENT = 3600; // seconds without a change after which an active job is told, as the alert of Prometheus has it
const OVER = 7 * 86400; // and after which it is no news any more

const POLICIES = {
  greedy: "GreedyLR", learned: "learned", plateau: "ReduceLROnPlateau", constant: "constant", step: "StepLR", multi_step: "MultiStepLR",
  exponential: "ExponentialLR", cosine_annealing: "cosine", cosine_annealing_warm_restarts: "cosine restarts",
  polynomial: "polynomial", linear: "linear", one_cycle: "one cycle", constant_with_warmup: "constant, warm-up",
  linear_with_warmup: "linear, warm-up", cosine_with_warmup: "cosine, warm-up", cosine_with_hard_restarts: "hard restarts",
  polynomial_decay_with_warmup: "polynomial, warm-up", inverse_sqrt: "inverse sqrt", warmup_stable_decay: "warm-up, stable, decay",
};

// The field of a spec that holds its policy.
export function policyField(spec) {
  return Object.keys(POLICIES).find((name) => spec[name] !== undefined) || "greedy";
}

export function policyName(spec) {
  return POLICIES[policyField(spec)];
}

// The last entry of a history that was a report.
export function lastReport(decisions) {
  return decisions.findLast((d) => d.value !== undefined);
}

// What a person may want to look into: {kind: "bad" | "warn" | "info", text, title}.  job.last: its last report, where
// the page knows it.
export function conditions(job) {
  const state = job.state || {};
  const round = state.open_round;
  const found = [];
  if (round) {
    const missing = round.missing?.length ? `: ${round.missing.length === 1 ? "rank" : "ranks"} ${ranges(round.missing)}` : "";
    const words = round.overdue ? "overdue" : "waits for ranks";
    found.push({
      kind: round.overdue ? "bad" : "warn", text: round.overdue ? "round overdue" : "waiting for ranks",
      title: `step ${round.step} ${words}${missing} (${round.reported} of ${round.world_size} reported)`,
    });
  }
  if (job.status === "active") {
    const loss = number(job.last?.value);
    if (loss !== undefined && !Number.isFinite(loss)) {
      found.push({ kind: "bad", text: `loss is ${value(loss)}`, title: `The last report was not a finite number: ${job.last.reason}` });
    }
    const silent = (Date.now() - Date.parse(job.update_time)) / 1000;
    if (state.reports && silent > SILENT) {
      found.push({
        kind: silent < OVER ? "warn" : "info", text: "silent",
        title: `The last change was ${ago(job.update_time)}. If the run is over, finish the job: greedylr finish ${job.job}`,
      });
    }
    if (state.plateaued) found.push({ kind: "warn", text: "plateaued", title: "At the lower bound, and patience ran out there: a hint to stop." });
    else if (state.at_min) found.push({ kind: "warn", text: "at its floor", title: "Every rate is at its lower bound." });
    if (state.at_max) found.push({ kind: "info", text: "at its ceiling", title: "Every rate is at its upper bound." });
    if (state.stage === "warmup" || state.stage === "cooldown") {
      found.push({ kind: "info", text: state.stage, title: `${plural(state.stage_left ?? 0, "report")} left of the ${state.stage}` });
    }
    if (!state.reports) found.push({ kind: "info", text: "no reports yet", title: "Waits for its first report." });
  }
  return found;
}

export function needsALook(job) {
  return conditions(job).some((c) => c.kind !== "info");
}

export function badges(job) {
  return [
    h("span", { class: `badge status-${job.status}` }, h("span", { class: "dot" }), job.status),
    conditions(job).map((c) => h("span", { class: `badge ${c.kind}`, title: c.title }, c.text)),
  ];
}

export function labels(spec) {
  return (spec.labels || []).map((text) => h("span", { class: "label" }, text));
}
