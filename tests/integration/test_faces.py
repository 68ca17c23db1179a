"""Both faces of every RPC against the contract itself: REST, Connect JSON and Connect binary give the same messages,
read by another implementation of protobuf (python3-protobuf) than the daemon's."""
import json
import os
import subprocess
import tempfile
import unittest
import urllib.parse

from harness import ROOT, DaemonTest, reason

try:
    from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
except ImportError:
    descriptor_pb2 = None

REST = {  # PROTOCOL.md's table
    "CreateJob": ("POST", "/v1/jobs"), "GetJob": ("GET", "/v1/jobs/{job}"), "ListJobs": ("GET", "/v1/jobs"),
    "UpdateJob": ("PATCH", "/v1/jobs/{job}"), "DeleteJob": ("DELETE", "/v1/jobs/{job}"),
    "Report": ("POST", "/v1/jobs/{job}:report"), "BatchReport": ("POST", "/v1/jobs:batchReport"),
    "GetLr": ("GET", "/v1/jobs/{job}/lr"), "ListDecisions": ("GET", "/v1/jobs/{job}/decisions"),
    "WatchJob": ("GET", "/v1/jobs/{job}:watch"), "BeginAttempt": ("POST", "/v1/jobs/{job}:begin"),
    "RewindJob": ("POST", "/v1/jobs/{job}:rewind"), "ForkJob": ("POST", "/v1/jobs/{job}:fork"),
    "SetLr": ("POST", "/v1/jobs/{job}:setLr"), "PauseJob": ("POST", "/v1/jobs/{job}:pause"),
    "ResumeJob": ("POST", "/v1/jobs/{job}:resume"), "FinishJob": ("POST", "/v1/jobs/{job}:finish"),
    "ImportState": ("PUT", "/v1/jobs/{job}/state"), "ExportState": ("GET", "/v1/jobs/{job}/state"),
    "Simulate": ("POST", "/v1/simulate"),
}
SERVICE = "/greedylr.v1.SchedulerService/"


def load_contract():
    with tempfile.NamedTemporaryFile() as out:
        subprocess.run(["protoc", "-I", os.path.join(ROOT, "proto"), "-I", "/usr/include", "--include_imports",
                        "--descriptor_set_out=" + out.name, "greedylr/v1/scheduler.proto"], check=True)
        files = descriptor_pb2.FileDescriptorSet.FromString(out.read())
    pool = descriptor_pool.DescriptorPool()
    for f in files.file:
        pool.Add(f)
    return pool


@unittest.skipIf(descriptor_pb2 is None, "python3-protobuf is not installed")
class Faces(DaemonTest):
    @classmethod
    def setUpClass(cls):
        cls.pool = load_contract()
        cls.factory = message_factory.MessageFactory(cls.pool)
        cls.methods = {m.name: m for m in cls.pool.FindServiceByName("greedylr.v1.SchedulerService").methods}

    def parse(self, method, text):
        """JSON as the answer's message; refuses fields that are not in the contract."""
        return json_format.Parse(text, self.factory.GetPrototype(self.methods[method].output_type)())

    def binary(self, method, body):
        request = json_format.ParseDict(body, self.factory.GetPrototype(self.methods[method].input_type)())
        status, headers, data = self.d.request("POST", SERVICE + method, request.SerializeToString(),
                                               {"Content-Type": "application/proto"})
        if status != 200:
            return status, json.loads(data)
        self.assertEqual(headers["content-type"], "application/proto")
        return status, self.factory.GetPrototype(self.methods[method].output_type).FromString(data)

    def connect(self, method, body):
        status, headers, data = self.d.request("POST", SERVICE + method, json.dumps(body),
                                               {"Content-Type": "application/json"})
        self.assertEqual(headers["content-type"], "application/json")
        return status, self.parse(method, data) if status == 200 else json.loads(data)

    def connect_get(self, method, body):
        query = urllib.parse.urlencode({"message": json.dumps(body), "encoding": "json", "connect": "v1"})
        status, _, data = self.d.request("GET", SERVICE + method + "?" + query)
        return status, self.parse(method, data) if status == 200 else json.loads(data)

    def test_every_rpc_has_both_faces(self):
        self.assertEqual(set(REST), set(self.methods))
        for name, (verb, path) in REST.items():
            for text in (self.d.request(verb, path.replace("{job}", "x"), None if verb in ("GET", "DELETE") else "{}")[2],
                         self.d.request("POST", SERVICE + name, "{}", {"Content-Type": "application/json"})[2]):
                for refusal in (b"PATH_UNKNOWN", b"METHOD_NOT_ALLOWED"):
                    self.assertNotIn(refusal, text, name)

    def test_reads_agree(self):
        self.d.ok("POST", "/v1/jobs", {"job": "a", "lr": [0.1, 0.01], "group_names": ["x", "y"], "labels": ["t=1"],
                                       "greedy": {"mode": "max", "patience": 0, "cooldown": 2}, "strict": True})
        for step, value in enumerate((0.5, "NaN", 0.7, "-Infinity", 1e-300, 0.1 + 0.2)):
            self.d.ok("POST", "/v1/jobs/a:report", {"step": step, "metric": value})
        spec = {"lr": [0.1], "greedy": {"dialect": "transformers", "window_size": 3, "smooth": True}}
        cases = [("GetJob", {"job": "a"}, "/v1/jobs/a", None), ("ListJobs", {}, "/v1/jobs", None),
                 ("ListJobs", {"prefix": "a", "page_size": 1}, "/v1/jobs?prefix=a&pageSize=1", None),
                 ("GetLr", {"job": "a"}, "/v1/jobs/a/lr?format=json", None),
                 ("ListDecisions", {"job": "a"}, "/v1/jobs/a/decisions", None),
                 ("ListDecisions", {"job": "a", "from_step": 2, "to_step": 4},
                  "/v1/jobs/a/decisions?from_step=2&to_step=4", None),
                 ("ListDecisions", {"job": "a", "max_points": 3}, "/v1/jobs/a/decisions?max_points=3", None),
                 ("Simulate", {"spec": spec, "losses": [3, 2, "NaN", 1]}, "/v1/simulate",
                  {"spec": spec, "losses": [3, 2, "NaN", 1]})]
        for method, body, path, rest_body in cases:
            with self.subTest(method=method, path=path):
                status, _, text = self.d.request("POST" if rest_body else "GET", path, rest_body)
                self.assertEqual(status, 200, text)
                rest = self.parse(method, text)
                for other in (self.connect, self.connect_get, self.binary):
                    status, answer = other(method, body)
                    self.assertEqual(status, 200, answer)
                    # NaN is not equal to itself: compare bytes.
                    self.assertEqual(answer.SerializeToString(deterministic=True),
                                     rest.SerializeToString(deterministic=True), other.__name__)

    def test_writes_agree(self):
        makers = {"rest": None, "connect": self.connect, "binary": self.binary}
        answers = {}
        for name, face in makers.items():
            spec = {"job": name, "lr": [0.1], "greedy": {"patience": 1}}
            reports = [{"job": name, "step": 3, "loss": 0.5}, {"job": name, "step": 3, "loss": 0.5},
                       {"job": "nobody", "loss": 1}, {"job": name, "loss": "NaN"}]
            change = {"job": name, "spec": {"greedy": {"patience": 3}}}
            if face is None:
                steps = [("CreateJob", "POST", "/v1/jobs", spec),
                         ("Report", "POST", "/v1/jobs/rest:report", {"step": 1, "loss": 2.5, "applied_lr": 0.1}),
                         ("BatchReport", "POST", "/v1/jobs:batchReport", {"reports": reports}),
                         ("UpdateJob", "PATCH", "/v1/jobs/rest", {"spec": change["spec"]}),
                         ("DeleteJob", "DELETE", "/v1/jobs/rest", None)]
                got = []
                for method, verb, path, body in steps:
                    status, _, text = self.d.request(verb, path, body)
                    self.assertEqual(status, 200, text)
                    got.append(self.parse(method, text))
            else:
                got = []
                for method, body in (("CreateJob", {"spec": spec}),
                                     ("Report", {"job": name, "step": 1, "loss": 2.5, "applied_lr": 0.1}),
                                     ("BatchReport", {"reports": reports}), ("UpdateJob", change),
                                     ("DeleteJob", {"job": name})):
                    status, answer = face(method, body)
                    self.assertEqual(status, 200, answer)
                    got.append(answer)
            answers[name] = [self.neutral(json_format.MessageToDict(m), name) for m in got]
        self.assertEqual(answers["rest"], answers["connect"])
        self.assertEqual(answers["rest"], answers["binary"])

    def neutral(self, value, name):
        """Without what differs between two jobs: id, uid, times."""
        if isinstance(value, dict):
            return {k: self.neutral(v, name) for k, v in value.items() if k not in ("uid", "time", "createTime", "updateTime")}
        if isinstance(value, list):
            return [self.neutral(v, name) for v in value]
        return "JOB" if value == name else value

    def test_errors_agree(self):
        for method, body, code, status, why in (
                ("GetJob", {"job": "none"}, "not_found", 404, "JOB_NOT_FOUND"),
                ("GetJob", {}, "invalid_argument", 400, "FIELD_REQUIRED"),
                ("Report", {"job": "none", "loss": 1}, "not_found", 404, "JOB_NOT_FOUND"),
                ("Report", {"job": "x", "lr": [0.1]}, "invalid_argument", 400, "FIELD_REQUIRED"),
                ("CreateJob", {"spec": {"job": "x", "lr": [-1]}}, "invalid_argument", 400, "FIELD_INVALID")):
            for face in (self.connect, self.binary):
                got, answer = face(method, body)
                self.assertEqual((got, answer["code"], reason(answer)), (status, code, why))
                detail = answer["details"][0]
                self.assertEqual((detail["type"], detail["debug"]["domain"]), ("google.rpc.ErrorInfo", "greedylrd"))
                self.assertIn("nothing was changed", json.dumps(detail["debug"]))
                self.assertTrue(detail["value"])

    def test_broken_binary(self):
        for data in (b"\xff", b"\x0a\x05ab", b"\x08", b"\x0a\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01"):
            status, _, text = self.d.request("POST", SERVICE + "GetJob", data, {"Content-Type": "application/proto"})
            self.assertEqual((status, reason(json.loads(text))), (400, "BODY_INVALID"), data)

    def test_connect_get_shapes(self):
        self.d.ok("POST", "/v1/jobs", {"job": "g", "lr": 0.1})
        for query in ("encoding=json&message=%7B%22job%22%3A%22g%22%7D", "message=%7B%22job%22:%22g%22%7D&encoding=json",
                      "base64=1&message=eyJqb2IiOiJnIn0&encoding=json&connect=v1",
                      "base64=1&message=eyJqb2IiOiJnIn0%3D&encoding=json",
                      "encoding=json&compression=identity&message=%7B%22job%22%3A%22g%22%7D"):
            status, answer = self.d.call("GET", SERVICE + "GetLr?" + query)
            self.assertEqual((status, answer.get("lr")), (200, 0.1), query)
        status, _, data = self.d.request("GET", SERVICE + "GetLr?encoding=proto&base64=1&message=CgFn")
        self.assertEqual((status, data[:1]), (200, b"\x09"))
        for query, why in (("encoding=json", "QUERY_INVALID"), ("message=%7B%7D", "MEDIA_TYPE_UNSUPPORTED"),
                           ("encoding=xml&message=%7B%7D", "MEDIA_TYPE_UNSUPPORTED"),
                           ("encoding=json&message=%7", "QUERY_INVALID"),
                           ("encoding=json&base64=1&message=!!", "QUERY_INVALID"),
                           ("encoding=json&message=%7B%7D&encoding=json", "QUERY_INVALID"),
                           ("encoding=json&compression=gzip&message=%7B%7D", "ENCODING_UNSUPPORTED")):
            status, answer = self.d.call("GET", SERVICE + "GetLr?" + query)
            self.assertEqual(reason(answer), why, query)
            self.assertGreaterEqual(status, 400)
        status, headers, _ = self.d.request("GET", SERVICE + "CreateJob?encoding=json&message=%7B%7D")
        self.assertEqual((status, headers["allow"]), (405, "POST"))

    def test_connect_headers(self):
        self.d.ok("POST", "/v1/jobs", {"job": "g", "lr": 0.1})
        for headers in ({"Connect-Protocol-Version": "1"}, {"Connect-Timeout-Ms": "5000"}, {"Content-Encoding": "identity"},
                        {"Content-Type": "application/json; charset=utf-8"}):
            self.assertEqual(self.d.rpc("GetLr", {"job": "g"}, headers)[0], 200, headers)
        for headers in ({"Connect-Protocol-Version": "2"}, {"Connect-Timeout-Ms": "12345678901"},
                        {"Connect-Timeout-Ms": "soon"}):
            status, answer = self.d.rpc("GetLr", {"job": "g"}, headers)
            self.assertEqual((status, answer["code"]), (400, "invalid_argument"), headers)
            self.assertIn(next(iter(headers)), answer["message"])
        status, headers, text = self.d.request("POST", SERVICE + "GetLr", "{}", {"Content-Type": "text/plain"})
        self.assertEqual((status, headers["accept-post"]), (415, "application/json, application/proto"))
        status, answer = self.d.rpc("GetLr", {"job": "g"}, {"Content-Encoding": "gzip"})
        self.assertEqual((status, answer["code"]), (501, "unimplemented"))
        self.assertIn("identity", answer["message"])


if __name__ == "__main__":
    unittest.main()
