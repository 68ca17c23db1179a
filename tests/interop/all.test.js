// Everything that other people's clients do with a daemon; one file, so that the last test sees what all of them did.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { breaking, curl } from "./buf.js";
import { callable, Clients, CODECS, fails, succeeded } from "./client.js";
import { Daemon } from "./harness.js";
import { jobs } from "./jobs.js";
import { rounds } from "./rounds.js";
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
suite("bytes of other clients", "JSON", unary, streams);
suite("buf", "JSON", curl, breaking);

test("every RPC of the contract was called in every way it has", () => {
  const missing = callable().filter((way) => !succeeded.has(way));
  assert.deepEqual(missing, [], "these never succeeded");
});
