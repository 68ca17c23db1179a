#!/usr/bin/env python3
"""JAX with optax: the rate is a number in the optimizer's state, so setting it traces nothing again.

    python3 client/examples/recipes/jax_optax.py [JOB]

The daemon is at GREEDYLR_URL, or at http://127.0.0.1:8571.  In a program of several processes each runs these lines;
the values are combined and one process reports.
"""
import sys

import jax
import jax.numpy as jnp
import optax

from greedylr.optax import GreedyLR

job = sys.argv[1] if len(sys.argv) > 1 else "recipe-jax"

x = jax.random.normal(jax.random.PRNGKey(0), (96, 4))
y = x.sum(1)
params = jnp.zeros(4)


def loss_of(params, x, y):
    return jnp.mean((x @ params - y) ** 2)


optimizer = optax.inject_hyperparams(optax.sgd)(learning_rate=0.003)
opt_state = optimizer.init(params)
greedy = GreedyLR(job=job, lr=0.003, patience=2)


@jax.jit
def train(params, opt_state):
    updates, opt_state = optimizer.update(jax.grad(loss_of)(params, x[:64], y[:64]), opt_state, params)
    return optax.apply_updates(params, updates), opt_state


for epoch in range(1, 11):
    for _ in range(4):
        params, opt_state = train(params, opt_state)
    opt_state = greedy.update(opt_state, loss_of(params, x[64:], y[64:]), epoch)
    print(f"epoch {epoch}: rate {greedy.rate:.3g}", flush=True)
greedy.session.flush()  # if the daemon was away: what it has missed
