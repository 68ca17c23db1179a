"""The golden traces of the policy learned: an implementation of its own, in Python, bit for bit.

    python3 tests/conformance/learned.py WEIGHTS > tests/conformance/learned.jsonl

WEIGHTS is a file of greedylr-train (build/greedylr-train --weights ... or the model that is built in).  Each trace has its
whole model in its config, so that the traces stay true whatever model the daemon ships.  GreedyLR in the model's place is the
Python client's, which is bit for bit the daemon's too.
"""
import json
import math
import os
import random
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../client/python"))
from greedylr import local  # noqa: E402

FEATURES = 22
LN2_HI, LN2_LO = float.fromhex("0x1.62e42fee00000p-1"), float.fromhex("0x1.a39ef35793c76p-33")
LN2, SQRT2, TINY = float.fromhex("0x1.62e42fefa39efp-1"), float.fromhex("0x1.6a09e667f3bcdp+0"), 1e-4
FAR, LOG_4, LOG_07 = -3.912, 2 * LN2, float.fromhex("-0x1.6d3c324e13f50p-2")


def log(x):
    e = 0
    if x < float.fromhex("0x1p-1022"):
        x, e = x * 2.0**54, -54
    bits = struct.unpack("<Q", struct.pack("<d", x))[0]
    e += (bits >> 52) - 1023
    m = struct.unpack("<d", struct.pack("<Q", bits & ((1 << 52) - 1) | 1023 << 52))[0]
    if m > SQRT2:
        m, e = m * 0.5, e + 1
    s = (m - 1) / (m + 1)
    z, total = s * s, 1.0 / 21
    for k in range(19, 0, -2):
        total = total * z + 1.0 / k
    return e * LN2_HI + (2 * s * total + e * LN2_LO)


def exp(x):
    x = max(-700.0, min(700.0, x))
    k = int(x * (1 / LN2) + (-0.5 if x < 0 else 0.5))
    r = (x - k * LN2_HI) - k * LN2_LO
    total = 1 + r / 13
    for n in range(12, 0, -1):
        total = 1 + total * (r * (1.0 / n))
    return total * 2.0**k


def tanh(x):
    if abs(x) > 20:
        return math.copysign(1.0, x)
    e = exp(2 * x)
    return (e - 1) / (e + 1)


def asinh(x):
    a = min(abs(x), 1e150)
    y = log(a + math.sqrt(a * a + 1))
    return -y if x < 0 else y


class Average:
    def __init__(self, share):
        self.share, self.mean = share, 0.0

    def add(self, x, n):
        self.mean += max(1.0 / n, self.share) * (x - self.mean)


class Learned:
    def __init__(self, lr, config, on_nonfinite):
        self.p, self.lr, self.on_nonfinite = config, lr, on_nonfinite
        self.min_lr = config.get("min_lr", [x * 1e-4 for x in lr])
        self.max_lr = config.get("max_lr", [x * 1e3 for x in lr])
        self.lrs, self.greedy, self.pilot = list(lr), None, "model"
        self.best, self.first, self.last, self.least, self.ratio = math.inf, 0.0, 0.0, 0.0, 0.0
        self.fast, self.mid, self.slow = Average(0.5), Average(0.2), Average(0.07)
        self.noise, self.swing, self.echo = Average(0.15), Average(0.2), Average(0.2)
        self.action, self.acted, self.top, self.at_best, self.ceiling = 0.0, 0.0, 0.0, 0.0, math.inf
        self.t, self.since_best, self.trips, self.since_trip, self.outside = 0, 0, 0, 0, 0
        self.along = self.greedy_at(self.lrs, math.inf)  # on trial

    def observe(self, loss, rate):
        now, n = log(loss), self.t
        if n == 0:
            self.first = now
        else:
            ratio = max(-20.0, min(20.0, now - self.last))
            response = max(-3.0, min(3.0, self.action * ratio / (self.noise.mean + TINY)))
            self.swing.add(float((ratio > 0) != (self.ratio > 0) and n > 1), n)
            if n > 1:
                self.noise.add(abs(ratio - self.mid.mean), n - 1)
                self.echo.add(response, n - 1)
            for average in (self.fast, self.mid, self.slow):
                average.add(ratio, n)
            self.ratio = ratio
        self.last = now
        self.since_best += 1
        if loss < self.best:
            self.best, self.least, self.since_best, self.at_best = loss, now, 0, rate
        self.top = max(self.top, rate)
        self.t += 1

    def features(self, rate):
        t, total, progress = self.t, self.p.get("total_reports", 0), self.first - self.least
        left = float(total - t) if total > t else 0.0
        noise, mid, slow = self.noise.mean, self.mid.mean, self.slow.mean
        return [
            asinh(10 * self.ratio), asinh(10 * self.fast.mean), asinh(20 * mid), asinh(40 * slow),
            (log(noise + TINY) + 4) / 3, asinh(mid / (noise + TINY)), asinh(slow / (noise + TINY)),
            asinh(10 * (self.last - self.least)), log(1.0 + self.since_best) / 2, rate / 4, (rate - self.at_best) / 2,
            (rate - self.top) / 2, (total - left) / total if total else 0.0, float(total > 0), log(1.0 + t) / 4,
            self.action, self.acted, self.swing.mean, asinh(-slow * t / (progress + 0.05)), asinh(progress),
            self.echo.mean, log(1 + left) / 4 if total else 0.0]

    def diverges(self, wanted):
        gap, progress, noise = self.last - self.least, self.first - self.least, self.noise.mean
        if wanted > 0.5 and self.ratio > 0:
            noise = 0.0
        if self.trips and self.since_trip < 3 and self.ratio <= 0:
            return False
        return (self.last - self.first > LN2 + 6 * noise or
                gap > progress / 2 and gap > 6 * noise + 0.05 and progress > 0)

    def move(self, by):
        factor, most = exp(by), math.inf if math.isinf(self.ceiling) else exp(self.ceiling)
        for i, lr in enumerate(self.lrs):
            top, moved = min(self.max_lr[i], self.lr[i] * most), lr * factor
            if moved > top:
                moved = lr if by > 0 and top < lr else top
            moved = max(moved, self.min_lr[i])
            self.lrs[i] = lr if by < 0 and moved > lr else moved

    def tops(self):
        most = math.inf if math.isinf(self.ceiling) else exp(self.ceiling)
        return [max(min(self.lr[i] * most, self.max_lr[i]), self.min_lr[i]) for i in range(len(self.lr))]

    def greedy_at(self, lrs, best):
        full = local.settings([1.0] * len(self.lr), {"min_lr": 1e-9, "max_lr": 1e9}, self.on_nonfinite)
        greedy = local.LocalGreedy(full._replace(lr=list(lrs), min_lr=list(self.min_lr), max_lr=self.tops()))
        greedy.best = best
        return greedy

    def hand_over(self, why):
        self.greedy, self.pilot = self.greedy_at(self.lrs, self.best), why

    def watch(self, rate, action):
        if self.t <= 10:
            return "steady" if action >= -0.1 else "excused" if self.ratio > 0 else "cuts"
        lost = rate < FAR and self.acted < 0 and -self.mid.mean < 0.002 + self.noise.mean / 2
        return "lost" if lost else "steady"

    def give_up(self, strange, course, rate, value):
        if strange:
            self.hand_over("strange")
        elif course == "cuts":
            self.greedy, self.pilot = self.along, "cuts"
            self.greedy.lrs = [min(lr, top) for lr, top in zip(self.greedy.lrs, self.tops())]
            self.lrs = list(self.greedy.lrs)
            return
        else:
            self.move(-rate)
            self.hand_over("lost")
        self.lrs = list(self.greedy.step(value))

    def step(self, value):
        if not math.isfinite(value) and self.on_nonfinite == "skip":
            return
        if self.greedy is None and not (math.isfinite(value) and value > 0):
            self.hand_over("bad loss")
        if self.greedy is None:
            if self.t < 10:
                self.along._p = self.along._p._replace(max_lr=self.tops())
                self.along.step(value)
            self.decide(value)
        else:
            self.lrs = list(self.greedy.step(value))

    def decide(self, value):
        rate = log(self.lrs[0] / self.lr[0])
        self.observe(value, rate)
        features, action = self.features(rate), 0.0
        strange = not all(lo <= f <= hi for f, lo, hi in zip(features, self.p["feature_lo"], self.p["feature_hi"]))
        wanted = self.p["weights"][FEATURES]
        for w, f in zip(self.p["weights"], features):
            wanted += w * f
        wanted = tanh(wanted)
        course = self.watch(rate, wanted)
        if strange or course in ("cuts", "lost"):
            self.outside += 1
        elif course == "steady":
            self.outside = 0
        self.since_trip += 1
        if self.diverges(wanted):
            action = -1.0
            to = min(rate - LOG_4, self.at_best)
            self.ceiling = min(self.ceiling, rate + LOG_07)
            self.move(to - rate)
            self.trips += 1
            self.since_trip = 0
            if self.trips >= 5:
                self.hand_over("tripwire")
        elif self.outside >= 3 and course != "excused":
            self.give_up(strange, course, rate, value)
        elif not strange and course in ("steady", "excused"):
            action, gate = wanted, self.p.get("noise_gate", 0)
            if action > 0 and gate > 0 and self.noise.mean > gate:
                action = 0.0
            self.move(action * log(self.p["up"] if action > 0 else self.p["down"]))
        self.action = action
        self.acted += 0.2 * (action - self.acted)

    def final(self):
        g = self.greedy
        return {"best": g.best if g else self.best, "num_good": g.num_good if g else 0,
                "num_bad": g.num_bad if g else self.since_best, "stage": g.stage if g else "none",
                "stage_left": g.stage_left if g else 0}


def read_weights(path):
    config = {"feature_set": 1, "weights": [], "feature_lo": [], "feature_hi": []}
    with open(path, encoding="utf-8") as file:
        for words in map(str.split, file):
            if words[0] in ("up", "down"):
                config[words[0]] = float(words[1])
            elif words[0] in ("feature", "bias"):
                config["weights"].append(float(words[-3] if words[0] == "feature" else words[1]))
                if words[0] == "feature":
                    config["feature_lo"].append(float(words[-2]))
                    config["feature_hi"].append(float(words[-1]))
    return config


KINDS = ("falls", "noisy", "offset", "rises", "spikes", "jumps", "to_zero", "strange")
BAD = 64  # from this number on weights that drive the rate away: signs turned, or cuts from about report 13 on


def losses(dice, kind, n):
    level, out = 10 ** dice.uniform(-2, 2), []
    for i in range(n):
        if kind == "stalls" and i > 14:
            out.append(level * (1 + 0.001 * dice.gauss(0, 1)))
            continue
        level *= math.exp(dice.uniform(-0.1, 0.02) if kind != "rises" or i < 8 else dice.uniform(-0.05, 0.3))
        value = level * (1 + (0.2 if kind == "noisy" else 0.01) * dice.gauss(0, 1))
        if kind == "offset":
            value += 5
        if kind == "spikes" and dice.random() < 0.1:
            value *= 10
        if kind == "jumps" and i % 9 == 8:
            level *= 4
        if kind == "to_zero" and i > n * 0.6:
            value = dice.choice([0.0, -1.0, value])
        if kind == "strange" and dice.random() < 0.08:
            value = dice.choice([math.nan, math.inf, 1e300, 1e-310])
        out.append(abs(value) if kind not in ("to_zero", "strange") else value)
    return out


def written(x):
    return x if math.isfinite(x) else "NaN" if math.isnan(x) else "Infinity" if x > 0 else "-Infinity"


def trace(dice, model, number):
    kind, n = KINDS[number % len(KINDS)], dice.randint(30, 90)
    late = number >= BAD and number % 2 == 1
    if late:
        kind = "stalls"
    lr = [10 ** dice.uniform(-4, 0) for _ in range(dice.choice([1, 1, 2, 3]))]
    config = dict(model)
    if number % 3 == 1:  # not trained: moves a lot, meets the bounds
        config["weights"] = [round(dice.gauss(0, 0.6), 4) for _ in range(FEATURES + 1)]
    if number % 4 == 2:
        config["feature_lo"], config["feature_hi"] = [-1000.0] * FEATURES, [1000.0] * FEATURES
    if number >= BAD:
        config["weights"] = [-w for w in model["weights"]]
    if late:
        config["weights"] = [0.0] * 14 + [-8.0] + [0.0] * 7 + [5.0]
    if dice.random() < 0.7:
        config["total_reports"] = dice.randint(n // 2, 2 * n)
    if dice.random() < 0.3 and number < BAD:
        config["min_lr"], config["max_lr"] = [x * 0.1 for x in lr], [x * 3 for x in lr]
    if dice.random() < 0.2:
        config["noise_gate"] = 0.02
    vector = {"scheduler": "learned", "source": "tests/conformance/learned.py", "id": "learned-%d-%s" % (number, kind),
              "kind": kind, "config": config}
    if kind == "strange":
        vector["on_nonfinite"] = dice.choice(["bad", "skip", "cut"])
    policy, rates, values = Learned(lr, config, vector.get("on_nonfinite", "bad")), [], losses(dice, kind, n)
    for value in values:
        policy.step(value)
        rates.append(list(policy.lrs))
    final = policy.final()
    final["best"] = written(final["best"])
    return dict(vector, initial_lr=lr, metrics=[written(x) for x in values], lr=rates, final=final)


def main():
    dice, model = random.Random(7), read_weights(sys.argv[1])
    for number in range(BAD + 16):
        print(json.dumps(trace(dice, model, number), separators=(",", ":")))


if __name__ == "__main__":
    main()
