#!/usr/bin/env python3
"""Lightning: a callback reports each validation and sets the rates; the module stays as it is.

    python3 client/examples/recipes/lightning_fit.py [JOB]

The daemon is at GREEDYLR_URL, or at http://127.0.0.1:8571.  The place in the job is in Lightning's checkpoints:
trainer.fit(..., ckpt_path=...) takes the daemon's job back as well.
"""
import sys

import lightning.pytorch as pl
import torch

from greedylr.lightning import GreedyLRCallback

job = sys.argv[1] if len(sys.argv) > 1 else "recipe-lightning"


class Line(pl.LightningModule):
    """The sum of four numbers."""

    def __init__(self):
        super().__init__()
        self.line = torch.nn.Linear(4, 1)

    def loss(self, batch):
        return ((self.line(batch)[:, 0] - batch.sum(1)) ** 2).mean()

    def training_step(self, batch, index):
        return self.loss(batch)

    def validation_step(self, batch, index):
        self.log("val_loss", self.loss(batch))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.003)


torch.manual_seed(0)
rows = torch.randn(96, 4)
trainer = pl.Trainer(max_epochs=10, callbacks=[GreedyLRCallback(job=job, monitor="val_loss", patience=2)],
                     accelerator="cpu", devices=1, logger=False, enable_checkpointing=False,
                     enable_progress_bar=False, enable_model_summary=False)
trainer.fit(Line(), torch.utils.data.DataLoader(rows[:64], 16), torch.utils.data.DataLoader(rows[64:], 16))
print(f"rate {trainer.optimizers[0].param_groups[0]['lr']:.3g} after step {trainer.global_step}")
