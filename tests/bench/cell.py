"""One cell: every arm times every seed of one task, optimizer, noise and initial rate, trained side by side."""
import math

import numpy
import torch

from batch import OPTIMIZERS, Networks
from noise import Noise, take
from rates import Rates
from reference import LINES
from tasks import TASKS, Task

EVERY = 5  # reports between two looks at the score
TUNING_SEEDS = range(900, 906)
GRID = {"sgd": [10 ** (k / 3) for k in range(-9, 5)], "adam": [10 ** (k / 3) for k in range(-12, 1)]}


class Cell:
    """What was measured: scores [checkpoints, S, A] (clean test loss), the reports they belong to, the last rates,
    and the score before training."""

    def __init__(self, scores, at, rates, untrained):
        self.scores, self.at, self.rates, self.untrained = scores, at, rates, untrained

    @property
    def final(self):
        return self.scores[-1]


class Fixed:
    """Stands in for Rates in the search for the tuned rate: constants, one per arm."""

    def __init__(self, rates, seeds):
        self.rates = torch.tensor(rates).expand(seeds, len(rates))

    def now(self, t):
        return self.rates

    def report(self, t, losses):
        pass


def train(task, optimizer, noise, rates, arms, reports, steps, references=()):
    """Trains; returns the Cell.  A score that is no number, or above it, counts as ten times that of no training.

    references: (arm, rule, lr) of those that move themselves; what `rates` says of them does not count.
    """
    networks = Networks(task.weights, arms, task.activation, task.loss)
    optimizer = OPTIMIZERS[optimizer](networks)
    lines = [LINES[rule](networks, arm, lr) for arm, rule, lr in references]
    test = lambda t: networks.losses(noise.x(task.test_x, t), task.test_y)
    untrained = test(0).mean().item()
    worst = 10 * untrained
    scores, at = [], []
    for t in range(reports):
        rate = rates.now(t).clone()
        rate[:, [line.arm for line in lines]] = 0
        for i in range(0 if noise.rests(t) else steps):
            rows = task.order[:, t * steps + i]
            x, y = noise.x(take(task.train_x, rows), t), take(noise.train_y, rows)
            found = noise.gradients(networks, networks.gradients(x, y), t)
            directions = optimizer.step(found, rate)
            for line in lines:
                line.step(found, directions, x, y)
        rates.report(t, noise.report(networks, t))
        if (t + 1) % EVERY == 0 or t + 1 == reports:
            scores.append(torch.nan_to_num(test(t), nan=worst, posinf=worst).clamp(1e-12, worst).double().numpy())
            at.append(t + 1)
    last = rates.now(reports).double().clone()
    for line in lines:
        last[:, line.arm] = line.rate.double()
    return Cell(numpy.stack(scores), at, last.numpy(), untrained)


def steps_behind(name, reports):
    """Optimizer steps behind a report: a run has the same number of them however often it reports."""
    total = 100 * TASKS[name][4]
    if total % reports:
        raise ValueError("%s trains for %d steps, which %d reports do not divide" % (name, total, reports))
    return total // reports


def run(name, optimizer, kind, lr, arms, seeds, reports=100):
    steps = steps_behind(name, reports)
    task = Task(name, seeds, reports * steps)
    with Rates(arms, len(task.seeds), lr, reports) as rates:
        references = [(i, arm.rule, lr) for i, arm in enumerate(arms) if arm.rule]
        return train(task, optimizer, Noise(kind, task, reports), rates, len(arms), reports, steps, references)


def tuned(name, optimizer):
    """The constant rate with the lowest validation loss at the end, on seeds of its own and without noise."""
    grid, reports = GRID[optimizer], 100
    steps = steps_behind(name, reports)
    task = Task(name, TUNING_SEEDS, reports * steps)
    task.test_x, task.test_y = task.val_x, task.val_y
    found = train(task, optimizer, Noise("clean", task, reports), Fixed(grid, len(task.seeds)), len(grid), reports, steps)
    of_rate = numpy.log(found.final).mean(0)
    best = int(of_rate.argmin())
    if best in (0, len(grid) - 1):
        raise RuntimeError("%s, %s: the best rate %g is the grid's end: extend GRID" % (name, optimizer, grid[best]))
    return grid[best], [math.exp(x) for x in of_rate]
