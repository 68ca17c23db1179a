"""The arms of the comparison: what moves the rate of a run of n reports that begins with lr.

Schedules of a known length are given it, and end where their users let them end.
"""


class Arm:
    """spec(lr, n): the job's spec without job and lr.  live: its rates depend on the reports.  rule: it is a reference
    line, which moves itself (reference.py), and its spec is what it begins with."""

    def __init__(self, name, what, spec, live, rule=None):
        self.name, self.what, self.spec, self.live, self.rule = name, what, spec, live, rule


def count(name, what, spec):
    return Arm(name, what, lambda lr, n: spec(n), False)


def live(name, what, spec):
    return Arm(name, what, spec, True)


def greedy(anneal=None, ramp=None, start=0.1, guard=False, **fields):
    """Our defaults with changes; anneal is the fraction."""
    if guard:
        fields = dict({"guard_ratio": 2.0, "guard_factor": 0.5}, **fields)

    def spec(lr, n):
        found = {"greedy": fields}
        if "max_ratio" in fields:
            found["greedy"] = {k: v for k, v in fields.items() if k != "max_ratio"}
            found["greedy"]["max_lr"] = [lr * fields["max_ratio"]]
        if anneal:
            found["anneal"] = {"total_reports": n, "fraction": anneal}
        if ramp:
            found["ramp"] = {"reports": max(1, round(ramp * n)), "start_factor": start}
        return found
    return spec


def published(lr, n):
    return {"greedy": {"dialect": "transformers", "min_lr": [lr / 1000], "max_lr": [lr * 10]}}


CLASSIC = [
    count("constant", "the initial rate", lambda n: {"constant": {}}),
    count("linear", "a line to 0", lambda n: {"linear": {"start_factor": 1.0, "end_factor": 0.0, "total_iters": n}}),
    count("cosine", "half a cosine to 0", lambda n: {"cosine_annealing": {"t_max": n}}),
    count("cosine restarts", "three half cosines to 0, each twice as long as the one before (SGDR)",
          lambda n: {"cosine_annealing_warm_restarts": {"t_0": -(-n // 7), "t_mult": 2}}),
    count("exponential", "the same factor each report, 1/100 at the end",
          lambda n: {"exponential": {"gamma": 0.01 ** (1 / n)}}),
    count("step", "a tenth after each third of the run",
          lambda n: {"step": {"step_size": -(-n // 3), "gamma": 0.1}}),
    live("plateau", "ReduceLROnPlateau with PyTorch's defaults: a tenth after 10 reports without a better one",
         lambda lr, n: {"plateau": {}}),
]

# Our defaults, the published ones, and what a known length adds.
GREEDY = [
    live("GreedyLR", "GreedyLR with our defaults", greedy()),
    live("GreedyLR published", "GreedyLR with the published defaults (factor 0.95, patience 10, no smoothing), bounds as ours",
         published),
    live("GreedyLR + guard + anneal 20 %", "our defaults, guard 2 / 0.5, a line to 0 over the last fifth",
         greedy(guard=True, anneal=0.2)),
    live("GreedyLR + anneal 100 %", "our defaults under a line to 0 over the whole run", greedy(anneal=1.0)),
]
CONTROL = [
    live("plateau + ramp 5 % + anneal 20 %",
         "ReduceLROnPlateau behind the same ramp and before the same line: what these are worth",
         lambda lr, n: {"plateau": {}, "ramp": {"reports": max(1, round(0.05 * n)), "start_factor": 0.1},
                        "anneal": {"total_reports": n, "fraction": 0.2}}),
    count("cosine + warm-up 5 %", "a line from 0 over the first twentieth, then half a cosine to 0: what a ramp alone is worth",
          lambda n: {"cosine_with_warmup": {"num_warmup_steps": max(1, round(0.05 * n)), "num_training_steps": n}}),
]


# The small trained model, and what the article compares GreedyLR with: these see gradients or losses of steps.
LEARNED = [live("learned", "the policy learned, told the length", lambda lr, n: {"learned": {"total_reports": n}})]
REFERENCE = [Arm(name, what, lambda lr, n: {"constant": {}}, False, rule) for name, what, rule in (
    ("hypergradient", "reference: hypergradient descent, one rate; sees gradients", "hypergradient"),
    ("hypergradient, each", "reference: hypergradient descent, a rate per parameter; sees gradients", "hypergradient each"),
    ("Armijo", "reference: stochastic Armijo line search; sees the losses of steps", "armijo"))]

# What the search on seeds of its own tried: first one change at a time, then those that helped together.
CHANGES = {
    "": {}, "factor .7": {"factor": 0.7}, "factor .9": {"factor": 0.9}, "patience 1": {"patience": 1},
    "patience 3": {"patience": 3}, "threshold 1e-2": {"threshold": 0.01}, "threshold 1e-4": {"threshold": 1e-4},
    "median of 3": {"window_size": 3}, "mean of 5": {"smoothing": "mean"}, "ema 5": {"smoothing": "ema"},
    "max 3x": {"max_ratio": 3.0}, "max 30x": {"max_ratio": 30.0}, "guard": {"guard": True},
    "guard 1.3": {"guard": True, "guard_ratio": 1.3}, "guard .25": {"guard": True, "guard_factor": 0.25},
    "ramp .05": {"ramp": 0.05},
}
TOGETHER = (
    ("", 0), ("factor .9", 0), ("patience 1", 0), ("ramp .05", 0), ("ramp .1", 0), ("ramp .05 of .01", 0),
    ("factor .9, ramp .05", 0), ("factor .9, ramp .1", 0), ("factor .85, ramp .05", 0), ("factor .9, patience 1", 0),
    ("factor .9, patience 1, ramp .05", 0), ("factor .9, threshold 1e-4, ramp .05", 0), ("patience 1, ramp .05", 0),
    ("median of 3, ramp .05", 0), ("threshold 1e-4, ramp .05", 0), ("factor .9, median of 3, patience 1, ramp .05", 0),
    ("ramp .05", 0.2), ("factor .9, ramp .05", 0.2), ("factor .9", 0.2), ("patience 1, ramp .05", 0.2),
    ("factor .9, patience 1, ramp .05", 0.2), ("factor .9, ramp .05", 1), ("factor .9, patience 1, ramp .05", 1),
    ("factor .9, threshold 1e-4, ramp .05", 1), ("median of 3, patience 3, ramp .05", 1),
)
WORDS = dict(CHANGES, **{"factor .85": {"factor": 0.85},
                         "ramp .1": {"ramp": 0.1}, "ramp .05 of .01": {"ramp": 0.05, "start": 0.01}})


def candidate(words, fraction):
    changes = {}
    for word in words.split(", "):
        changes.update(WORDS[word])
    return live("a%g %s" % (fraction, words), "", greedy(anneal=fraction, **changes))


CANDIDATES = [
    live("GreedyLR + ramp 5 %", "our defaults behind a line from lr / 10 to lr over the first twentieth", greedy(ramp=0.05)),
    live("GreedyLR 0.9 + ramp 5 %", "the same with factor 0.9", greedy(ramp=0.05, factor=0.9)),
    live("GreedyLR 0.9 + ramp 5 % + anneal 20 %", "the same with a line to 0 over the last fifth",
         greedy(ramp=0.05, factor=0.9, anneal=0.2)),
]
SETS = {
    "full": CLASSIC + GREEDY + CANDIDATES + CONTROL + LEARNED + REFERENCE,
    "references": CLASSIC + GREEDY[:1] + LEARNED + REFERENCE,
    "tune1": CLASSIC + [candidate(words, fraction) for fraction in (0, 1) for words in CHANGES],
    "tune2": CLASSIC + [candidate(*what) for what in TOGETHER],
}

# Settings against the number of reports.
LENGTH_TASKS, LENGTH_NOISE = ("digits", "breast_cancer"), ("clean", "minibatch")
LENGTH_ARMS = CLASSIC + [
    live("GreedyLR patience %d" % p, "our defaults, patience %d" % p, greedy(patience=p)) for p in (1, 2, 5)]
