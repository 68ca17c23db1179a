"""How much of a training run's time a daemon that is dead or slow may cost, and what is kept for later.

One call (a step of the scheduler, with everything it asks of the daemon) may take `budget` seconds, retries included.
Once a call has spent it the circuit is open: calls return at once, except that every 10 s one probes for at most 0.5 s.
The first answer closes the circuit.
"""
from __future__ import annotations

import random
import time
from typing import Any, Callable, List, NamedTuple, Optional, Sequence, Tuple, TypeVar

from .errors import GreedyLRError, no_answer
from .transport import TIMEOUT_MAX

T = TypeVar("T")

#: Seconds between probes of a daemon that is away, and what a probe may take.
PROBE_EVERY, PROBE_BUDGET = 10.0, 0.5
#: Seconds before the first retry; doubled each time up to the second, each with jitter of half to all of it.
BACKOFF_FIRST, BACKOFF_MOST = 0.05, 1.0
#: Losses kept for a daemon that is away; beyond it the oldest are dropped.
MISSED_MAX = 10_000


def _jitter() -> float:
    return random.SystemRandom().random()


class Outage:
    """Budget and circuit breaker of one training run.

    budget   seconds one call may take, above 0 and at most TIMEOUT_MAX.
    breaker  False: every call has its budget, whatever happened before.
    clock, sleep, jitter  seams for tests: monotonic seconds, a wait in seconds, a number in [0, 1).  The default jitter
             leaves Python's global random state alone and differs between forked processes.
    """

    def __init__(self, budget: float, *, breaker: bool = True, clock: Callable[[], float] = time.monotonic,
                 sleep: Callable[[float], None] = time.sleep,
                 jitter: Callable[[], float] = _jitter) -> None:
        if not 0 < budget <= TIMEOUT_MAX:
            raise ValueError(f"budget: must be a number of seconds above 0 and at most {TIMEOUT_MAX:g}, got {budget!r}")
        self.budget, self.breaker, self.clock, self.sleep, self.jitter = budget, breaker, clock, sleep, jitter
        self.error: Optional[GreedyLRError] = None  # why the circuit is open; None: it is closed
        self._next_probe = 0.0

    def window(self) -> "Window":
        """The time that a call beginning now may spend.  Raises the error that opened the circuit, where it may spend
        none."""
        now = self.clock()
        if self.error is None or not self.breaker:
            return Window(self, now, now + self.budget, probe=False)
        if now < self._next_probe:
            raise GreedyLRError(**self.error.to_dict())
        return Window(self, now, now + min(PROBE_BUDGET, self.budget), probe=True)

    def opened(self, error: GreedyLRError) -> None:
        """A call spent its time in vain."""
        self.error = error
        self._next_probe = self.clock() + PROBE_EVERY

    def closed(self) -> None:
        """The daemon answered."""
        self.error = None


class Window:
    """The time of one call."""

    def __init__(self, outage: Outage, start: float, end: float, probe: bool) -> None:
        self._outage, self._start, self._end, self._probe = outage, start, end, probe
        self._tries = 0

    def call(self, request: Callable[[float], T]) -> T:
        """Makes a request until it is answered or the time is over.

        request: gets the seconds it may take; must be safe to repeat.
        Raises GreedyLRError: a refusal at once, else the last error.
        """
        while True:
            left = self._end - self._outage.clock()
            if left <= 0:
                self.retry(no_answer("NO_ANSWER", f"the budget of {self._outage.budget:g} s is spent"))
            try:
                answer = request(left)
            except GreedyLRError as error:
                if not error.outage:
                    self._answered()
                if error.waiting or not error.transient:
                    raise
                self.retry(error)
            else:
                self._answered()
                return answer

    def retry(self, error: GreedyLRError) -> None:
        """Waits before the next try.  Raises the error instead where no time is left for one, or in a probe."""
        self._tries += 1
        pause = min(BACKOFF_FIRST * 2 ** (self._tries - 1), BACKOFF_MOST) * (0.5 + self._outage.jitter() / 2)
        pause = max(pause, error.retry_after)
        if self._probe or self._outage.clock() + pause >= self._end:
            if error.outage:
                self._outage.opened(error)
            raise error
        self._outage.sleep(pause)

    def _answered(self) -> None:
        self._outage.closed()
        if self._probe:  # it is back: what is left of a whole budget
            self._probe, self._end = False, self._start + self._outage.budget


class Missed(NamedTuple):
    """A value that has no decision yet: one value and weight per rank that reports, a single one otherwise."""

    step: int
    values: Tuple[float, ...]
    weights: Tuple[float, ...]

    def of(self, rank: int) -> Tuple[float, float]:
        """Value and weight of a rank, or the single ones."""
        i = rank if len(self.values) > 1 else 0
        return self.values[i], self.weights[i]


class MissedQueue:
    """Values without a decision, in the order of their steps; dropped counts those that found no room."""

    def __init__(self, items: Sequence[Sequence[Any]] = ()) -> None:
        self.items: List[Missed] = [Missed(int(s), tuple(map(float, v)), tuple(map(float, w))) for s, v, w in items]
        self.dropped = 0

    def add(self, item: Missed) -> None:
        """Keeps a value; one of a step that is not beyond the last one kept is there already."""
        if self.items and item.step <= self.items[-1].step:
            return
        self.items.append(item)
        if len(self.items) > MISSED_MAX:
            del self.items[0]
            self.dropped += 1

    def decided(self, step: int) -> None:
        """Everything up to a step has its decision."""
        self.items = [item for item in self.items if item.step > step]

    def state(self) -> List[List[Any]]:
        """As plain data, for the constructor."""
        return [[item.step, list(item.values), list(item.weights)] for item in self.items]
