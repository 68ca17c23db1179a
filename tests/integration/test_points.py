"""max_points: long histories thinned out for plots, against what the whole list says."""
import csv
import io
import json
import random
import select
import socket
import sqlite3
import tempfile
import threading
import unittest

from auth_help import Token
from harness import Daemon, DaemonTest, num

QUIET = ("hold", "schedule", "ramp")


class Points(DaemonTest):
    def report(self, job, losses, **first):
        """In batches; the job is made by its first report."""
        for at in range(0, len(losses), 5000):
            self.d.ok("POST", "/v1/jobs:batchReport", {"reports": [
                dict({"job": job, "loss": loss}, **(first if at + i == 0 else {}))
                for i, loss in enumerate(losses[at:at + 5000])]})

    def thin(self, job, points, more=""):
        answer = self.d.ok("GET", "/v1/jobs/%s/decisions?max_points=%d%s" % (job, points, more))
        self.assertLessEqual(len(answer["decisions"]), points)
        self.assertNotIn("next_page_token", answer)
        return answer["decisions"]

    def check(self, whole, thin, points):
        """The promises of PROTOCOL.md."""
        if len(whole) <= points:
            return self.assertEqual(thin, whole)
        by_revision = {d["revision"]: d for d in whole}
        self.assertEqual(thin, [by_revision[d["revision"]] for d in thin])
        kept = [d["revision"] for d in thin]
        self.assertEqual(kept, sorted(set(kept)))
        self.assertEqual((kept[0], kept[-1]), (whole[0]["revision"], whole[-1]["revision"]))
        for field in ("value", "lr"):
            numbers = [(num(d[field]), d["revision"]) for d in whole if field in d and num(d[field]) == num(d[field])]
            for most in (max, min):
                best = most(x for x, _ in numbers)
                self.assertIn(min(r for x, r in numbers if x == best), kept, (field, most))
        acts = [d["revision"] for d in whole if d["action"] not in QUIET]
        if len(acts) <= (points - 7) // 4 * 3:
            self.assertLessEqual(set(acts), set(kept))

    def test_a_spike_among_many_and_every_act(self):
        rng = random.Random(5)
        losses = [1 + rng.random() / 100 for _ in range(8000)]
        losses[5678], losses[777], losses[7000] = 1.2, 0.9, "NaN"
        self.d.ok("POST", "/v1/jobs", {"job": "a", "lr": 0.1, "greedy": {"patience": 400, "reset_start": 0}})
        self.report("a", losses)
        self.d.ok("POST", "/v1/jobs/a:setLr", {"lr": 0.03})
        self.report("a", losses[:500])
        whole = self.d.decisions("a")
        self.assertEqual(len(whole), 8501)
        for points in (7, 20, 500, 2000, 100000):
            thin = self.thin("a", points)
            self.check(whole, thin, min(points, 2000))
            if points >= 500:
                self.assertGreater(len(thin), min(points, 2000) * 0.85)
        values = [num(d["value"]) for d in self.thin("a", 20) if "value" in d]
        self.assertEqual((max(v for v in values if v == v), min(v for v in values if v == v)), (1.2, 0.9))
        self.assertTrue(any(v != v for v in values))
        self.assertEqual(self.thin("a", 2, "&from_step=2000&to_step=6000"), [whole[1999], whole[5999]])
        self.check([d for d in whole if d["step"] >= 5000], self.thin("a", 300, "&from_step=5000"), 300)
        self.formats(self.thin("a", 50))

    def formats(self, thin):
        path = "/v1/jobs/a/decisions?max_points=50&format="
        rows = list(csv.DictReader(io.StringIO(self.d.request("GET", path + "csv")[2].decode())))
        self.assertEqual([int(r["revision"]) for r in rows], [d["revision"] for d in thin])
        self.assertEqual([json.loads(line) for line in self.d.request("GET", path + "ndjson")[2].splitlines()], thin)
        self.assertEqual(self.d.rpc("ListDecisions", {"job": "a", "max_points": 50})[1]["decisions"], thin)

    def test_rewinds_folded_or_not(self):
        for turn in range(6):
            self.report("r", [2 - turn / 10 + i % 7 / 50 for i in range(150)], lr=0.1)
            self.d.ok("POST", "/v1/jobs/r:rewind", {"step": turn * 100 + 50})
        for _ in range(2):
            for superseded in ("", "&superseded=true"):
                pages = self.d.ok("GET", "/v1/jobs/r/decisions?page_size=1000" + superseded)["decisions"]
                for points in (30, 300, 1000):
                    self.check(pages, self.thin("r", points, superseded), points)
            self.d.stop()  # folds
            self.d.start()

    def test_beside_reports_and_a_deletion(self):
        """Each answer is of one moment: all of the history up to some revision."""
        self.report("b", [1 + i % 13 / 100 for i in range(1500)], lr=0.1)
        wrong = []

        def look():
            while True:
                status, answer = self.d.call("GET", "/v1/jobs/b/decisions?max_points=50")
                if status == 404:
                    return
                revisions = [d["revision"] for d in answer["decisions"]]
                if status != 200 or not (revisions == sorted(revisions) and (not revisions or revisions[0] == 1)):
                    wrong.append((status, answer))
                    return

        threads = [threading.Thread(target=look) for _ in range(3)]
        for t in threads:
            t.start()
        for i in range(100):
            self.d.ok("POST", "/v1/jobs/b:report", {"loss": 1})
        self.d.ok("DELETE", "/v1/jobs/b")
        for t in threads:
            t.join()
        self.assertEqual(wrong, [])


class Long(unittest.TestCase):
    def start(self, *flags, headers=None):
        """A daemon with a long history, of the job l."""
        self.d = d = Daemon(*flags)
        d.headers = headers or {}
        self.addCleanup(d.close)
        d.start()
        d.ok("POST", "/v1/jobs:batchReport", {"reports": [{"job": "l", "loss": 1, "lr": 0.1} for _ in range(1000)]})
        d.stop()
        with sqlite3.connect(d.data + "/greedylr.db") as db:
            names = [row[1] for row in db.execute("PRAGMA table_info(decision)")]
            rest = ",".join(name for name in names if name not in ("revision", "step"))
            for i in range(1, 40):
                db.execute("INSERT INTO decision(revision,step,%s) SELECT revision+%d,step+%d,%s FROM decision WHERE revision<=1000"
                           % (rest, i * 1000, i * 1000, rest))
        db.close()
        d.start()
        return d

    def scan(self, token=None):
        s = socket.create_connection(("127.0.0.1", self.d.port), 60)
        self.addCleanup(s.close)
        who = "Authorization: Bearer %s\r\n" % token.text if token else ""
        s.sendall(b"GET /v1/jobs/l/decisions?max_points=10 HTTP/1.1\r\nHost: localhost\r\n%s\r\n" % who.encode())
        return s

    def test_short_reads_do_not_wait_for_scans(self):
        d = self.start()
        scans = [self.scan() for _ in range(12)]
        self.assertEqual(len(d.ok("GET", "/v1/jobs/l/decisions?page_size=5")["decisions"]), 5)
        self.assertLess(len(select.select(scans, [], [], 0)[0]), 6)
        for s in scans:
            self.assertIn(b"HTTP/1.1 200", s.recv(100))
        d.stop()  # without a look at the data, which nobody decided

    def test_a_token_does_not_wait_for_all_that_another_asks_for(self):
        greedy, modest = Token("greedy", "observe"), Token("modest", "observe")
        file = tempfile.NamedTemporaryFile("w")
        self.addCleanup(file.close)
        root = Token("root")
        file.write(root.line + greedy.line + modest.line)
        file.flush()
        d = self.start("--token-file", file.name, headers=root.header)
        scans = [self.scan(greedy) for _ in range(40)]
        select.select(scans, [], [], 60)  # the first is answered: all that wait are in line
        self.assertIn(b"HTTP/1.1 200", self.scan(modest).recv(100))
        self.assertLess(len(select.select(scans, [], [], 0)[0]), 30)
        for s in scans:
            self.assertIn(b"HTTP/1.1 200", s.recv(100))
        d.stop()  # without a look at the data, which nobody decided


if __name__ == "__main__":
    unittest.main()
