// Jobs for the pages to show, made as training runs make them.
import assert from "node:assert/strict";

export async function call(daemon, method, path, body, headers = {}) {
  const response = await fetch(daemon.url + path, { method, body: body && JSON.stringify(body), headers });
  const answer = await response.json();
  assert.ok(response.ok, `${method} ${path}: ${JSON.stringify(answer)}`);
  return answer;
}

export const create = (daemon, spec) => call(daemon, "POST", "/v1/jobs", spec);
export const report = (daemon, job, step, loss) => call(daemon, "POST", `/v1/jobs/${job}:report`, { step, loss });

// Falls, then wavers: raises first, then cuts.
export const loss = (i) => (i < 40 ? 2 * 0.95 ** i : 0.26 + 0.02 * (i % 3));

// Many reports of one job, 100 in each commit.
export async function reports(daemon, job, n, first = 1) {
  for (let at = 0; at < n; at += 1000) {
    const batch = Array.from({ length: Math.min(1000, n - at) }, (_, i) => ({ job, step: first + at + i, loss: loss(at + i) }));
    await call(daemon, "POST", "/v1/jobs:batchReport", { reports: batch });
  }
}

export async function history(daemon, job) {
  const found = [];
  for (let page = ""; ; ) {
    const answer = await call(daemon, "GET", `/v1/jobs/${job}/decisions?page_size=1000${page}`);
    found.push(...answer.decisions);
    if (!answer.next_page_token) return found;
    page = `&page_token=${answer.next_page_token}`;
  }
}
