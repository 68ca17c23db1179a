"""JAX with optax.

    optimizer = optax.inject_hyperparams(optax.adam)(learning_rate=0.01)
    greedy = GreedyLR(job="run-7", lr=0.01)
    opt_state = greedy.put(optimizer.init(params))             # a warm-up begins at another rate than lr
    ...
    opt_state = greedy.update(opt_state, validation_loss)      # between jitted steps; nothing is traced again

With Flax: optimizer.opt_state = greedy.update(optimizer.opt_state, ...) of an nnx.Optimizer, and state.replace(
opt_state=greedy.update(state.opt_state, ...)) of a TrainState.
"""
from __future__ import annotations

import json
from typing import Any, List, Optional, Union

import jax
import jax.numpy as jnp
import numpy
import optax

from .client import Client
from .distributed import Alone, Ranks, encode
from .session import Session


class JaxRanks:
    """The processes of a multi-host program."""

    def __init__(self) -> None:
        self.rank, self.size = jax.process_index(), jax.process_count()

    def gather(self, record: Any, room: int) -> List[Any]:
        """Every process's record."""
        from jax.experimental import multihost_utils
        rows = multihost_utils.process_allgather(numpy.frombuffer(encode(record, room), numpy.uint8))
        return [json.loads(bytes(numpy.asarray(row).tolist())) for row in rows]

    def broadcast(self, record: Any, room: int) -> Any:
        """Process 0's record."""
        from jax.experimental import multihost_utils
        own = numpy.frombuffer(encode(record if self.rank == 0 else None, room), numpy.uint8)
        return json.loads(bytes(numpy.asarray(multihost_utils.broadcast_one_to_all(own)).tolist()))


def jax_ranks() -> Ranks:
    """The processes where there are several, else this one alone."""
    if jax.process_count() > 1:
        return JaxRanks()
    return Alone()


class GreedyLR:
    """Rates for an optimizer whose learning_rate was injected (optax.inject_hyperparams), chained or not.

    lr       the initial rate.
    options  of greedylr.Session, GreedyLR's settings among them.
    state_dict and load_state_dict are the session's: session.load_state_dict goes back, then use `rate`.
    """

    def __init__(self, job: str, lr: float, url: Union[str, Client, None] = None, **options: Any) -> None:
        self.session = Session(job, [lr], url, ranks=jax_ranks, **options)

    @property
    def rate(self) -> float:
        """The rate to use now."""
        return self.session.lrs[0]

    def update(self, opt_state: Any, value: Any, step: Optional[int] = None, *, weight: float = 1.0) -> Any:
        """Reports a value (a number or an array of one element) and returns the optimizer state with the new rate."""
        used = self._in_use(opt_state)
        held = float(numpy.asarray(self.rate, used.dtype))  # in bfloat16 far from the rate that was decided
        self.session.step(value, step, weight=weight, applied=[self.rate if float(used) == held else float(used)])
        return self.put(opt_state)

    def put(self, opt_state: Any) -> Any:
        """The optimizer state with the rate to use now."""
        return optax.tree_utils.tree_set(opt_state, learning_rate=_like(self._in_use(opt_state), self.rate))

    @staticmethod
    def _in_use(opt_state: Any) -> Any:
        try:
            used = optax.tree_utils.tree_get(opt_state, "learning_rate")
        except KeyError:
            raise ValueError("opt_state: has several learning_rate, or a schedule of them; inject one, and a "
                             "number") from None
        if used is None:
            raise ValueError("opt_state: has no learning_rate; make the optimizer with optax.inject_hyperparams("
                             "optax.sgd)(learning_rate=...), or whatever optax has for sgd")
        return jnp.asarray(used)


def _like(used: Any, rate: float) -> Any:
    """The rate as an array of the type and on the devices of the one in use: with others a step is compiled again."""
    new = numpy.asarray(rate, used.dtype)
    if not getattr(used, "committed", False):
        return jnp.asarray(new)
    return jax.make_array_from_callback(new.shape, used.sharding, lambda index: new[index])
