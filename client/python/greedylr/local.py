"""GreedyLR's rules in the process, for when the daemon is away: the greedylr dialect, bit for bit as the daemon.

Source: Subramanian, Krishnamoorthy, Murthy, arXiv 2512.14527; the dialect is described in the daemon's documentation.
All arithmetic is IEEE double in the order the daemon uses: sums are loops, since Python's sum() rounds otherwise.
"""
from __future__ import annotations

import math
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

#: Defaults by dialect; bounds None: lr/1000 and lr*10.
DEFAULTS: Dict[str, Dict[str, Any]] = {
    "greedylr": {"mode": "min", "factor": 0.8, "patience": 2, "threshold": 1e-3, "threshold_mode": "rel",
                 "cooldown": 0, "warmup": 0, "stage_mode": "continue", "min_lr": None, "max_lr": None, "eps": 0.0,
                 "smooth": True, "smoothing": "median", "window_size": 5, "reset_start": 0, "guard_ratio": 0.0,
                 "guard_factor": 0.5},
    "transformers": {"mode": "min", "factor": 0.95, "patience": 10, "threshold": 1e-6, "threshold_mode": "abs",
                     "cooldown": 0, "warmup": 0, "stage_mode": "hold", "min_lr": 1e-3, "max_lr": 1.0, "eps": 1e-8,
                     "smooth": False, "smoothing": "mean", "window_size": 50, "reset_start": 500,
                     "guard_ratio": 0.0, "guard_factor": 0.5},
}


def _words(*words: str) -> Tuple[str, Callable[[Any], bool]]:
    return "one of " + ", ".join(words), lambda x: x in words


def _whole(low: int, high: int) -> Tuple[str, Callable[[Any], bool]]:
    return (f"an integer from {low} to {high}",
            lambda x: isinstance(x, int) and not isinstance(x, bool) and low <= x <= high)


def _is_number(x: Any) -> bool:
    return isinstance(x, (int, float)) and not isinstance(x, bool)


_FRACTION = ("a number between 0 and 1", lambda x: _is_number(x) and 0 < x < 1)
_NOT_NEGATIVE = ("a number of at least 0", lambda x: _is_number(x) and x >= 0)
#: What each setting may be, in words and as a check.  The daemon has the last word; these speak while it is away.
FIELDS: Dict[str, Tuple[str, Callable[[Any], bool]]] = {
    "mode": _words("min", "max"),
    "factor": _FRACTION,
    "patience": _whole(0, 2**32 - 1),
    "threshold": _NOT_NEGATIVE,
    "threshold_mode": _words("rel", "abs"),
    "cooldown": _whole(0, 2**32 - 1),
    "warmup": _whole(0, 2**32 - 1),
    "stage_mode": _words("continue", "hold", "ignore"),
    "eps": _NOT_NEGATIVE,
    "smooth": ("true or false", lambda x: isinstance(x, bool)),
    "smoothing": _words("mean", "median", "ema"),
    "window_size": _whole(1, 1000),
    "reset_start": _whole(0, 2**31 - 1),
    "guard_ratio": ("a number above 1, or 0: off", lambda x: _is_number(x) and (x == 0 or 1 < x < math.inf)),
    "guard_factor": ("a number between 0 and 1", lambda x: _is_number(x) and 0 < x < 1),
}


class Settings(NamedTuple):
    """Every setting of GreedyLR with its default filled in; min_lr and max_lr have one value per group."""

    dialect: str
    on_nonfinite: str
    lr: List[float]
    mode: str
    factor: float
    patience: int
    threshold: float
    threshold_mode: str
    cooldown: int
    warmup: int
    stage_mode: str
    min_lr: List[float]
    max_lr: List[float]
    eps: float
    smooth: bool
    smoothing: str
    window_size: int
    reset_start: int
    guard_ratio: float = 0.0
    guard_factor: float = 0.5


def rates_of(lr: Sequence[float]) -> List[float]:
    """Initial rates as floats; ValueError where one is not finite and above 0."""
    for i, x in enumerate(lr):
        if not (math.isfinite(x) and x > 0):
            raise ValueError(f"lr: must be finite and above 0, got {x!r} in parameter group {i}")
    return [float(x) for x in lr]


def _bound(name: str, given: Any, lr: Sequence[float], default: Callable[[float], float]) -> List[float]:
    if given is None:
        return [default(x) for x in lr]
    values = list(given) if isinstance(given, (list, tuple)) else [given]
    if len(values) not in (1, len(lr)):
        raise ValueError(f"{name}: must have 1 or {len(lr)} values, one per parameter group, got {len(values)}")
    if not all(_is_number(x) for x in values):
        raise ValueError(f"{name}: must be a number or one per parameter group, got {given!r}")
    return [float(x) for x in values] * (len(lr) if len(values) == 1 else 1)


def settings(lr: Sequence[float], given: Mapping[str, Any], on_nonfinite: Optional[str] = None) -> Settings:
    """The effective settings.

    lr     initial rates, one per group, finite and above 0.
    given  GreedyLR's fields by name; None means the default of the dialect.
    Raises ValueError that names the field, what it may be and what it was.
    """
    fields = {k: v for k, v in given.items() if v is not None}
    dialect = fields.pop("dialect", "greedylr")
    if dialect not in DEFAULTS:
        raise ValueError(f"dialect: must be one of {', '.join(DEFAULTS)}, got {dialect!r}")
    if on_nonfinite not in (None, "bad", "skip", "cut", "reject"):
        raise ValueError(f"on_nonfinite: must be one of bad, skip, cut, reject, got {on_nonfinite!r}")
    if on_nonfinite is not None and dialect == "transformers":
        raise ValueError("on_nonfinite: does not apply to the transformers dialect; leave it out")
    rates = rates_of(lr)
    unknown = fields.keys() - DEFAULTS[dialect].keys()
    if unknown:
        raise ValueError(f"{min(unknown)}: no such setting of GreedyLR in the dialect {dialect}")
    for name, value in fields.items():
        if name in FIELDS and not FIELDS[name][1](value):
            raise ValueError(f"{name}: must be {FIELDS[name][0]}, got {value!r}")
    full = {**DEFAULTS[dialect], **fields}
    full["min_lr"] = _bound("min_lr", full["min_lr"], lr, lambda x: x / 1000)
    full["max_lr"] = _bound("max_lr", full["max_lr"], lr, lambda x: x * 10)
    if full["guard_ratio"] and (dialect != "greedylr" or full["mode"] != "min"):
        raise ValueError(f"guard_ratio: must be 0 but in the greedylr dialect with mode min, got {full['guard_ratio']!r}")
    if dialect == "greedylr":
        if full["mode"] == "min" and full["threshold_mode"] == "rel" and full["threshold"] >= 1:
            raise ValueError(f"threshold: must be below 1 with mode min and threshold_mode rel, got "
                             f"{full['threshold']!r}")
        for i, x in enumerate(lr):
            if not (full["min_lr"][i] > 0 and full["min_lr"][i] <= x <= full["max_lr"][i] < math.inf):
                raise ValueError(f"min_lr, max_lr: must be 0 < min_lr <= lr <= max_lr, got {full['min_lr'][i]!r}, "
                                 f"lr {x!r}, {full['max_lr'][i]!r} in parameter group {i}")
    return Settings(dialect=dialect, on_nonfinite=on_nonfinite or "bad", lr=rates, **full)


def combine(values: Sequence[float], weights: Sequence[float], reduce: str) -> float:
    """One value of the ranks' values, as the daemon's rounds make it: in rank order, NaN if any is not finite.

    values, weights: one per rank, at least one; weights above 0.  reduce: mean (weighted), min, max, median or first.
    """
    if not all(math.isfinite(x) for x in values):
        return math.nan
    if reduce == "first":
        return values[0]
    if reduce == "min":
        return min(values)
    if reduce == "max":
        return max(values)
    if reduce == "median":
        return _median(values)
    total, weight = 0.0, 0.0
    for x, w in zip(values, weights):
        total += w * x
        weight += w
    return total / weight


def _median(values: Sequence[float]) -> float:
    ordered, mid = sorted(values), len(values) // 2
    return ordered[mid] if len(ordered) % 2 else (ordered[mid - 1] + ordered[mid]) / 2


class LocalGreedy:
    """A GreedyLR scheduler in this process; ValueError for settings it does not know (the transformers dialect).

    lrs  the rates now, one per group.  The counters have the names they have in the daemon's answers.
    """

    def __init__(self, config: Settings) -> None:
        if config.dialect != "greedylr":
            raise ValueError(f"dialect: only greedylr can decide in the process, got {config.dialect!r}; "
                             "use on_error=\"hold\"")
        self._p = config
        self.lrs: List[float] = []
        self._start_over()

    def _start_over(self) -> None:
        self.lrs = list(self._p.lr)
        self.best = math.inf if self._p.mode == "min" else -math.inf
        self.num_good = self.num_bad = 0
        self.stage, self.stage_left = "none", 0
        self.resets_left = self._p.reset_start
        self.window: List[float] = []  # ema: its one value

    _STATE = ("lrs", "best", "num_good", "num_bad", "stage", "stage_left", "resets_left", "window")

    def state_dict(self) -> Dict[str, Any]:
        """The state as plain data."""
        return {k: list(v) if isinstance(v, list) else v for k, v in ((k, getattr(self, k)) for k in self._STATE)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over what state_dict gave."""
        for name in self._STATE:
            value = state[name]
            setattr(self, name, list(value) if isinstance(value, (list, tuple)) else value)

    def step(self, value: float) -> List[float]:
        """One report: the rates after it."""
        if not math.isfinite(value):
            if self._p.on_nonfinite in ("skip", "reject"):
                return self.lrs
            if self._p.on_nonfinite == "cut":
                self.num_good = self.num_bad = 0
                self._cut()
                self._begin("cooldown", self._p.cooldown)
                return self.lrs
            current = math.nan  # compares false: never better
        else:
            current = self._smoothed(value)
            if self._p.guard_ratio > 1 and self.best > 0 and current > self._p.guard_ratio * self.best:
                self.num_good = self.num_bad = 0
                self._begin("none", 0)
                self._lower(self._p.guard_factor)
                return self.lrs
            if not math.isfinite(current):
                current = math.nan
        if self.stage != "none":
            {"continue": self._continue, "hold": self._hold, "ignore": self._ignore}[self._p.stage_mode](current)
        else:
            self._count(self._compare(current))
            self._trigger()
        return self.lrs

    def follow(self, value: float, decision: Mapping[str, Any]) -> None:
        """One report that the daemon decided: steps on it, and where the daemon knows better takes that over
        (an operator's override, a pause, changed settings)."""
        before = self.state_dict()
        self.step(value)
        if math.isfinite(value) and "smoothed" not in decision:  # paused: the policy has not seen the value
            self.load_state_dict(before)
        self.adopt(decision)

    def adopt(self, seen: Mapping[str, Any]) -> None:
        """Takes over what a Decision or a JobState says.  The smoothing window is not in them and stays."""
        for name in ("lrs", "best", "num_good", "num_bad", "resets_left"):
            if name in seen:
                setattr(self, name, list(seen[name]) if name == "lrs" else seen[name])
        stage = seen.get("stage", self.stage)
        if "stage_left" in seen:
            self.stage_left = seen["stage_left"]
        elif stage != self.stage:
            self.stage_left = {"warmup": self._p.warmup, "cooldown": self._p.cooldown}.get(stage, 0)
        self.stage = stage

    # ---- the rules ----

    def _smoothed(self, x: float) -> float:
        p = self._p
        if not p.smooth:
            return x
        if p.smoothing == "ema":
            alpha = 2.0 / (p.window_size + 1.0)
            value = self.window[0] + alpha * (x - self.window[0]) if self.window else x
            self.window = [value if math.isfinite(value) else x]
            return self.window[0]
        self.window = (self.window + [x])[-p.window_size:]
        if p.smoothing == "median":
            return _median(self.window)
        total = 0.0
        for v in self.window:
            total += v
        return total / len(self.window)

    def _compare(self, x: float) -> bool:
        p, best = self._p, self.best
        if p.mode == "min":
            better = x < best - p.threshold if p.threshold_mode == "abs" else x < best * (1 - p.threshold)
        else:
            better = x > best + p.threshold if p.threshold_mode == "abs" else x > best * (1 + p.threshold)
        if better:
            self.best = x
        return better

    def _count(self, better: bool) -> None:
        self.num_good, self.num_bad = (self.num_good + 1, 0) if better else (0, self.num_bad + 1)

    def _trigger(self) -> None:
        if self.num_good > self._p.patience:
            self.num_good = 0
            self._raise()
            self._begin("warmup", self._p.warmup)
        elif self.num_bad > self._p.patience:
            self.num_bad = 0
            self._cut()
            self._begin("cooldown", self._p.cooldown)

    def _raise(self) -> None:
        for i, lr in enumerate(self.lrs):
            new = min(lr / self._p.factor, self._p.max_lr[i])
            if new - lr > self._p.eps:
                self.lrs[i] = new
        self.resets_left = self._p.reset_start

    def _lower(self, factor: float) -> None:
        for i, lr in enumerate(self.lrs):
            new = max(lr * factor, self._p.min_lr[i])
            if lr - new > self._p.eps:
                self.lrs[i] = new

    def _cut(self) -> None:
        self._lower(self._p.factor)
        if self._p.reset_start and all(lr <= low for lr, low in zip(self.lrs, self._p.min_lr)):
            self.resets_left -= 1
            if self.resets_left <= 0:
                self._start_over()

    def _begin(self, stage: str, length: int) -> None:
        self.stage, self.stage_left = (stage, length) if length else ("none", 0)

    def _shorten(self) -> None:
        self.stage_left -= 1
        if not self.stage_left:
            self.stage = "none"

    def _continue(self, x: float) -> None:
        move = self._raise if self.stage == "warmup" else self._cut
        self._compare(x)
        self.num_good = self.num_bad = 0
        self._shorten()
        move()

    def _hold(self, x: float) -> None:
        self.num_good = self.num_bad = 0
        self._shorten()

    def _ignore(self, x: float) -> None:
        self._count(self._compare(x))
        if self.stage == "cooldown":
            self.num_bad = 0
        else:
            self.num_good = 0
        self._shorten()
        self._trigger()
