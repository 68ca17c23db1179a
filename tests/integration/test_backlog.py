"""What piles up behind the writer is bounded: folding keeps up with batches, and a slow disk refuses, it does not hoard."""
import contextlib
import os
import re
import shutil
import signal
import sqlite3
import threading
import unittest

from harness import Daemon, DaemonTest, wait_until
from test_faults import can_trace

MAX_UNFOLDED = 16384
BATCH = 10000


def batch(jobs=50):
    return {"reports": [{"job": "j%d" % (i % jobs), "lr": 0.1, "loss": 1} for i in range(BATCH)]}


def rows(d, table):
    db = sqlite3.connect("file:%s/greedylr.db?mode=ro" % d.data, uri=True)
    try:
        return db.execute("SELECT count(*) FROM " + table).fetchone()[0]
    finally:
        db.close()


def in_threads(n, run):
    threads = [threading.Thread(target=run) for _ in range(n)]
    for t in threads:
        t.start()
    return threads


class Folding(DaemonTest):
    flags = ("--log-level", "error", "--max-unfolded", "65536")

    def test_keeps_up_with_batches(self):
        answers = []

        def load():
            for _ in range(5):
                answers.append(self.d.call("POST", "/v1/jobs:batchReport", batch())[0])

        longest = 0
        threads = in_threads(3, load)
        while any(t.is_alive() for t in threads):
            threads[0].join(0.05)
            longest = max(longest, rows(self.d, "log"))
        self.assertEqual(answers, [200] * 15)
        self.assertGreater(longest, 0)
        # From a quarter of the limit on folded behind each batch: what is left is what the batches under way brought,
        # and as much again that is in the history and leaves the log with the next pass.
        self.assertLess(longest, 3 * 3 * BATCH)


def metric(d, name):
    return float(re.search(rb"^greedylrd_%s (\S+)$" % name.encode(), d.request("GET", "/metrics")[2], re.M).group(1))


#: Nine states of 256 groups, and what eight shadows said: 58 KB a decision on disk, 120 in memory.
LARGE = {"job": "large", "lr": [0.1] * 256, "shadow": [{"name": "s%d" % i} for i in range(8)]}


def large_batch(n):
    return {"reports": [{"job": "large", "loss": 1}] * n}


class LargeStates(DaemonTest):
    flags = ("--log-level", "error", "--max-unfolded-memory", "64M")

    def test_are_folded_before_there_are_many(self):
        """They are far from as many as small ones have to be.  An idle writer folds anyhow, so it never is."""
        self.d.ok("POST", "/v1/jobs", LARGE)
        ended = threading.Event()

        def keep_busy():
            with contextlib.closing(self.d.connection()) as connection:
                while not ended.is_set():
                    self.d.ok("POST", "/v1/jobs/other:report", {"loss": 1, "lr": 0.1}, connection=connection)
                    ended.wait(0.02)

        longest = 0
        busy = in_threads(1, keep_busy)
        try:
            for _ in range(10):
                answer = self.d.ok("POST", "/v1/jobs:batchReport", large_batch(80))
                self.assertTrue(all("decision" in r for r in answer["results"]))
                longest = max(longest, rows(self.d, "log WHERE length(state) > 10000"))
        finally:
            ended.set()
            busy[0].join()
        # 8 MB are about 70 of them; what is left is what the last two batches brought.
        self.assertLess(longest, 400)
        # Each was counted out as it was counted in.
        wait_until(lambda: metric(self.d, "unfolded_bytes") == 0)


class Leftovers(DaemonTest):
    flags = ("--log-level", "error")

    def test_a_deleted_history_goes_after_a_start_without_a_request(self):
        for _ in range(2):
            self.d.ok("POST", "/v1/jobs:batchReport", batch(1))
        self.d.ok("DELETE", "/v1/jobs/j0")
        self.d.kill()
        self.d.start()
        wait_until(lambda: rows(self.d, "doomed") == 0)
        self.assertEqual(rows(self.d, "decision"), 0)


def slow(test, seconds, *flags):
    """A daemon on a disk whose every sync takes so long, until it is fast_again."""
    d = Daemon("--log-level", "error", *flags, env={"ASAN_OPTIONS": "detect_leaks=0"},
               wrap=["strace", "-D", "-f", "-I2", "-o", os.devnull, "-e", "trace=fdatasync",
                     "-e", "inject=fdatasync:delay_enter=%d" % (1e6 * seconds)])
    test.addCleanup(shutil.rmtree, d.data, True)
    return d.start()


def fast_again(d):
    with open("/proc/%d/status" % d.process.pid) as f:
        os.kill(int(re.search(r"TracerPid:\s*(\d+)", f.read()).group(1)), signal.SIGTERM)


@unittest.skipUnless(can_trace(), "strace cannot inject faults here")
class SlowDisk(unittest.TestCase):
    def test_refuses_what_it_could_not_hold(self):
        d = slow(self, 2, "--max-unfolded", str(MAX_UNFOLDED))
        results = []

        def load():
            with contextlib.closing(d.connection()) as c:
                c.timeout = 600  # the last of them waits for several slow syncs
                results.extend(d.ok("POST", "/v1/jobs:batchReport", batch(1), connection=c)["results"])

        for t in in_threads(5, load):
            t.join()
        self.assertEqual(len(results), 5 * BATCH)
        taken = sum("decision" in x for x in results)
        self.assertLessEqual(taken, MAX_UNFOLDED)
        self.assertEqual({x["error"]["reason"] for x in results if "error" in x}, {"OVERLOADED"})
        self.assertTrue(any("as many as --max-unfolded allows" in x["error"]["message"] for x in results if "error" in x))
        self.assertEqual(d.ok("GET", "/v1/jobs/j0")["revision"], taken)
        status, headers, text = d.request("POST", "/v1/jobs/j0:report", {"loss": 1})
        if status != 200:  # one of the syncs may have made room
            self.assertEqual((status, headers["retry-after"]), (503, "1"))
            self.assertIn(b"nothing was changed", text)
        fast_again(d)
        # Writes go on by themselves.
        wait_until(lambda: d.request("POST", "/v1/jobs/j0:report", {"loss": 1})[0] == 200, 60)
        d.close()

    def test_refuses_what_would_not_fit_in_memory(self):
        d = slow(self, 1, "--max-unfolded-memory", "8M")
        d.ok("POST", "/v1/jobs", LARGE)
        results = []

        def load():
            with contextlib.closing(d.connection()) as c:
                results.extend(d.ok("POST", "/v1/jobs:batchReport", large_batch(50), connection=c)["results"])

        for t in in_threads(4, load):
            t.join()
        self.assertEqual(len(results), 4 * 50)
        taken = sum("decision" in x for x in results)
        self.assertLess(taken, 4 * 50)
        refused = [x["error"] for x in results if "error" in x]
        self.assertEqual({x["reason"] for x in refused}, {"OVERLOADED"})
        self.assertRegex(refused[0]["message"], "bytes of changes wait for the disk, --max-unfolded-memory allows 8388608")
        self.assertEqual(d.ok("GET", "/v1/jobs/large")["revision"], taken)
        fast_again(d)
        wait_until(lambda: d.request("POST", "/v1/jobs/large:report", {"loss": 1})[0] == 200, 60)
        wait_until(lambda: metric(d, "unfolded_bytes") == 0, 60)
        d.close()


if __name__ == "__main__":
    unittest.main()
