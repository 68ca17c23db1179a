// A real daemon on port 0 in a temporary directory; BUILD says which build.  It is a process group of its own, ends
// with the tests whatever happens, and fails them if a sanitizer or an assertion spoke.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

export const ROOT = resolve(fileURLToPath(import.meta.url), "../../..");
const BINARY = resolve(ROOT, process.env.BUILD || "build", "greedylrd");
const running = new Set();

process.on("exit", () => {
  for (const pid of running) {
    try {
      process.kill(-pid, "SIGKILL");
    } catch {
      // It has ended by itself.
    }
  }
});

for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => process.exit(1));

// Nothing here takes this long: a call that never ends must not either.
setTimeout(() => {
  console.error("the tests hang: a call was never answered");
  process.exit(1);
}, 240_000).unref();

export class Daemon {
  // Resolves once the daemon is ready.
  static async start(...flags) {
    const daemon = new Daemon();
    daemon.data = mkdtempSync(join(tmpdir(), "greedylrd-test-"));
    daemon.process = spawn(BINARY, ["--listen", "127.0.0.1:0", "--data-dir", daemon.data, ...flags], {
      detached: true,
      stdio: ["ignore", "pipe", "pipe"],
    });
    const { process: child } = daemon;
    running.add(child.pid);
    daemon.stderr = "";
    child.stderr.setEncoding("utf8").on("data", (text) => (daemon.stderr += text));
    daemon.ended = new Promise((done) => child.once("close", (code, signal) => done(signal ?? code)));
    const first = new Promise((done) => child.stdout.once("data", (line) => done(String(line))));
    const line = await Promise.race([first, daemon.ended]);
    const port = /:(\d+)\s*$/.exec(line);
    assert.ok(port, `no listening line: ${line}: ${daemon.stderr}`);
    daemon.port = Number(port[1]);
    daemon.url = `http://127.0.0.1:${daemon.port}`;
    await until(async () => (await fetch(`${daemon.url}/readyz`)).status === 200);
    return daemon;
  }

  // Drains the daemon and checks that it ended well.
  async stop() {
    this.process.kill("SIGTERM");
    const code = await this.ended;
    running.delete(this.process.pid);
    rmSync(this.data, { recursive: true, force: true });
    for (const sign of ["Sanitizer", "runtime error:", "Assertion"]) {
      assert.ok(!this.stderr.includes(sign), this.stderr.slice(-6000));
    }
    assert.equal(code, 0, this.stderr.slice(-4000));
  }

  // Ends the daemon whatever happened; after stop() it does nothing.
  kill() {
    if (running.delete(this.process.pid)) process.kill(-this.process.pid, "SIGKILL");
    rmSync(this.data, { recursive: true, force: true });
  }

  // A value of /metrics by its name, labels included.
  async metric(name) {
    const text = await (await fetch(`${this.url}/metrics`)).text();
    const line = text.split("\n").find((l) => l.startsWith(`${name} `));
    assert.ok(line, `${name} is not in /metrics`);
    return Number(line.slice(name.length + 1));
  }
}

// Waits for something that happens soon; its time is not what is tested.
export async function until(condition, seconds = 20) {
  const end = performance.now() + seconds * 1000;
  for (;;) {
    const value = await condition();
    if (value) return value;
    assert.ok(performance.now() < end, `it did not happen within ${seconds} s: ${condition}`);
    await new Promise((done) => setTimeout(done, 10));
  }
}
