// Generated clients of one daemon, a record of what they were used for, and how errors are checked.
import assert from "node:assert/strict";
import http from "node:http";
import { MethodOptions_IdempotencyLevel as Idempotency } from "@bufbuild/protobuf/wkt";
import { toJson } from "@bufbuild/protobuf";
import { ConnectError, createClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import { ErrorInfoSchema } from "./gen/error_info_pb.js";
import { SchedulerService } from "./gen/greedylr/v1/scheduler_pb.js";

export const CODECS = ["JSON", "binary"];

// "Report by POST in JSON": every way in which a call has succeeded.
export const succeeded = new Set();

// Every way in which the contract says that a method can be called.
export function callable() {
  return SchedulerService.methods.flatMap((method) => {
    const byGet = method.idempotency === Idempotency.NO_SIDE_EFFECTS && method.methodKind === "unary";
    return CODECS.flatMap((codec) => (byGet ? ["POST", "GET"] : ["POST"]).map((verb) => way(method, verb, codec)));
  });
}

function way(method, verb, codec) {
  return `${method.name} by ${verb} in ${codec}`;
}

function recorder(verb, codec) {
  return (next) => async (request) => {
    const answer = await next(request);
    const done = () => succeeded.add(way(request.method, verb, codec));
    if (!answer.stream) {
      done();
      return answer;
    }
    async function* messages() {
      for await (const message of answer.message) {
        done();
        yield message;
      }
    }
    return { ...answer, message: messages() };
  };
}

// The clients of one codec.
export class Clients {
  constructor(daemon, codec) {
    this.agent = new http.Agent({ keepAlive: true });
    const client = (verb) =>
      createClient(SchedulerService, createConnectTransport({
        baseUrl: daemon.url,
        httpVersion: "1.1",
        useBinaryFormat: codec === "binary",
        useHttpGet: verb === "GET",
        interceptors: [recorder(verb, codec)],
        nodeOptions: { agent: this.agent },
      }));
    this.post = client("POST");
    this.get = client("GET");
  }

  // Calls a method by POST.  A call that nobody has looked at yet may fail meanwhile.
  call(name, request, options) {
    const answer = this.post[name](request, options);
    answer.catch?.(() => {});
    return answer;
  }

  // Calls a method without side effects by POST and by GET, which must agree.
  async read(name, request) {
    const [a, b] = await Promise.all([this.post[name](request), this.get[name](request)]);
    const { output } = SchedulerService.method[name];
    assert.deepEqual(toJson(output, b), toJson(output, a));
    return a;
  }

  close() {
    this.agent.destroy();
  }
}

// The ErrorInfo of a ConnectError.
export function info(error) {
  const found = error.findDetails(ErrorInfoSchema);
  assert.equal(found.length, 1, error.message);
  return found[0];
}

// Checks that a call fails with this code and reason; returns the error.
export async function fails(call, code, reason, outcome = "nothing was changed") {
  let error;
  try {
    await call;
  } catch (e) {
    error = e;
  }
  assert.ok(error, `no ${reason}: the call succeeded`);
  assert.ok(error instanceof ConnectError, error.stack);
  assert.equal(error.code, code, error.message);
  const { domain, metadata, ...detail } = info(error);
  assert.equal(detail.reason, reason, error.message);
  assert.equal(domain, "greedylrd");
  const { request_id, ...rest } = metadata;
  assert.match(request_id, /^[0-9a-f]+-[0-9a-f]+$/);
  assert.deepEqual(rest, { outcome });
  return error;
}
