"""Tables (markdown), raw numbers (CSV) and the picture of a comparison."""
import csv
import datetime
import os
import platform
import subprocess

import numpy

import arms
import noise
import picture
import verdict

SEVEN = [arm.name for arm in arms.CLASSIC]
CONTROLS = [arm.name for arm in arms.CONTROL]
RATIO_NAMES = {0.1: "0.1x", 1: "1x", 10: "10x"}


def percent(x):
    return "%.0f %%" % (100 * x)


def with_interval(x, low, high, form="%.0f"):
    return "%s (%s to %s)" % tuple(form % v for v in (x, low, high))


def share(results, arm):
    """Win + equal over the seven, "84 (79 to 89)", or "-" without cells."""
    if not results:
        return "-"
    shares = 100 * verdict.not_worse(verdict.verdicts(results, arm, SEVEN))
    return with_interval(shares.mean(), *verdict.interval(shares))


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return lines + ["| " + " | ".join(map(str, row)) + " |" for row in rows] + [""]


def main_table(results, names):
    rows = []
    for arm in names:
        found = verdict.verdicts(results, arm, SEVEN)
        rows.append([arm, share(results, arm)]
                    + [percent((found == v).mean()) for v in (1, 0, -1)]
                    + [share(verdict.only(results, ratio=r), arm) for r in RATIO_NAMES])
    return table(["arm", "win + equal %", "win", "equal", "lose"] + ["at " + RATIO_NAMES[r] for r in RATIO_NAMES], rows)


def pair_table(results, challengers, opponents):
    rows = []
    for arm in challengers:
        cells = []
        for other in opponents:
            if other == arm:
                cells.append("")
                continue
            found = verdict.verdicts(results, arm, [other])
            cells.append(" / ".join("%.0f" % (100 * (found == v).mean()) for v in (1, 0, -1)))
        rows.append([arm] + cells)
    return table(["win / equal / lose, %"] + opponents, rows)


def strata_table(results, challengers, what, values):
    rows = [[v] + [share(verdict.only(results, **{what: v}), arm) for arm in challengers] for v in values]
    return table([what] + challengers, rows)


def loss_table(results, names):
    """Geometric mean of final loss against two yardsticks, all cells and by initial rate."""
    rows = []
    for arm in names:
        row = [arm]
        for base in ("constant", "linear"):
            parts = [results] + [verdict.only(results, ratio=r) for r in RATIO_NAMES]
            for part in parts if base == "constant" else parts[:1]:
                if part:
                    ratio = verdict.log_ratio(part, arm, base)
                    low, high = verdict.interval(ratio)
                    row.append(with_interval(*numpy.exp([ratio.mean(), low, high]), form="%.2f"))
                else:
                    row.append("-")
        rows.append(row)
    heads = ["of constant"] + ["at " + RATIO_NAMES[r] for r in RATIO_NAMES] + ["of linear"]
    return table(["final loss, times that"] + heads, rows)


def target_table(results, names):
    aimed = {k: r for k, r in results.items() if r.target is not None}
    if not aimed:
        return ["No target: it comes from cells at 1x, and there are none.", ""]
    rows = []
    for arm in names:
        row = [arm]
        for part in [aimed] + [verdict.only(aimed, ratio=r) for r in RATIO_NAMES]:
            if not part:
                row += ["-", "-"]
                continue
            reached = numpy.concatenate([r.reached(arm) for r in part.values()])
            middle = numpy.median(reached)
            row += [percent(numpy.isinf(reached).mean()), "%.0f" % middle if numpy.isfinite(middle) else "never"]
        rows.append(row)
    head = ["arm"]
    for part in ["all"] + ["at " + RATIO_NAMES[r] for r in RATIO_NAMES]:
        head += [part + ": misses", "reports"]
    return table(head, rows)


def length_table(lengths):
    names = [arm.name for arm in arms.LENGTH_ARMS if arm.name not in SEVEN] + ["plateau"]
    rows = [[n] + [share(lengths[n], arm) for arm in names] for n in sorted(lengths)]
    return table(["reports a run"] + names, rows)


def lost(results):
    """Cells in which no arm ends below four fifths of the untrained loss, which is a tenth of the cap."""
    return [k for k, r in results.items() if numpy.median(r.final, 0).min() > 0.8 * r.untrained]


def commit():
    here = os.path.dirname(os.path.abspath(__file__))
    try:
        found = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=here, capture_output=True, text=True).stdout
    except OSError:
        found = ""
    return found.strip() or "unknown"


COMMIT = commit()  # of what runs, whatever happens to the tree meanwhile


def text(results, lengths, used, seeds, rates, seconds):
    names = [arm.name for arm in used]
    ours = [n for n in names if n not in SEVEN]
    gone = lost(results)
    lines = ["# Results of the comparison", "",
             "Made by `make compare`; README.md says what the arms and the numbers are, and what they are not.",
             "",
             "- %s, commit %s, %s, one core, %.0f minutes" % (datetime.date.today(), COMMIT, platform.machine(), seconds / 60),
             "- %d cells, seeds %s, %d arms, %d runs" % (len(results), ", ".join(map(str, seeds)), len(names),
                                                          len(results) * len(seeds) * len(names)),
             "- tuned rates: " + "; ".join("%s %s %.3g" % (t, o, lr) for (t, o), lr in rates.items()),
             "- %d cells are lost to every arm (no one ends below 0.8 times the untrained loss) and count as equal%s"
             % (len(gone), ": " + "; ".join("%s %s %s %gx" % k for k in gone) if gone else ""), ""]
    lines += ["## The arms", ""]
    lines += table(["arm", "what moves the rate of a run of n reports"], [[a.name, a.what] for a in used])
    lines += ["## Win + equal against the seven usual schedules", "",
              "95 % intervals from drawing cells again. Constant to plateau are compared with the other six.", ""]
    lines += main_table(results, names)
    lines += ["## Against each of them, and against the controls", ""]
    lines += pair_table(results, ours + ["plateau"], SEVEN + [n for n in CONTROLS if n in names])
    lines += ["## Final loss (geometric mean)", ""] + loss_table(results, names)
    lines += ["## Reaching the target", "", "Target: 1.1 times the median final loss of the constant tuned rate, same task, "
              "optimizer and noise. Reports: the median, misses counted as never.", ""] + target_table(results, names)
    lines += ["## Win + equal %, by what was varied", ""]
    shown = ours + ["plateau", "linear"]
    for what, position in (("noise", 2), ("optimizer", 1), ("task", 0)):
        lines += strata_table(results, shown, what, list(dict.fromkeys(k[position] for k in results)))
    if lengths:
        lines += ["## Patience against the number of reports", "", "The same number of optimizer steps, reported 25, 100 "
                  "or 200 times; %s; %s; win + equal %% as above." 
                  % (", ".join(arms.LENGTH_TASKS), ", ".join(arms.LENGTH_NOISE)), ""]
        lines += length_table(lengths)
    return "\n".join(lines)


def write_csv(path, results, lengths, seeds):
    with open(path, "w", newline="") as f:
        out = csv.writer(f)
        out.writerow(["reports", "task", "optimizer", "noise", "ratio", "lr", "arm", "seed", "final_loss", "target",
                      "reports_to_target", "last_lr"])
        for n, part in [("100", results)] + [("%d, lengths" % n, r) for n, r in sorted(lengths.items())]:
            for key, r in part.items():
                for i, arm in enumerate(r.arms):
                    reached = r.reached(arm) if r.target is not None else [None] * len(seeds)
                    for s, seed in enumerate(seeds):
                        out.writerow([n, *key, "%.6g" % r.lr, arm, seed, "%.6g" % r.final[s, i],
                                      "" if r.target is None else "%.6g" % r.target, reached[s], "%.6g" % r.last_rate[s, i]])


def write(directory, results, lengths, used, seeds, rates, seconds):
    found = text(results, lengths, used, seeds, rates, seconds)
    with open(os.path.join(directory, "RESULTS.md"), "w") as f:
        f.write(found)
    write_csv(os.path.join(directory, "results.csv"), results, lengths, seeds)
    picture.draw(os.path.join(directory, "results.svg"), results, [arm.name for arm in used])
    print("\n" + found)
    print("written: RESULTS.md, results.csv, results.svg in " + directory)
