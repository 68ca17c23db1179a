// Debian's Chromium, driven by playwright-core.  Every page that a test opens has to be clean in the end: no errors in
// its console, nothing that its policy had to refuse, no request to anybody but the daemon.
import assert from "node:assert/strict";
import { connect, createServer } from "node:net";
import { chromium } from "playwright-core";

const FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync"];
let browser;

export async function launch() {
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM || "/usr/bin/chromium", args: FLAGS });
}

export async function quit() {
  await browser?.close();
}

// What lies between a page and the daemon, and can be cut.
export class Wire {
  static async to(daemon) {
    const wire = new Wire();
    wire.ends = new Set();
    wire.server = createServer((near) => {
      const far = connect(daemon.port, "127.0.0.1");
      for (const [one, other] of [[near, far], [far, near]]) {
        wire.ends.add(one);
        one.on("error", () => other.destroy()).on("close", () => (other.destroy(), wire.ends.delete(one))).pipe(other);
      }
    });
    await wire.up(0);
    wire.url = `http://127.0.0.1:${wire.server.address().port}`;
    return wire;
  }

  async up(port = Number(new URL(this.url).port)) {
    await new Promise((done) => this.server.listen(port, "127.0.0.1", done));
  }

  // Nobody listens any more, as when the daemon has ended.
  async down() {
    const closed = new Promise((done) => this.server.close(done));
    this.cut();
    await closed;
  }

  cut() {
    for (const end of this.ends) end.destroy();
  }

  close() {
    this.server.close();
    this.cut();
  }
}

// A page of its own on the daemon; expected: statuses above 399, or words of the console, that belong to the test.
export async function open(t, daemon, hash = "#/", { expected = [], ...options } = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, reducedMotion: "reduce", ...options });
  const page = await context.newPage();
  const faults = [];
  page.setDefaultTimeout(15_000);
  const allowed = (text) => expected.some((x) => text.includes(typeof x === "number" ? `status of ${x}` : x));
  page.on("console", (m) => ["error", "warning"].includes(m.type()) && !allowed(m.text()) && faults.push(`console: ${m.text()}`));
  page.on("pageerror", (error) => faults.push(`exception: ${error.stack}`));
  page.on("dialog", (dialog) => (faults.push(`dialog: ${dialog.message()}`), dialog.dismiss()));
  page.on("request", (request) => new URL(request.url()).origin === daemon.url || faults.push(`elsewhere: ${request.url()}`));
  page.on("response", (r) => r.status() < 400 || expected.includes(r.status()) || faults.push(`${r.status()}: ${r.url()}`));
  await page.addInitScript(() => {
    window.violations = [];
    addEventListener("securitypolicyviolation", (e) => window.violations.push(`${e.violatedDirective} ${e.blockedURI} ${e.sample}`));
  });
  t.after(async () => {
    const violations = await page.evaluate(() => window.violations);
    await context.close();
    assert.deepEqual([...faults, ...violations], []);
  });
  await page.goto(`${daemon.url}/${hash}`);
  return page;
}

// Waits until the page shows the text in what the selector finds.
export async function shows(page, selector, text) {
  await page.locator(selector).filter({ hasText: text }).first().waitFor();
}

export async function text(page, selector) {
  return (await page.locator(selector).allTextContents()).join(" ").replaceAll(/\s+/g, " ").trim();
}

// What is written along the x axis of the n-th chart.
export function steps(page, n) {
  return page.locator(".plot").nth(n).locator(".dygraph-axis-label-x").allTextContents();
}

// What is wider than the screen, scrolled to or cut off; a line of shell scrolls in its own box.
export function tooWide(page) {
  // innerWidth would grow with what is too wide
  return page.evaluate((width) => {
    const wide = [...document.querySelectorAll("body *")].filter((e) => e.getBoundingClientRect().right > width + 1 && !e.closest("pre, .unseen"));
    return [document.documentElement.scrollWidth > width && "the page", ...wide.map((e) => `${e.tagName}.${e.className}`)].filter(Boolean);
  }, page.viewportSize().width);
}
