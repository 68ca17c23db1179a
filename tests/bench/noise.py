"""What disturbs a run: each kind changes what the model learns from or what the scheduler is told.

A Noise belongs to a task (its seeds) and a number of reports; everything it draws depends on task, seed and kind.
"""
import numpy
import torch

from tasks import stream

KINDS = {
    "clean": "nothing",
    "spikes": "a tenth of the reports are 1.5 to 5 times the loss",
    "oscillation": "reports swing by 20 % around the loss, period 8 reports",
    "minibatch": "a report is the loss of 16 held-out examples, not of all of them",
    "bursts": "behind one report in fifteen, noise of 3 times its own size is added to every gradient",
    "labels": "a fifth of the labels are those of other examples, in training and in what is reported; not in the score",
    "drift": "inputs move away by one standard deviation over the run: in training, in reports and in the score",
    "plateaus": "three times in the run no update is made for 8 % of it (as when a loss scaler skips steps)",
}
SPANS = ((0.20, 0.28), (0.45, 0.53), (0.70, 0.78))


class Noise:
    def __init__(self, kind, task, reports):
        self.kind, self.task, self.reports = kind, task, reports
        rngs = [stream(task.name, seed, "noise", kind) for seed in task.seeds]
        draw = lambda f: torch.from_numpy(numpy.stack([f(r) for r in rngs]).astype("float32"))
        s = len(task.seeds)
        self.factor = torch.ones(s, reports)
        self.train_y, self.val_y = task.train_y, task.val_y
        if kind == "spikes":
            self.factor = draw(lambda r: numpy.where(r.random(reports) < 0.1, r.uniform(1.5, 5, reports), 1))
        elif kind == "oscillation":
            t = numpy.arange(reports)
            self.factor = draw(lambda r: 1 + 0.2 * numpy.sin(2 * numpy.pi * (t / 8 + r.random())))
        elif kind == "minibatch":
            n = task.val_x.shape[1]
            self.rows = draw(lambda r: numpy.stack([r.choice(n, 16, False) for _ in range(reports)])).long()
        elif kind == "bursts":
            self.burst = draw(lambda r: r.random(reports) < 1 / 15)
            self.generators = [torch.Generator().manual_seed(int(r.integers(2 ** 31))) for r in rngs]
        elif kind == "labels":
            self.train_y, self.val_y = (self._wrong(y, rngs) for y in (task.train_y, task.val_y))
        elif kind == "drift":
            self.way = draw(lambda r: r.choice([-1, 1], task.sizes[0])).unsqueeze(1) * task.train_x.std(1, keepdim=True)

    @staticmethod
    def _wrong(y, rngs):
        y = y.clone()
        for of_seed, r in zip(y, rngs):
            chosen = numpy.flatnonzero(r.random(len(of_seed)) < 0.2)
            of_seed[chosen] = of_seed[r.integers(len(of_seed), size=len(chosen))]
        return y

    def x(self, x, t):
        """Inputs as they are at report t."""
        return x + self.way * (t / self.reports) if self.kind == "drift" else x

    def rests(self, t):
        """No update is made before report t."""
        return self.kind == "plateaus" and any(a <= t / self.reports < b for a, b in SPANS)

    def gradients(self, networks, found, t):
        """Adds what a burst at report t adds: the same noise for every arm, in proportion to the arm's gradient."""
        if self.kind != "bursts" or not self.burst[:, t].any():
            return found
        for i, g in enumerate(found):
            axis = 1 if networks.first[i] else 0
            shape = list(g.shape[1:])
            shape[axis] = 1
            for of_seed in self.burst[:, t].nonzero().flatten().tolist():
                z = torch.randn(shape, generator=self.generators[of_seed])
                size = g[of_seed].square().mean([d for d in range(3) if d != axis], keepdim=True).sqrt()
                g[of_seed] += 3 * size * z
        return found

    def report(self, networks, t):
        """What the scheduler is told after the steps of report t: [S, A]."""
        x, y = self.task.val_x, self.val_y
        if self.kind == "minibatch":
            rows = self.rows[:, t]
            x, y = take(x, rows), take(y, rows)
        return networks.losses(self.x(x, t), y) * self.factor[:, t:t + 1]


def take(data, rows):
    """data [S, N, D], rows [S, B] -> [S, B, D]."""
    return data[torch.arange(len(data)).unsqueeze(1), rows]
