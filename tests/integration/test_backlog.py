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

UNFOLDED_MAX = 131072
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
    flags = ("--log-level", "error")

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
        # Folded behind each batch: what is left is what the batches under way brought.
        self.assertLess(longest, 3 * 3 * BATCH)


@unittest.skipUnless(can_trace(), "strace cannot inject faults here")
class SlowDisk(unittest.TestCase):
    def test_refuses_what_it_could_not_hold(self):
        d = Daemon("--log-level", "error", env={"ASAN_OPTIONS": "detect_leaks=0"},
                   wrap=["strace", "-D", "-f", "-I2", "-o", os.devnull, "-e", "trace=fdatasync",
                         "-e", "inject=fdatasync:delay_enter=3000000"])
        self.addCleanup(shutil.rmtree, d.data, True)
        d.start()
        results = []

        def load():
            with contextlib.closing(d.connection()) as c:
                c.timeout = 600  # the last of them waits for several slow syncs
                results.extend(d.ok("POST", "/v1/jobs:batchReport", batch(1), connection=c)["results"])

        for t in in_threads(20, load):
            t.join()
        self.assertEqual(len(results), 20 * BATCH)
        taken = sum("decision" in x for x in results)
        self.assertLessEqual(taken, UNFOLDED_MAX)
        self.assertEqual({x["error"]["reason"] for x in results if "error" in x}, {"OVERLOADED"})
        self.assertEqual(d.ok("GET", "/v1/jobs/j0")["revision"], taken)
        status, headers, text = d.request("POST", "/v1/jobs/j0:report", {"loss": 1})
        if status != 200:  # one of the syncs may have made room
            self.assertEqual((status, headers["retry-after"]), (503, "1"))
            self.assertIn(b"nothing was changed", text)
        with open("/proc/%d/status" % d.process.pid) as f:
            os.kill(int(re.search(r"TracerPid:\s*(\d+)", f.read()).group(1)), signal.SIGTERM)
        # The disk is fast again: writes go on by themselves.
        wait_until(lambda: d.request("POST", "/v1/jobs/j0:report", {"loss": 1})[0] == 200, 60)
        d.close()


if __name__ == "__main__":
    unittest.main()
