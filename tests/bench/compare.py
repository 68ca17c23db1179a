#!/usr/bin/env python3
"""Trains real models with GreedyLR and with the schedules people run, and says which ends lower.

    compare.py [--seeds 0-9] [--cells N | WORD...] [--arms full|tune1|tune2] [--out build/compare]

README.md in this directory says what the arms and the numbers are.
"""
import argparse
import itertools
import os
import random
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import torch  # noqa: E402

import arms  # noqa: E402
import cell  # noqa: E402
import noise  # noqa: E402
import report  # noqa: E402
import verdict  # noqa: E402
from tasks import TASKS  # noqa: E402

RATIOS = (0.1, 1, 10)


def all_cells():
    return list(itertools.product(TASKS, ("sgd", "adam"), noise.KINDS, RATIOS))


def chosen(words, cells):
    """A number: so many cells, spread over all of them.  Words: the cells that have them all ("digits,adam,1")."""
    if not words:
        return cells
    if words.isdigit():
        shuffled = sorted({k[:3] for k in cells})
        random.Random(7).shuffle(shuffled)
        groups = shuffled[:max(1, int(words) // len(RATIOS))]
        return [k for k in cells if k[:3] in groups]
    kept = cells
    for alternatives in words.split(","):
        kept = [k for k in kept if any(str(part) in alternatives.split("|") for part in k)]
    if not kept:
        sys.exit("compare: no cell has %r; a cell is TASK,OPTIMIZER,NOISE,RATIO: tasks %s; sgd, adam; noise %s; %s"
                 % (words, ", ".join(TASKS), ", ".join(noise.KINDS), ", ".join(map(str, RATIOS))))
    return kept


def numbers(text):
    """"0-9" or "3,5,8"."""
    found = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


class Progress:
    """A line with the time left; cells of a kind cost about the same."""

    def __init__(self, total):
        self.total, self.done, self.begin = total, 0, time.monotonic()

    def step(self, what):
        self.done += 1
        passed = time.monotonic() - self.begin
        left = passed / self.done * (self.total - self.done)
        line = "%d of %d, %d s passed, about %d s left: %s" % (self.done, self.total, passed, left, what)
        if sys.stdout.isatty():
            print("\r\033[K" + line, end="" if self.done < self.total else "\n", flush=True)
        elif self.done % 10 == 0 or self.done == self.total:
            print(line, flush=True)


def tune(cells):
    """Tuned rate of every (task, optimizer) that the cells need."""
    found = {}
    for name, optimizer in dict.fromkeys(k[:2] for k in cells):
        found[name, optimizer], _ = cell.tuned(name, optimizer)
        print("tuned rate of %s, %s: %.3g" % (name, optimizer, found[name, optimizer]), flush=True)
    return found


def shuffled(cells):
    """The cells, those that differ in the initial rate alone together, so that the time left is not a guess about other
    tasks and a run that is cut short has a bit of everything."""
    groups = sorted({k[:3] for k in cells})
    random.Random(1).shuffle(groups)
    return [[k for k in cells if k[:3] == group] for group in groups]


def run(cells, rates, chosen_arms, seeds, reports=100, end=float("inf")):
    """{cell: Result}, in the order of `cells`; none is begun after `end`."""
    progress, found = Progress(len(cells)), {}
    names = [arm.name for arm in chosen_arms]
    for key in itertools.chain.from_iterable(g for g in shuffled(cells) if time.monotonic() < end):
        name, optimizer, kind, ratio = key
        lr = rates[name, optimizer] * ratio
        c = cell.run(name, optimizer, kind, lr, chosen_arms, seeds, reports)
        found[key] = verdict.Result(names, c, lr)
        progress.step("%s, %s, %s, %g x the tuned rate" % key)
    found = {key: found[key] for key in cells if key in found}
    verdict.set_targets(found)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0-9", help="default 0-9; %d-%d chose the rates, 500-513 chose the candidates"
                        % (cell.TUNING_SEEDS[0], cell.TUNING_SEEDS[-1]))
    parser.add_argument("--cells", default="", help="a number, or words such as digits,adam,clean|spikes")
    parser.add_argument("--arms", default="full", choices=sorted(arms.SETS))
    parser.add_argument("--no-lengths", action="store_true", help="leave out the runs of 25 and 200 reports")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no more cells after that, and report what "
                        "there is")
    parser.add_argument("--out", default=os.path.join("build", "compare"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    seeds, cells = numbers(options.seeds), chosen(options.cells, all_cells())
    used = arms.SETS[options.arms]
    print("seeds %s; %d cells, %d arms: %d runs" % (options.seeds, len(cells), len(used), len(cells) * len(used) * len(seeds)))
    begin = time.monotonic()
    rates = tune(cells)
    results = run(cells, rates, used, seeds, end=begin + 60 * options.minutes)
    lengths = {}
    if options.arms == "full" and not options.no_lengths:
        few = [k for k in cells if k[0] in arms.LENGTH_TASKS and k[2] in arms.LENGTH_NOISE]
        for n in (25, 200) if few else ():
            print("the same training with %d reports" % n)
            lengths[n] = run(few, rates, arms.LENGTH_ARMS, seeds, n)
        if few:
            print("the same training with 100 reports")
            lengths[100] = run(few, rates, arms.LENGTH_ARMS, seeds)
    os.makedirs(options.out, exist_ok=True)
    report.write(options.out, results, lengths, used, seeds, rates, time.monotonic() - begin)


if __name__ == "__main__":
    main()
