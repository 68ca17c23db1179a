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
import os
from typing import Any, Dict, Optional, Union

from transformers import TrainerCallback

from .client import Client
from .scheduler import GreedyLR

log = logging.getLogger("greedylr")


class GreedyLRCallback(TrainerCallback):
    """Reports a metric of each evaluation at the step global_step and sets the rates.

    metric   key of the evaluation's metrics; evaluations without it (other data sets) are passed over.
    options  of greedylr.GreedyLR.
    The Trainer's own scheduler multiplies the rates, so it has to be a constant one (with or without warm-up).  The
    run's place is saved in the checkpoints and restored from them.
    """

    def __init__(self, job: str, url: Union[str, Client, None] = None, metric: str = "eval_loss",
                 **options: Any) -> None:
        self.job, self.url, self.metric, self.options = job, url, metric, options
        self.scheduler: Optional[GreedyLR] = None
        self._warned = False

    def on_train_begin(self, args: Any, state: Any, control: Any, optimizer: Any = None, lr_scheduler: Any = None,
                       **kwargs: Any) -> None:
        """Finds the job, and goes back to the checkpoint that the Trainer resumes from."""
        self.scheduler = GreedyLR(optimizer, self.job, self.url, **self.options)
        path = self._path(args, state)
        if state.global_step and os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                self.scheduler.load_state_dict(json.load(file))
        self._keep(lr_scheduler)

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Optional[Dict[str, float]] = None,
                    lr_scheduler: Any = None, **kwargs: Any) -> None:
        """Reports."""
        if self.scheduler is None:
            return
        if self.metric not in (metrics or {}):
            if not self._warned:
                log.warning("greedylr: no metric %s in this evaluation, only %s", self.metric, sorted(metrics or {}))
            self._warned = True
            return
        self.scheduler.step((metrics or {})[self.metric], state.global_step)
        self._keep(lr_scheduler)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Saves the run's place in the checkpoint."""
        if self.scheduler is not None and args.should_save and os.path.isdir(os.path.dirname(self._path(args, state))):
            with open(self._path(args, state), "w", encoding="utf-8") as file:
                json.dump(self.scheduler.state_dict(), file)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Evaluations after the training are not reported."""
        self.scheduler = None

    def _keep(self, lr_scheduler: Any) -> None:
        """The Trainer's scheduler sets base rates times its factor after each optimizer step."""
        inner = getattr(lr_scheduler, "scheduler", lr_scheduler)
        if self.scheduler is not None and hasattr(inner, "base_lrs"):
            inner.base_lrs = self.scheduler.get_last_lr()

    @staticmethod
    def _path(args: Any, state: Any) -> str:
        return os.path.join(args.output_dir, f"checkpoint-{state.global_step}", "greedylr.json")
