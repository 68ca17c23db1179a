#!/usr/bin/env python3
"""DeepSpeed, which has no scheduler of a metric: GreedyLR moves the rates in the groups of its engine's optimizer.

    deepspeed client/examples/recipes/deepspeed_engine.py [JOB [FOLDER]]

The daemon is at GREEDYLR_URL, or at http://127.0.0.1:8571.  The scheduler is not handed to deepspeed.initialize: the
engine would step it after every batch, and without a value.  Its place in the job travels in the checkpoint's client
state.
"""
import sys

import deepspeed
import torch

from greedylr import GreedyLR

arguments = [a for a in sys.argv[1:] if not a.startswith("--local_rank")]  # which the launcher adds
job, folder = (arguments + ["recipe-deepspeed", "recipe-deepspeed"][len(arguments):])[:2]

torch.manual_seed(0)
model = torch.nn.Linear(8, 1)
config = {"train_micro_batch_size_per_gpu": 32, "zero_optimization": {"stage": 1}}

engine, optimizer, _, _ = deepspeed.initialize(model=model, config=config,
                                               optimizer=torch.optim.AdamW(model.parameters(), lr=0.001))
scheduler = GreedyLR(optimizer, job=job, patience=2)

first = 1
path, state = engine.load_checkpoint(folder)
if path is not None:
    scheduler.load_state_dict(state["greedylr"])  # takes the daemon's job back to the checkpoint as well
    first = state["epoch"] + 1

rank, size = deepspeed.comm.get_rank(), deepspeed.comm.get_world_size()
x = torch.randn(512, 8, device=engine.device)
y = x.sum(1, keepdim=True)
train, valid = slice(rank, 384, size), slice(384 + rank, 512, size)  # each rank has its share of both
loss_of = torch.nn.MSELoss()
for epoch in range(first, 11):
    for inputs, targets in zip(x[train].split(32), y[train].split(32)):
        engine.backward(loss_of(engine(inputs), targets))
        engine.step()
    with torch.no_grad():
        loss = loss_of(engine(x[valid]), y[valid])

    scheduler.step(loss, epoch, weight=len(x[valid]))  # on every rank: one report of the mean, one rate for all

    engine.save_checkpoint(folder, tag=f"epoch{epoch}",
                           client_state={"epoch": epoch, "greedylr": scheduler.state_dict()})
    if rank == 0:
        print(f"epoch {epoch}: loss {loss.item():.4f}, rate {engine.get_lr()[0]:.3g}", flush=True)
scheduler.flush()  # if the daemon was away: what it has missed
