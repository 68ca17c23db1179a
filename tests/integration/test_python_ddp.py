"""Real distributed training: gloo processes as torchrun starts them, killed and restarted, and the daemon as well."""
import json
import os
import signal
import subprocess
import sys
import tempfile
import unittest

from harness import ROOT, Daemon, free_port, wait_until

PYTHON = "/usr/bin/python3"
SCRIPT = os.path.join(ROOT, "client", "examples", "ddp_digits.py")
FOUND = "from importlib.util import find_spec as f; raise SystemExit(not (f('torch') and f('sklearn')))"
HAVE_TORCH = subprocess.run([PYTHON, "-c", FOUND]).returncode == 0
EPOCHS = 14

sys.path.insert(0, os.path.join(ROOT, "client", "python"))
from greedylr.local import combine  # noqa: E402


class Group:
    """The processes of one start of a run."""

    def __init__(self, size, *args):
        env = dict(os.environ, WORLD_SIZE=str(size), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(free_port()),
                   PYTHONPATH=os.path.join(ROOT, "client", "python"), OMP_NUM_THREADS="1", GLOO_SOCKET_IFNAME="lo")
        self.processes = [subprocess.Popen([PYTHON, SCRIPT, *args], env=dict(env, RANK=str(rank), LOCAL_RANK=str(rank)),
                                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
                          for rank in range(size)]

    def kill(self):
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.wait()
            process.stdout.close()

    def join(self):
        outputs = [process.stdout.read() for process in self.processes]
        for process in self.processes:
            process.wait(60)
        for process, output in zip(self.processes, outputs):
            assert process.returncode == 0, output
        return outputs


@unittest.skipUnless(HAVE_TORCH, "python3-torch and python3-sklearn are not installed")
class Ddp(unittest.TestCase):
    def setUp(self):
        self.d = Daemon()
        self.addCleanup(self.d.close)
        self.d.start()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def group(self, size, log, *more):
        os.makedirs(os.path.join(self.folder, log), exist_ok=True)
        group = Group(size, "--url", "http://127.0.0.1:%d" % self.d.port, "--job", "run", "--epochs", str(EPOCHS),
                      "--checkpoints", self.folder, "--log", os.path.join(self.folder, log), *more)
        self.addCleanup(group.kill)
        return group

    def decided(self):
        """Decisions of evaluations that count, oldest first."""
        status, answer = self.d.call("GET", "/v1/jobs/run/decisions?page_size=1000&superseded=true")
        self.assertIn(status, (200, 404))
        return [d for d in answer.get("decisions", []) if "value" in d and not d.get("superseded")]

    def rows(self, size, log):
        """What each rank wrote, by epoch; the ranks of a killed group may differ in their last line only."""
        ranks = []
        for rank in range(size):
            with open(os.path.join(self.folder, log, "rank%d.jsonl" % rank), encoding="utf-8") as file:
                ranks.append({row["epoch"]: row for row in map(json.loads, filter(str.strip, file))})
        common = set.intersection(*(set(rows) for rows in ranks))
        self.assertLessEqual(max(map(len, ranks)) - len(common), 1)
        for epoch in common:
            for rows in ranks:
                self.assertEqual(rows[epoch]["lrs"], ranks[0][epoch]["lrs"], (log, epoch))
        return {epoch: [rows[epoch] for rows in ranks] for epoch in sorted(common)}

    def life(self, size, *more):
        """A run whose daemon is killed, then the run itself; it is restarted from an older checkpoint."""
        first = self.group(size, "first", "--pause", "0.15", *more)
        wait_until(lambda: len(self.decided()) >= 3 or first.processes[0].poll() is not None, 120)
        self.d.restart()
        wait_until(lambda: len(self.decided()) >= 8 or first.processes[0].poll() is not None, 120)
        first.kill()
        before = self.rows(size, "first")
        self.assertGreaterEqual(max(before), 7)
        second = self.group(size, "second", "--resume", os.path.join(self.folder, "epoch5.pt"), *more)
        outputs = second.join()
        self.assertIn("accuracy", outputs[0])
        after = self.rows(size, "second")
        self.assertEqual(sorted(after), list(range(6, EPOCHS + 1)))

        history = self.decided()
        self.assertEqual([d["step"] for d in history], list(range(1, EPOCHS + 1)))
        self.assertEqual([d["attempt"] for d in history], [0] * 5 + [1] * (EPOCHS - 5))
        runs = {**{e: before[e] for e in range(1, 6)}, **after}
        weights = [len(range(rank, 597, size)) for rank in range(size)]
        self.assertEqual([d["value"] for d in history],
                         [combine([row["loss"] for row in runs[d["step"]]], weights, "mean") for d in history])
        want = self.d.ok("POST", "/v1/simulate", {"spec": {"lr": [0.01, 0.005], "greedy": {"patience": 1}},
                                                  "losses": [d["value"] for d in history]})
        self.assertEqual([d["lrs"] for d in history], [d["lrs"] for d in want["decisions"]])
        self.assertFalse(any(d.get("applied_mismatch") for d in history))
        for d in history:
            if runs[d["step"]][0]["action"] != "-":
                self.assertEqual(runs[d["step"]][0]["lrs"], d["lrs"], d)
        return runs

    def test_two_ranks_combine_their_losses(self):
        self.life(2)

    def test_four_ranks_report_to_the_daemons_rounds(self):
        self.life(4, "--rounds")
        self.assertEqual({d["ranks"] for d in self.decided()}, {4})

    def test_decided_in_the_process_while_the_daemon_is_away(self):
        """The daemon is away for the second half: the rates are those that it would have decided."""
        group = self.group(2, "log", "--on-error", "local", "--rounds", "--budget", "1", "--pause", "0.1")
        wait_until(lambda: len(self.decided()) >= 4 or group.processes[0].poll() is not None, 120)
        self.d.kill()
        group.join()
        self.d.start()
        runs = self.rows(2, "log")
        self.assertEqual(sorted(runs), list(range(1, EPOCHS + 1)))
        weights = [len(range(rank, 597, 2)) for rank in range(2)]
        losses = [combine([row["loss"] for row in runs[epoch]], weights, "mean") for epoch in runs]
        want = self.d.ok("POST", "/v1/simulate", {"spec": {"lr": [0.01, 0.005], "greedy": {"patience": 1}},
                                                  "losses": losses})
        self.assertEqual([runs[epoch][0]["lrs"] for epoch in runs], [d["lrs"] for d in want["decisions"]])
        self.assertIn("-", [runs[epoch][0]["action"] for epoch in runs])


if __name__ == "__main__":
    unittest.main()
