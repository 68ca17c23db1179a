#!/usr/bin/env python3
"""Keras: a callback of fit() reports each epoch and sets the rate.

    python3 client/examples/recipes/keras_fit.py [JOB]

The daemon is at GREEDYLR_URL, or at http://127.0.0.1:8571.  A restart that goes on at initial_epoch takes the
daemon's job back to it by itself.
"""
import sys

import keras
import numpy

from greedylr.keras import GreedyLRCallback

job = sys.argv[1] if len(sys.argv) > 1 else "recipe-keras"

x = numpy.random.default_rng(0).normal(size=(96, 4)).astype("float32")
y = x.sum(1)
model = keras.Sequential([keras.layers.Dense(1)])
model.compile(optimizer=keras.optimizers.SGD(0.003), loss="mse")

model.fit(x[:64], y[:64], validation_data=(x[64:], y[64:]), epochs=10, verbose=0,
          callbacks=[GreedyLRCallback(job=job, monitor="val_loss", patience=2)])
print(f"rate {float(keras.ops.convert_to_numpy(model.optimizer.learning_rate)):.3g}")
