// What the page asks the daemon.  The token is kept here, in memory, and goes into a header; nothing else knows it.

// What an HTTP answer or its absence says: the daemon's own words.
export class ApiError extends Error {
  constructor(status, body) {
    super(body.message || `HTTP ${status}`);
    this.status = status;
    this.reason = body.details?.[0]?.debug?.reason || body.reason || "";
  }
}

const PATIENCE = 15000; // ms for an answer; a stream that has begun may be silent for longer
const PATIENCE_SIMULATION = 60000;

let token = "";
let askForToken = null; // (message) -> Promise of a token
let asking = null; // one question at a time

// ask: is called where the daemon wants a token, with its words.
export function onTokenNeeded(ask) {
  askForToken = ask;
}

function headers(more) {
  return token ? { ...more, Authorization: `Bearer ${token}` } : more;
}

function failure(status, text) {
  try {
    return new ApiError(status, JSON.parse(text));
  } catch {
    return new ApiError(status, { message: text.trim() || `HTTP ${status}` });
  }
}

// One request: {response, text}, the text being all of the answer, or none of a stream.  A daemon that hangs, or a
// network that swallows packets, is one that does not answer.
async function send(path, { stream, signal, patience = PATIENCE, ...options }) {
  const ends = new AbortController();
  const end = () => ends.abort();
  const timer = setTimeout(end, patience);
  signal?.addEventListener("abort", end);
  try {
    signal?.throwIfAborted();
    const response = await fetch(path, {
      ...options, headers: headers(options.headers), signal: ends.signal, cache: "no-store", credentials: "omit",
    });
    const streams = stream && response.ok;
    const text = streams ? "" : await response.text();
    if (!streams) signal?.removeEventListener("abort", end);
    return { response, text };
  } catch (error) {
    signal?.removeEventListener("abort", end);
    if (signal?.aborted) throw error;
    throw new ApiError(0, { message: "The daemon does not answer; is it running, and can this machine reach it?" });
  } finally {
    clearTimeout(timer);
  }
}

// What send() has of an answer that is not an error.  Without a good token the person is asked, and it is tried again.
async function request(path, options = {}) {
  for (;;) {
    const used = token;
    const { response, text } = await send(path, options);
    if (response.ok) return { response, text };
    const error = failure(response.status, text);
    if (response.status !== 401 || !askForToken) throw error;
    if (token !== used) continue; // another request got one meanwhile
    asking ||= askForToken(error.message).finally(() => (asking = null));
    token = await asking;
  }
}

export function hasToken() {
  return token !== "";
}

export function forgetToken() {
  token = "";
}

async function get(path, query, signal) {
  const text = new URLSearchParams(Object.entries(query || {}).filter(([, v]) => v !== undefined && v !== "")).toString();
  return JSON.parse((await request(path + (text ? `?${text}` : ""), { signal })).text);
}

// Whether the same request may be answered otherwise in a while.
export function passes(error) {
  return !(error.status >= 400 && error.status < 500) || error.status === 429;
}

const jobPath = (job) => `/v1/jobs/${encodeURIComponent(job)}`;

export const getVersion = () => get("/version");
export const getJob = (job, signal) => get(jobPath(job), {}, signal);
export const listJobs = (query, signal) => get("/v1/jobs", query, signal);
export const listDecisions = (job, query, signal) => get(`${jobPath(job)}/decisions`, query, signal);

export async function simulate(spec, losses, signal) {
  const options = { method: "POST", body: JSON.stringify({ spec, losses }), signal, patience: PATIENCE_SIMULATION };
  return JSON.parse((await request("/v1/simulate", options)).text);
}

// All decisions of a job, a page at a time; each is called with what has come so far.
export async function allDecisions(job, query, signal, each) {
  const found = [];
  for (let page = ""; ; ) {
    const answer = await listDecisions(job, { ...query, page_size: 1000, page_token: page }, signal);
    found.push(...answer.decisions);
    page = answer.next_page_token;
    if (!page || each?.(found) === false) return found;
  }
}

// Decisions after a revision, as they become durable: calls on.decision, and on.state with "live" or "waiting".
// EventSource cannot send a token, so the stream is read by hand.  Resolves when it ends for good: with the ApiError
// that says why, or nothing after an abort.
export async function watch(job, after, signal, on) {
  let pause = 500;
  for (let revision = after; !signal.aborted; ) {
    try {
      const { response } = await request(`${jobPath(job)}:watch?after_revision=${revision}`, { signal, stream: true });
      on.state("live");
      for await (const event of events(response.body)) {
        pause = 500;
        if (event.id) revision = Number(event.id);
        if (event.name === "decision") on.decision(JSON.parse(event.data));
        if (event.name !== "end") continue;
        const end = new ApiError(0, JSON.parse(event.data));
        if (end.reason === "JOB_DELETED") return end;
      }
    } catch (error) {
      if (signal.aborted) return undefined;
      if (!passes(error)) return error;
    }
    on.state("waiting");
    await new Promise((done) => setTimeout(done, pause));
    pause = Math.min(pause * 2, 10000);
  }
  return undefined;
}

// The events of a text/event-stream: {id, name, data}.
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  let event = {};
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    const lines = text.split("\n");
    text = lines.pop();
    for (const line of lines) {
      const [, field, rest] = /^([a-z]*): ?(.*)$/.exec(line) || [];
      if (field === "id") event.id = rest;
      else if (field === "event") event.name = rest;
      else if (field === "data") event.data = (event.data === undefined ? "" : `${event.data}\n`) + rest;
      else if (line === "") {
        yield event;
        event = {};
      }
    }
  }
}
