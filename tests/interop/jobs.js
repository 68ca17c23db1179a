// Jobs, reports, histories, states: every unary RPC through a generated client, in one codec.
import assert from "node:assert/strict";
import { test } from "node:test";
import { isFieldSet } from "@bufbuild/protobuf";
import { Code } from "@connectrpc/connect";
import { fails } from "./client.js";
import { DecisionSchema, GetLrResponseSchema, JobSchema, JobStateSchema } from "./gen/greedylr/v1/scheduler_pb.js";

const policy = (value) => ({ case: "greedy", value });
const loss = (value) => ({ case: "loss", value });

export function jobs(use) {
  const post = (name, request, options) => use.clients.call(name, request, options);
  const read = (name, request) => use.clients.read(name, request);
  const create = (job, spec = {}) =>
    post("createJob", { spec: { job, lr: [0.1], policy: policy({ smooth: false, patience: 0 }), ...spec } });
  const report = (job, step, value, more = {}) => post("report", { job, step, reported: loss(value), ...more });

  test("a job is created, read, changed and deleted", async () => {
    const spec = {
      job: "life",
      lr: [0.1, 0.01],
      groupNames: ["body", "head"],
      labels: ["team=nlp", "größe=42"],
      strict: true,
      policy: policy({ mode: "max", patience: 3, minLr: [0.001, 0.0001], factor: 0.5 }),
    };
    const job = await post("createJob", { spec });
    assert.match(job.uid, /^[0-9a-f]{16}$/);
    assert.deepEqual([job.job, job.status, job.spec.lr, job.spec.labels], ["life", "active", spec.lr, spec.labels]);
    assert.ok(isFieldSet(job, JobSchema.field.revision), "a zero that means something is sent");
    assert.equal(job.revision, 0);
    assert.ok(!isFieldSet(job.state, JobStateSchema.field.step), "what does not apply is absent");
    assert.equal(job.state.best, -Infinity);
    assert.equal(job.effective.policy.case, "greedy");
    assert.deepEqual(job.effective.policy.value.maxLr, [1, 0.1]);
    assert.ok(job.createTime.seconds > 1.7e9);

    assert.equal((await post("createJob", { spec })).uid, job.uid, "the same spec again is the same job");
    const other = fails(post("createJob", { spec: { ...spec, strict: false } }), Code.AlreadyExists, "JOB_EXISTS");
    assert.match((await other).message, /strict/);

    const changed = await post("updateJob", { job: "life", spec: { policy: policy({ patience: 7 }) } });
    assert.equal(changed.spec.policy.value.patience, 7);
    assert.equal(changed.spec.policy.value.factor, 0.5);
    assert.equal((await read("getJob", { job: "life" })).effective.policy.value.patience, 7);

    await post("deleteJob", { job: "life" });
    await fails(post("getJob", { job: "life" }), Code.NotFound, "JOB_NOT_FOUND");
    await fails(use.clients.get.getJob({ job: "life" }), Code.NotFound, "JOB_NOT_FOUND");
  });

  test("jobs are listed by pages, prefix and label", async () => {
    for (const name of ["list-a", "list-b", "list-c"]) await create(name, { labels: [`of=${name}`] });
    const first = await read("listJobs", { prefix: "list-", pageSize: 2 });
    assert.deepEqual(first.jobs.map((j) => j.job), ["list-a", "list-b"]);
    const rest = await read("listJobs", { prefix: "list-", pageSize: 2, pageToken: first.nextPageToken });
    assert.deepEqual(rest.jobs.map((j) => j.job), ["list-c"]);
    assert.equal(rest.nextPageToken, "");
    const labelled = await read("listJobs", { label: "of=list-b", state: "active" });
    assert.deepEqual(labelled.jobs.map((j) => j.job), ["list-b"]);
    assert.deepEqual((await read("listJobs", { prefix: "nothing-like-it" })).jobs, []);
    await fails(post("listJobs", { pageToken: "?" }), Code.InvalidArgument, "PAGE_TOKEN_INVALID");
  });

  test("a report is answered with the decision, a repetition with the recorded one", async () => {
    await create("train");
    const decision = await report("train", 7, 2.5, { appliedLr: 0.1 });
    assert.deepEqual([decision.job, decision.step, decision.revision], ["train", 7, 1]);
    assert.equal(decision.action, "raise");
    assert.equal(decision.value, 2.5);
    assert.equal(decision.lr, 0.125);
    assert.deepEqual(decision.lrs, [0.125]);
    const again = await report("train", 7, 2.5);
    assert.deepEqual([again.revision, again.duplicate, again.conflict], [1, true, false]);
    assert.equal((await report("train", 7, 3)).conflict, true);
    const dry = await report("train", 8, 9, { dryRun: true });
    assert.equal(dry.action, "cut");
    const rate = await read("getLr", { job: "train" });
    assert.deepEqual([rate.lr, rate.lrs, rate.step, rate.revision], [0.125, [0.125], 7, 1]);
    const made = await post("report", { job: "made", step: 0, reported: { case: "metric", value: 1 }, lr: [0.5, 0.25] });
    assert.ok(isFieldSet(made, DecisionSchema.field.step));
    assert.deepEqual([made.step, made.lrs.length], [0, 2]);
  });

  test("reads by GET are GETs on the wire", async () => {
    await create("by-get");
    const posts = () => use.daemon.metric('greedylrd_http_requests_total{method="POST",code="200"}');
    const before = await posts();
    await use.clients.get.getLr({ job: "by-get" });
    assert.equal(await posts(), before);
    await use.clients.post.getLr({ job: "by-get" });
    assert.equal(await posts(), before + 1);
  });

  test("every double survives", async () => {
    const lr = [1e-300, 0.1 + 0.2, 1e300 / 3];
    await create("doubles", { lr });
    assert.deepEqual((await read("getLr", { job: "doubles" })).lrs, lr);
    await create("nonfinite", { onNonfinite: "skip" });
    for (const [step, value] of [NaN, Infinity, -Infinity, 5e-324, 1.7976931348623157e308].entries()) {
      assert.ok(Object.is((await report("nonfinite", step, value)).value, value), String(value));
    }
  });

  test("a batch answers each report on its own", async () => {
    await create("batch");
    await create("batch-of-two", { ranks: { worldSize: 2 } });
    const { results } = await post("batchReport", {
      reports: [
        { job: "batch", step: 1, reported: loss(1) },
        { job: "nobody", step: 1, reported: loss(1) },
        { job: "batch", step: 2, reported: loss(0.5) },
        { job: "batch-of-two", step: 1, reported: loss(1) },
      ],
    });
    assert.deepEqual(results.map((r) => r.outcome.case), ["decision", "error", "decision", "pending"]);
    assert.equal(results[2].outcome.value.revision, 2);
    const { code, reason } = results[1].outcome.value;
    assert.deepEqual([code, reason], ["not_found", "JOB_NOT_FOUND"]);
    assert.equal(results[3].outcome.value, true);
  });

  test("the history comes in pages", async () => {
    await create("past");
    for (let step = 1; step <= 5; step++) await report("past", step, 1 / step);
    const first = await read("listDecisions", { job: "past", pageSize: 3 });
    assert.deepEqual(first.decisions.map((d) => d.revision), [1, 2, 3]);
    const rest = await read("listDecisions", { job: "past", pageSize: 3, pageToken: first.nextPageToken });
    assert.deepEqual(rest.decisions.map((d) => d.step), [4, 5]);
    assert.ok(rest.decisions.every((d) => d.time.seconds > 1.7e9));
    const part = await read("listDecisions", { job: "past", fromStep: 2, toStep: 3 });
    assert.deepEqual(part.decisions.map((d) => d.step), [2, 3]);
  });

  test("attempts begin, rewind, and refuse the stale", async () => {
    await create("attempts");
    for (const [step, value] of [[1, 3], [2, 2], [3, 9]]) await report("attempts", step, value);
    const before = (await read("listDecisions", { job: "attempts", toStep: 2 })).decisions[1];
    const begun = await post("beginAttempt", { job: "attempts", step: 2 });
    assert.equal(begun.attempt, 1);
    assert.deepEqual(begun.state.lrs, before.lrs);
    await fails(report("attempts", 3, 1, { attempt: 0 }), Code.FailedPrecondition, "STALE_ATTEMPT");
    await report("attempts", 3, 1, { attempt: 1 });
    assert.equal((await post("beginAttempt", { job: "attempts" })).attempt, 2);

    const back = { job: "attempts", target: { case: "step", value: 1 }, attempt: 3 };
    const rewound = await post("rewindJob", back);
    assert.equal(rewound.attempt, 3);
    assert.equal((await post("rewindJob", back)).revision, rewound.revision, "every rank may send it");
    await fails(post("rewindJob", { ...back, attempt: 2 }), Code.FailedPrecondition, "STALE_ATTEMPT");
    const never = { job: "attempts", target: { case: "step", value: 77 } };
    await fails(post("rewindJob", never), Code.NotFound, "STEP_NOT_FOUND");
    const fresh = await post("rewindJob", { job: "attempts", target: { case: "initial", value: true } });
    assert.deepEqual(fresh.state.lrs, [0.1]);
    assert.ok(!isFieldSet(fresh.state, JobStateSchema.field.step));

    const all = (await read("listDecisions", { job: "attempts", superseded: true })).decisions;
    assert.deepEqual(all.map((d) => d.revision), all.map((_, i) => i + 1));
    assert.deepEqual(
      all.filter((d) => d.actor).map((d) => d.action), ["rewind", "begin", "rewind", "rewind"]);
    assert.ok(all.filter((d) => d.superseded).length >= 4);
  });

  test("a fork starts from an earlier step with settings of its own", async () => {
    await create("trunk");
    const first = await report("trunk", 1, 3);
    await report("trunk", 2, 9);
    const spec = { job: "branch", policy: policy({ patience: 5 }) };
    const fork = await post("forkJob", { job: "trunk", step: 1, spec });
    assert.deepEqual([fork.job, fork.attempt, fork.revision], ["branch", 0, 1]);
    assert.deepEqual(fork.state.lrs, first.lrs);
    assert.equal(fork.effective.policy.value.patience, 5);
    assert.equal((await read("listDecisions", { job: "branch" })).decisions[0].action, "fork");
    await fails(post("forkJob", { job: "trunk", spec: { job: "trunk" } }), Code.AlreadyExists, "JOB_EXISTS");
  });

  test("an operator overrides, pauses, resumes and finishes", async () => {
    await create("operated");
    const decision = await post("setLr", { job: "operated", lr: [0.02] });
    assert.deepEqual([decision.action, decision.lr, decision.revision], ["override", 0.02, 1]);
    assert.ok(decision.actor);
    await fails(post("setLr", { job: "operated", lr: [1e9] }), Code.InvalidArgument, "FIELD_INVALID");

    const paused = await post("pauseJob", { job: "operated" });
    assert.equal(paused.status, "paused");
    assert.equal((await post("pauseJob", { job: "operated" })).revision, paused.revision, "twice is once");
    assert.equal((await report("operated", 1, 1)).lr, 0.02);
    assert.equal((await post("resumeJob", { job: "operated" })).status, "active");
    assert.equal((await post("finishJob", { job: "operated" })).status, "finished");
    await fails(report("operated", 2, 1), Code.FailedPrecondition, "JOB_FINISHED");
    assert.equal((await post("resumeJob", { job: "operated" })).status, "active");
    await report("operated", 2, 1);
    const { decisions } = await read("listDecisions", { job: "operated" });
    const events = decisions.filter((d) => d.actor).map((d) => d.action);
    assert.deepEqual(events, ["override", "pause", "resume", "finish", "resume"]);
  });

  test("a state_dict goes out and comes in", async () => {
    const plateau = { case: "plateau", value: { patience: 1, factor: 0.5 } };
    await create("exported", { policy: plateau });
    const fresh = await read("exportState", { job: "exported" });
    assert.match(fresh.stateDict, /Infinity/, "as Python's json writes it");
    await report("exported", 1, 2);
    await report("exported", 2, 3);
    const { stateDict } = await read("exportState", { job: "exported" });
    const imported = await post("importState", { job: "imported", stateDict });
    assert.deepEqual(imported.state.lrs, [0.1]);
    const [here, there] = [await report("exported", 3, 4), await report("imported", 3, 4)];
    assert.equal(here.action, "cut");
    assert.deepEqual([there.action, there.lrs], [here.action, here.lrs]);
    const broken = fails(post("importState", { job: "broken", stateDict: '{"mode": "min"}' }),
                         Code.InvalidArgument, "STATE_INVALID");
    assert.doesNotMatch((await broken).message, /^state_dict: $/);
    await fails(post("getJob", { job: "broken" }), Code.NotFound, "JOB_NOT_FOUND");
  });

  test("a simulation decides without a job", async () => {
    const spec = { lr: [0.1], policy: policy({ smooth: false, patience: 0 }) };
    const { initialLrs, decisions } = await read("simulate", { spec, losses: [3, 2, NaN, 9] });
    assert.deepEqual(initialLrs, [0.1]);
    assert.deepEqual(decisions.map((d) => d.action), ["raise", "raise", "cut", "cut"]);
    assert.ok(!isFieldSet(decisions[0], DecisionSchema.field.job));
  });

  test("errors have a code, a message that says what to do, and details", async () => {
    const bad = await fails(create("bad", { policy: policy({ factor: 1.5 }) }), Code.InvalidArgument, "FIELD_INVALID");
    assert.match(bad.rawMessage, /greedy\.factor.*1\.5/);
    await fails(post("getJob", {}), Code.InvalidArgument, "FIELD_REQUIRED");
    await fails(report("bad", 1, 1), Code.NotFound, "JOB_NOT_FOUND");
    await fails(create("no id!"), Code.InvalidArgument, "FIELD_INVALID");
    await create("strict", { strict: true });
    await report("strict", 5, 1);
    await fails(report("strict", 5, 2), Code.Aborted, "STEP_CONFLICT");
    await fails(report("strict", 4, 1), Code.FailedPrecondition, "STEP_IN_PAST");
    const large = post("createJob", { spec: { job: "large", lr: [1], groupNames: ["x".repeat(100_000)] } });
    await fails(large, Code.ResourceExhausted, "BODY_TOO_LARGE");
    const unset = await read("getLr", { job: "strict" });
    assert.ok(isFieldSet(unset, GetLrResponseSchema.field.step));
  });
}
