// Calls that wait: rounds of several ranks, GetLr for a step, and how they end early; through a generated client.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Code } from "@connectrpc/connect";
import { fails } from "./client.js";
import { until } from "./harness.js";

export const RECORDED = "the value is recorded: the same request waits on";
const ms = (n) => ({ seconds: BigInt(Math.floor(n / 1000)), nanos: (n % 1000) * 1e6 });

export function rounds(use) {
  const post = (name, request, options) => use.clients.call(name, request, options);
  const create = (job, ranks = {}) =>
    post("createJob", {
      spec: {
        job,
        lr: [0.1],
        ranks: { worldSize: 2, ...ranks },
        policy: { case: "greedy", value: { smooth: false, patience: 0 } },
      },
    });
  const report = (job, step, rank, value, options, more = {}) =>
    post("report", { job, step, rank, reported: { case: "loss", value }, ...more }, options);
  const reported = (job, n) =>
    until(async () => (await post("getJob", { job })).state.openRound?.reported === n);
  const settle = (call) => call.then(() => null, (error) => error);

  test("the ranks of a round get one decision", async () => {
    await create("round");
    const [a, b] = await Promise.all([report("round", 1, 0, 1), report("round", 1, 1, 3)]);
    assert.deepEqual([a.value, a.ranks, a.revision, a.lrs], [2, 2, 1, [0.125]]);
    assert.deepEqual([b.value, b.ranks, b.revision, b.lrs], [a.value, a.ranks, a.revision, a.lrs]);
    const open = post("report", { job: "round", reported: { case: "loss", value: 1 } });
    await fails(open, Code.InvalidArgument, "REPORT_REQUIRES_STEP");
    await fails(report("round", 2, 2, 1), Code.InvalidArgument, "FIELD_INVALID");
  });

  test("a client that gives up leaves its value in the round", async () => {
    await create("patience");
    await assert.rejects(report("patience", 1, 0, 1, { timeoutMs: 1000 }), { code: Code.DeadlineExceeded });
    await reported("patience", 1);
    const abort = new AbortController();
    const call = settle(report("patience", 1, 0, 1, { signal: abort.signal }));
    await reported("patience", 1);
    abort.abort();
    assert.equal((await call).code, Code.Canceled);

    const header = { headers: { "connect-timeout-ms": "200" } };
    await fails(report("patience", 1, 0, 1, header), Code.DeadlineExceeded, "WAIT_EXPIRED", RECORDED);
    const field = { wait: ms(200) };
    await fails(report("patience", 1, 0, 1, {}, field), Code.DeadlineExceeded, "WAIT_EXPIRED", RECORDED);
    const [a, b] = await Promise.all([report("patience", 1, 0, 1), report("patience", 1, 1, 2)]);
    assert.deepEqual([a.ranks, a.value, a.revision], [2, 1.5, 1], "rank 0 counts once");
    assert.equal(b.revision, a.revision);
  });

  test("a round without a quorum names who is missing and goes on", async () => {
    await create("late", { deadline: ms(200) });
    const error = await fails(report("late", 1, 0, 1), Code.DeadlineExceeded, "ROUND_INCOMPLETE", RECORDED);
    assert.match(error.message, /\b1\b/);
    assert.equal((await report("late", 1, 1, 2)).value, 1.5);
    const straggler = await report("late", 1, 0, 1);
    assert.deepEqual([straggler.value, straggler.duplicate], [1.5, true]);
  });

  test("whoever waits is told of a rewind, an attempt and a deletion", async () => {
    await create("cut-short");
    await Promise.all([report("cut-short", 1, 0, 1), report("cut-short", 1, 1, 3)]);
    const endings = [
      ["rewindJob", { target: { case: "step", value: 1 } }, "REWOUND"],
      ["beginAttempt", {}, "REWOUND"],
      ["deleteJob", {}, "JOB_DELETED"],
    ];
    for (const [name, request, reason] of endings) {
      const call = settle(report("cut-short", 2, 0, 1));
      await reported("cut-short", 1);
      await post(name, { job: "cut-short", ...request });
      await fails(call.then((e) => Promise.reject(e)), Code.Aborted, reason);
    }
  });

  for (const verb of ["post", "get"]) {
    test(`GetLr by ${verb} waits for the decision of a step`, async () => {
      const job = `awaited-${verb}`;
      const getLr = (request, options) => {
        const answer = use.clients[verb].getLr({ job, ...request }, options);
        answer.catch(() => {});
        return answer;
      };
      await create(job, { worldSize: 1 });
      const call = getLr({ step: 5, wait: ms(60000) });
      await report(job, 4, 0, 2);
      const decision = await report(job, 5, 0, 1);
      const answers = [await call];
      await report(job, 6, 0, 9);
      answers.push(await getLr({ step: 5, wait: ms(60000) }));
      for (const answer of answers) {
        assert.deepEqual([answer.step, answer.lrs, answer.revision], [5, decision.lrs, decision.revision]);
      }
      await fails(getLr({ step: 9 }), Code.DeadlineExceeded, "STEP_NOT_DECIDED");
      await fails(getLr({ step: 9, wait: ms(100) }), Code.DeadlineExceeded, "STEP_NOT_DECIDED");
      const short = { headers: { "connect-timeout-ms": "100" } };
      await fails(getLr({ step: 9, wait: ms(60000) }, short), Code.DeadlineExceeded, "STEP_NOT_DECIDED");
      const own = getLr({ step: 9, wait: ms(60000) }, { timeoutMs: 300 });
      await assert.rejects(own, { code: Code.DeadlineExceeded });
    });
  }
}
