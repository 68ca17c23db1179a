"""What users rely on: every RPC on both faces, duplicates, bad input, guards, durability."""
import json
import signal
import socket
import subprocess
import unittest

from harness import BINARY, Daemon, DaemonTest, reason, wait_until


class Trial(DaemonTest):
    def test_one_line_trial(self):
        d = self.d.ok("POST", "/v1/jobs/demo:report", '{"step":1,"loss":2.31,"lr":0.1}')
        self.assertEqual((d["job"], d["step"], d["revision"], d["lr"], d["action"]), ("demo", 1, 1, 0.1, "hold"))
        self.assertIs(d["duplicate"], False)
        self.assertTrue(d["reason"])
        status, headers, text = self.d.request("GET", "/v1/jobs/demo/lr")
        self.assertEqual((status, text), (200, b"0.1\n"))
        self.assertIn("text/plain", headers["content-type"])
        self.assertEqual(self.d.ok("GET", "/v1/jobs/demo/lr?format=json"),
                         {"lr": 0.1, "lrs": [0.1], "step": 1, "revision": 1})

    def test_life_of_a_job(self):
        spec = {"job": "a", "lr": [0.1, 0.2], "groupNames": ["x", "y"], "greedy": {"patience": 1, "smooth": False},
                "labels": ["team=nlp"]}
        job = self.d.ok("POST", "/v1/jobs", spec)
        self.assertEqual((job["revision"], job["status"], job["state"]["lrs"]), (0, "active", [0.1, 0.2]))
        self.assertEqual(job["effective"]["greedy"]["factor"], 0.8)
        self.assertNotIn("factor", job["spec"]["greedy"])
        self.assertEqual(self.d.ok("POST", "/v1/jobs", spec)["uid"], job["uid"])
        status, err = self.d.call("POST", "/v1/jobs", dict(spec, greedy={"patience": 2, "smooth": False}))
        self.assertEqual((status, reason(err)), (409, "JOB_EXISTS"))
        self.assertIn("greedy.patience", err["message"])
        for step in range(1, 4):
            d = self.d.ok("POST", "/v1/jobs/a:report", {"step": step, "metric": 1.0 / step})
        self.assertEqual((d["action"], d["lrs"]), ("hold", [0.125, 0.25]))
        job = self.d.ok("PATCH", "/v1/jobs/a", {"spec": {"greedy": {"max_lr": [0.11, 0.2]}}})
        self.assertEqual(job["state"]["lrs"], [0.11, 0.2])
        self.assertEqual(job["effective"]["greedy"]["patience"], 1)
        history = self.d.ok("GET", "/v1/jobs/a/decisions?page_size=2")
        self.assertEqual([x["revision"] for x in history["decisions"]], [1, 2])
        rest = self.d.ok("GET", "/v1/jobs/a/decisions?page_token=" + history["next_page_token"])
        self.assertEqual([x["action"] for x in rest["decisions"]], ["hold", "update"])
        self.assertNotIn("next_page_token", rest)
        self.assertEqual(self.d.ok("DELETE", "/v1/jobs/a"), {})
        self.assertEqual(self.d.call("GET", "/v1/jobs/a")[0], 404)
        again = self.d.ok("POST", "/v1/jobs", spec)
        self.assertNotEqual(again["uid"], job["uid"])
        self.assertEqual(self.d.ok("GET", "/v1/jobs/a/decisions")["decisions"], [])

    def test_create_again_after_update(self):
        spec = {"job": "a", "lr": 0.1}
        uid = self.d.ok("POST", "/v1/jobs", spec)["uid"]
        self.d.ok("PATCH", "/v1/jobs/a", {"spec": {"greedy": {"patience": 9}}})
        job = self.d.ok("POST", "/v1/jobs", spec)
        self.assertEqual((job["uid"], job["effective"]["greedy"]["patience"]), (uid, 9))
        self.d.restart()
        self.assertEqual(self.d.ok("POST", "/v1/jobs", spec)["effective"]["greedy"]["patience"], 9)

    def test_lists(self):
        for name in ("a1", "a2", "b1"):
            self.d.ok("POST", "/v1/jobs", {"job": name, "lr": 1, "labels": ["k=" + name[0]]})
        names = lambda q: [j["job"] for j in self.d.ok("GET", "/v1/jobs" + q)["jobs"]]
        self.assertEqual(names(""), ["a1", "a2", "b1"])
        self.assertEqual(names("?prefix=a"), ["a1", "a2"])
        self.assertEqual(names("?label=k%3Db"), ["b1"])
        self.assertEqual(names("?state=paused"), [])
        page = self.d.ok("GET", "/v1/jobs?page_size=2")
        self.assertEqual(names("?page_token=" + page["next_page_token"]), ["b1"])

    def test_history_formats(self):
        for step in (1, 2):
            self.d.ok("POST", "/v1/jobs/j:report", {"step": step, "loss": 1, "lr": [0.1, 0.2]})
        _, headers, text = self.d.request("GET", "/v1/jobs/j/decisions?format=csv")
        rows = text.decode().split("\r\n")
        self.assertIn("text/csv", headers["content-type"])
        self.assertTrue(rows[0].startswith("job,step,attempt,revision,lr,lrs,action,reason"))
        self.assertTrue(rows[1].startswith("j,1,0,1,0.1,0.1;0.2,"))
        _, _, text = self.d.request("GET", "/v1/jobs/j/decisions", headers={"Accept": "application/x-ndjson"})
        self.assertEqual([json.loads(x)["step"] for x in text.splitlines()], [1, 2])


class Reports(DaemonTest):
    def report(self, **fields):
        return self.d.call("POST", "/v1/jobs/j:report", fields)

    def test_duplicates(self):
        first = self.report(step=5, loss=1.5, lr=0.1)[1]
        again = self.report(step=5, loss=1.5)[1]
        self.assertTrue(again["duplicate"])
        self.assertFalse(again["conflict"])
        for field in ("revision", "lr", "reason", "time"):
            self.assertEqual(first[field], again[field])
        other = self.report(step=5, loss=2)[1]
        self.assertTrue(other["duplicate"] and other["conflict"])
        self.assertEqual(other["value"], 1.5)
        self.d.restart()
        self.assertTrue(self.report(step=5, loss=1.5)[1]["duplicate"])
        status, err = self.report(step=4, loss=1)
        self.assertEqual((status, reason(err)), (400, "STEP_IN_PAST"))
        self.assertIn(":rewind", err["message"])
        self.assertEqual(self.d.ok("GET", "/v1/jobs/j")["revision"], 1)

    def test_strict(self):
        self.d.ok("POST", "/v1/jobs", {"job": "j", "lr": 0.1, "strict": True})
        self.report(step=1, loss=1)
        status, err = self.report(step=1, loss=2)
        self.assertEqual((status, err["code"], reason(err)), (409, "aborted", "STEP_CONFLICT"))

    def test_automatic_steps_and_request_id(self):
        self.assertEqual(self.report(loss=1, lr=0.1)[1]["step"], 1)
        self.assertEqual(self.report(loss=1, request_id="r1")[1]["step"], 2)
        self.assertEqual(self.report(loss=1)[1]["step"], 3)
        again = self.report(loss=1, request_id="r1")[1]
        self.assertEqual((again["step"], again["duplicate"]), (2, True))
        self.d.restart()
        self.assertEqual(self.report(loss=1, request_id="r1")[1]["step"], 2)
        self.assertEqual(self.report(loss=1)[1]["step"], 4)

    def test_dry_run_stores_nothing(self):
        self.assertEqual(self.report(step=1, loss=1, lr=0.1, dry_run=True)[0], 200)
        self.assertEqual(self.d.call("GET", "/v1/jobs/j")[0], 404)
        self.report(step=1, loss=1, lr=0.1)
        self.assertEqual(self.report(step=2, loss=0.5, dry_run=True)[1]["revision"], 2)
        self.assertEqual(self.d.ok("GET", "/v1/jobs/j")["revision"], 1)

    def test_cap_and_applied(self):
        d = self.report(step=1, loss=1, lr=0.1, lr_cap=0.05)[1]
        self.assertEqual(d["lr"], 0.05)
        self.assertFalse(self.report(step=2, loss=1, applied_lr=0.05)[1]["applied_mismatch"])
        self.assertTrue(self.report(step=3, loss=1, applied_lr=0.1)[1]["applied_mismatch"])

    def test_nonfinite(self):
        self.report(step=1, loss=1, lr=0.1)
        status, d = self.d.call("POST", "/v1/jobs/j:report", '{"step":2,"loss":NaN}')
        self.assertEqual((status, d["value"]), (200, "NaN"))
        self.assertEqual(self.d.call("POST", "/v1/jobs/j:report", '{"step":3,"loss":"-Infinity"}')[1]["value"],
                         "-Infinity")
        self.d.restart()
        values = [x["value"] for x in self.d.ok("GET", "/v1/jobs/j/decisions")["decisions"]]
        self.assertEqual(values, [1, "NaN", "-Infinity"])

    def test_batch(self):
        answer = self.d.ok("POST", "/v1/jobs:batchReport", {"reports": [
            {"job": "a", "step": 1, "loss": 1, "lr": 0.1}, {"job": "a", "step": 2, "loss": 0.5},
            {"job": "none", "loss": 1}, {"job": "a", "step": 2, "loss": 0.5}]})["results"]
        self.assertEqual([r["decision"]["revision"] for r in answer[:2]], [1, 2])
        self.assertEqual(answer[2]["error"]["reason"], "JOB_NOT_FOUND")
        self.assertTrue(answer[3]["decision"]["duplicate"])

    def test_attempts(self):
        self.report(step=5, loss=1, lr=0.1)
        self.assertEqual(self.report(step=6, loss=1, attempt=2)[1]["attempt"], 2)
        self.assertEqual(reason(self.report(step=7, loss=1, attempt=1)[1]), "STALE_ATTEMPT")
        self.assertEqual(self.report(step=3, loss=1, attempt=3)[1]["attempt"], 3)


class Connect(DaemonTest):
    def test_unary(self):
        status, job = self.d.rpc("CreateJob", {"spec": {"job": "c", "lr": 0.1}})
        self.assertEqual((status, job["job"]), (200, "c"))
        self.assertEqual(self.d.rpc("Report", {"job": "c", "step": 1, "loss": 1})[1]["revision"], 1)
        self.assertEqual(self.d.rpc("GetLr", {"job": "c"})[1]["lr"], 0.1)
        status, _, text = self.d.request(
            "GET", "/greedylr.v1.SchedulerService/GetLr?connect=v1&encoding=json&message=%7B%22job%22%3A%22c%22%7D")
        self.assertEqual((status, json.loads(text)["lr"]), (200, 0.1))
        # GetJobRequest{job: "c"} in binary
        status, headers, data = self.d.request("POST", "/greedylr.v1.SchedulerService/GetLr", b"\x0a\x01c",
                                               {"Content-Type": "application/proto"})
        self.assertEqual((status, headers["content-type"], data[:1]), (200, "application/proto", b"\x09"))

    def test_refusals(self):
        self.assertEqual(self.d.rpc("GetJob", {"job": "x"}, {"Content-Type": "text/plain"})[0], 415)
        self.assertEqual(reason(self.d.rpc("GetJob", {"job": "x"}, {"Content-Encoding": "gzip"})[1]),
                         "ENCODING_UNSUPPORTED")
        self.assertEqual(self.d.rpc("Nothing", {})[0], 404)


BAD = [  # method, path, body, status, reason, in the message
    ("GET", "/v1/jobs/live/decisions?max_points=1", None, 400, "FIELD_INVALID", "max_points: must be at least 2, got 1"),
    ("GET", "/v1/jobs/live/decisions?max_points=9&page_size=9", None, 400, "FIELD_INVALID", "page_size: not together with max_points"),
    ("GET", "/v1/jobs/live/decisions?max_points=9&page_token=r9", None, 400, "FIELD_INVALID", "page_token: not together with max_points"),
    ("POST", "/v1/jobs", '{"job":"x","lr":0.1,"greedy":{"factor":1.5}}', 400, "FIELD_INVALID",
     "spec.greedy.factor: must be in (0, 1), got 1.5"),
    ("POST", "/v1/jobs", '{"job":"x","lr":0.1,"greedy":{"threshold":1}}', 400, "FIELD_INVALID",
     "spec.greedy.threshold: must be below 1 with mode min and threshold_mode rel, got 1"),
    ("PATCH", "/v1/jobs/live", '{"spec":{"greedy":{"threshold":3}}}', 400, "FIELD_INVALID", "spec.greedy.threshold"),
    ("POST", "/v1/jobs", '{"job":"x","lr":0.1,"greedy":{"patienc":1}}', 400, "FIELD_UNKNOWN", "spec.greedy.patienc"),
    ("POST", "/v1/jobs", '{"job":"x","lr":0.1,"greedy":{"patience":"two"}}', 400, "FIELD_INVALID", "spec.greedy.patience"),
    ("POST", "/v1/jobs", '{"job":"x","lr":0.1,"greedy":{"patience":-1}}', 400, "FIELD_INVALID", "spec.greedy.patience"),
    ("POST", "/v1/jobs", '{"job":"x","lr":-1}', 400, "FIELD_INVALID", "spec.lr"),
    ("POST", "/v1/jobs", '{"job":"x"}', 400, "FIELD_REQUIRED", "spec.lr"),
    ("POST", "/v1/jobs", '{"lr":1}', 400, "FIELD_REQUIRED", "spec.job"),
    ("POST", "/v1/jobs", '{"job":".x","lr":1}', 400, "FIELD_INVALID", "spec.job"),
    ("POST", "/v1/jobs", '{"job":"x","lr":1,"ranks":{"world_size":65537}}', 400, "FIELD_INVALID", "world_size"),
    ("POST", "/v1/jobs/live:report", '{"step":2,"step":3,"loss":1}', 400, "BODY_INVALID", "duplicate"),
    ("POST", "/v1/jobs/live:report", '{"step":2,"loss":1}x', 400, "BODY_INVALID", "line 1"),
    ("POST", "/v1/jobs/live:report", "{" + '"a":{' * 40, 400, "BODY_INVALID", "deeper than 16"),
    ("POST", "/v1/jobs/live:report", "[1]", 400, "BODY_INVALID", "object"),
    ("POST", "/v1/jobs/live:report", '{"step":2}', 400, "FIELD_REQUIRED", "loss"),
    ("POST", "/v1/jobs/live:report", '{"step":2,"loss":1,"metric":1}', 400, "FIELD_INVALID", "give one of the two"),
    ("POST", "/v1/jobs/live:report", '{"step":-2,"loss":1}', 400, "FIELD_INVALID", "step"),
    ("POST", "/v1/jobs/live:report", '{"step":2.5,"loss":1}', 400, "FIELD_INVALID", "step"),
    ("POST", "/v1/jobs/live:report", '{"step":123456789012345678901,"loss":1}', 400, "FIELD_INVALID", "step"),
    ("POST", "/v1/jobs/live:report", '{"step":2,"loss":1e400}', 400, "FIELD_INVALID", "loss"),
    ("POST", "/v1/jobs/live:report", '{"step":2,"loss":1,"rank":1}', 400, "FIELD_INVALID", "rank"),
    ("POST", "/v1/jobs/live:report", '{"step":2,"loss":1,"weight":0}', 400, "FIELD_INVALID", "weight"),
    ("POST", "/v1/jobs/live:report", '{"step":2,"loss":1,"lr_cap":-1}', 400, "FIELD_INVALID", "lr_cap"),
    ("POST", "/v1/jobs/live:report", '{"job":"other","step":2,"loss":1}', 400, "FIELD_INVALID", "path"),
    ("POST", "/v1/jobs/none:report", '{"step":2,"loss":1}', 404, "JOB_NOT_FOUND", "none"),
    ("POST", "/v1/jobs/new:report", '{"step":2,"loss":1,"lr":-5}', 400, "FIELD_INVALID", "lr"),
    ("GET", "/v1/jobs/none", None, 404, "JOB_NOT_FOUND", "none"),
    ("GET", "/v1/jobs/-bad", None, 400, "FIELD_INVALID", "job"),
    ("GET", "/v1/jobs/live?what=1", None, 400, "QUERY_INVALID", "what"),
    ("GET", "/v1/jobs/live/decisions?page_token=zz", None, 400, "PAGE_TOKEN_INVALID", "zz"),
    ("GET", "/v1/jobs/live/decisions?format=xml", None, 400, "QUERY_INVALID", "xml"),
    ("GET", "/v1/nothing", None, 404, "PATH_UNKNOWN", "/v1/nothing"),
    ("PUT", "/v1/jobs", "{}", 405, "METHOD_NOT_ALLOWED", "PUT"),
    ("PATCH", "/v1/jobs/live", '{"spec":{"lr":1}}', 400, "FIELD_FIXED", "spec.lr"),
    ("PATCH", "/v1/jobs/live", '{"spec":{"greedy":{"dialect":"transformers"}}}', 400, None, "dialect"),
    ("POST", "/v1/simulate", '{"losses":[1]}', 400, "FIELD_REQUIRED", "spec"),
    ("POST", "/v1/jobs/live:report", "x" * 70000, 413, "BODY_TOO_LARGE", "65536"),
]


class BadInput(DaemonTest):
    def test_table(self):
        self.d.ok("POST", "/v1/jobs/live:report", {"step": 1, "loss": 1, "lr": 0.1})
        before = self.d.ok("GET", "/v1/jobs/live")
        for method, path, body, status, why, text in BAD:
            with self.subTest(path=path, body=body and body[:60]):
                got, headers, answer = self.d.request(method, path, body)
                answer = json.loads(answer)
                self.assertEqual((got, reason(answer)), (status, why or reason(answer)), answer)
                self.assertIn(text, answer["message"])
                self.assertEqual(headers["content-type"], "application/json")
                if got == 405:
                    self.assertIn("GET", headers["allow"])
        self.assertEqual(self.d.ok("GET", "/v1/jobs/live"), before)
        self.assertEqual([j["job"] for j in self.d.ok("GET", "/v1/jobs")["jobs"]], ["live"])

    def test_hosts_and_origins(self):
        for headers, why in (({"Host": "evil.example"}, "HOST_NOT_ALLOWED"), ({"Host": "0.0.0.0"}, "HOST_NOT_ALLOWED"),
                             ({"Origin": "http://evil.example"}, "ORIGIN_NOT_ALLOWED"),
                             ({"Sec-Fetch-Site": "cross-site"}, "ORIGIN_NOT_ALLOWED")):
            for method, path in (("GET", "/v1/jobs"), ("POST", "/v1/jobs/x:report"), ("GET", "/metrics")):
                status, answer = self.d.call(method, path, "{}" if method == "POST" else None, headers)
                self.assertEqual((status, reason(answer)), (403, why))

    def test_smuggling_shapes(self):
        for text in (b"POST /v1/simulate HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                     b"GET /livez HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
                     b"POST /v1/simulate HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
                     b"GET /livez HTTP/1.1\r\n\r\n"):
            with self.subTest(text=text), socket.create_connection(("127.0.0.1", self.d.port), 20) as s:
                s.sendall(text)
                answer = b""
                while True:
                    more = s.recv(65536)
                    if not more:
                        break
                    answer += more
                self.assertTrue(answer.startswith(b"HTTP/1.1 400"), answer[:200])


class Operations(DaemonTest):
    def test_plain_paths(self):
        for path in ("/livez", "/readyz", "/healthz", "/readyz?verbose", "/version", "/"):
            self.assertEqual(self.d.request("GET", path)[0], 200, path)
        self.d.ok("POST", "/v1/jobs/j:report", {"step": 1, "loss": 1, "lr": 0.1})
        _, headers, text = self.d.request("GET", "/metrics")
        self.assertEqual(headers["content-type"], "text/plain; version=0.0.4; charset=utf-8")
        self.assertIn('greedylrd_reports_total{result="decided"} 1', text.decode())

    def test_second_daemon_is_refused(self):
        other = subprocess.run([BINARY, "--listen", "127.0.0.1:0", "--data-dir", self.d.data], capture_output=True,
                               text=True, timeout=60)
        self.assertEqual(other.returncode, 3, other.stderr)
        self.assertIn(self.d.data, other.stderr)

    def test_drains(self):
        self.d.ok("POST", "/v1/jobs/j:report", {"step": 1, "loss": 1, "lr": 0.1})
        self.assertEqual(self.d.stop(signal.SIGINT), 0)
        self.d.start()
        self.assertEqual(self.d.ok("GET", "/v1/jobs/j")["revision"], 1)


class Refusals(unittest.TestCase):
    def run_daemon(self, *args):
        return subprocess.run([BINARY, *args], capture_output=True, text=True, timeout=60)

    def test_usage(self):
        self.assertEqual(self.run_daemon("--help").returncode, 0)
        self.assertEqual(self.run_daemon("--version").returncode, 0)
        for args in (("--nonsense",), ("--listen", "0.0.0.0:1", "--data-dir", "/nonexistent/x"),
                     ("--max-body", "many", "--data-dir", "/nonexistent/x")):
            r = self.run_daemon(*args)
            self.assertEqual(r.returncode, 2, r.stderr)
            self.assertIn(args[0], r.stderr)


class UnknownJob(unittest.TestCase):
    """The 404 says what would help, and nothing that would not."""

    def message(self, *flags):
        d = Daemon(*flags)
        self.addCleanup(d.close)
        d.start()
        asked = [d.call(*ask) for ask in (("GET", "/v1/jobs/x"), ("GET", "/v1/jobs/x/lr?format=json"),
                                          ("POST", "/v1/jobs/x:report", {"loss": 1, **({"lr": 1} if flags else {})}))]
        self.assertEqual({(status, reason(answer)) for status, answer in asked}, {(404, "JOB_NOT_FOUND")})
        messages = {answer["message"] for _, answer in asked}
        self.assertEqual(len(messages), 1, messages)
        return messages.pop()

    def test_with_and_without_automatic_creation(self):
        self.assertEqual(self.message(), "job x does not exist; create it, or report with lr")
        self.assertEqual(self.message("--no-auto-create"), "job x does not exist; create it")


if __name__ == "__main__":
    unittest.main()
