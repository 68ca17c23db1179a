// What other Connect clients send, byte by byte: nothing here goes through the generated client.
import assert from "node:assert/strict";
import http from "node:http";
import { test } from "node:test";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { until } from "./harness.js";
import {
  GetLrRequestSchema,
  GetLrResponseSchema,
  JobSchema,
  ListJobsRequestSchema,
  ReportRequestSchema,
  WatchJobRequestSchema,
  WatchJobResponseSchema,
} from "./gen/greedylr/v1/scheduler_pb.js";

const SERVICE = "/greedylr.v1.SchedulerService/";
const JSON_TYPE = { "content-type": "application/json" };
const PROTO_TYPE = { "content-type": "application/proto" };

// Sends a request; body is text, bytes, or a list of them to be sent as chunks, `pause` lets each go out by itself.
function open(daemon, method, path, headers, body, { trailers, pause } = {}) {
  return new Promise((resolve, reject) => {
    const options = { host: "127.0.0.1", port: daemon.port, method, path: SERVICE + path, headers, agent: false };
    const request = http.request(options, (response) => resolve({ request, response }));
    request.on("error", reject);
    const send = async () => {
      if (trailers) request.addTrailers(trailers);
      if (!Array.isArray(body)) return request.end(body);
      for (const chunk of body) {
        request.write(chunk);
        if (pause) await new Promise((done) => setTimeout(done, 2));
      }
      request.end();
    };
    send();
  });
}

async function call(daemon, method, path, headers, body, how) {
  const { response } = await open(daemon, method, path, headers, body, how);
  const chunks = [];
  for await (const chunk of response) chunks.push(chunk);
  const bytes = Buffer.concat(chunks);
  return { status: response.statusCode, headers: response.headers, bytes, text: bytes.toString() };
}

// Checks that an answer is a Connect error of this kind, whatever the request was; returns it.
function refused(answer, status, code, reason) {
  assert.equal(answer.status, status, answer.text);
  assert.equal(answer.headers["content-type"], "application/json");
  const error = JSON.parse(answer.text);
  assert.equal(error.code, code, answer.text);
  assert.equal(error.details[0].type, "google.rpc.ErrorInfo");
  assert.equal(error.details[0].debug.reason, reason, answer.text);
  assert.match(error.details[0].value, /^[A-Za-z0-9+/]+$/, "base64 without padding");
  return error;
}

function permutations(list) {
  if (list.length < 2) return [list];
  return list.flatMap((x, i) => permutations(list.filter((_, k) => k !== i)).map((p) => [x, ...p]));
}

const frame = (flags, bytes) => {
  const body = Buffer.from(bytes);
  const head = Buffer.alloc(5);
  head[0] = flags;
  head.writeUInt32BE(body.length, 1);
  return Buffer.concat([head, body]);
};

// Splits what has come into frames; the rest stays for later.
function frames(bytes) {
  const found = [];
  while (bytes.length >= 5 && bytes.length >= 5 + bytes.readUInt32BE(1)) {
    const end = 5 + bytes.readUInt32BE(1);
    found.push({ flags: bytes[0], bytes: bytes.subarray(5, end) });
    bytes = bytes.subarray(end);
  }
  return { found, rest: bytes };
}

export function unary(use) {
  const send = (...request) => call(use.daemon, ...request);
  const post = (path, headers, body, how) => send("POST", path, headers, body, how);
  const getLr = (headers, how) => post("GetLr", { ...JSON_TYPE, ...headers }, '{"job":"wire"}', how);
  const query = (path, parameters, headers) => send("GET", `${path}?${parameters}`, headers ?? {});
  const binary = toBinary(GetLrRequestSchema, create(GetLrRequestSchema, { job: "wire" }));

  test("the job of these tests", async () => {
    const answer = await post("CreateJob", JSON_TYPE, '{"spec":{"job":"wire","lr":[0.1],"groupNames":["größe"]}}');
    assert.equal(answer.status, 200, answer.text);
  });

  test("content types are read without their parameters", async () => {
    for (const type of ["application/json", "application/json; charset=utf-8", "Application/JSON;charset=UTF-8"]) {
      const answer = await getLr({ "content-type": type });
      assert.equal(answer.status, 200, type);
      assert.equal(answer.headers["content-type"], "application/json");
      assert.equal(JSON.parse(answer.text).lr, 0.1);
    }
    for (const type of ["application/proto", "application/proto; x=y"]) {
      const answer = await post("GetLr", { "content-type": type }, binary);
      assert.equal(answer.headers["content-type"], "application/proto");
      assert.equal(fromBinary(GetLrResponseSchema, answer.bytes).lr, 0.1);
    }
    const wrong = ["", "text/plain", "application/x-www-form-urlencoded", "application/grpc", "application/grpc-web+json",
                   "application/connect+json", "application/connect+proto", "application/jsonl", "application/protobuf"];
    for (const type of wrong) {
      const answer = await post("GetLr", type ? { "content-type": type } : {}, '{"job":"wire"}');
      refused(answer, 415, "invalid_argument", "MEDIA_TYPE_UNSUPPORTED");
      assert.equal(answer.headers["accept-post"], "application/json, application/proto");
    }
  });

  test("the protocol's version may be absent and must be right", async () => {
    assert.equal((await getLr({ "connect-protocol-version": "1" })).status, 200);
    refused(await getLr({ "connect-protocol-version": "2" }), 400, "invalid_argument", "FIELD_INVALID");
  });

  test("timeouts have 1 to 10 digits", async () => {
    for (const ms of ["1000", "9999999999", "0000001000"]) {
      assert.equal((await getLr({ "connect-timeout-ms": ms })).status, 200, ms);
    }
    for (const ms of ["", "-1", "+5", "1.5", "5s", "10000000000", "0x10", "1 000", "99999999999999999999999"]) {
      refused(await getLr({ "connect-timeout-ms": ms }), 400, "invalid_argument", "FIELD_INVALID");
    }
  });

  test("compression is negotiated down to none", async () => {
    for (const accept of ["gzip", "gzip, br, zstd", "br;q=1.0, gzip;q=0.8, *;q=0.1", "identity", ""]) {
      const answer = await getLr({ "accept-encoding": accept, "connect-accept-encoding": accept });
      assert.equal(answer.status, 200, accept);
      assert.equal(answer.headers["content-encoding"], undefined);
    }
    assert.equal((await getLr({ "content-encoding": "identity" })).status, 200);
    for (const encoding of ["gzip", "br", "zstd", "snappy"]) {
      const error = refused(await getLr({ "content-encoding": encoding }), 501, "unimplemented", "ENCODING_UNSUPPORTED");
      assert.match(error.message, /identity/);
    }
  });

  test("an empty body is an empty message", async () => {
    const listed = await post("ListJobs", JSON_TYPE, "");
    assert.ok(JSON.parse(listed.text).jobs.length);
    assert.equal((await post("ListJobs", PROTO_TYPE, "")).status, 200);
    refused(await post("GetLr", JSON_TYPE, ""), 400, "invalid_argument", "FIELD_REQUIRED");
    refused(await post("DeleteJob", PROTO_TYPE, ""), 400, "invalid_argument", "FIELD_REQUIRED");
  });

  test("chunks, trailers and metadata of the client's own do no harm", async () => {
    const headers = { ...JSON_TYPE, trailer: "Acme-Cost", "acme-id": "42", "acme-data-bin": "AAEC", "user-agent": "x" };
    const answer = await post("GetLr", headers, ['{"job":', '"wi', 're"}'], { trailers: { "Acme-Cost": "7" }, pause: true });
    assert.equal(answer.status, 200, answer.text);
    assert.equal(JSON.parse(answer.text).lr, 0.1);
  });

  test("fields are read in both spellings, unknown ones only in binary", async () => {
    const page = [await post("ListJobs", JSON_TYPE, '{"page_size":1}'), await post("ListJobs", JSON_TYPE, '{"pageSize":1}')];
    assert.equal(page[0].text, page[1].text);
    refused(await post("ListJobs", JSON_TYPE, '{"pagesize":1}'), 400, "invalid_argument", "FIELD_UNKNOWN");
    const unknown = Buffer.concat([binary, Buffer.from([0xf8, 0x3f, 1])]); // field 1023, varint 1
    assert.equal((await post("GetLr", PROTO_TYPE, unknown)).status, 200);
  });

  test("what is no message is refused", async () => {
    for (const text of ["{", "[]", "null x", '{"job":"wire"} {}', '{"job":1}', '"wire"']) {
      const answer = await post("GetLr", JSON_TYPE, text);
      assert.equal(answer.status, 400, text);
      assert.equal(JSON.parse(answer.text).code, "invalid_argument");
    }
    const garbage = [binary.subarray(0, 3), Buffer.concat([binary, Buffer.from([7])]), Buffer.from([0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f])];
    for (const bytes of garbage) {
      refused(await post("GetLr", PROTO_TYPE, bytes), 400, "invalid_argument", "BODY_INVALID");
    }
    const text = Buffer.from([0x0a, 1, 0xff]); // a string that is not UTF-8
    assert.equal((await post("GetLr", PROTO_TYPE, text)).status, 400);
  });

  test("GET takes its parameters in any order", async () => {
    const json = encodeURIComponent('{"job":"wire"}');
    const base64 = Buffer.from(binary).toString("base64url");
    const padded = encodeURIComponent(Buffer.from('{"job": "wire"}').toString("base64").replace(/\+/g, "-"));
    const sets = [
      ["connect=v1", "encoding=json", `message=${json}`, "compression=identity"],
      ["connect=v1", "encoding=proto", `message=${base64}`, "base64=1"],
      ["encoding=json", `message=${padded}`, "base64=1", "utm_source=x"],
    ];
    for (const order of sets.flatMap(permutations)) {
      const answer = await query("GetLr", order.join("&"));
      assert.equal(answer.status, 200, `${order}: ${answer.text}`);
      const isJson = order.includes("encoding=json");
      assert.equal(answer.headers["content-type"], isJson ? "application/json" : "application/proto");
      assert.equal((isJson ? JSON.parse(answer.text) : fromBinary(GetLrResponseSchema, answer.bytes)).lr, 0.1);
    }
  });

  test("GET ignores what it does not know and reads messages as they were meant", async () => {
    const message = `encoding=json&message=${encodeURIComponent('{"job":"wire"}')}`;
    for (const more of ["base64=0", "base64=true", "base64=", "trace=1&trace=2", "flag", `${"n".repeat(100)}=1`]) {
      const answer = await query("GetLr", `${message}&${more}`);
      assert.equal(answer.status, 200, `${more}: ${answer.text}`);
    }
    const many = Array.from({ length: 40 }, (_, i) => `p${i}=${i}`).join("&");
    assert.equal((await query("GetLr", `${many}&${message}`)).status, 200, "40 parameters of a proxy");
    const plus = "encoding=json&message=" + "{ \"job\" : \"wire\" }".replace(/ /g, "+").replace(/"/g, "%22");
    assert.equal((await query("GetLr", plus)).status, 200, "a space may be a plus");
    assert.equal((await query("ListJobs", "encoding=proto&message=")).status, 200, "an empty message");
    assert.equal((await query("ListJobs", "encoding=proto&base64=1&message=")).status, 200);
    assert.equal((await query("GetLr", message, { "connect-timeout-ms": "5000", "content-type": "text/html" })).status, 200);
    const job = JSON.parse((await query("GetJob", message)).text);
    assert.deepEqual(job.spec.group_names, ["größe"]);
  });

  test("GET refuses what it cannot read", async () => {
    const message = `message=${encodeURIComponent('{"job":"wire"}')}`;
    const cases = [
      ["encoding=json", 400, "invalid_argument", "QUERY_INVALID"],
      [`encoding=xml&${message}`, 415, "invalid_argument", "MEDIA_TYPE_UNSUPPORTED"],
      [message, 415, "invalid_argument", "MEDIA_TYPE_UNSUPPORTED"],
      [`encoding=json&${message}&compression=gzip`, 501, "unimplemented", "ENCODING_UNSUPPORTED"],
      [`encoding=json&${message}&connect=v2`, 400, "invalid_argument", "QUERY_INVALID"],
      ["encoding=proto&base64=1&message=*", 400, "invalid_argument", "QUERY_INVALID"],
      ["encoding=proto&base64=1&message=A", 400, "invalid_argument", "QUERY_INVALID"],
      ["encoding=json&message=%7B%2", 400, "invalid_argument", "QUERY_INVALID"],
      [`encoding=json&${message}&${message}`, 400, "invalid_argument", "QUERY_INVALID"],
      ["encoding=json&message=%7B", 400, "invalid_argument", "BODY_INVALID"],
      [`encoding=proto&message=${Buffer.from(binary.subarray(0, 3)).toString("base64url")}&base64=1`, 400,
       "invalid_argument", "BODY_INVALID"],
    ];
    for (const [parameters, ...expected] of cases) refused(await query("GetLr", parameters), ...expected);
    for (const name of ["Report", "DeleteJob", "WatchJob"]) {
      const answer = await query(name, `encoding=json&${message}`);
      refused(answer, 405, "unimplemented", "METHOD_NOT_ALLOWED");
      assert.equal(answer.headers.allow, "POST");
    }
    refused(await send("PUT", "GetLr", JSON_TYPE, "{}"), 405, "unimplemented", "METHOD_NOT_ALLOWED");
    refused(await post("getLr", JSON_TYPE, "{}"), 404, "not_found", "PATH_UNKNOWN");
    refused(await post("GetLr/", JSON_TYPE, "{}"), 404, "not_found", "PATH_UNKNOWN");
  });

  test("an error is JSON whatever the request was", async () => {
    const nobody = toBinary(GetLrRequestSchema, create(GetLrRequestSchema, { job: "nobody" }));
    refused(await post("GetLr", PROTO_TYPE, nobody), 404, "not_found", "JOB_NOT_FOUND");
    const nothing = toBinary(ReportRequestSchema, create(ReportRequestSchema, { job: "wire", step: 1 }));
    refused(await post("Report", PROTO_TYPE, nothing), 400, "invalid_argument", "FIELD_REQUIRED");
    const bad = await post("CreateJob", PROTO_TYPE, Buffer.from([0x0a, 0]));
    refused(bad, 400, "invalid_argument", "FIELD_REQUIRED");
    const created = await post("GetJob", PROTO_TYPE, binary);
    assert.equal(fromBinary(JobSchema, created.bytes).spec.groupNames[0], "größe");
    const listed = await post("ListJobs", PROTO_TYPE, toBinary(ListJobsRequestSchema, create(ListJobsRequestSchema, {})));
    assert.equal(listed.status, 200);
  });
}

export function streams(use) {
  const TYPE = { JSON: "application/connect+json", binary: "application/connect+proto" };
  const message = (codec, request) =>
    codec === "JSON" ? JSON.stringify(request) : toBinary(WatchJobRequestSchema, create(WatchJobRequestSchema, request));
  const report = async (step) => {
    const answer = await call(use.daemon, "POST", "Report", JSON_TYPE, JSON.stringify({ job: "stream", step, loss: 1 }));
    assert.equal(answer.status, 200, answer.text);
  };

  // Sends a stream's request; returns what comes, frame by frame.
  async function watch(codec, headers, body, how) {
    const sent = { "content-type": TYPE[codec], "connect-protocol-version": "1", ...headers };
    const { request, response } = await open(use.daemon, "POST", "WatchJob", sent, body, how);
    const got = [];
    let rest = Buffer.alloc(0);
    const ended = read();
    ended.catch(() => {}); // until somebody looks at it
    async function read() {
      for await (const chunk of response) {
        const { found, rest: more } = frames(Buffer.concat([rest, chunk]));
        got.push(...found);
        rest = more;
      }
      assert.equal(rest.length, 0, "the stream ends with a whole frame");
    }
    return {
      status: response.statusCode,
      type: response.headers["content-type"],
      headers: response.headers,
      got,
      ended,
      close: () => request.destroy(),
    };
  }

  // Checks that a stream is one frame that says this error; returns it.
  async function failed(stream, codec, codes) {
    await stream.ended;
    assert.equal(stream.status, 200);
    assert.equal(stream.type, TYPE[codec]);
    assert.deepEqual(stream.got.map((f) => f.flags), [2]);
    const { error } = JSON.parse(stream.got[0].bytes);
    assert.ok(codes.includes(error.code), JSON.stringify(error));
    assert.equal(error.details[0].type, "google.rpc.ErrorInfo");
    return error;
  }

  test("the job of these streams", async () => {
    const answer = await call(use.daemon, "POST", "CreateJob", JSON_TYPE, '{"spec":{"job":"stream","lr":0.1}}');
    assert.equal(answer.status, 200, answer.text);
    await report(1);
  });

  for (const codec of ["JSON", "binary"]) {
    const good = frame(0, message(codec, { job: "stream", afterRevision: 0 }));

    test(`frames of a stream in ${codec}`, async () => {
      const variants = [
        [{}, good],
        [{ "content-type": `${TYPE[codec]}; charset=utf-8` }, good],
        [{ "connect-accept-encoding": "gzip, br", "accept-encoding": "gzip" }, good],
        [{ "connect-content-encoding": "identity" }, good],
        [{}, Array.from(good, (byte) => Buffer.from([byte])), { pause: true }],
        [{}, [good], { trailers: { "Acme-Cost": "7" } }],
      ];
      for (const [headers, body, how] of variants) {
        const stream = await watch(codec, headers, body, how);
        assert.equal(stream.status, 200);
        assert.equal(stream.type, TYPE[codec]);
        await until(() => stream.got.length >= 1);
        const { flags, bytes } = stream.got[0];
        assert.equal(flags, 0, bytes.toString());
        assert.equal(stream.headers["connect-content-encoding"] ?? "identity", "identity");
        const { decision } = codec === "JSON" ? JSON.parse(bytes) : fromBinary(WatchJobResponseSchema, bytes);
        assert.equal(decision.revision, 1);
        stream.close();
      }
    });

    test(`a stream in ${codec} refuses what it cannot read`, async () => {
      const body = message(codec, { job: "stream" });
      const long = Buffer.from(good);
      long.writeUInt32BE(0xffffffff, 1);
      const wrong = ["invalid_argument", "unimplemented", "internal", "resource_exhausted"];
      const requests = {
        "no frame": "",
        "half a head": good.subarray(0, 3),
        "half a message": good.subarray(0, good.length - 1),
        "a length of 4 GiB": long,
        "a compressed frame": frame(1, body),
        "an end frame": frame(2, body),
        "a reserved flag": frame(128, body),
        "two messages": Buffer.concat([good, good]),
        "bytes behind the message": Buffer.concat([good, Buffer.from([0])]),
        "no message": frame(0, codec === "JSON" ? "{" : [0x0a, 5]),
      };
      for (const [name, bytes] of Object.entries(requests)) {
        await failed(await watch(codec, {}, bytes), codec, wrong).catch((error) => {
          error.message = `${name}: ${error.message}`;
          throw error;
        });
      }
      const gzip = await failed(await watch(codec, { "connect-content-encoding": "gzip" }, good), codec, ["unimplemented"]);
      assert.match(gzip.message, /identity/);
      await failed(await watch(codec, { "connect-timeout-ms": "soon" }, good), codec, ["invalid_argument"]);
      await failed(await watch(codec, { "connect-protocol-version": "2" }, good), codec, ["invalid_argument"]);
      await failed(await watch(codec, {}, frame(0, message(codec, { job: "nobody" }))), codec, ["not_found"]);
      await failed(await watch(codec, {}, frame(0, "")), codec, ["invalid_argument"]);
    });

    test(`a stream in ${codec} ends with its time`, async () => {
      await failed(await watch(codec, { "connect-timeout-ms": "100" }, frame(0, message(codec, { job: "stream" }))),
                   codec, ["deadline_exceeded"]);
    });
  }

  test("only streaming types open a stream", async () => {
    for (const type of ["application/json", "application/proto", "application/connect+xml", "application/grpc", "text/plain", ""]) {
      const answer = await call(use.daemon, "POST", "WatchJob", type ? { "content-type": type } : {}, '{"job":"stream"}');
      refused(answer, 415, "invalid_argument", "MEDIA_TYPE_UNSUPPORTED");
      assert.equal(answer.headers["accept-post"], "application/connect+json, application/connect+proto");
    }
  });
}
