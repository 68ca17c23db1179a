// The dashboard in a browser, against a real daemon.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { after, before, describe, test } from "node:test";
import { Daemon, ROOT, until } from "../interop/harness.js";
import { call, create, history, report, reports } from "./jobs.js";
import { launch, open, quit, shows, steps, text, tooWide, Wire } from "./page.js";

const HTML = ["note=<img src=x onerror=alert(1)>", "b=<b>bold</b>"];
let daemon;

before(async () => {
  await launch();
  daemon = await Daemon.start();
});
after(async () => {
  await quit();
  await daemon.stop();
});

describe("the list", () => {
  test("helps where there is no job, and shows the first one without a reload", async (t) => {
    const page = await open(t, daemon);
    await shows(page, ".empty", "No jobs yet");
    const line = await page.locator(".command pre").first().textContent();
    assert.match(line, new RegExp(`^curl -s ${daemon.url}/v1/jobs/demo:report -d '\\{.*\\}'$`));
    await call(daemon, "POST", "/v1/jobs/demo:report", JSON.parse(/'(.*)'/.exec(line)[1]));
    await shows(page, ".jobs tbody", "demo");
    assert.equal(await page.locator(".empty").count(), 0);
  });

  test("searches, sorts, filters and pages through many jobs", async (t) => {
    const many = Array.from({ length: 1100 }, (_, i) => ({ job: `many-${String(i).padStart(4, "0")}`, step: i, loss: 1, lr: [0.1 + i] }));
    await call(daemon, "POST", "/v1/jobs:batchReport", { reports: many });
    await call(daemon, "POST", "/v1/jobs/many-0007:pause", {});
    const page = await open(t, daemon);
    const names = () => page.locator(".jobs tbody th a").allTextContents();
    await shows(page, ".pager", "1–25 of 1,101 jobs");
    await page.getByRole("button", { name: "Rate" }).click();
    assert.equal((await names())[0], "many-1099");
    await page.getByRole("button", { name: "Rate" }).click();
    assert.deepEqual([(await names())[1], await page.locator("th[aria-sort=ascending]").textContent()], ["many-0000", "Rate▲"]);
    await page.getByRole("button", { name: "Next" }).click();
    await shows(page, ".pager", "26–50");
    assert.equal((await names()).length, 25);
    await page.keyboard.press("/");
    await page.keyboard.type("MANY greedy 0007");
    await shows(page, ".pager", /^1 job$/);
    assert.match(await text(page, ".jobs tbody"), /many-0007.*paused/);
    await page.locator("#search").fill("nothing like it");
    await shows(page, ".empty", "No job matches");
    await page.getByRole("button", { name: "Show all jobs" }).click();
    await page.getByRole("button", { name: "Paused 1" }).click();
    assert.deepEqual(await names(), ["many-0007"]);
    await page.getByRole("button", { name: /^All/ }).click();
  });

  test("draws the curves of what is in sight and changes with the jobs", async (t) => {
    await create(daemon, { job: "curves", lr: 0.1 });
    await reports(daemon, "curves", 60);
    const page = await open(t, daemon);
    await page.locator("#search").fill("curves");
    const row = page.locator("tr[data-job=curves]");
    await row.locator(".spark canvas").nth(3).waitFor();
    assert.match(await row.textContent(), /active.*60/);
    await call(daemon, "POST", "/v1/jobs/curves:finish", {});
    await shows(page, "tr[data-job=curves]", "finished");
    await page.locator("#search").fill("");
  });
});

describe("a job", () => {
  before(async () => {
    await create(daemon, { job: "run", lr: [0.1, 0.01], group_names: ["backbone", "<script>alert(2)</script>"], labels: HTML,
      greedy: { patience: 1 }, shadow: [{ name: "cosine", cosine_annealing: { t_max: 200 } }] });
    await reports(daemon, "run", 80);
    await call(daemon, "POST", "/v1/jobs/run:rewind", { step: 50 });
    await reports(daemon, "run", 50, 51);
    await call(daemon, "POST", "/v1/jobs/run:setLr", { lr: [0.02, 0.002] });
  });

  test("shows what it is, and text that looks like HTML as text", async (t) => {
    const page = await open(t, daemon, "#/jobs/run");
    await shows(page, ".labels", HTML[0]);
    await shows(page, ".labels", HTML[1]);
    await shows(page, ".settings", "<script>alert(2)</script>");
    await shows(page, ".tiles", "0.02");
    assert.equal(await page.locator("img[src=x], .labels b, main script").count(), 0);
    assert.match(await text(page, ".given"), /patience1/);
    assert.equal(await page.locator("div:not(.given) > dt", { hasText: "factor" }).count() > 0, true);
    await page.goto(`${daemon.url}/#/`);
    await page.locator("#search").fill("<b>bold");
    await shows(page, ".jobs .label", HTML[1]);
    await page.locator("#search").fill("");
  });

  test("marks what happened and says why", async (t) => {
    const page = await open(t, daemon, "#/jobs/run");
    await shows(page, ".readout", "override");
    for (const action of ["raise", "cut", "override", "rewind", "cosine"]) await shows(page, ".chart:nth-of-type(2) .legend", action);
    const last = (await history(daemon, "run")).filter((d) => d.value !== undefined).pop();
    const plot = page.locator(".plot").first();
    await plot.focus();
    await page.keyboard.press("End");
    await page.keyboard.press("ArrowLeft");
    await shows(page, ".readout.pointed", last.reason);
    await shows(page, ".readout", `step ${last.step}`);
    const box = await plot.boundingBox();
    await page.mouse.move(box.x + box.width / 2, box.y + box.height / 2);
    await until(async () => !(await text(page, ".readout")).includes(last.reason));
    assert.match(await text(page, ".readout"), /^step \d+ .*loss .*rate .*(raise|cut|hold)/);
  });

  test("says under the pointer what somebody did, though reports have the same steps", async (t) => {
    await create(daemon, { job: "deeds", lr: 0.1 });
    await reports(daemon, "deeds", 21, 0);
    await call(daemon, "POST", "/v1/jobs/deeds:rewind", { step: 10 });
    await reports(daemon, "deeds", 10, 11);
    await call(daemon, "POST", "/v1/jobs/deeds:setLr", { lr: 0.02 });
    await call(daemon, "POST", "/v1/jobs/deeds:pause", {});
    await call(daemon, "POST", "/v1/jobs/deeds:resume", {});
    await reports(daemon, "deeds", 20, 21);
    const page = await open(t, daemon, "#/jobs/deeds");
    await shows(page, ".readout", "step 40");
    const axis = async (label) => {
      const box = await page.locator(".plot").nth(1).locator(".dygraph-axis-label-x", { hasText: new RegExp(`^${label}$`) }).boundingBox();
      return box.x + box.width / 2;
    };
    const y = (await page.locator(".plot").nth(1).boundingBox()).y + 60;
    await page.mouse.move(await axis(10), y);
    await shows(page, ".readout.pointed", /rewind back from step 20 to step 10/);
    await page.mouse.move(await axis(20), y);
    await shows(page, ".readout.pointed", /→ 0.02.*override set from .* to 0.02.*pause.*resume/);
  });

  test("has its history, with what a rewind left behind", async (t) => {
    const page = await open(t, daemon, "#/jobs/run");
    await shows(page, ".history", "revisions 83–132 of 132");
    assert.equal(await page.locator(".history tbody tr").count(), 50);
    await shows(page, ".history tr.event", "override");
    await page.getByRole("button", { name: "Older" }).click();
    await shows(page, ".history", "revisions 33–82 of 132");
    assert.equal(await page.locator(".history tbody tr.superseded").count(), 30);
    await page.getByRole("button", { name: "Older" }).click();
    await shows(page, ".history", "revisions 1–32 of 132");
    assert.equal(await page.getByRole("button", { name: "Older" }).isDisabled(), true);
    await page.getByRole("button", { name: "Newer" }).click();
    await page.getByRole("button", { name: "Newer" }).click();
    await shows(page, ".history", "revisions 83–132 of 132");
  });

  test("zooms both charts together, by pointer, keys and buttons", async (t) => {
    const page = await open(t, daemon, "#/jobs/run");
    await shows(page, ".readout", "step");
    const whole = await steps(page, 0);
    const linked = async (what) => {
      await until(async () => String(await steps(page, 0)) === String(await steps(page, 1)));
      await until(async () => (String(await steps(page, 0)) === String(whole)) === (what === "whole"));
    };
    await linked("whole");
    const box = await page.locator(".plot").nth(1).boundingBox();
    await page.mouse.move(box.x + box.width * 0.4, box.y + 80);
    await page.mouse.down();
    await page.mouse.move(box.x + box.width * 0.6, box.y + 85, { steps: 4 });
    await page.mouse.up();
    await linked("part");
    await page.locator(".plot").first().focus();
    await page.keyboard.press("Escape");
    await linked("whole");
    await page.keyboard.press("+");
    await linked("part");
    await page.keyboard.press("Shift+ArrowRight");
    await linked("part");
    await page.getByRole("button", { name: "All", exact: true }).click();
    await linked("whole");
    const y = () => page.locator(".plot").first().locator(".dygraph-axis-label-y").allTextContents();
    const before = String(await y());
    await page.locator(".chart").first().getByRole("button", { name: "log" }).click();
    assert.equal(await page.locator(".chart").first().getByRole("button", { name: "log" }).getAttribute("aria-pressed"), "true");
    assert.notEqual(String(await y()), before);
  });

  test("is live: decisions arrive, and go on after the connection broke", async (t) => {
    await create(daemon, { job: "live", lr: 0.1 });
    await report(daemon, "live", 1, 2.5);
    const wire = await Wire.to(daemon);
    t.after(() => wire.close());
    const page = await open(t, wire, "#/jobs/live", { expected: ["net::ERR", 404] });
    await shows(page, "#live", "live");
    await report(daemon, "live", 2, 2.25);
    await shows(page, ".readout", "step 2 loss 2.25");
    await shows(page, ".history tbody", "2.25");
    await shows(page, ".tiles", "2 reports");
    const again = page.waitForRequest(/:watch\?after_revision=2$/);
    wire.cut();
    await again;
    for (let step = 3; step < 9; step++) await report(daemon, "live", step, 2);
    await shows(page, ".readout", "step 8 loss 2");
    await shows(page, "#live", "live");
    await call(daemon, "POST", "/v1/jobs/live:rewind", { step: 4 });
    await shows(page, ".readout", "rewind");
    await call(daemon, "DELETE", "/v1/jobs/live");
    await shows(page, ".problem", "deleted");
  });

  test("shows who is missing in the open round", async (t) => {
    await create(daemon, { job: "ddp", lr: 0.1, ranks: { world_size: 4 } });
    const rank = (r) => call(daemon, "POST", "/v1/jobs/ddp:report", { step: 1, rank: r, loss: 1 });
    const waiting = [rank(0), rank(2)];
    const page = await open(t, daemon, "#/jobs/ddp");
    await shows(page, ".missing", "Missing: 1, 3");
    assert.deepEqual(await page.locator(".ranks .absent").allTextContents(), ["1", "3"]);
    await shows(page, ".badges", "waiting for ranks");
    await Promise.all([...waiting, rank(1), rank(3)]);
    await shows(page, ".round", "No round is open");
  });

  test("says that the daemon is gone, and is itself again once it is back", async (t) => {
    await create(daemon, { job: "stays", lr: 0.1 });
    await report(daemon, "stays", 1, 2.5);
    const wire = await Wire.to(daemon);
    t.after(() => wire.close());
    const [list, job] = [await open(t, wire, "#/", { expected: ["net::ERR"] }), await open(t, wire, "#/jobs/stays", { expected: ["net::ERR"] })];
    for (const page of [list, job]) await shows(page, "#live", "live");
    await shows(job, ".readout", "step 1");
    await wire.down();
    for (const page of [list, job]) {
      await shows(page, ".problem", /The daemon does not answer.*What is shown is of \d/);
      await shows(page, "#live", "reconnecting");
    }
    await shows(job, ".readout", "step 1");
    await report(daemon, "stays", 2, 2.25);
    await wire.up();
    for (const page of [list, job]) {
      await page.locator(".problem").first().waitFor({ state: "hidden" });
      await shows(page, "#live", "live");
    }
    await shows(job, ".readout", "step 2");
  });

  test("waits for a daemon that is busy, and for one that swallows what it is asked", async (t) => {
    await create(daemon, { job: "busy", lr: 0.1 });
    await report(daemon, "busy", 1, 2.5);
    const page = await open(t, daemon, "#/", { expected: [503, "net::ERR"] });
    let answer = (route) => route.fulfill({ status: 503, body: '{"code":"unavailable","message":"the daemon is starting"}' });
    await page.route("**/v1/jobs/busy", (route) => answer(route));
    await page.goto(`${daemon.url}/#/jobs/busy`);
    await shows(page, ".problem", "the daemon is starting");
    await page.clock.install();
    answer = () => {}; // never
    await page.clock.runFor(3100);
    await until(async () => (await page.clock.runFor(5000), (await text(page, ".problem")).includes("does not answer")));
    answer = (route) => route.continue();
    await until(async () => (await page.clock.runFor(3100), (await text(page, ".readout")).includes("step 1")));
  });

  test("tells a loss that is not finite, in the list and on the chart", async (t) => {
    await create(daemon, { job: "nan", lr: 0.1 });
    for (const [step, loss] of [2, 1.5, "NaN"].entries()) await report(daemon, "nan", step, loss);
    const page = await open(t, daemon);
    await page.locator("#search").fill("nan");
    await shows(page, "tr[data-job=nan] .badge.bad", "loss is NaN");
    await page.locator("tr[data-job=nan] a").click();
    await shows(page, ".badges .bad", "loss is NaN");
    await shows(page, ".chart:first-of-type .legend", "not finite");
    await report(daemon, "nan", 3, 1.25);
    await page.locator(".badges .bad").waitFor({ state: "detached" });
    await page.goto(`${daemon.url}/#/`);
    await page.locator("#search").fill("");
  });

  test("says in the daemon's words what is wrong", async (t) => {
    const page = await open(t, daemon, "#/jobs/%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E", { expected: [400, 404] });
    await shows(page, "h1", "<img src=x onerror=alert(1)>");
    await shows(page, ".problem", "job");
    await page.goto(`${daemon.url}/#/jobs/no-such-job`);
    await shows(page, ".problem", "no-such-job");
    await shows(page, "#live", "not live"); // and asks no more
    assert.equal(await page.locator("main img").count(), 0);
  });
});

describe("what if", () => {
  test("draws what other settings would have decided, as Simulate says", async (t) => {
    await create(daemon, { job: "what", lr: 0.1, greedy: { patience: 1 } });
    await reports(daemon, "what", 120);
    const page = await open(t, daemon, "#/jobs/what");
    await page.locator(".what-if summary").click();
    await shows(page, ".what-if .note", "not how the model would have trained");
    await page.locator("#what-if-patience").focus();
    for (let i = 0; i < 3; i++) await page.keyboard.press("ArrowRight");
    await shows(page, ".chart .legend", "what if");
    const losses = (await history(daemon, "what")).map((d) => d.value);
    const { decisions } = await call(daemon, "POST", "/v1/simulate", { spec: { lr: 0.1, greedy: { patience: 4 } }, losses });
    const counts = ["raise", "cut", "reset"].map((action) => decisions.filter((d) => d.action === action).length);
    await shows(page, ".result tbody tr:nth-child(2)", `what if${counts.join("")}`);
    assert.match(await text(page, ".what-if .command pre"), /-X PATCH .*\{"spec":\{"greedy":\{"patience":4\}\}\}/);
    await page.locator("#what-if-policy").selectOption("plateau");
    await page.locator("#what-if-factor").fill("0.5");
    await shows(page, ".what-if .command pre", '"shadow":[{"name":"what-if","plateau":{"factor":0.5}}]');
    await page.getByRole("button", { name: "Reset" }).click();
    await until(async () => !(await text(page, ".chart .legend")).includes("what if"));
  });
});

test("10,000 decisions are drawn thinned out, and in full where one looks", async (t) => {
  await create(daemon, { job: "long", lr: 0.1, greedy: { min_lr: 1e-9 } });
  await reports(daemon, "long", 10_000);
  const answers = [];
  const page = await open(t, daemon);
  page.on("response", async (r) => r.url().includes("/decisions?") && answers.push([r.url(), (await r.json()).decisions.length]));
  await page.goto(`${daemon.url}/#/jobs/long`);
  await shows(page, ".readout", "step 10,000");
  await shows(page, ".history", "revisions 9,951–10,000");
  const curves = answers.filter(([url]) => url.includes("max_points"));
  assert.ok(curves.length > 0 && curves.every(([, n]) => n <= 1000), String(answers));
  await page.locator(".plot").first().focus();
  const slowest = await page.evaluate(async () => {
    const plot = document.querySelector(".plot");
    let worst = 0;
    for (const key of ["+", "+", "+", "-", "ArrowRight", "ArrowRight", "+", "+", "+"]) {
      const start = performance.now();
      plot.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
      await new Promise((done) => requestAnimationFrame(done));
      worst = Math.max(worst, performance.now() - start);
    }
    return worst;
  });
  assert.ok(slowest < 1500, `a key took ${slowest} ms`);
  await until(() => answers.some(([url, n]) => url.includes("from_step") && url.includes("max_points") && n > 100));
  await page.keyboard.press("ArrowRight");
  const at = async () => Number(/step ([\d,]+)/.exec(await text(page, ".readout"))[1].replace(",", ""));
  await until(async () => {
    const one = await at();
    await page.keyboard.press("ArrowRight");
    return (await at()) === one + 1;
  });
});

describe("tokens", () => {
  test("are asked for, kept in memory alone, and asked for again", async (t) => {
    const folder = mkdtempSync(join(tmpdir(), "greedylrd-tokens-"));
    const file = join(folder, "tokens");
    writeFileSync(file, "", { mode: 0o600 });
    chmodSync(file, 0o600);
    const make = (role) => execFileSync(resolve(ROOT, process.env.BUILD || "build", "greedylr"),
      ["token", "create", "--file", file, "--role", role, "--prefix="], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();
    const admin = make("admin");
    const observe = make("observe");
    const guarded = await Daemon.start("--token-file", file);
    t.after(async () => {
      await guarded.stop();
      rmSync(folder, { recursive: true });
    });
    const headers = { Authorization: `Bearer ${admin}` };
    await call(guarded, "POST", "/v1/jobs/secret:report", { step: 1, loss: 1, lr: 0.1 }, headers);
    const page = await open(t, guarded, "#/", { expected: [401] });
    await shows(page, "dialog", "asks for a token");
    await page.keyboard.type("nobody.AAAA");
    await page.keyboard.press("Enter");
    await shows(page, "dialog .problem", "token");
    await page.locator("#token").fill(observe);
    await page.keyboard.press("Enter");
    await page.locator(".jobs a", { hasText: "secret" }).click();
    await shows(page, ".readout", "step 1");
    await call(guarded, "POST", "/v1/jobs/secret:report", { step: 2, loss: 0.5 }, headers);
    await shows(page, ".readout", "step 2");
    const secret = observe.split(".").pop();
    const kept = await page.evaluate(() => JSON.stringify([location.href, document.cookie, { ...localStorage }, { ...sessionStorage }, history.state]));
    assert.ok(!kept.includes(secret), kept);
    assert.equal((await page.context().cookies()).length, 0);
    assert.ok(!(await page.content()).includes(secret));
    await page.reload();
    await shows(page, "dialog", "asks for a token");
  });
});

describe("for everybody", () => {
  test("a phone has no sideways scroll", async (t) => {
    await create(daemon, { job: "a-name-that-is-long-enough-to-be-wider-than-a-phone-if-nothing-breaks-it", lr: [0.1, 0.2, 0.3], labels: HTML,
      shadow: [{ name: "cosine", cosine_annealing: { t_max: 200 } }] });
    await create(daemon, { job: "phone-ranks", lr: 0.1, ranks: { world_size: 64, quorum: 1, deadline: "50ms" } });
    await reports(daemon, "a-name-that-is-long-enough-to-be-wider-than-a-phone-if-nothing-breaks-it", 60);
    await report(daemon, "phone-ranks", 1, 1);
    const page = await open(t, daemon, "#/", { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true });
    await shows(page, ".jobs", "phone-ranks");
    await page.locator("tr[data-job^=a-name] .spark canvas").nth(3).waitFor();
    assert.deepEqual(await tooWide(page), []);
    for (const job of ["a-name-that-is-long-enough-to-be-wider-than-a-phone-if-nothing-breaks-it", "phone-ranks"]) {
      await page.goto(`${daemon.url}/#/jobs/${job}`);
      await shows(page, ".readout", "step");
      await page.locator(".what-if summary").click();
      assert.deepEqual(await tooWide(page), [], job);
    }
    await create(daemon, { job: "phone-quiet", lr: 0.1 });
    await page.goto(`${daemon.url}/#/jobs/phone-quiet`);
    await shows(page, ".empty", "Waiting for the first report");
    assert.deepEqual(await tooWide(page), [], "phone-quiet");
    await page.goto(`${daemon.url}/#/jobs/phone-ranks`);
    await shows(page, ".readout", "step");
    const top = async (selector) => (await page.locator(selector).boundingBox()).y;
    assert.ok((await top(".round")) < (await top(".panel")), "who is missing comes before the curves");
    await page.goto(`${daemon.url}/#/`);
    const name = await page.locator("tr[data-job^=a-name] th").boundingBox();
    assert.ok(name.width > 300, `the name has ${name.width} of 390 pixels`);
  });

  test("keys are enough", async (t) => {
    const page = await open(t, daemon);
    await shows(page, ".jobs", "run");
    const searching = () => until(async () => (await page.evaluate(() => document.activeElement.id)) === "search");
    const on = () => page.evaluate(() => document.activeElement.textContent);
    await page.keyboard.press("/");
    await searching();
    await page.keyboard.type("curves");
    await shows(page, ".pager", /^1 job$/);
    for (let i = 0; i < 20 && (await on()) !== "curves"; i++) await page.keyboard.press("Tab");
    assert.equal(await on(), "curves");
    assert.notEqual(await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle), "none");
    await page.keyboard.press("Enter");
    await shows(page, "h1", "curves");
    await shows(page, ".readout", "step");
    await page.keyboard.press("/");
    await searching();
    await page.locator("#search").fill("");
    await page.locator("#search").blur();
    await page.keyboard.press("Tab");
    assert.equal(await page.evaluate(() => document.activeElement === document.body), false);
  });

  test("a row that moves under the fingers keeps the focus", async (t) => {
    for (const job of ["keys-1", "keys-2", "keys-3"]) await create(daemon, { job, lr: 0.1 });
    const page = await open(t, daemon);
    await page.locator("#search").fill("keys-");
    await shows(page, ".pager", /^3 jobs$/);
    const first = () => page.locator("tbody tr").first().getAttribute("data-job");
    for (const [i, job] of ["keys-1", "keys-2", "keys-3", "keys-1", "keys-2"].entries()) {
      await page.getByRole("link", { name: "keys-2" }).focus();
      await report(daemon, job, i, 1);
      await until(async () => (await first()) === job);
      assert.equal(await page.evaluate(() => document.activeElement.textContent), "keys-2", `once ${job} is on top`);
    }
  });

  test("dark and light, by the system and by the switch", async (t) => {
    const page = await open(t, daemon, "#/jobs/run", { colorScheme: "dark" });
    await shows(page, ".readout", "step");
    const theme = () => page.evaluate(() => document.documentElement.dataset.theme);
    assert.equal(await theme(), "dark");
    await page.emulateMedia({ colorScheme: "light" });
    await until(async () => (await theme()) === "light");
    await page.locator("#theme").click();
    await page.locator("#theme").click();
    assert.equal(await theme(), "dark");
    await page.reload();
    assert.equal(await theme(), "dark");
  });
});
