#!/usr/bin/env python3
"""Plain Python, for a framework without an adapter: a session takes losses and hands out rates.

    python3 client/examples/recipes/plain_python.py [JOB]

The daemon is at GREEDYLR_URL, or at http://127.0.0.1:8571.  Nothing but the standard library is needed.
"""
import sys

from greedylr import Session

job = sys.argv[1] if len(sys.argv) > 1 else "recipe-python"
xs, weight = [-2.0, -1.0, -0.5, 0.5, 1.0, 2.0], 0.0  # the model: one weight, fitted to y = 3 x

session = Session(job, lr=[0.001], patience=2)
for epoch in range(1, 11):
    rate = session.lrs[0]
    for x in xs:
        weight -= rate * 2 * (weight - 3) * x * x
    loss = sum((weight - 3) ** 2 * x * x for x in xs) / len(xs)
    session.step(loss, epoch, applied=[rate])
    print(f"epoch {epoch}: loss {loss:.4f}, rate {session.lrs[0]:.3g}", flush=True)
session.flush()  # if the daemon was away: what it has missed
