#!/usr/bin/env python3
"""Trains a small network on handwritten digits with learning rates from greedylrd.

Each epoch reports its validation loss and uses the rate it gets back; that is report() below, and all there is to
copy into a trainer of your own.  If the daemon is away, the training goes on at the last rate and catches up later.
Needs PyTorch and scikit-learn (Debian: python3-torch python3-sklearn); the digits come with scikit-learn.
"""
import argparse
import http.client
import json
import time
import urllib.error
import urllib.request

import torch
from sklearn.datasets import load_digits


def report(args, values):
    """Sends the values (dicts with step, loss, applied_lr), oldest first, and removes what was answered.

    Returns the last decision, or None if the daemon could not be reached for args.wait seconds; who was late before
    (more than one value) tries once and waits no more, so that a daemon that is gone costs a run next to nothing.
    A report that is sent twice is decided once: repeating it after any failure is safe.
    """
    deadline = time.monotonic() + (args.wait if len(values) == 1 else 0)
    pause, decision = 0.05, None
    while values:
        body = json.dumps({"lr": args.lr, **values[0]}).encode()  # lr: creates the job at its first report
        try:
            with urllib.request.urlopen(f"{args.url}/v1/jobs/{args.job}:report", data=body, timeout=5) as answer:
                decision = json.load(answer)
            values.pop(0)
            continue
        except urllib.error.HTTPError as error:
            if error.code not in (429, 502, 503, 504):  # our mistake: repeating it would not help
                raise SystemExit(f"greedylrd refused the report: {error.read().decode()}") from None
        except (OSError, http.client.HTTPException, ValueError):  # away, cut off, or half an answer
            pass
        if time.monotonic() + pause > deadline:
            return None
        time.sleep(pause)
        pause = min(2 * pause, 2.0)
    return decision


def digits(seed):
    data = load_digits()
    x = torch.tensor(data.data / 16.0, dtype=torch.float32)
    y = torch.tensor(data.target)
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))
    train, valid = order[:1200], order[1200:]
    return x[train], y[train], x[valid], y[valid]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", default="http://127.0.0.1:8571", help="where greedylrd is")
    parser.add_argument("--job", default="digits", help="name of this run's job")
    parser.add_argument("--lr", type=float, default=0.01, help="initial rate")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--wait", type=float, default=10, help="longest wait for the daemon, in seconds")
    parser.add_argument("--constant", action="store_true", help="keep the initial rate and ask nobody")
    parser.add_argument("--json-out", metavar="FILE", help="write the table and the accuracy there as JSON")
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    torch.set_num_threads(1)  # the same sums in the same order, whatever the machine
    x, y, x_valid, y_valid = digits(args.seed)
    model = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=args.lr)
    loss_of = torch.nn.CrossEntropyLoss()
    unsent, rows = [], []

    print(f"digits: {len(y)} for training, {len(y_valid)} for validation; seed {args.seed}, initial rate {args.lr:g}")
    print(f"{'epoch':>5} {'loss':>8} {'rate':>9}  {'action':6} reason")
    for epoch in range(1, args.epochs + 1):
        for batch in torch.randperm(len(y)).split(32):
            optimizer.zero_grad()
            loss_of(model(x[batch]), y[batch]).backward()
            optimizer.step()
        with torch.no_grad():
            loss = loss_of(model(x_valid), y_valid).item()

        rate = optimizer.param_groups[0]["lr"]
        decision = {"lr": rate, "action": "-", "reason": "constant rate"}
        if not args.constant:
            unsent.append({"step": epoch, "loss": loss, "applied_lr": rate})
            decision = report(args, unsent) or {"lr": rate, "action": "-", "reason": "daemon away: rate kept"}
            if decision.get("conflict"):
                raise SystemExit(f"job {args.job} has another run's values: start this one with another --job")
            for group in optimizer.param_groups:
                group["lr"] = decision["lr"]

        rows.append({"epoch": epoch, "loss": loss, "lr": decision["lr"], "action": decision["action"],
                     "reason": decision["reason"]})
        print(f"{epoch:5} {loss:8.4f} {decision['lr']:9.3g}  {decision['action']:6} {decision['reason']}", flush=True)

    with torch.no_grad():
        accuracy = (model(x_valid).argmax(1) == y_valid).double().mean().item()
    print(f"final validation loss {loss:.4f}, accuracy {100 * accuracy:.1f} %")
    if args.json_out:
        with open(args.json_out, "w", encoding="utf-8") as out:
            json.dump({"rows": rows, "loss": loss, "accuracy": accuracy, "unsent": len(unsent)}, out)


if __name__ == "__main__":
    main()
