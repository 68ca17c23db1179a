"""kill -9 under concurrent load, compared with a model: nothing acknowledged is lost, nothing decided twice, and the
states equal an uninterrupted run's.  KILLS sets how many; the seed is printed and SEED replays it."""
import os
import random
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "integration"))
from harness import Daemon  # noqa: E402

KILLS = int(os.environ.get("KILLS", "200"))
THREADS = 6


class Client(threading.Thread):
    """One job: reports steps in order, each until it is acknowledged, and keeps what was answered."""

    def __init__(self, daemon, name, seed):
        super().__init__(daemon=True)
        self.d, self.job, self.rng = daemon, name, random.Random(seed)
        self.values, self.acknowledged, self.done, self.problem = [], [], False, None

    def run(self):
        connection = None
        while not self.done:
            step = len(self.acknowledged) + 1
            if len(self.values) < step:
                self.values.append(self.rng.choice([self.rng.random() + 1.0 / step, 2.0, 1.0 / step]))
            try:
                connection = connection or self.d.connection()
                status, answer = self.d.call("POST", "/v1/jobs/%s:report" % self.job,
                                             {"step": step, "loss": self.values[step - 1], "lr": 0.1},
                                             connection=connection)
            except Exception:  # killed in the middle: the same request again
                connection = None
                time.sleep(0.002)
                continue
            if status == 503:
                continue
            if status != 200 or answer["step"] != step or answer.get("conflict"):
                self.problem = (status, answer)
                return
            self.acknowledged.append(answer)


class Kill9(unittest.TestCase):
    def test_nothing_is_lost(self):
        seed = int(os.environ.get("SEED", random.randrange(1 << 30)))
        print("kill -9: %d kills, SEED=%d" % (KILLS, seed), flush=True)
        rng = random.Random(seed)
        d = Daemon("--log-level", "error")
        self.addCleanup(d.close)
        d.start()
        clients = [Client(d, "job%d" % i, seed + i) for i in range(THREADS)]
        for c in clients:
            c.start()
        for _ in range(KILLS):
            time.sleep(rng.uniform(0.002, 0.06))
            d.restart()
        time.sleep(0.2)
        for c in clients:
            c.done = True
        for c in clients:
            c.join(30)
            self.assertIsNone(c.problem)
        self.assertGreater(min(len(c.acknowledged) for c in clients), KILLS // 10)
        d.restart()
        for c in clients:
            self.compare(d, c)

    def compare(self, d, client):
        history, token = [], ""
        while token is not None:
            page = d.ok("GET", "/v1/jobs/%s/decisions?page_size=1000%s" % (client.job, token and "&page_token=" + token))
            history += page["decisions"]
            token = page.get("next_page_token")
        steps = [x["step"] for x in history]
        self.assertEqual(steps, list(range(1, len(steps) + 1)))           # once each
        self.assertEqual([x["revision"] for x in history], steps)
        self.assertGreaterEqual(len(steps), len(client.acknowledged))     # none lost
        for answer, recorded in zip(client.acknowledged, history):
            for field in ("step", "revision", "lrs", "value", "reason", "time"):
                self.assertEqual(answer[field], recorded[field])
        model = []
        for at in range(0, len(steps), 10000):
            self.assertEqual(at, 0, "more than one simulation's worth of reports")
            model = d.ok("POST", "/v1/simulate", {"spec": {"lr": 0.1}, "losses": client.values[:len(steps)]})["decisions"]
        self.assertEqual([x["lrs"] for x in model], [x["lrs"] for x in history])
        state = d.ok("GET", "/v1/jobs/" + client.job)["state"]
        self.assertEqual((state["lrs"], state["best"], state["num_bad"]),
                         (model[-1]["lrs"], model[-1]["best"], model[-1]["num_bad"]))


if __name__ == "__main__":
    unittest.main()
