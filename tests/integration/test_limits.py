"""Every limit can be set, is told by name to who meets it, and is counted; the sum of all has a ceiling."""
import json
import re
import socket
import threading
import unittest

from harness import BINARY, Daemon, DaemonTest, reason, wait_until
from test_connections import HOST, refusals

SANITIZED = "asan" in BINARY or "tsan" in BINARY


class EachByName(DaemonTest):
    flags = ("--max-body", "2K", "--max-batch-body", "4K", "--max-batch-entries", "5", "--max-json-depth", "8",
             "--max-simulated-rates", "8", "--max-ranks", "4", "--max-wait", "300ms", "--max-watchers", "3",
             "--max-watchers-per-job", "2", "--max-jobs", "4", "--max-round-memory", "4K")

    def refused(self, limit, status, why, method, path, body=None):
        before = refusals(self.d)[limit]
        code, answer = self.d.call(method, path, body)
        self.assertEqual((code, reason(answer)), (status, why), answer)
        self.assertEqual(refusals(self.d)[limit], before + 1)
        return answer["message"]

    def watch(self, job):
        s = socket.create_connection(("127.0.0.1", self.d.port), 20)
        self.addCleanup(s.close)
        s.sendall(b"GET /v1/jobs/" + job + b":watch HTTP/1.1\r\n" + HOST + b"\r\n")
        return s.recv(4096)

    def test_requests(self):
        self.refused("max-body", 413, "BODY_TOO_LARGE", "POST", "/v1/jobs", " " * 2049)
        self.refused("max-batch-body", 413, "BODY_TOO_LARGE", "POST", "/v1/simulate", " " * 4097)
        self.assertIn("8 levels", self.refused("max-json-depth", 400, "BODY_INVALID", "POST", "/v1/jobs", "[" * 9 + "]" * 9))
        self.assertIn("--max-batch-entries", self.refused("max-batch-entries", 400, "FIELD_INVALID", "POST",
                                                          "/v1/jobs:batchReport", {"reports": [{"job": "a"}] * 6}))
        self.refused("max-batch-entries", 400, "FIELD_INVALID", "POST", "/v1/simulate",
                     {"spec": {"lr": 1}, "losses": [1] * 6})
        self.assertIn("--max-simulated-rates", self.refused(
            "max-simulated-rates", 400, "FIELD_INVALID", "POST", "/v1/simulate", {"spec": {"lr": [1] * 4}, "losses": [1] * 3}))

    def test_jobs_and_ranks(self):
        self.assertIn("--max-ranks", self.refused("max-ranks", 400, "FIELD_INVALID", "POST", "/v1/jobs",
                                                  {"job": "r", "lr": 1, "ranks": {"world_size": 5}}))
        self.d.ok("POST", "/v1/jobs", {"job": "r", "lr": 1, "ranks": {"world_size": 4}})
        self.refused("max-ranks", 400, "FIELD_INVALID", "PATCH", "/v1/jobs/r", {"spec": {"ranks": {"world_size": 5}}})
        for name in "abc":
            self.d.ok("POST", "/v1/jobs", {"job": name, "lr": 1})
        self.refused("max-jobs", 429, "TOO_MANY_JOBS", "POST", "/v1/jobs", {"job": "d", "lr": 1})
        self.refused("max-jobs", 429, "TOO_MANY_JOBS", "POST", "/v1/jobs/d:report", {"loss": 1, "lr": 1})

    def test_waits_are_cut(self):
        self.d.ok("POST", "/v1/jobs", {"job": "r", "lr": 1, "ranks": {"world_size": 2}})
        status, answer = self.d.call("POST", "/v1/jobs/r:report", {"step": 1, "loss": 1, "rank": 0, "wait": "3600s"})
        self.assertEqual((status, reason(answer)), (504, "WAIT_EXPIRED"))
        status, answer = self.d.call("GET", "/v1/jobs/r/lr?step=1&wait=300s")
        self.assertEqual((status, reason(answer)), (504, "STEP_NOT_DECIDED"))

    def test_watchers(self):
        for name in "ab":
            self.d.ok("POST", "/v1/jobs", {"job": name, "lr": 1})
        for _ in range(2):
            self.assertIn(b" 200 ", self.watch(b"a"))
        self.assertIn("--max-watchers-per-job", self.refused("max-watchers-per-job", 429, "TOO_MANY_WAITING", "GET",
                                                             "/v1/jobs/a:watch"))
        self.assertIn(b" 200 ", self.watch(b"b"))
        self.refused("max-watchers", 429, "TOO_MANY_WAITING", "GET", "/v1/jobs/b:watch")

    def test_every_limit_is_shown(self):
        text = self.d.request("GET", "/metrics")[2].decode()
        with open(__file__.replace("tests/integration/test_limits.py", "proto/PROTOCOL.md"), encoding="utf-8") as f:
            documented = re.findall(r"^\| `([a-z -]+)` \| \S+ \|", f.read().partition("## Limits")[2], re.M)
        self.assertGreater(len(documented), 20)
        self.assertEqual(sorted(documented), sorted(re.findall(r'limit_refusals_total\{limit="([^"]+)"\}', text)))


def resident(daemon):
    with open("/proc/%d/statm" % daemon.process.pid) as f:
        return int(f.read().split()[1]) * 4096


def metric(daemon, name):
    """The sum over its labels."""
    found = re.findall(r"^greedylrd_%s(?:\{.*\})? (\S+)$" % name, daemon.request("GET", "/metrics")[2].decode(), re.M)
    return sum(map(float, found)) if found else None


@unittest.skipIf(SANITIZED, "memory is the sanitizer's")
class Ceiling(unittest.TestCase):
    def daemon(self, above, *flags):
        idle = Daemon().start()
        idle.ok("POST", "/v1/jobs/x:report", {"loss": 1, "lr": 1})
        ceiling = resident(idle) + above
        idle.close()
        d = Daemon("--max-memory", str(ceiling), *flags)
        self.addCleanup(d.close)
        return d.start(), ceiling

    def test_sheds_and_recovers(self):
        d, ceiling = self.daemon(20 << 20)
        d.ok("POST", "/v1/jobs", {"job": "old", "lr": 1})
        decided = d.ok("POST", "/v1/jobs/old:report", {"step": 1, "loss": 1})
        d.ok("POST", "/v1/jobs", {"job": "pair", "lr": 1, "ranks": {"world_size": 2}})
        pair = []
        waiting = threading.Thread(target=lambda: pair.append(
            d.call("POST", "/v1/jobs/pair:report", {"step": 1, "loss": 1, "rank": 0})))
        waiting.start()
        wait_until(lambda: "open_round" in d.ok("GET", "/v1/jobs/pair")["state"])
        held = []
        for i in range(12):  # 3 MB each
            d.ok("POST", "/v1/jobs", {"job": "big%d" % i, "lr": 1, "ranks": {"world_size": 65536}})
        for i in range(12):
            held.append(threading.Thread(target=lambda i=i: d.call("POST", "/v1/jobs/big%d:report" % i,
                                                                   {"step": 1, "loss": 1, "rank": 0})))
            held[-1].start()
        wait_until(lambda: metric(d, "shedding") == 1)

        def refused(method, path, body=None):
            status, headers, text = d.request(method, path, body)
            self.assertEqual((status, reason(json.loads(text)), headers["retry-after"]), (503, "OVERLOADED", "1"), path)
            self.assertIn("--max-memory", json.loads(text)["message"])

        for path, body in (("/v1/jobs", {"job": "new", "lr": 1}), ("/v1/jobs/new:report", {"loss": 1, "lr": 1}),
                           ("/v1/simulate", {"spec": {"lr": 1}, "losses": [1]}),
                           ("/v1/jobs:batchReport", {"reports": [{"job": "old", "loss": 1}]}),
                           ("/v1/jobs/old:fork", {"step": 1, "spec": {"job": "new"}}),
                           ("/v1/jobs/big0:report", {"step": 2, "loss": 1, "rank": 0})):
            refused("POST", path, body)
        refused("GET", "/v1/jobs/old:watch")
        self.assertGreaterEqual(refusals(d)["max-memory"], 7)
        for path in ("/livez", "/readyz", "/v1/jobs", "/v1/jobs/old", "/v1/jobs/old/lr", "/v1/jobs/old/decisions"):
            self.assertEqual(d.request("GET", path)[0], 200, path)
        self.assertEqual(d.ok("POST", "/v1/jobs", {"job": "old", "lr": 1})["job"], "old")
        again = d.ok("POST", "/v1/jobs/old:report", {"step": 1, "loss": 1})
        self.assertEqual((again["lr"], again["duplicate"]), (decided["lr"], True))
        d.ok("POST", "/v1/jobs/old:report", {"step": 2, "loss": 1})
        d.ok("POST", "/v1/jobs/pair:report", {"step": 1, "loss": 2, "rank": 1})
        waiting.join(20)
        self.assertEqual(pair[0][0], 200)

        for i in range(12):
            d.ok("DELETE", "/v1/jobs/big%d" % i)
        for t in held:
            t.join(20)
        wait_until(lambda: metric(d, "shedding") == 0)
        self.assertLess(resident(d), ceiling)
        d.ok("POST", "/v1/jobs", {"job": "new", "lr": 1})
        wait_until(lambda: any("event=memory_normal" in line for line in d._lines))
        self.assertTrue(any("event=memory_high" in line and "max_memory=%d" % ceiling in line for line in d._lines))

    def test_jobs_leave_memory_first(self):
        """Twice what fits: all are created, and the daemon stays about where it should."""
        d, ceiling = self.daemon(24 << 20)
        most = 0
        c = d.connection()
        for i in range(900):
            body = {"job": "j%d" % i, "lr": [1 + i] + [0.123456789] * 255}  # equal settings would be kept once
            while (status := d.request("POST", "/v1/jobs", body, connection=c)[0]) == 503:
                most = max(most, resident(d))
            self.assertEqual(status, 200)
            if i % 100 == 0:
                most = max(most, resident(d))
        c.close()
        print("\nceiling %d MB, at most %d MB" % (ceiling >> 20, most >> 20))
        self.assertEqual(metric(d, "jobs"), 900)
        self.assertLess(metric(d, "resident_jobs"), 900)
        self.assertLess(most, ceiling + (16 << 20))
        self.assertEqual(len(d.ok("GET", "/v1/jobs/j0")["spec"]["lr"]), 256)


if __name__ == "__main__":
    unittest.main()
