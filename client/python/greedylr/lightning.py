"""Lightning.

GreedyLR is a ReduceLROnPlateau, so configure_optimizers may return it with a "monitor":

    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": GreedyLR(optimizer, job="run-7"),
                                                     "monitor": "val_loss"}}

The callback does without a change of the module:

    Trainer(callbacks=[GreedyLRCallback(job="run-7")])
"""
from __future__ import annotations

import logging
from typing import Any, Dict, Optional, Union

try:
    from lightning.pytorch.callbacks import Callback
except ImportError:
    from pytorch_lightning.callbacks import Callback

from .client import Client
from .scheduler import GreedyLR

log = logging.getLogger("greedylr")


class GreedyLRCallback(Callback):
    """Reports a logged metric after each validation, at the step global_step, and sets the first optimizer's rates.

    monitor  name of the metric; where ranks hold different values they are combined.
    options  of greedylr.GreedyLR.
    The run's place is part of Lightning's checkpoints.  A fast_dev_run leaves the job alone, as it does loggers.
    """

    def __init__(self, job: str, url: Union[str, Client, None] = None, monitor: str = "val_loss",
                 **options: Any) -> None:
        super().__init__()
        self.job, self.url, self.monitor, self.options = job, url, monitor, options
        self.scheduler: Optional[GreedyLR] = None
        self._loaded: Dict[str, Any] = {}
        self._training = self._warned = False

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Finds the job, and goes back to the checkpoint that was loaded."""
        if getattr(trainer, "fast_dev_run", False):
            return
        self.scheduler = GreedyLR(trainer.optimizers[0], self.job, self.url, **self.options)
        if self._loaded:
            self.scheduler.load_state_dict(self._loaded)
            self._loaded = {}
        self._training = True

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Hands in what the daemon has missed.  Validations after the training are not reported."""
        self._training = False
        if self.scheduler is not None:
            self.scheduler.flush()

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Reports."""
        if not self._training or self.scheduler is None or trainer.sanity_checking:
            return
        value = trainer.callback_metrics.get(self.monitor)
        if value is None:
            if not self._warned:
                log.warning("greedylr: no metric %s was logged, only %s", self.monitor,
                            sorted(trainer.callback_metrics))
            self._warned = True
            return
        self.scheduler.step(value, trainer.global_step)

    def state_dict(self) -> Dict[str, Any]:
        """For the checkpoint."""
        return self.scheduler.state_dict() if self.scheduler is not None else dict(self._loaded)

    def load_state_dict(self, state_dict: Dict[str, Any]) -> None:
        """From the checkpoint; used once the optimizers are there."""
        self._loaded = dict(state_dict)
