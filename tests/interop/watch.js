// WatchJob through a generated client: what comes, from where on, and every way in which a stream ends.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Code } from "@connectrpc/connect";
import { fails } from "./client.js";
import { until } from "./harness.js";

export function watch(use) {
  const post = (name, request, options) => use.clients.call(name, request, options);
  const create = (job) => post("createJob", { spec: { job, lr: [0.1] } });
  const report = (job, step) => post("report", { job, step, reported: { case: "loss", value: 1 / (step + 1) } });
  const history = async (job) => (await post("listDecisions", { job })).decisions;
  const open = (job, afterRevision, options) => {
    const abort = new AbortController();
    let headers;
    const opened = new Promise((done) => (headers = done));
    const more = { signal: abort.signal, onHeader: headers, ...options };
    const stream = post("watchJob", { job, afterRevision }, more)[Symbol.asyncIterator]();
    const next = (read) => {
      const answer = stream.next().then(read);
      answer.catch(() => {}); // until somebody looks at it
      return answer;
    };
    return {
      opened,
      abort: () => abort.abort(),
      next: () => next(({ value }) => value.decision),
      end: () => next(({ done }) => assert.ok(done)),
    };
  };

  test("a stream begins with the history, goes on live and is cancelled", async () => {
    await create("watched");
    await report("watched", 1);
    await report("watched", 2);
    const stream = open("watched", 0);
    const seen = [await stream.next(), await stream.next()];
    const call = stream.next();
    await report("watched", 3);
    seen.push(await call);
    assert.deepEqual(seen, await history("watched"));
    const more = open("watched", 2);
    assert.equal((await more.next()).revision, 3);
    for (const s of [stream, more]) {
      s.abort();
      await assert.rejects(s.end(), { code: Code.Canceled });
    }
  });

  test("a stream without a revision begins with the next decision", async () => {
    await create("tail");
    await report("tail", 1);
    const stream = open("tail");
    const call = stream.next();
    await Promise.race([stream.opened, call]);
    await report("tail", 2);
    assert.deepEqual(await call, (await history("tail"))[1]);
    stream.abort();
  });

  test("events of operators are in the stream", async () => {
    await create("events");
    const stream = open("events", 0);
    await post("setLr", { job: "events", lr: [0.05] });
    await post("pauseJob", { job: "events" });
    assert.deepEqual([(await stream.next()).action, (await stream.next()).action], ["override", "pause"]);
    stream.abort();
  });

  test("deletion ends a stream with an error", async () => {
    await create("doomed");
    await report("doomed", 1);
    const stream = open("doomed", 0);
    await stream.next();
    const end = stream.end();
    await post("deleteJob", { job: "doomed" });
    await fails(end, Code.Aborted, "JOB_DELETED");
  });

  test("a stream that cannot begin says why", async () => {
    await fails(open("nobody-here").end(), Code.NotFound, "JOB_NOT_FOUND");
    await fails(open("no id!").end(), Code.InvalidArgument, "FIELD_INVALID");
    await fails(open(undefined).end(), Code.InvalidArgument, "FIELD_REQUIRED");
  });

  test("a stream ends with its time", async () => {
    await create("timed");
    await assert.rejects(open("timed", 0, { timeoutMs: 300 }).end(), { code: Code.DeadlineExceeded });
    const served = open("timed", 0, { headers: { "connect-timeout-ms": "200" } });
    await assert.rejects(served.end(), { code: Code.DeadlineExceeded });
  });

  test("many streams see the same, and are freed when they are cancelled", async () => {
    await create("crowd");
    const watchers = () => use.daemon.metric("greedylrd_watchers");
    await until(async () => (await watchers()) === 0);
    const streams = Array.from({ length: 30 }, () => open("crowd", 0));
    const calls = streams.map((s) => s.next());
    await report("crowd", 1);
    const [decision] = await history("crowd");
    for (const call of calls) assert.deepEqual(await call, decision);
    assert.equal(await watchers(), 30);
    for (const stream of streams) stream.abort();
    await until(async () => (await watchers()) === 0);
    await report("crowd", 2);
  });
}
