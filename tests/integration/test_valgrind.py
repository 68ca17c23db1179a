"""Recovery under valgrind: a start on what a kill left, some requests, a clean end, without an error or a leak."""
import shutil
import unittest

from harness import BINARY, Daemon

REPORTS = 40


def can_run():
    """A sanitizer's build cannot run under valgrind."""
    if not shutil.which("valgrind"):
        return False
    with open(BINARY, "rb") as f:
        text = f.read()
    return b"__asan_init" not in text and b"__tsan_init" not in text


@unittest.skipUnless(can_run(), "valgrind is not there, or this is a sanitizer's build")
class Recovery(unittest.TestCase):
    def test_recovery(self):
        d = Daemon("--log-level", "error")
        self.addCleanup(d.close)
        d.start()
        d.ok("POST", "/v1/jobs", {"job": "round", "lr": 0.1, "ranks": {"world_size": 2}})
        d.call("POST", "/v1/jobs/round:report?wait=0s", {"step": 1, "rank": 0, "loss": 1})
        for step in range(1, REPORTS + 1):
            d.ok("POST", "/v1/jobs/x:report", {"step": step, "loss": 1 / step, "lr": [0.1, 0.2]})
        d.kill()  # before the rows of the last half second are folded
        d.wrap = ["valgrind", "-q", "--leak-check=full", "--errors-for-leak-kinds=definite,possible", "--error-exitcode=77",
                  "--child-silent-after-fork=yes"]
        d.start()
        self.assertEqual(len(d.decisions("x")), REPORTS)
        self.assertTrue(d.ok("POST", "/v1/jobs/x:report", {"step": REPORTS, "loss": 1 / REPORTS})["duplicate"])
        d.ok("POST", "/v1/jobs/x:report", {"step": REPORTS + 1, "loss": 1})
        d.ok("POST", "/v1/jobs/x:rewind", {"step": REPORTS})
        d.ok("PATCH", "/v1/jobs/x", {"spec": {"greedy": {"patience": 3}}})
        d.ok("POST", "/v1/jobs/round:report", {"step": 1, "rank": 1, "loss": 3})
        d.ok("GET", "/v1/jobs")
        d.ok("POST", "/v1/simulate", {"spec": {"lr": 0.1}, "losses": [3, 2, 1]})
        self.assertEqual(d.request("GET", "/v1/jobs/x/decisions?format=csv")[0], 200)
        self.assertEqual(d.call("POST", "/v1/jobs", '{"job":"x","lr":1e400}')[0], 400)
        self.assertEqual(d.stop(), 0, d.stderr[-4000:])
        self.assertNotIn("==", d.stderr)


if __name__ == "__main__":
    unittest.main()
