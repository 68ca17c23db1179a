#!/usr/bin/env python3
"""Trains a small network on handwritten digits in several processes, with learning rates from greedylrd.

    torchrun --nproc_per_node 2 client/examples/ddp_digits.py --job digits --url http://127.0.0.1:8571

Each process trains and validates on its share; GreedyLR combines the validation losses, so that all of them hold the
same rate.  A restart with --resume goes back to a checkpoint, and takes the daemon's job back to it.
Needs PyTorch and scikit-learn (Debian: python3-torch python3-sklearn) and client/python on PYTHONPATH, or installed.
"""
import argparse
import json
import os
import time

import torch
import torch.distributed as dist
from sklearn.datasets import load_digits
from torch.nn.parallel import DistributedDataParallel

from greedylr import GreedyLR


def digits(seed):
    data = load_digits()
    x = torch.tensor(data.data / 16.0, dtype=torch.float32)
    y = torch.tensor(data.target)
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))
    train, valid = order[:1200], order[1200:]
    return x[train], y[train], x[valid], y[valid]


def save(path, **state):
    """Whole or not at all, also when this process is killed here."""
    torch.save(state, path + ".new")
    os.replace(path + ".new", path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", help="where greedylrd is")
    parser.add_argument("--job", default="ddp-digits", help="name of this run's job")
    parser.add_argument("--lr", type=float, default=0.01, help="initial rate")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", action="store_true", help="let the daemon combine the ranks' losses")
    parser.add_argument("--on-error", choices=("hold", "local", "raise"), default="hold")
    parser.add_argument("--budget", type=float, default=5.0, help="longest wait for the daemon, in seconds")
    parser.add_argument("--checkpoints", metavar="DIR", help="save a checkpoint there after each epoch")
    parser.add_argument("--resume", metavar="FILE", help="go back to this checkpoint")
    parser.add_argument("--log", metavar="DIR", help="each rank writes its rates there, a line of JSON per epoch")
    parser.add_argument("--pause", type=float, default=0.0, help="rest between epochs, in seconds")
    args = parser.parse_args()

    torch.set_num_threads(1)
    dist.init_process_group("gloo")  # RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT come from the launcher
    rank, size = dist.get_rank(), dist.get_world_size()
    torch.manual_seed(args.seed)
    x, y, x_valid, y_valid = digits(args.seed)
    model = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))
    ddp = DistributedDataParallel(model)
    optimizer = torch.optim.SGD([{"params": model[0].parameters(), "name": "body"},
                                 {"params": model[2].parameters(), "name": "head", "lr": args.lr / 2}], lr=args.lr)
    scheduler = GreedyLR(optimizer, args.job, args.url, patience=1, rounds=args.rounds, on_error=args.on_error,
                         budget=args.budget)
    loss_of = torch.nn.CrossEntropyLoss()

    first = 1
    if args.resume:
        checkpoint = torch.load(args.resume)
        model.load_state_dict(checkpoint["model"])
        optimizer.load_state_dict(checkpoint["optimizer"])
        scheduler.load_state_dict(checkpoint["scheduler"])
        first = checkpoint["epoch"] + 1
    log = open(os.path.join(args.log, f"rank{rank}.jsonl"), "a", encoding="utf-8") if args.log else None

    for epoch in range(first, args.epochs + 1):
        order = torch.randperm(len(y), generator=torch.Generator().manual_seed(epoch))
        for batch in order[rank::size].split(32)[:1200 // size // 32]:
            optimizer.zero_grad()
            loss_of(ddp(x[batch]), y[batch]).backward()
            optimizer.step()
        with torch.no_grad():
            loss = loss_of(model(x_valid[rank::size]), y_valid[rank::size])

        scheduler.step(loss, epoch, weight=len(y_valid[rank::size]))

        decision = scheduler.last_decision or {"action": "-", "reason": "the daemon is away"}
        if log:
            print(json.dumps({"epoch": epoch, "loss": loss.item(), "lrs": scheduler.get_last_lr(),
                              "action": decision["action"]}), file=log, flush=True)
        if rank == 0:
            rate = scheduler.get_last_lr()[0]
            print(f"{epoch:5} {rate:9.3g}  {decision['action']:6} {decision['reason']}", flush=True)
            if args.checkpoints:
                save(os.path.join(args.checkpoints, f"epoch{epoch}.pt"), epoch=epoch, model=model.state_dict(),
                     optimizer=optimizer.state_dict(), scheduler=scheduler.state_dict())
        time.sleep(args.pause)

    with torch.no_grad():
        accuracy = (model(x_valid).argmax(1) == y_valid).double().mean().item()
    if rank == 0:
        print(f"accuracy {100 * accuracy:.1f} %")
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
