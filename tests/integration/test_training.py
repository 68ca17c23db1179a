"""The first code a user sees: the example trainer against a daemon that is killed, and against none."""
import json
import os
import subprocess
import tempfile
import time
import unittest

from harness import ROOT, Daemon, wait_until

PYTHON = "/usr/bin/python3"
SCRIPT = os.path.join(ROOT, "client", "examples", "train_digits.py")
HAVE_TORCH = subprocess.run([PYTHON, "-c", "import torch, sklearn.datasets"], capture_output=True).returncode == 0


@unittest.skipUnless(HAVE_TORCH, "python3-torch and python3-sklearn are not installed")
class Training(unittest.TestCase):
    def setUp(self):
        self.d = Daemon()
        self.addCleanup(self.d.close)
        self.d.start()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.out = os.path.join(folder.name, "out.json")

    def train(self, *args):
        return subprocess.Popen([PYTHON, SCRIPT, "--url", "http://127.0.0.1:%d" % self.d.port, "--json-out", self.out,
                                 *args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def result(self, process):
        text = process.communicate(timeout=120)[0]
        self.assertEqual(process.returncode, 0, text)
        with open(self.out, encoding="utf-8") as f:
            return json.load(f)

    def recorded(self):
        status, answer = self.d.call("GET", "/v1/jobs/digits/decisions?page_size=1000")
        return answer["decisions"] if status == 200 else []

    def test_killed_in_the_middle(self):
        process = self.train("--epochs", "12")
        wait_until(lambda: len(self.recorded()) >= 4, 60)
        self.d.kill()
        time.sleep(0.3)
        self.d.start()
        run = self.result(process)
        rows, recorded = run["rows"], self.recorded()
        self.assertEqual(run["unsent"], 0)
        self.assertEqual([(d["step"], d["value"], d["lr"]) for d in recorded],
                         [(r["epoch"], r["loss"], r["lr"]) for r in rows])
        self.assertFalse(any(d["applied_mismatch"] for d in recorded))
        want = self.d.ok("POST", "/v1/simulate", {"spec": {"lr": 0.01}, "losses": [r["loss"] for r in rows]})
        self.assertEqual([d["lrs"] for d in recorded], [d["lrs"] for d in want["decisions"]])

    def test_goes_on_without_a_daemon_and_catches_up(self):
        process = self.train("--epochs", "400", "--wait", "0.2")
        wait_until(lambda: len(self.recorded()) >= 4, 60)
        self.d.kill()
        time.sleep(1.5)  # epochs go by
        self.d.start()
        run = self.result(process)
        kept = [r for r in run["rows"] if "rate kept" in r["reason"]]
        self.assertGreater(len(kept), 1)
        for row in kept:
            self.assertEqual(row["lr"], run["rows"][row["epoch"] - 2]["lr"])
        self.assertEqual(run["unsent"], 0)
        self.assertEqual([(d["step"], d["value"]) for d in self.recorded()],
                         [(r["epoch"], r["loss"]) for r in run["rows"]])

    def test_constant_asks_nobody(self):
        self.d.kill()
        run = self.result(self.train("--constant", "--epochs", "3"))
        self.assertEqual([r["lr"] for r in run["rows"]], [0.01] * 3)
        self.d.start()

    def test_same_seed_same_run(self):
        first = self.result(self.train("--epochs", "3"))
        again = self.result(self.train("--epochs", "3"))  # every report a duplicate with the same value
        self.assertEqual([(r["loss"], r["lr"]) for r in first["rows"]], [(r["loss"], r["lr"]) for r in again["rows"]])
        process = self.train("--epochs", "3", "--seed", "2")
        text = process.communicate(timeout=120)[0]
        self.assertEqual(process.returncode, 1)
        self.assertIn("--job", text)


if __name__ == "__main__":
    unittest.main()
