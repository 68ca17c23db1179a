"""Keras.

    model.fit(..., validation_data=..., callbacks=[GreedyLRCallback(job="run-7")])
"""
from __future__ import annotations

import logging
from typing import Any, Dict, Optional, Union

try:
    import keras
except ImportError:
    from tensorflow import keras

import numpy

from .client import Client
from .session import Session

log = logging.getLogger("greedylr")


class GreedyLRCallback(keras.callbacks.Callback):
    """Reports a metric after each epoch, at the step epoch + 1, and sets the optimizer's rate.

    monitor  name of the metric.
    lr       the initial rate, where a restart restores the optimizer's rate before fit; None: the optimizer's.
    options  of greedylr.Session, GreedyLR's settings among them.
    A restart that goes on at initial_epoch takes the job back to it by itself.  The optimizer's rate has to be a
    number, not a schedule.  Workers that train in step and see the same metrics may all report: one decides.
    """

    def __init__(self, job: str, url: Union[str, Client, None] = None, monitor: str = "val_loss", *,
                 lr: Optional[float] = None, **options: Any) -> None:
        super().__init__()
        self.job, self.url, self.monitor, self.lr, self.options = job, url, monitor, lr, options
        self.session: Optional[Session] = None
        self._first_epoch = True
        self._offset = 0
        self._warned = False

    def _rate(self) -> float:
        return float(numpy.asarray(self.model.optimizer.learning_rate))

    def on_train_begin(self, logs: Optional[Dict[str, Any]] = None) -> None:
        """Finds the job."""
        if self.session is None:
            initial = self._rate() if self.lr is None else self.lr
            self.session = Session(self.job, [initial], self.url, current=[self._rate()], **self.options)
            if self.session.lrs != [self._rate()]:  # a warm-up begins elsewhere
                self.model.optimizer.learning_rate = self.session.lrs[0]
        self._first_epoch = True

    def on_epoch_end(self, epoch: int, logs: Optional[Dict[str, Any]] = None) -> None:
        """Reports."""
        value = (logs or {}).get(self.monitor)
        if value is None or self.session is None:
            if not self._warned:
                log.warning("greedylr: no metric %s in this epoch, only %s", self.monitor, sorted(logs or {}))
            self._warned = True
            return
        if self._first_epoch:  # a second fit() that counts from 0 again goes on where the first ended
            last = self.session.last_step or 0
            self._offset, self._first_epoch = (last - epoch if epoch < last else 0), False
        self.model.optimizer.learning_rate = self.session.step(value, epoch + 1 + self._offset,
                                                               applied=[self._rate()])[0]

    def on_train_end(self, logs: Optional[Dict[str, Any]] = None) -> None:
        """Hands in what the daemon has missed."""
        if self.session is not None and self.session.missed.items:
            self.session.flush()
            self.model.optimizer.learning_rate = self.session.lrs[0]
