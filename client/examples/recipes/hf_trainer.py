#!/usr/bin/env python3
"""Hugging Face Transformers: a callback of the Trainer reports each evaluation and sets the rates.

    python3 client/examples/recipes/hf_trainer.py [JOB [FOLDER]]

The daemon is at GREEDYLR_URL, or at http://127.0.0.1:8571.  The place in the job is in the Trainer's checkpoints:
trainer.train(resume_from_checkpoint=True) takes the daemon's job back as well.
"""
import sys

import torch
from transformers import Trainer, TrainingArguments

from greedylr.transformers import GreedyLRCallback

job, folder = (sys.argv[1:] + ["recipe-trainer", "recipe-trainer"][len(sys.argv) - 1:])[:2]


class Line(torch.nn.Module):
    """A model as the Trainer wants it: it returns its loss."""

    def __init__(self):
        super().__init__()
        self.line = torch.nn.Linear(4, 1)

    def forward(self, x, labels=None):
        return {"loss": ((self.line(x)[:, 0] - labels) ** 2).mean()}


torch.manual_seed(0)
model = Line()
rows = [{"x": x, "labels": x.sum()} for x in torch.randn(96, 4)]

args = TrainingArguments(folder, eval_strategy="steps", eval_steps=5, lr_scheduler_type="constant",
                         learning_rate=0.003, max_steps=50, save_steps=25, per_device_train_batch_size=16,
                         label_names=["labels"], prediction_loss_only=True, report_to=[])
trainer = Trainer(model, args, train_dataset=rows[:64], eval_dataset=rows[64:],
                  callbacks=[GreedyLRCallback(job=job, patience=2)])
trainer.train()
print(f"rate {trainer.optimizer.param_groups[0]['lr']:.3g} after step {trainer.state.global_step}")
