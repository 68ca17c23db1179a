#!/usr/bin/env python3
"""PyTorch DistributedDataParallel: every rank holds the same rate, and a restart goes on where a checkpoint was.

    torchrun --nproc_per_node 2 client/examples/recipes/pytorch_ddp.py [JOB [CHECKPOINT [EPOCHS]]]

The daemon is at GREEDYLR_URL, or at http://127.0.0.1:8571.  Without DDP the same lines do, in one process.
"""
import os
import sys

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from greedylr import GreedyLR

job, checkpoint, epochs = (sys.argv[1:] + ["recipe-ddp", "recipe-ddp.pt", "20"][len(sys.argv) - 1:])[:3]


def main():
    dist.init_process_group("gloo")  # "nccl" on GPUs
    rank, size = dist.get_rank(), dist.get_world_size()
    torch.manual_seed(0)
    x = torch.randn(512, 8)
    y = x.sum(1, keepdim=True)
    train, valid = slice(rank, 384, size), slice(384 + rank, 512, size)  # each rank has its share of both
    loss_of = torch.nn.MSELoss()

    model = DistributedDataParallel(torch.nn.Linear(8, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.003)
    scheduler = GreedyLR(optimizer, job=job, patience=2)

    first = 1
    if os.path.exists(checkpoint):
        state = torch.load(checkpoint)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        scheduler.load_state_dict(state["scheduler"])  # takes the daemon's job back to the checkpoint as well
        first = state["epoch"] + 1

    for epoch in range(first, int(epochs) + 1):
        for inputs, targets in zip(x[train].split(32), y[train].split(32)):
            optimizer.zero_grad()
            loss_of(model(inputs), targets).backward()
            optimizer.step()
        with torch.no_grad():
            loss = loss_of(model(x[valid]), y[valid])

        scheduler.step(loss, epoch, weight=len(x[valid]))  # on every rank: one report of the mean, one rate for all

        if rank == 0:
            print(f"epoch {epoch}: loss {loss.item():.4f}, rate {scheduler.get_last_lr()[0]:.3g}", flush=True)
            torch.save({"epoch": epoch, "model": model.state_dict(), "optimizer": optimizer.state_dict(),
                        "scheduler": scheduler.state_dict()}, checkpoint)
    scheduler.flush()  # if the daemon was away: what it has missed
    dist.barrier()  # a rank that leaves while its last all_reduce is being put away can hang at its end
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
