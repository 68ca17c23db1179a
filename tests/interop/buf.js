// buf as users run it: `buf curl` with the contract against a daemon, and the check for breaking changes.
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { ROOT, until } from "./harness.js";

const BIN = join(ROOT, "tests/node_modules/.bin");
const ENV = { ...process.env, PATH: `${BIN}:${process.env.PATH}` };

function run(command, args, cwd = ROOT) {
  return new Promise((done) => {
    execFile(command, args, { cwd, env: ENV, timeout: 60000 }, (error, stdout, stderr) =>
      done({ code: error ? error.code : 0, stdout, stderr }));
  });
}

export function curl(use) {
  const url = (method) => `${use.daemon.url}/greedylr.v1.SchedulerService/${method}`;
  const call = (method, request) => run("buf", ["curl", "--schema", "proto", "--data", JSON.stringify(request), url(method)]);

  test("buf curl calls, and says errors with their reason", async () => {
    const { code, stdout, stderr } = await call("Report", { job: "curl", step: 1, loss: 2.31, lr: [0.1] });
    assert.equal(code, 0, stderr);
    assert.deepEqual([JSON.parse(stdout).job, JSON.parse(stdout).lr], ["curl", 0.1]);
    const nobody = await call("GetJob", { job: "nobody" });
    assert.equal(nobody.code, 5 << 3, "NOT_FOUND of gRPC, shifted by buf");
    assert.match(nobody.stderr, /job nobody does not exist/);
    assert.match(nobody.stderr, /JOB_NOT_FOUND/);
  });

  test("buf curl watches", async () => {
    await call("Report", { job: "curl-watch", step: 1, loss: 2.31, lr: [0.1] });
    const child = spawn("buf", ["curl", "--schema", "proto", "--data", '{"job":"curl-watch","after_revision":0}',
                                url("WatchJob")], { cwd: ROOT, env: ENV });
    let stdout = "", stderr = "";
    child.stdout.on("data", (text) => (stdout += text));
    child.stderr.on("data", (text) => (stderr += text));
    const ended = new Promise((done) => child.once("close", done));
    let over = false;
    ended.then(() => (over = true));
    try {
      await until(() => over || /"revision": *1\b/.test(stdout));
      assert.ok(!over, stderr);
      await call("Report", { job: "curl-watch", step: 2, loss: 2.1 });
      await until(() => over || /"revision": *2\b/.test(stdout));
      await call("DeleteJob", { job: "curl-watch" });
      assert.equal(await ended, 10 << 3, "ABORTED of gRPC, shifted by buf");
      assert.match(stderr, /deleted/);
    } finally {
      child.kill();
    }
  });

  test("the buf curl lines of the documentation work", async () => {
    const lines = ["README.md", "proto/PROTOCOL.md"].flatMap((page) =>
      readFileSync(join(ROOT, page), "utf8").replace(/\\\n\s*/g, "").split("\n").filter((line) => /^\s*buf curl /.test(line)));
    const calls = lines.filter((line) => !line.includes("WatchJob"));
    assert.ok(calls.length, "there are some");
    for (const line of calls) {
      const { code, stderr } = await run("sh", ["-c", line.replaceAll(":8571", `:${use.daemon.port}`)]);
      assert.equal(code, 0, `${line}\n${stderr}`);
    }
  });
}

export function breaking() {
  test("a contract that breaks clients of the last release is refused", async () => {
    const scratch = mkdtempSync(join(tmpdir(), "greedylrd-breaking-"));
    const contract = join(scratch, "proto/greedylr/v1/scheduler.proto");
    const git = async (...args) => {
      const config = ["-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "commit.gpgsign=false"];
      const { code, stderr } = await run("git", [...config, ...args], scratch);
      assert.equal(code, 0, stderr);
    };
    const check = () => run(join(scratch, "tests/interop/breaking.sh"), [join(BIN, "buf")], scratch);
    const edit = (from, to) => {
      const text = readFileSync(contract, "utf8");
      assert.ok(text.includes(from), from);
      writeFileSync(contract, text.replace(from, to));
    };
    try {
      for (const path of ["proto", "tests/interop/breaking.sh"]) {
        cpSync(join(ROOT, path), join(scratch, path), { recursive: true });
      }
      assert.match((await check()).stdout, /no git repository/);
      await git("init", "-q");
      await git("add", ".");
      await git("commit", "-q", "-m", "release");
      assert.match((await check()).stdout, /no release yet/);
      await git("tag", "v0.1.0");
      await git("tag", "other");
      const same = await check();
      assert.deepEqual([same.code, same.stdout.trim()], [0, "breaking: comparing the contract with v0.1.0"]);

      edit("message DeleteJobResponse {}", "message DeleteJobResponse {}\n\n// More.\nmessage More {}");
      assert.equal((await check()).code, 0, "an addition breaks nobody");
      edit("optional uint32 patience = 4;", "optional uint32 endurance = 4;");
      edit("rpc GetLr(", "rpc FetchLr(");
      const broken = await check();
      assert.notEqual(broken.code, 0);
      assert.match(broken.stdout, /patience/);
      assert.match(broken.stdout, /GetLr/);

      await git("commit", "-q", "-a", "-m", "another contract");
      await git("tag", "v0.2.0");
      const next = await check();
      assert.deepEqual([next.code, next.stdout.trim()], [0, "breaking: comparing the contract with v0.2.0"]);
    } finally {
      rmSync(scratch, { recursive: true, force: true });
    }
  });
}
