"""The picture: final loss of every arm, by initial rate, with the constant tuned rate as the yardstick."""
import matplotlib
import numpy

import verdict

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402

PANELS = ((0.1, "initial rate 10 times too small"), (1, "initial rate well tuned"), (10, "initial rate 10 times too large"))
COLOURS = {"GreedyLR": "#1b6ca8"}


def against_tuned(results, arm, ratio):
    """Per cell: ln of final loss / that of the constant tuned rate, paired by seed."""
    found = []
    for key, r in verdict.only(results, ratio=ratio).items():
        base = results.get(key[:3] + (1,))
        if base:
            found.append((numpy.log(r.score[arm]) - numpy.log(base.score["constant"])).mean())
    return numpy.array(found)


def colour(arm):
    return next((c for word, c in COLOURS.items() if arm.startswith(word)), "#555555")


def panel(axis, results, names, ratio, title):
    for row, arm in enumerate(names):
        ratios = against_tuned(results, arm, ratio)
        if not len(ratios):
            continue
        low, high = numpy.exp(verdict.interval(ratios))
        middle = numpy.exp(ratios.mean())
        axis.plot([low, high], [row, row], color=colour(arm), linewidth=1.4)
        axis.plot([middle], [row], "o", color=colour(arm), markersize=5)
        axis.annotate("%.2f" % middle, (high, row), xytext=(5, 0), textcoords="offset points", va="center", fontsize=7,
                      color=colour(arm))
    axis.axvline(1, color="#999999", linewidth=0.8, zorder=0)
    axis.set_title(title, fontsize=9)
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(matplotlib.ticker.LogLocator(subs=(1, 1.5, 2, 3, 4, 5, 7)))
    axis.xaxis.set_minor_locator(matplotlib.ticker.NullLocator())
    axis.xaxis.set_major_formatter(matplotlib.ticker.FormatStrFormatter("%g"))
    axis.grid(axis="x", which="both", color="#eeeeee")
    axis.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)
    axis.tick_params(axis="both", labelsize=8, length=0)


def draw(path, results, names):
    pyplot.rcParams.update({"svg.hashsalt": "greedylrd", "svg.fonttype": "none", "font.family": "sans-serif",
                            "font.sans-serif": ["DejaVu Sans", "Arial", "sans-serif"]})
    figure, axes = pyplot.subplots(1, 3, sharey=True, figsize=(11, 1.4 + 0.3 * len(names)))
    for axis, (ratio, title) in zip(axes, PANELS):
        panel(axis, results, names, ratio, title)
    axes[0].set_yticks(range(len(names)), names)
    for label, arm in zip(axes[0].get_yticklabels(), names):
        label.set_color(colour(arm))
    axes[0].invert_yaxis()
    figure.suptitle("Test loss at the end of training, as a multiple of what a constant, well tuned rate reaches: further left "
                    "is better", fontsize=10)
    axes[1].set_xlabel("dot: geometric mean over %d combinations of task, optimizer and noise; line: its 95 %% interval; the "
                       "scales differ" % len({k[:3] for k in results}), fontsize=8)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
