"""Logs: who did what, under which request; nothing lost without a word; nothing from outside taken for a line of ours."""
import glob
import json
import os
import re
import shlex
import threading
import unittest

from harness import ROOT, Daemon, DaemonTest, wait_until

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def parsed(text):
    """Lines of either format as dictionaries, values as text or numbers."""
    found = []
    for line in text.splitlines():
        if line.startswith("{"):
            found.append(json.loads(line))
        else:
            found.append(dict(word.split("=", 1) for word in shlex.split(line)))
    return found


class LogTest(DaemonTest):
    flags = ("--log-format", "json")

    def lines(self, event=None):
        """Of the daemon, which ends."""
        self.d.stop()
        return [x for x in parsed(self.d.stderr) if event in (None, x["event"])]


class Decisions(LogTest):
    def test_a_line_for_each(self):
        own = {"X-Request-Id": "run-7/step:1@a+b=c_.", "traceparent": TRACE}
        _, headers, _ = self.d.request("POST", "/v1/jobs/a:report", {"step": 1, "loss": 2.5, "lr": [0.1, 0.2]}, own)
        self.assertEqual((headers["x-request-id"], headers["traceparent"]), (own["X-Request-Id"], TRACE))
        _, headers, _ = self.d.request("POST", "/v1/jobs/a:report", {"step": 2, "loss": "NaN"})
        self.assertNotIn("traceparent", headers)
        self.d.ok("POST", "/v1/jobs/a:setLr", {"lr": 0.01})
        self.d.ok("DELETE", "/v1/jobs/a")
        lines = self.lines()
        created, first, second, override, deleted = [x for x in lines if x["event"] in ("decision", "job_created", "job_deleted")]
        self.assertEqual({k: first[k] for k in first if k not in ("ts", "reason")}, {
            "level": "info", "event": "decision", "job": "a", "step": 1, "value": 2.5, "lr": 0.1, "groups": 2, "action": "hold",
            "revision": 1, "request_id": own["X-Request-Id"], "trace_id": TRACE[3:35]})
        self.assertEqual((second["value"], second["lr_from"], second["request_id"]), ("NaN", 0.1, headers["x-request-id"]))
        self.assertNotIn("trace_id", second)
        self.assertEqual((override["action"], override["lr_from"], override["lr"], override["reason"]),
                         ("override", 0.1, 0.01, "set from 0.1 to 0.01 (first group)"))
        self.assertIn("127.0.0.1", override["actor"])
        self.assertNotIn("value", override)
        self.assertEqual((created["request_id"], deleted["job"]), (own["X-Request-Id"], "a"))

    def test_a_round_is_the_last_ranks(self):
        self.d.ok("POST", "/v1/jobs", {"job": "r", "lr": 0.1, "ranks": {"world_size": 2}})
        t = threading.Thread(target=self.d.ok, args=("POST", "/v1/jobs/r:report", {"step": 1, "loss": 1, "rank": 0}),
                             kwargs={"headers": {"X-Request-Id": "rank-0"}})
        t.start()
        wait_until(lambda: "open_round" in self.d.ok("GET", "/v1/jobs/r")["state"])
        self.d.ok("POST", "/v1/jobs/r:report", {"step": 1, "loss": 2, "rank": 1}, headers={"X-Request-Id": "rank-1"})
        t.join()
        self.assertEqual([(x["request_id"], x["ranks"], x["value"]) for x in self.lines("decision")], [("rank-1", 2, 1.5)])

    def test_large_batches(self):
        self.d.ok("POST", "/v1/jobs:batchReport", {"reports": [{"job": "b", "loss": 1, "lr": 0.1} for _ in range(3000)]},
                  headers={"X-Request-Id": "many"})
        lines = self.lines()
        steps = [x["step"] for x in lines if x["event"] == "decision" and x["request_id"] == "many"]
        lost = sum(x["lines"] for x in lines if x["event"] == "log_dropped")
        self.assertEqual((steps, len(steps) + lost), (sorted(steps), 3000))
        self.assertGreater(len(steps), 0)


class Which(unittest.TestCase):
    def actions(self, *flags):
        d = Daemon(*flags)
        self.addCleanup(d.close)
        d.start()
        for step, loss in enumerate((3, 2, 1, 0.5)):
            d.ok("POST", "/v1/jobs/a:report", {"step": step, "loss": loss, "lr": 0.1})
        d.ok("POST", "/v1/jobs/a:pause", {})
        want = [x["action"] for x in d.decisions("a")]
        d.stop()
        return want, [x["action"] for x in parsed(d.stderr) if x["event"] == "decision"]

    def test_log_decisions(self):
        want, got = self.actions()
        self.assertEqual(got, want)
        self.assertIn("raise", want)
        want, got = self.actions("--log-decisions", "changes")
        self.assertEqual(got, [action for action in want if action != "hold"])
        self.assertEqual(self.actions("--log-decisions", "none")[1], [])
        self.assertEqual(self.actions("--log-level", "warning")[1], [])


class Requests(LogTest):
    flags = ("--log-format", "json", "--log-level", "debug", "--slow-request", "1ms")

    def test_ids(self):
        made = []
        for own in ("", "a b", 'x"y', "x" * 129, "caf\xe9", "a\tb", "a;b"):
            _, headers, _ = self.d.request("GET", "/v1/jobs", headers={"X-Request-Id": own.encode("latin-1")})
            made.append(headers["x-request-id"])
        self.assertEqual(len(set(made)), len(made))
        for one in made:
            self.assertRegex(one, r"^[0-9a-f]{8}-[0-9a-f]+$")
        self.assertEqual(len({one[:8] for one in made}), 1)
        self.assertEqual(self.d.request("GET", "/", headers={"X-Request-Id": "x" * 128})[1]["x-request-id"], "x" * 128)
        self.d.restart()
        self.assertNotEqual(self.d.request("GET", "/livez")[1]["x-request-id"][:8], made[0][:8])

    def test_traces(self):
        later = "01" + TRACE[2:]
        for good, echoed in ((TRACE, TRACE), (later, later), (later + "-more", later)):
            self.assertEqual(self.d.request("GET", "/livez", headers={"traceparent": good})[1].get("traceparent"), echoed)
        for bad in ("", TRACE[:-1], TRACE + "-x", TRACE.upper(), "ff" + TRACE[2:], later + "x", TRACE.replace("-", "_"),
                    "00-" + "0" * 32 + TRACE[35:], TRACE[:36] + "0" * 16 + TRACE[52:], TRACE[:10] + "g" + TRACE[11:], "00"):
            self.assertNotIn("traceparent", self.d.request("GET", "/livez", headers={"traceparent": bad})[1], bad)

    def test_in_errors(self):
        """Of both faces, before and behind the body, and of streams."""
        def check(answer, headers):
            metadata = answer["details"][0]["debug"]["metadata"]
            self.assertEqual(metadata["request_id"], headers.get("x-request-id", "mine"))

        for ask in (("GET", "/v1/jobs/none"), ("GET", "/nothing"), ("POST", "/v1/jobs", "{"), ("GET", "/v1/jobs/none:watch"),
                    ("PUT", "/livez"), ("POST", "/v1/jobs", "x" * 70000)):
            _, headers, body = self.d.request(*ask)
            check(json.loads(body), headers)
        _, _, body = self.d.request("POST", "/greedylr.v1.SchedulerService/WatchJob", b"\0\0\0\0\x0e" + b'{"job":"none"}',
                                    {"Content-Type": "application/connect+json", "X-Request-Id": "mine"})
        check(json.loads(body[5:])["error"], {})

    def test_lines_of_requests(self):
        self.d.request("GET", "/v1/jobs?label=secret", headers={"traceparent": TRACE, "X-Request-Id": "mine"})
        self.d.ok("POST", "/v1/jobs/s:report", {"loss": 1, "lr": 0.1})  # a sync takes longer, or it is a request
        lines = self.lines()
        mine = [x for x in lines if x.get("request_id") == "mine"]
        self.assertEqual([(x["method"], x["path"], x["status"], x["trace_id"]) for x in mine], [("GET", "/v1/jobs", 200, TRACE[3:35])])
        self.assertIn(mine[0]["event"], ("request", "slow_request"))
        self.assertNotIn("secret", json.dumps(lines))
        for x in lines:
            self.assertEqual(x["level"] == "warning", x["event"] in ("slow_request", "suppressed", "log_dropped"), x)

    def test_waiting_is_not_slow(self):
        self.d.ok("POST", "/v1/jobs/w:report", {"step": 1, "loss": 1, "lr": 0.1})
        self.d.call("GET", "/v1/jobs/w/lr?step=2&wait=100ms", headers={"X-Request-Id": "waits"})
        self.assertEqual([x["event"] for x in self.lines() if x.get("request_id") == "waits"], ["refused", "request"])


class Refusals(LogTest):
    def test_levels(self):
        self.d.request("GET", "/v1/jobs/none")
        self.d.request("GET", "/v1/jobs", headers={"Host": "evil"})
        self.d.request("POST", "/v1/jobs", "x" * 70000)
        found = {x["reason"]: x for x in self.lines("refused")}
        self.assertEqual({k: x["level"] for k, x in found.items()},
                         {"JOB_NOT_FOUND": "info", "HOST_NOT_ALLOWED": "warning", "BODY_TOO_LARGE": "warning"})
        self.assertEqual((found["BODY_TOO_LARGE"]["limit"], found["BODY_TOO_LARGE"]["status"]), ("max-body", 413))
        self.assertIn("none does not exist", found["JOB_NOT_FOUND"]["error"])

    def test_repeats_are_counted(self):
        c = self.d.connection()
        for _ in range(200):
            self.d.request("GET", "/v1/jobs/none", connection=c)
        lines = self.lines()
        told = sum(x["event"] == "refused" for x in lines)
        self.assertEqual(told + sum(x["lines"] for x in lines if x["event"] == "suppressed"), 200)
        self.assertLess(told, 200)


class Documented(unittest.TestCase):
    def test_man_page_has_every_event(self):
        with open(os.path.join(ROOT, "daemon", "greedylrd.8"), encoding="utf-8") as f:
            section = f.read().split(".Sh LOGS")[1].split(".Sh ")[0]
        words = set(re.findall(r"[a-z_]+", section.split("The events, by level")[1]))
        events = set()
        for path in glob.glob(os.path.join(ROOT, "daemon", "server", "*.c")):
            with open(path, encoding="utf-8") as f:
                for call in re.findall(r"(?:log_event|log_repeated|tls_report|log_job|emit|put_line)\(([^{;]*?)(?:\(struct|NULL\)|fields\)|\);)", f.read()):
                    events |= set(re.findall(r'"([a-z_]+)"', call))
        self.assertGreater(len(events), 25)
        self.assertEqual(events - words, set())


class Hostile(LogTest):
    """What peers send never begins a line or a field."""
    flags = ()

    def test_it(self):
        bad = "/v1/jobs/x%0aevent%3dfake%20level%3derror%1b%5b2J\x7f\"='\\"
        self.d.raw(("GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" % bad.replace("\x7f", "")).encode())
        self.d.raw(b"GET /v1/jobs/\xff\xc2\x9b31m=\"x HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: a\x1b[2J\r\nConnection: close\r\n\r\n")
        self.d.request("GET", "/v1/jobs", headers={"Host": "x event=fake"})
        self.d.call("POST", "/v1/jobs/j:report", {"loss": 1, "lr": 0.1, "request_id": "a event=fake"})
        self.d.call("POST", "/v1/jobs", {"job": "q\nevent=fake", "lr": 0.1})
        self.d.stop()
        self.assertNotIn("\x1b", self.d.stderr)
        self.assertNotIn("\x9b", self.d.stderr)
        for line in self.d.stderr.splitlines():
            self.assertRegex(line, r"^ts=\S+Z level=(info|warning) event=(ready|refused|decision|job_created|draining|stopped)( |$)")
            # Fields are words or quoted, and quotes inside are escaped.
            self.assertRegex(line, r'^(\w+=([^\s"=\\]+|"([^"\\\x00-\x1f\x7f]|\\["\\nrt]|\\u[0-9a-f]{4})*")( |$))+$')


if __name__ == "__main__":
    unittest.main()
