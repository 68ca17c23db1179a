"""The adapters inside the real frameworks, where a machine has them."""
import json
import os
import shutil
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

    def trainer(self, steps, callbacks=(), scheduler_of=None, folder=None, **more):
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
        args = TrainingArguments(folder or self.folder, max_steps=steps, learning_rate=0.01, eval_strategy="steps",
                                 eval_steps=5, save_steps=5, metric_for_best_model="loss", report_to=[], use_cpu=True,
                                 per_device_train_batch_size=8, label_names=["labels"], prediction_loss_only=True,
                                 **{"lr_scheduler_type": "constant", **more})
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

    def test_as_the_scheduler_that_resumes(self):
        from greedylr import GreedyLR
        self.trainer(20, scheduler_of=lambda o: GreedyLR(o, "run", self.url, patience=0)).train()
        again = self.trainer(25, scheduler_of=lambda o: GreedyLR(o, "run", self.url, patience=0))
        again.train(resume_from_checkpoint=os.path.join(self.folder, "checkpoint-10"))
        self.check_decided([1, 2, 3, 4, 5], again.optimizer.param_groups[0]["lr"])
        self.assertEqual([d["attempt"] for d in self.counted("run")], [0, 0, 1, 1, 1])

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

    def test_a_checkpoint_that_was_moved(self):
        from greedylr.transformers import GreedyLRCallback
        self.trainer(20, [GreedyLRCallback("run", self.url, patience=0)]).train()
        with tempfile.TemporaryDirectory() as elsewhere:
            moved = shutil.move(os.path.join(self.folder, "checkpoint-10"), elsewhere)
            again = self.trainer(25, [GreedyLRCallback("run", self.url, patience=0)], folder=os.path.join(elsewhere, "b"))
            again.train(resume_from_checkpoint=moved)
        self.check_decided([5, 10, 15, 20, 25], again.optimizer.param_groups[0]["lr"])
        self.assertEqual([d["attempt"] for d in self.counted("run")], [0, 0, 1, 1, 1])

    def test_a_warm_up_of_the_trainer(self):
        """Every step takes the warm-up's share of the decided rate; a resume in the middle of it changes nothing."""
        from greedylr.transformers import GreedyLRCallback
        from transformers import TrainerCallback
        used = {}

        class Look(TrainerCallback):
            def on_pre_optimizer_step(self, args, state, control, optimizer=None, **kwargs):
                used[state.global_step] = [float(group["lr"]) for group in optimizer.param_groups]

        def callbacks():
            return [GreedyLRCallback("run", self.url, patience=0), Look()]
        warm = {"lr_scheduler_type": "constant_with_warmup", "warmup_steps": 12}
        self.trainer(10, callbacks(), **warm).train()
        again = self.trainer(25, callbacks(), **warm)
        again.train(resume_from_checkpoint=os.path.join(self.folder, "checkpoint-5"))
        self.check_decided([5, 10, 15, 20, 25], again.optimizer.param_groups[0]["lr"])
        decided = [0.01] + [d["lr"] for d in self.counted("run")]
        self.assertEqual(sorted(used), list(range(25)))
        for step, rates in used.items():
            for rate in rates:
                self.assertAlmostEqual(rate, decided[step // 5] * min(1, step / 12), delta=1e-9, msg=step)

    def test_a_daemon_that_is_away_near_the_end(self):
        """What it missed is handed in when the training ends."""
        from greedylr.transformers import GreedyLRCallback
        from transformers import TrainerCallback
        daemon = self.d

        class Fail(TrainerCallback):
            def on_step_begin(self, args, state, control, **kwargs):
                if state.global_step == 12:
                    daemon.kill()

            def on_save(self, args, state, control, **kwargs):
                if state.global_step == 20:
                    daemon.start()
        trainer = self.trainer(20, [GreedyLRCallback("run", self.url, patience=0, budget=0.5), Fail()])
        trainer.train()
        self.check_decided([5, 10, 15, 20], trainer.optimizer.param_groups[0]["lr"])


@unittest.skipUnless(have("lightning") or have("pytorch_lightning"), "lightning is not installed")
class Lightning(Adapters):
    def fit(self, folder, epochs, scheduler=None, callbacks=(), checkpoint=None, **more):
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
                             enable_progress_bar=False, enable_model_summary=False, callbacks=list(callbacks), **more)
        trainer.fit(Line(), data, data, ckpt_path=checkpoint)
        return trainer

    def test_as_the_scheduler(self):
        from greedylr import GreedyLR
        with tempfile.TemporaryDirectory() as folder:
            trainer = self.fit(folder, 4, lambda o: GreedyLR(o, "run", self.url, patience=0))
        self.check_decided([1, 2, 3, 4], trainer.optimizers[0].param_groups[0]["lr"])

    def test_as_the_scheduler_that_resumes(self):
        from greedylr import GreedyLR
        with tempfile.TemporaryDirectory() as folder:
            trainer = self.fit(folder, 3, lambda o: GreedyLR(o, "run", self.url, patience=0))
            path = os.path.join(folder, "third.ckpt")
            trainer.save_checkpoint(path)
            self.fit(folder, 5, lambda o: GreedyLR(o, "run", self.url, patience=0), checkpoint=path)
            trainer = self.fit(folder, 6, lambda o: GreedyLR(o, "run", self.url, patience=0), checkpoint=path)
        self.check_decided([1, 2, 3, 4, 5, 6], trainer.optimizers[0].param_groups[0]["lr"])

    def test_as_a_callback_that_resumes(self):
        from greedylr.lightning import GreedyLRCallback
        with tempfile.TemporaryDirectory() as folder:
            trainer = self.fit(folder, 3, callbacks=[GreedyLRCallback("run", self.url, patience=0)])
            path = os.path.join(folder, "third.ckpt")
            trainer.save_checkpoint(path)
            self.fit(folder, 5, callbacks=[GreedyLRCallback("run", self.url, patience=0)], checkpoint=path)
            trainer = self.fit(folder, 6, callbacks=[GreedyLRCallback("run", self.url, patience=0)], checkpoint=path)
        self.check_decided([4, 8, 12, 16, 20, 24], trainer.optimizers[0].param_groups[0]["lr"])

    def test_a_daemon_that_is_away_near_the_end(self):
        """What it missed is handed in when the training ends."""
        from greedylr.lightning import Callback, GreedyLRCallback
        daemon = self.d

        class Fail(Callback):
            def on_train_epoch_start(self, trainer, pl_module):
                if trainer.current_epoch == 2:
                    daemon.kill()

            def on_train_end(self, trainer, pl_module):
                daemon.start()
        with tempfile.TemporaryDirectory() as folder:
            trainer = self.fit(folder, 4, callbacks=[Fail(), GreedyLRCallback("run", self.url, patience=0, budget=0.5)])
        self.check_decided([4, 8, 12, 16], trainer.optimizers[0].param_groups[0]["lr"])

    def test_a_fast_dev_run(self):
        from greedylr.lightning import GreedyLRCallback
        with tempfile.TemporaryDirectory() as folder:
            self.fit(folder, 1, callbacks=[GreedyLRCallback("run", self.url)], fast_dev_run=True)
        self.assertEqual(self.d.request("GET", "/v1/jobs/run")[0], 404)


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
    def fit(self, dtype, steps, place=lambda tree: tree):
        """Trains with a report after each second step; returns the greedy, the last state, and how often the step was
        compiled after the first two reports and at the end."""
        import jax
        import jax.numpy as jnp
        import optax
        from greedylr.optax import GreedyLR
        optimizer = optax.chain(optax.clip(1.0), optax.inject_hyperparams(optax.sgd)(learning_rate=0.01))
        params = place(jnp.zeros(4, dtype))
        state = place(optimizer.init(params))
        greedy = GreedyLR("run", 0.01, self.url, patience=0)

        def loss(params):
            return jnp.sum((params - 1) ** 2)

        @jax.jit
        def train(params, state):
            updates, state = optimizer.update(jax.grad(loss)(params), state)
            return optax.apply_updates(params, updates), state
        compiled = []
        for _ in range(steps):
            for _ in range(2):
                params, state = train(params, state)
            state = greedy.update(state, loss(params))
            compiled.append(train._cache_size())
        return greedy, optax.tree_utils.tree_get(state, "learning_rate"), compiled

    def test_injected_rates(self):
        _, rate, compiled = self.fit("float32", 5)
        self.check_decided([1, 2, 3, 4, 5], float(rate))
        self.assertEqual(compiled, [1] * 5)

    def test_arrays_that_are_bound_to_devices(self):
        """With a rate that were not, the step would be compiled again."""
        import jax
        mesh = jax.sharding.Mesh(jax.devices()[:1], ("data",))
        everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
        for job, place in (("a", jax.devices()[0]), ("b", everywhere)):
            with self.subTest(job):
                _, rate, compiled = self.fit("float32", 5, lambda tree: jax.device_put(tree, place))
                self.assertTrue(rate.committed)
                self.assertEqual(compiled, compiled[:1] * 5)
                self.check_decided([1, 2, 3, 4, 5], float(rate))
                self.d.ok("DELETE", "/v1/jobs/run")

    def test_a_rate_of_few_bits(self):
        """The optimizer's state has the type of the parameters: what it rounds off the rate is no mismatch."""
        import jax.numpy as jnp
        greedy, rate, compiled = self.fit("bfloat16", 5)
        self.check_decided([1, 2, 3, 4, 5], greedy.rate)
        self.assertEqual(rate, jnp.asarray(greedy.rate, rate.dtype))
        self.assertEqual(compiled[1:], compiled[1:2] * 4)

    def test_an_optimizer_without_a_rate(self):
        import jax.numpy as jnp
        import optax
        from greedylr.optax import GreedyLR
        greedy = GreedyLR("run", 0.01, self.url)
        with self.assertRaisesRegex(ValueError, "opt_state: has no learning_rate; .*inject_hyperparams"):
            greedy.update(optax.sgd(0.01).init(jnp.zeros(4)), 1.0)
        injected = optax.inject_hyperparams(optax.sgd)
        for several in (injected(learning_rate=optax.constant_schedule(0.01)),
                        optax.chain(injected(learning_rate=0.01), injected(learning_rate=0.1))):
            with self.assertRaisesRegex(ValueError, "opt_state: has several learning_rate, or a schedule of them"):
                greedy.update(several.init(jnp.zeros(4)), 1.0)
        self.assertEqual(self.counted("run"), [])

    def test_a_loss_in_an_array(self):
        import jax.numpy as jnp
        import optax
        from greedylr.optax import GreedyLR
        greedy = GreedyLR("run", 0.01, self.url, patience=0)
        state = optax.inject_hyperparams(optax.sgd)(learning_rate=0.01).init(jnp.zeros(4))
        for loss in (jnp.full((1, 1), 3.0), jnp.full(1, 2.0, jnp.bfloat16)):
            state = greedy.update(state, loss)
        self.assertEqual(self.values("run"), [(1, 3.0), (2, 2.0)])

    @needs("flax")
    def test_an_optimizer_of_flax(self):
        import jax.numpy as jnp
        import optax
        from flax import nnx
        from greedylr.optax import GreedyLR
        model = nnx.Linear(4, 1, rngs=nnx.Rngs(0))
        optimizer = nnx.Optimizer(model, optax.inject_hyperparams(optax.sgd)(learning_rate=0.01), wrt=nnx.Param)
        greedy, x = GreedyLR("run", 0.01, self.url, patience=0), jnp.arange(32.0).reshape(8, 4) / 32

        def loss_of(model):
            return jnp.mean((model(x)[:, 0] - x.sum(1)) ** 2)

        @nnx.jit
        def train(model, optimizer):
            loss, gradient = nnx.value_and_grad(loss_of)(model)
            optimizer.update(model, gradient)
            return loss
        for _ in range(5):
            loss = train(model, optimizer)
            optimizer.opt_state = greedy.update(optimizer.opt_state, loss)
        self.check_decided([1, 2, 3, 4, 5], float(optax.tree_utils.tree_get(optimizer.opt_state, "learning_rate")[...]))


if __name__ == "__main__":
    unittest.main()
