"""Learning rates from a real daemon: schedules by report count from Simulate, the others from live jobs.

One BatchReport a report carries the losses of every live job of a cell; rounds trips, not decisions, are what costs.
"""
import json
import math
import os
import sys

import torch

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "integration"))
from harness import Daemon  # noqa: E402


def number(x):
    """A double as the daemon's JSON has it."""
    return x if math.isfinite(x) else "NaN" if x != x else "Infinity" if x > 0 else "-Infinity"


class Rates:
    """Rates of S seeds times A arms over `reports` reports; use it in a with statement.

    An arm is a job's spec without job and lr; `live` says whether its rates depend on what is reported.
    """

    def __init__(self, arms, seeds, lr, reports):
        self.arms, self.seeds, self.reports = arms, seeds, reports
        self.live = [i for i, arm in enumerate(arms) if arm.live]
        self.specs = [dict(arm.spec(lr, reports), lr=[lr]) for arm in arms]
        self.jobs = [(s, i, "a%d-s%d" % (i, s)) for s in range(seeds) for i in self.live]
        self.table = torch.empty(reports + 1, seeds, len(arms), dtype=torch.float64)

    def __enter__(self):
        self.daemon = Daemon("--log-level", "warning").start()
        self.connection = self.daemon.connection()
        for i, (arm, spec) in enumerate(zip(self.arms, self.specs)):
            if not arm.live:
                self.table[:, :, i] = self._simulated(spec).unsqueeze(1)
        for s, i, job in self.jobs:
            answer = self._ok("/v1/jobs", dict(self.specs[i], job=job))
            self.table[0, s, i] = answer["state"]["lr"]
        return self

    def __exit__(self, *error):
        self.connection.close()
        self.daemon.close()

    def _ok(self, path, body):
        return self.daemon.ok("POST", path, body, connection=self.connection)

    def _simulated(self, spec):
        answer = self._ok("/v1/simulate", {"spec": spec, "losses": [1.0] * self.reports})
        return torch.tensor(answer["initial_lrs"] + [d["lr"] for d in answer["decisions"]], dtype=torch.float64)

    def now(self, t):
        """Rates in force after t reports: [S, A] as floats."""
        return self.table[t].float()

    def report(self, t, losses):
        """Hands in report t (from 0 on): losses [S, A]."""
        if not self.jobs:
            return
        values = losses.double().tolist()
        reports = [{"job": job, "step": t + 1, "loss": number(values[s][i])} for s, i, job in self.jobs]
        answer = self._ok("/v1/jobs:batchReport", {"reports": reports})
        rates = self.table[t + 1]
        for (s, i, job), result in zip(self.jobs, answer["results"]):
            if "decision" not in result:
                raise RuntimeError("report %d of %s (%s): %s" % (t + 1, job, self.arms[i].name, json.dumps(result)))
            rates[s, i] = result["decision"]["lr"]
