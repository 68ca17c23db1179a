"""What the tests of the Python package share: the package on the path, a clock, ranks that are threads."""
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import unittest

from harness import ROOT, DaemonTest, free_port

PACKAGE = os.path.join(ROOT, "client", "python")
sys.path.insert(0, PACKAGE)

from greedylr import distributed, outage  # noqa: E402

LOSSES = [3, 2.5, 2, 1.7, 1.5, 1.6, 1.8, 1.9, 1.9, 2.0, 2.1, 1.0, 0.9, 0.8, 0.7]


def have(name):
    return importlib.util.find_spec(name) is not None


def needs(name):
    return unittest.skipUnless(have(name), name + " is not installed")


class Clock:
    """Seconds that pass when the code sleeps or the test says so; real: on top of the real ones."""

    def __init__(self, real=False):
        self.now, self.real, self.sleeps = 0.0, real, []

    def __call__(self):
        return self.now + (time.monotonic() if self.real else 0.0)

    def sleep(self, seconds):
        self.sleeps.append(seconds)
        self.now += seconds


def patient(budget=5.0, **more):
    """An Outage on a clock of its own: waits cost nothing and are written down."""
    clock = Clock(**more)
    return clock, outage.Outage(budget, clock=clock, sleep=clock.sleep, jitter=lambda: 0.0)


class RunTest(DaemonTest):
    """A fresh daemon, and what runs against it look at."""

    def setUp(self):
        super().setUp()
        self.url = "http://127.0.0.1:%d" % self.d.port

    def counted(self, job="a"):
        """The decisions of evaluations that count, oldest first."""
        return [d for d in self.d.decisions(job) if "value" in d and not d.get("superseded")]

    def values(self, job="a"):
        return [(d["step"], d["value"]) for d in self.counted(job)]

    def want(self, losses, spec=None):
        """The rates of a run without failures."""
        answer = self.d.ok("POST", "/v1/simulate", {"spec": {"lr": 0.1, **(spec or {})}, "losses": losses})
        return [d["lrs"] for d in answer["decisions"]]


def run_ranks(size, script, *arguments, seconds=240.0, **env):
    """Runs a script in processes started as a launcher would; raises AssertionError with what they wrote where one fails.

    What goes wrong in one lets the others wait, so the first failure ends them all.
    """
    env = dict(os.environ, WORLD_SIZE=str(size), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(free_port()), PYTHONPATH=PACKAGE,
               PYTHONDONTWRITEBYTECODE="1", OMP_NUM_THREADS="1", GLOO_SOCKET_IFNAME="lo", NCCL_SOCKET_IFNAME="lo", **env)
    script = "import faulthandler\nfaulthandler.dump_traceback_later(%g, exit=True)\n%s" % (0.8 * seconds, script)  # says where it hangs
    with tempfile.TemporaryDirectory() as folder:
        outputs = [open(os.path.join(folder, "rank-%d" % rank), "w+", encoding="utf-8", errors="replace") for rank in range(size)]
        ranks = [subprocess.Popen([sys.executable, "-c", script, *arguments], env={"LOCAL_RANK": str(rank), **env, "RANK": str(rank)},
                                  cwd=folder, stdout=output, stderr=subprocess.STDOUT) for rank, output in enumerate(outputs)]
        end = time.monotonic() + seconds
        while any(rank.poll() is None for rank in ranks) and not any(rank.poll() for rank in ranks) and time.monotonic() < end:
            time.sleep(0.05)
        failed = [(number, rank.poll()) for number, rank in enumerate(ranks) if rank.poll() != 0]
        if any(code for _, code in failed):
            time.sleep(1)  # for what the others have to say of it
        written = ""
        for rank, output in zip(ranks, outputs):
            rank.kill()
            rank.wait()
            output.seek(0)
            written += output.read()[-3000:] + "\n"
            output.close()
    assert not failed, "(rank, exit code): %s\n%s" % (failed, written)


class Meeting:
    """Ranks that are threads of the test."""

    def __init__(self, size):
        self.size, self.records = size, [None] * size
        self.barrier = threading.Barrier(size, timeout=60)
        self.collectives = 0

    def rank(self, number):
        meeting = self

        class Rank:
            rank, size = number, meeting.size

            def gather(self, record, room):
                meeting.records[number] = distributed.encode(record, room)
                meeting.barrier.wait()
                out = [json.loads(r) for r in meeting.records]
                if meeting.barrier.wait() == 0:
                    meeting.collectives += 1
                return out

            def broadcast(self, record, room):
                return self.gather(record if number == 0 else None, room)[0]
        return Rank()

    def run(self, work):
        """work(rank) in every rank; its results or the exceptions it raised."""
        results = [None] * self.size

        def one(number):
            try:
                results[number] = work(self.rank(number))
            except Exception as error:
                results[number] = error
        threads = [threading.Thread(target=one, args=(number,)) for number in range(self.size)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return results
