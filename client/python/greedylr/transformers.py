"""Hugging Face Transformers.

GreedyLR is a ReduceLROnPlateau, so a Trainer takes it as its scheduler and steps it after each evaluation:

    Trainer(..., args=TrainingArguments(eval_strategy="steps", metric_for_best_model="loss", ...),
            optimizers=(optimizer, GreedyLR(optimizer, job="run-7")))

Where the Trainer makes the optimizer, use the callback:

    Trainer(..., args=TrainingArguments(eval_strategy="steps", lr_scheduler_type="constant", ...),
            callbacks=[GreedyLRCallback(job="run-7")])
"""
from __future__ import annotations

import json
import logging
import math
import os
from typing import Any, Dict, List, Optional, Union

from transformers import TrainerCallback

from .client import Client
from .scheduler import GreedyLR, set_rates

log = logging.getLogger("greedylr")


class GreedyLRCallback(TrainerCallback):
    """Reports a metric of each evaluation at the step global_step and sets the rates.

    metric   key of the evaluation's metrics; evaluations without it (other data sets) are passed over.
    options  of greedylr.GreedyLR.
    The Trainer's own scheduler multiplies the rates, so it has to be a constant one (with or without warm-up, whose
    factor the optimizer's rates have and those of the job have not).  The run's place is saved in the checkpoints and
    restored from them.
    """

    def __init__(self, job: str, url: Union[str, Client, None] = None, metric: str = "eval_loss",
                 **options: Any) -> None:
        self.job, self.url, self.metric, self.options = job, url, metric, options
        self.scheduler: Optional[GreedyLR] = None
        self._warned = False

    def on_train_begin(self, args: Any, state: Any, control: Any, optimizer: Any = None, lr_scheduler: Any = None,
                       **kwargs: Any) -> None:
        """Finds the job, and goes back to the checkpoint that the Trainer resumes from."""
        self._lift(optimizer, lr_scheduler)
        self.scheduler = GreedyLR(optimizer, self.job, self.url, **self.options)
        path = self._path(args, state)
        if state.global_step and os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                self.scheduler.load_state_dict(json.load(file))
        self._keep(optimizer, lr_scheduler)

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Optional[Dict[str, float]] = None,
                    optimizer: Any = None, lr_scheduler: Any = None, **kwargs: Any) -> None:
        """Reports."""
        if self.scheduler is None:
            return
        if self.metric not in (metrics or {}):
            if not self._warned:
                log.warning("greedylr: no metric %s in this evaluation, only %s", self.metric, sorted(metrics or {}))
            self._warned = True
            return
        self._lift(optimizer, lr_scheduler)
        self.scheduler.step((metrics or {})[self.metric], state.global_step)
        self._keep(optimizer, lr_scheduler)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Saves the run's place in the checkpoint."""
        if self.scheduler is not None and args.should_save and os.path.isdir(os.path.dirname(self._path(args, state))):
            with open(self._path(args, state), "w", encoding="utf-8") as file:
                json.dump(self.scheduler.state_dict(), file)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Hands in what the daemon has missed.  Evaluations after the training are not reported."""
        if self.scheduler is not None:
            self.scheduler.flush()
        self.scheduler = None

    def _lift(self, optimizer: Any, lr_scheduler: Any) -> None:
        """Takes the factor of the Trainer's scheduler out of the rates, where it is in them."""
        inner = getattr(lr_scheduler, "scheduler", lr_scheduler)
        rates = [float(group["lr"]) for group in optimizer.param_groups]
        bases = getattr(inner, "base_lrs", rates)
        set_rates(optimizer, [base if math.isclose(rate, base * factor, rel_tol=1e-6) else rate
                              for rate, base, factor in zip(rates, bases, self._factors(inner, len(rates)))])

    def _keep(self, optimizer: Any, lr_scheduler: Any) -> None:
        """The Trainer's scheduler sets base rates times its factor after each optimizer step, so the next one has it
        too."""
        inner = getattr(lr_scheduler, "scheduler", lr_scheduler)
        if self.scheduler is not None and hasattr(inner, "base_lrs"):
            inner.base_lrs = self.scheduler.get_last_lr()
            factors = self._factors(inner, len(inner.base_lrs))
            inner._last_lr = [base * factor for base, factor in zip(inner.base_lrs, factors)]
            set_rates(optimizer, inner._last_lr)

    @staticmethod
    def _factors(inner: Any, groups: int) -> List[float]:
        """Of each group, now."""
        of = getattr(inner, "lr_lambdas", None)
        return [float(one(inner.last_epoch)) for one in of] if of else [1.0] * groups

    @staticmethod
    def _path(args: Any, state: Any) -> str:
        return os.path.join(args.output_dir, f"checkpoint-{state.global_step}", "greedylr.json")
