"""What the numbers say: win, equal or lose of one arm against another, and shares with confidence intervals.

`results` maps a key (task, optimizer, noise, ratio) to a Result; `score[arm]` there is the final loss of each seed.
"""
import numpy

WITHIN = numpy.log(1.02)
BOOTSTRAP, BOOTSTRAP_SEED = 2000, 20251


class Result:
    def __init__(self, arms, cell, lr):
        self.arms, self.lr = arms, lr
        self.final, self.curve, self.at, self.last_rate = cell.final, cell.scores, cell.at, cell.rates
        self.untrained = cell.untrained
        self.score = {arm: self.final[:, i] for i, arm in enumerate(arms)}
        self.target = None

    def reached(self, arm):
        """Report at which each seed was first at the target, inf where it never was."""
        below = self.curve[:, :, self.arms.index(arm)] <= self.target
        return numpy.where(below.any(0), numpy.array(self.at)[below.argmax(0)], numpy.inf)


def compare(mine, other):
    """+1, 0 or -1: lower, equal or higher loss.  Equal: the paired mean of ln(mine / other) is within 2 % or within one
    standard error of itself."""
    d = numpy.log(mine) - numpy.log(other)
    error = d.std(ddof=1) / len(d) ** 0.5 if len(d) > 1 else 0.0
    if abs(d.mean()) <= max(WITHIN, error):
        return 0
    return 1 if d.mean() < 0 else -1


def verdicts(results, arm, opponents):
    """One row per cell: the verdicts against each of the opponents (the arm itself left out)."""
    others = [o for o in opponents if o != arm]
    return numpy.array([[compare(r.score[arm], r.score[o]) for o in others] for r in results.values()])


def interval(per_cell):
    """95 % of the mean when cells are drawn again and again."""
    rng = numpy.random.default_rng(BOOTSTRAP_SEED)
    drawn = rng.integers(len(per_cell), size=(BOOTSTRAP, len(per_cell)))
    return numpy.percentile(per_cell[drawn].mean(1), [2.5, 97.5])


def not_worse(rows):
    """Per cell: share of the opponents that the arm wins against or equals."""
    return (rows >= 0).mean(1)


def log_ratio(results, arm, other):
    """Per cell: ln of the geometric mean, over seeds, of the arm's final loss / the other's."""
    return numpy.array([(numpy.log(r.score[arm]) - numpy.log(r.score[other])).mean() for r in results.values()])


def only(results, **wanted):
    """The results of some cells: task=, optimizer=, noise=, ratio=."""
    names = ("task", "optimizer", "noise", "ratio")
    return {k: r for k, r in results.items() if all(k[names.index(n)] == v for n, v in wanted.items())}


def set_targets(results):
    """1.1 times the median final loss of the constant rate at the tuned rate, same task, optimizer and noise."""
    for (task, optimizer, noise, _), r in results.items():
        base = results.get((task, optimizer, noise, 1))
        r.target = 1.1 * numpy.median(base.score["constant"]) if base else None
