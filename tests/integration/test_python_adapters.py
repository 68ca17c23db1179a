"""The adapters inside the real frameworks, where a machine has them."""
import json
import os
import tempfile
import unittest

from python_help import RunTest, have, needs


class Adapters(RunTest):
    """Each test trains something small with its framework and looks at what the daemon decided."""

    def check_decided(self, steps, rate):
        """The history has these steps, its rates are those of an uninterrupted run, and the last one is in use."""
        counted = self.counted("run")
        self.assertEqual([d["step"] for d in counted], steps)
        spec = self.d.ok("GET", "/v1/jobs/run")["spec"]
        want = self.d.ok("POST", "/v1/simulate", {"spec": spec, "losses": [d["value"] for d in counted]})
        self.assertEqual([d["lrs"] for d in counted], [d["lrs"] for d in want["decisions"]])
        self.assertFalse(any(d["applied_mismatch"] for d in counted))
        self.assertAlmostEqual(rate, counted[-1]["lr"], delta=1e-6 * rate)


@needs("transformers")
class Transformers(Adapters):
    def setUp(self):
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def trainer(self, steps, callbacks=(), scheduler_of=None):
        import torch
        from transformers import Trainer, TrainingArguments

        class Line(torch.nn.Module):
            def __init__(self):
                super().__init__()
                torch.manual_seed(0)
                self.line = torch.nn.Linear(4, 1)

            def forward(self, x, labels=None):
                return {"loss": ((self.line(x)[:, 0] - labels) ** 2).mean()}

        generator = torch.Generator().manual_seed(1)
        data = [{"x": x, "labels": x.sum()} for x in torch.randn(64, 4, generator=generator)]
        args = TrainingArguments(self.folder, max_steps=steps, learning_rate=0.01, eval_strategy="steps", eval_steps=5,
                                 save_steps=5, lr_scheduler_type="constant", metric_for_best_model="loss",
                                 per_device_train_batch_size=8, report_to=[], use_cpu=True, label_names=["labels"],
                                 prediction_loss_only=True)
        model = Line()
        optimizers = (None, None)
        if scheduler_of is not None:
            optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
            optimizers = (optimizer, scheduler_of(optimizer))
        return Trainer(model, args, train_dataset=data, eval_dataset=data, callbacks=list(callbacks),
                       optimizers=optimizers)

    def test_as_the_scheduler(self):
        from greedylr import GreedyLR
        trainer = self.trainer(20, scheduler_of=lambda o: GreedyLR(o, "run", self.url, patience=0))
        trainer.train()
        self.check_decided([1, 2, 3, 4], trainer.optimizer.param_groups[0]["lr"])

    def test_as_a_callback_that_resumes(self):
        from greedylr.transformers import GreedyLRCallback
        trainer = self.trainer(20, [GreedyLRCallback("run", self.url, patience=0)])
        trainer.train()
        self.check_decided([5, 10, 15, 20], trainer.optimizer.param_groups[0]["lr"])
        with open(os.path.join(self.folder, "checkpoint-10", "greedylr.json"), encoding="utf-8") as file:
            self.assertEqual(json.load(file)["last_step"], 10)
        again = self.trainer(25, [GreedyLRCallback("run", self.url, patience=0)])
        again.train(resume_from_checkpoint=os.path.join(self.folder, "checkpoint-10"))
        self.check_decided([5, 10, 15, 20, 25], again.optimizer.param_groups[0]["lr"])
        self.assertEqual([d["attempt"] for d in self.counted("run")], [0, 0, 1, 1, 1])


@unittest.skipUnless(have("lightning") or have("pytorch_lightning"), "lightning is not installed")
class Lightning(Adapters):
    def fit(self, folder, epochs, scheduler=None, callbacks=(), checkpoint=None):
        import torch
        try:
            import lightning.pytorch as pl
        except ImportError:
            import pytorch_lightning as pl

        class Line(pl.LightningModule):
            def __init__(self):
                super().__init__()
                torch.manual_seed(0)
                self.line = torch.nn.Linear(4, 1)

            def loss(self, batch):
                return ((self.line(batch)[:, 0] - batch.sum(1)) ** 2).mean()

            def training_step(self, batch, index):
                return self.loss(batch)

            def validation_step(self, batch, index):
                self.log("val_loss", self.loss(batch))

            def configure_optimizers(self):
                optimizer = torch.optim.SGD(self.parameters(), lr=0.01)
                if scheduler is None:
                    return optimizer
                return {"optimizer": optimizer,
                        "lr_scheduler": {"scheduler": scheduler(optimizer), "monitor": "val_loss"}}

        data = torch.utils.data.DataLoader(torch.randn(64, 4, generator=torch.Generator().manual_seed(1)), 16)
        trainer = pl.Trainer(max_epochs=epochs, accelerator="cpu", devices=1, logger=False, default_root_dir=folder,
                             enable_progress_bar=False, enable_model_summary=False, callbacks=list(callbacks))
        trainer.fit(Line(), data, data, ckpt_path=checkpoint)
        return trainer

    def test_as_the_scheduler(self):
        from greedylr import GreedyLR
        with tempfile.TemporaryDirectory() as folder:
            trainer = self.fit(folder, 4, lambda o: GreedyLR(o, "run", self.url, patience=0))
        self.check_decided([1, 2, 3, 4], trainer.optimizers[0].param_groups[0]["lr"])

    def test_as_a_callback_that_resumes(self):
        from greedylr.lightning import GreedyLRCallback
        with tempfile.TemporaryDirectory() as folder:
            trainer = self.fit(folder, 3, callbacks=[GreedyLRCallback("run", self.url, patience=0)])
            path = os.path.join(folder, "third.ckpt")
            trainer.save_checkpoint(path)
            self.fit(folder, 5, callbacks=[GreedyLRCallback("run", self.url, patience=0)], checkpoint=path)
            trainer = self.fit(folder, 6, callbacks=[GreedyLRCallback("run", self.url, patience=0)], checkpoint=path)
        self.check_decided([4, 8, 12, 16, 20, 24], trainer.optimizers[0].param_groups[0]["lr"])


@unittest.skipUnless(have("keras") or have("tensorflow"), "keras is not installed")
class Keras(Adapters):
    def test_as_a_callback(self):
        import numpy
        try:
            import keras
        except ImportError:
            from tensorflow import keras
        from greedylr.keras import GreedyLRCallback
        x = numpy.random.default_rng(1).normal(size=(64, 4)).astype("float32")

        def model():
            made = keras.Sequential([keras.layers.Dense(1)])
            made.compile(optimizer=keras.optimizers.SGD(0.01), loss="mse")
            return made

        def fit(made, callback, epochs, first=0):
            made.fit(x, x.sum(1), validation_data=(x, x.sum(1)), epochs=epochs, initial_epoch=first, verbose=0,
                     callbacks=[callback])
            return float(numpy.asarray(made.optimizer.learning_rate))
        made, callback = model(), GreedyLRCallback("run", self.url, patience=0)
        self.check_decided([1, 2, 3], fit(made, callback, 3))
        self.check_decided([1, 2, 3, 4, 5], fit(made, callback, 2))  # counts its epochs from 0 again
        again = model()
        self.check_decided([1, 2, 3, 4], fit(again, GreedyLRCallback("run", self.url, patience=0), 4, first=2))


@needs("optax")
class Optax(Adapters):
    def test_injected_rates(self):
        import jax
        import jax.numpy as jnp
        import optax
        from greedylr.optax import GreedyLR
        optimizer = optax.chain(optax.clip(1.0), optax.inject_hyperparams(optax.sgd)(learning_rate=0.01))
        params, traced = jnp.zeros(4), []
        state = optimizer.init(params)
        greedy = GreedyLR("run", 0.01, self.url, patience=0)

        def loss(params):
            return jnp.sum((params - 1) ** 2)

        @jax.jit
        def train(params, state):
            traced.append(1)
            updates, state = optimizer.update(jax.grad(loss)(params), state)
            return optax.apply_updates(params, updates), state
        for _ in range(5):
            params, state = train(params, state)
            state = greedy.update(state, loss(params))
        self.check_decided([1, 2, 3, 4, 5], float(optax.tree_utils.tree_get(state, "learning_rate")))
        self.assertEqual(len(traced), 1)


if __name__ == "__main__":
    unittest.main()
