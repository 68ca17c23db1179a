// Everything that other people's clients do with a daemon; one file, so that the last test sees what all of them did.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Code } from "@connectrpc/connect";
import { breaking, curl } from "./buf.js";
import { callable, Clients, CODECS, fails, succeeded } from "./client.js";
import { Daemon, until } from "./harness.js";
import { jobs } from "./jobs.js";
import { RECORDED, rounds } from "./rounds.js";
import { watch } from "./watch.js";
import { streams, unary } from "./wire.js";

// One daemon for a suite, with clients of its codec.
function suite(name, codec, ...parts) {
  describe(name, () => {
    const use = {};
    before(async () => {
      use.daemon = await Daemon.start();
      use.clients = new Clients(use.daemon, codec);
    });
    after(async () => {
      use.clients.close();
      await use.daemon.stop();
    });
    for (const part of parts) part(use);
  });
}

for (const codec of CODECS) suite(`generated client, ${codec}`, codec, jobs, rounds, watch);
describe("a daemon that stops", () => {
  for (const codec of CODECS) {
    test(`tells the streams and the ranks that wait, ${codec}`, async (t) => {
      const daemon = await Daemon.start();
      const clients = new Clients(daemon, codec);
      t.after(() => {
        clients.close();
        daemon.kill();
      });
      const spec = { job: "draining", lr: [0.1], ranks: { worldSize: 2 } };
      await clients.post.createJob({ spec });
      const report = clients.call("report", { job: "draining", step: 1, reported: { case: "loss", value: 1 } });
      await until(async () => (await clients.post.getJob({ job: "draining" })).state.openRound);
      const stream = clients.post.watchJob({ job: "draining" })[Symbol.asyncIterator]();
      const end = stream.next();
      await until(async () => (await daemon.metric("greedylrd_watchers")) === 1);
      await Promise.all([
        daemon.stop(),
        fails(end, Code.Unavailable, "DRAINING"),
        fails(report, Code.Unavailable, "WAIT_INTERRUPTED", RECORDED),
      ]);
    });
  }
});

suite("bytes of other clients", "JSON", unary, streams);
suite("buf", "JSON", curl, breaking);

test("every RPC of the contract was called in every way it has", () => {
  const missing = callable().filter((way) => !succeeded.has(way));
  assert.deepEqual(missing, [], "these never succeeded");
});
