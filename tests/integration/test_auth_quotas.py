"""Quotas of tokens: jobs, requests, rounds, watchers."""
import json
import threading
import unittest

from auth_help import AuthTest
from harness import reason, wait_until
from test_auth import OPEN, STATE


class Quotas(AuthTest):
    def refused(self, token, quota, method, path, body=None):
        status, headers, text = self.ask(token, method, path, body)
        self.assertEqual((status, reason(json.loads(text))), (429, "QUOTA_EXCEEDED"), text)
        self.assertGreaterEqual(int(headers["retry-after"]), 1)
        for word in (quota, token.id):
            self.assertIn(word, json.loads(text)["message"])

    def test_jobs(self):
        q, free = self.token("q", "admin", "q.", jobs=3), self.token("free", "admin", "q.")
        self.start(q, free)
        self.ok("POST", "/v1/jobs", {"job": "q.0", "lr": 1})  # whoever creates it
        self.ok("POST", "/v1/jobs", {"job": "r", "lr": 1})
        self.ok("POST", "/v1/jobs", {"job": "q.1", "lr": 1}, q)
        self.ok("POST", "/v1/jobs/q.2:report", {"loss": 1, "lr": 1}, q)

        def full():
            for method, path, body in (("POST", "/v1/jobs", {"job": "q.3", "lr": 1}), ("POST", "/v1/jobs/q.3:report", {"loss": 1, "lr": 1}),
                                       ("POST", "/v1/jobs/q.1:fork", {"spec": {"job": "q.3"}}), ("PUT", "/v1/jobs/q.3/state", STATE)):
                self.refused(q, "jobs=3", method, path, body)
            self.ok("POST", "/v1/jobs", {"job": "q.1", "lr": 1}, q)  # it is there
            self.ok("POST", "/v1/jobs/q.1:report", {"loss": 1}, q)
        full()
        self.reload()
        full()
        self.d.restart()
        full()
        self.ok("DELETE", "/v1/jobs/q.0", None, free)
        results = self.ok("POST", "/v1/jobs:batchReport", {"reports": [{"job": "q.%d" % i, "loss": 1, "lr": [1]} for i in (3, 4, 5)]}, q)["results"]
        self.assertEqual([r.get("error", {}).get("reason") for r in results], [None, "QUOTA_EXCEEDED", "QUOTA_EXCEEDED"])
        self.ok("POST", "/v1/jobs", {"job": "q.6", "lr": 1}, free)
        q.more["jobs"] = 5
        self.write(self.root, q, free)
        self.reload()
        self.ok("POST", "/v1/jobs", {"job": "q.7", "lr": 1}, q)
        self.refused(q, "jobs=5", "POST", "/v1/jobs", {"job": "q.8", "lr": 1})
        free.more["jobs"] = 5  # counted at the reload
        self.write(self.root, q, free)
        self.reload()
        self.refused(free, "jobs=5", "POST", "/v1/jobs", {"job": "q.8", "lr": 1})
        self.assertIn(b'limit_refusals_total{limit="token-jobs"}', self.d.request("GET", "/metrics")[2])
        self.assertIn(b'refusals_total{reason="QUOTA_EXCEEDED"}', self.d.request("GET", "/metrics")[2])

    def test_a_failed_creation_does_not_count(self):
        q = self.token("q", "admin", "q.", jobs=1)
        self.start(q)
        for body in ({"job": "q.1", "lr": -1}, {"job": "q.1", "lr": 1, "greedy": {"patience": -1}}, {"job": "r", "lr": 1}):
            self.assertIn(self.ask(q, "POST", "/v1/jobs", body)[0], (400, 403))
        self.ok("POST", "/v1/jobs/q.1:report", {"loss": 1, "lr": 1, "dry_run": True}, q)
        for _ in range(3):
            self.ok("POST", "/v1/jobs", {"job": "q.1", "lr": 1}, q)
            self.ok("DELETE", "/v1/jobs/q.1", None, q)
        self.ok("POST", "/v1/jobs", {"job": "q.2", "lr": 1}, q)

    def test_requests(self):
        q = self.token("q", "admin", requests=5)
        self.start(q)
        said = [self.ask(q, "GET", "/v1/jobs")[0] for _ in range(40)]
        self.assertEqual(said[:10], [200] * 10)
        self.assertIn(429, said)
        c = self.d.connection()
        while self.d.request("GET", "/v1/jobs", None, q.header, c)[0] == 200:
            pass
        self.refused(q, "requests=5", "GET", "/v1/jobs")
        for path in OPEN + ["/metrics"]:
            self.assertEqual(self.ask(q, "GET", path)[0], 200)
        self.ok("GET", "/v1/jobs")
        wait_until(lambda: self.ask(q, "GET", "/v1/jobs")[0] == 200)
        c.close()

    def test_rounds(self):
        q, other = self.token("q", "report", rounds=2), self.token("other", "report")
        self.start(q, other)
        for i in range(4):
            self.ok("POST", "/v1/jobs", {"job": "r%d" % i, "lr": 0.1, "ranks": {"world_size": 2}})
        threads, said = [], {}

        def report(job, rank, token=q):
            said[job, rank] = self.ask(token, "POST", "/v1/jobs/%s:report" % job, {"step": 1, "loss": 1, "rank": rank})[0]
        for i in range(2):
            threads.append(threading.Thread(target=report, args=("r%d" % i, 0)))
            threads[-1].start()
            wait_until(lambda: "open_round" in self.ok("GET", "/v1/jobs/r%d" % i)["state"])
        self.refused(q, "rounds=2", "POST", "/v1/jobs/r2:report", {"step": 1, "loss": 1, "rank": 0})
        self.refused(q, "rounds=2", "POST", "/v1/jobs/r1:report", {"step": 2, "loss": 1, "rank": 0})
        # The same again, at once: it waits for its round, and is not refused.
        status, _, text = self.ask(q, "POST", "/v1/jobs/r0:report?wait=0s", {"step": 1, "loss": 1, "rank": 0})
        self.assertEqual((status, reason(json.loads(text))), (504, "WAIT_EXPIRED"))
        threads.append(threading.Thread(target=report, args=("r2", 0, other)))
        threads[-1].start()
        wait_until(lambda: "open_round" in self.ok("GET", "/v1/jobs/r2")["state"])
        for i in range(3):
            report("r%d" % i, 1)  # they are open
        for t in threads:
            t.join(20)
        self.assertEqual(set(said.values()), {200})
        for i in range(3, 4):  # both are free again
            status, _, text = self.ask(q, "POST", "/v1/jobs/r%d:report?wait=0s" % i, {"step": 1, "loss": 1, "rank": 0})
            self.assertEqual(reason(json.loads(text)), "WAIT_EXPIRED")

    def test_watchers(self):
        q, other = self.token("q", "observe", watchers=2), self.token("other", "observe")
        self.start(q, other)
        self.ok("POST", "/v1/jobs", {"job": "w", "lr": 1})

        def watch(token):
            c = self.d.connection()
            c.request("GET", "/v1/jobs/w:watch", headers=token.header)
            self.assertEqual(c.getresponse().status, 200)
            return c
        open_ones = [watch(q), watch(q)]
        self.refused(q, "watchers=2", "GET", "/v1/jobs/w:watch")
        self.assertEqual(self.ask(q, "HEAD", "/v1/jobs/w:watch")[0], 429)
        open_ones.append(watch(other))
        open_ones.pop(0).sock.close()
        wait_until(lambda: self.ask(q, "HEAD", "/v1/jobs/w:watch")[0] == 200)
        open_ones.append(watch(q))
        for c in open_ones:
            c.sock.close()

    def test_flags_are_defaults(self):
        self.d.flags += ["--token-jobs", "1", "--token-watchers", "1"]
        q, more = self.token("q", "admin", "q."), self.token("more", "admin", "m.", jobs=0)
        self.root.more["jobs"] = 100
        self.start(q, more)
        self.ok("POST", "/v1/jobs", {"job": "q.1", "lr": 1}, q)
        self.refused(q, "jobs=1", "POST", "/v1/jobs", {"job": "q.2", "lr": 1})
        for i in range(3):
            self.ok("POST", "/v1/jobs", {"job": "m.%d" % i, "lr": 1}, more)


if __name__ == "__main__":
    unittest.main()
