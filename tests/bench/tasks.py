"""The data and the models of the comparison: scikit-learn's real data sets, which come with the library.

A seed of a task decides the split into training, validation and test data, the initial weights, the order of the
minibatches and all noise.  Nothing else does, so that every arm of a cell sees the same (the pairing).
"""
import functools
import zlib

import numpy
import sklearn.datasets
import torch

# data set, hidden layers, activation, minibatch, optimizer steps behind one of 100 reports, validation and test rows
TASKS = {
    "digits": ("digits", (32,), "relu", 32, 4, 150, 300),
    "digits-deep": ("digits", (20, 20, 20), "tanh", 32, 4, 150, 300),
    "autoencoder": ("pixels", (12,), "tanh", 32, 4, 150, 300),
    "breast_cancer": ("breast_cancer", (16,), "tanh", 16, 2, 120, 170),
    "wine": ("wine", (16,), "tanh", 16, 2, 40, 50),
    "diabetes": ("diabetes", (16,), "tanh", 16, 2, 100, 130),
}


@functools.lru_cache(None)
def load(name):
    """(inputs, targets, loss): targets are one-hot for "cross_entropy", standardized numbers for "mse"."""
    found = getattr(sklearn.datasets, "load_" + ("digits" if name == "pixels" else name))()
    x = found.data.astype("float64")
    if name == "pixels":  # the digits are to be reproduced through a bottleneck
        return x / 16, x / 16, "mse"
    if name == "digits":
        x /= 16
    if name == "diabetes":
        y = found.target.astype("float64")
        return x, ((y - y.mean()) / y.std())[:, None], "mse"
    return x, numpy.eye(int(found.target.max()) + 1)[found.target], "cross_entropy"


class Task:
    """Data, initial weights and minibatches of some seeds, stacked: every tensor begins with the seed."""

    def __init__(self, name, seeds, steps):
        data, hidden, self.activation, self.batch, self.steps_per_report, n_val, n_test = TASKS[name]
        self.name, self.seeds = name, list(seeds)
        x, y, self.loss = load(data)
        self.sizes = [x.shape[1], *hidden, y.shape[1]]
        parts = [self._of_seed(x, y, seed, n_val, n_test, steps, data not in ("digits", "pixels")) for seed in self.seeds]
        keys = ("train_x", "train_y", "val_x", "val_y", "test_x", "test_y", "order")
        for key, column in zip(keys, zip(*[p[0] for p in parts])):
            setattr(self, key, torch.from_numpy(numpy.stack(column)))
        self.weights = [[torch.from_numpy(numpy.stack(t)) for t in zip(*layer)] for layer in zip(*[p[1] for p in parts])]

    def _of_seed(self, x, y, seed, n_val, n_test, steps, standardize):
        rng = stream(self.name, seed, "data")
        shuffled = rng.permutation(len(x))
        test, val, train = numpy.split(shuffled, [n_test, n_test + n_val])
        if standardize:  # by what training may know
            x = (x - x[train].mean(0)) / (x[train].std(0) + 1e-8)
        data = [a[part].astype("float32") for part in (train, val, test) for a in (x, y)]
        per_epoch = len(train) // self.batch
        epochs = -(-steps // per_epoch)
        order = numpy.concatenate([rng.permutation(len(train))[:per_epoch * self.batch] for _ in range(epochs)])
        data.append(order.reshape(-1, self.batch)[:steps])
        rng = stream(self.name, seed, "weights")
        weights = []
        for fan_in, fan_out in zip(self.sizes, self.sizes[1:]):  # as torch.nn.Linear does
            bound = fan_in ** -0.5
            weights.append([rng.uniform(-bound, bound, s).astype("float32") for s in ((fan_in, fan_out), (fan_out,))])
        return data, weights


def stream(*what):
    """Random numbers that depend on these words and numbers alone."""
    return numpy.random.default_rng(zlib.crc32(" ".join(map(str, what)).encode()))
