"""The adapters in several processes of the real frameworks: one decision a step, and every process holds its rate."""
import json
import os
import tempfile
import unittest

from python_help import RunTest, have, needs, run_ranks

#: Each ends with say(steps, rate) in every process: the steps that it trained and the rate it holds.
SAY = """
import json, os, sys
folder, url = sys.argv[1:3]
def say(trained, rate):
    rank = os.environ["RANK"]
    with open(os.path.join(folder, "said-" + rank), "a", encoding="utf-8") as file:
        file.write(json.dumps([trained, float(rate)]) + "\\n")
"""

TRAINER = SAY + """
import torch
from transformers import Trainer, TrainingArguments
from greedylr import GreedyLR
from greedylr.transformers import GreedyLRCallback

class Line(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.line = torch.nn.Linear(4, 1)

    def forward(self, x, labels=None):
        return {"loss": ((self.line(x)[:, 0] - labels) ** 2).mean()}

# Transformers loads the optimizer of a checkpoint to the device cpu:0, and torch knows cpu alone.
torch.serialization.register_package(0, lambda _: None, lambda storage, place: storage if place == "cpu:0" else None)
as_scheduler = "as the scheduler" in sys.argv
rows = [{"x": x, "labels": x.sum()} for x in torch.randn(64, 4, generator=torch.Generator().manual_seed(1))]
for steps, resume in ((20, None), (25, os.path.join(folder, "checkpoint-10"))):
    args = TrainingArguments(folder, max_steps=steps, learning_rate=0.01, eval_strategy="steps", eval_steps=5, save_steps=5,
                             lr_scheduler_type="constant", per_device_train_batch_size=8, report_to=[], ddp_backend="gloo",
                             use_cpu=not torch.cuda.is_available(), label_names=["labels"], prediction_loss_only=True,
                             metric_for_best_model="loss")
    model, optimizers, callbacks = Line(), (None, None), []
    if as_scheduler:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        optimizers = optimizer, GreedyLR(optimizer, "run", url, patience=0)
    else:
        callbacks = [GreedyLRCallback("run", url, patience=0)]
    trainer = Trainer(model, args, train_dataset=rows, eval_dataset=rows, callbacks=callbacks, optimizers=optimizers)
    trainer.train(resume_from_checkpoint=resume)
    say(trainer.state.global_step, trainer.optimizer.param_groups[0]["lr"])
torch.distributed.barrier()  # one that leaves early can hang at its end
"""

LIGHTNING = SAY + """
import torch
import lightning.pytorch as pl
from greedylr import GreedyLR
from greedylr.lightning import GreedyLRCallback

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
        self.log("val_loss", self.loss(batch))  # each process has its own

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.01)
        if not as_scheduler:
            return optimizer
        scheduler = GreedyLR(optimizer, "run", url, patience=0)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "monitor": "val_loss"}}

as_scheduler = "as the scheduler" in sys.argv
rows = torch.randn(64, 4, generator=torch.Generator().manual_seed(1))
path = os.path.join(folder, "third.ckpt")
for epochs, resume in ((3, None), (6, path)):
    data = torch.utils.data.DataLoader(rows, 8)
    trainer = pl.Trainer(max_epochs=epochs, accelerator="cpu", devices=2, strategy="ddp", logger=False,
                         default_root_dir=folder, enable_progress_bar=False, enable_model_summary=False,
                         enable_checkpointing=False,
                         callbacks=[] if as_scheduler else [GreedyLRCallback("run", url, patience=0)])
    trainer.fit(Line(), data, data, ckpt_path=resume)
    if resume is None:
        trainer.save_checkpoint(path)
    say(trainer.global_step, trainer.optimizers[0].param_groups[0]["lr"])
torch.distributed.barrier()  # one that leaves early can hang at its end
"""

ACCELERATE = SAY + """
import torch
from accelerate import Accelerator
from greedylr import GreedyLR

accelerator = Accelerator(cpu=True)
torch.manual_seed(0)
model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
rows = torch.randn(64, 4, generator=torch.Generator().manual_seed(1))
data = torch.utils.data.DataLoader(rows, 8)
model, optimizer, data, scheduler = accelerator.prepare(model, optimizer, data, GreedyLR(optimizer, "run", url, patience=0))
for epoch in range(1, 6):
    for batch in data:
        optimizer.zero_grad()
        loss = ((model(batch)[:, 0] - batch.sum(1)) ** 2).mean()
        accelerator.backward(loss)
        optimizer.step()
    scheduler.step(loss.detach(), epoch)  # Accelerate calls step as often as there are processes
    if epoch == 3:
        accelerator.save_state(os.path.join(folder, "third"))
say(epoch, optimizer.param_groups[0]["lr"])
accelerator.load_state(os.path.join(folder, "third"))
say(scheduler.scheduler.last_epoch, optimizer.param_groups[0]["lr"])
torch.distributed.barrier()  # one that leaves early can hang at its end
"""

JAX = SAY + """
import jax
rank = int(os.environ["RANK"])
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_cpu_collectives_implementation", "gloo")
jax.distributed.initialize("127.0.0.1:" + os.environ["MASTER_PORT"], 2, rank)
import jax.numpy as jnp
import numpy
import optax
from greedylr.optax import GreedyLR

mesh = jax.sharding.Mesh(numpy.array(jax.devices()), ("data",))
everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
by_rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
whole = numpy.random.default_rng(1).normal(size=(64, 4)).astype("float32")
x = jax.make_array_from_callback(whole.shape, by_rows, lambda index: whole[index])
optimizer = optax.inject_hyperparams(optax.sgd)(learning_rate=0.01)

def loss_of(params, x):
    return jnp.mean((x @ params - x.sum(1)) ** 2)

@jax.jit
def train(params, opt_state, x):
    loss, gradient = jax.value_and_grad(loss_of)(params, x)
    updates, opt_state = optimizer.update(gradient, opt_state, params)
    return optax.apply_updates(params, updates), opt_state, loss

params, opt_state = jax.jit(lambda: (jnp.zeros(4), optimizer.init(jnp.zeros(4))), out_shardings=everywhere)()
greedy = GreedyLR("run", 0.01, url, patience=0)
for epoch in range(1, 6):
    params, opt_state, loss = train(params, opt_state, x)
    opt_state = greedy.update(opt_state, float(loss) + rank, epoch, weight=1 + rank)  # two thirds above process 0's
    assert train._cache_size() == 1, train._cache_size()
say(epoch, optax.tree_utils.tree_get(opt_state, "learning_rate"))
"""


class Ranks(RunTest):
    """Two processes train with the daemon's rates."""

    def setUp(self):
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def said(self, script, *arguments):
        """Runs it in two processes, started as a launcher would; what they said in the end, which is the same."""
        run_ranks(2, script, self.folder, self.url, *arguments, CUDA_VISIBLE_DEVICES="", LOCAL_WORLD_SIZE="2", GROUP_RANK="0",
                  NODE_RANK="0")
        said = []
        for rank in range(2):
            with open(os.path.join(self.folder, "said-%d" % rank), encoding="utf-8") as file:
                said.append([json.loads(line) for line in file])
        self.assertEqual(said[0], said[1])
        return said[0]

    def decided(self, steps):
        """The history has these steps, once each, and its rates are those of an uninterrupted run; they moved."""
        counted = self.counted("run")
        self.assertEqual([d["step"] for d in counted], steps)
        spec = self.d.ok("GET", "/v1/jobs/run")["spec"]
        want = self.d.ok("POST", "/v1/simulate", {"spec": spec, "losses": [d["value"] for d in counted]})
        self.assertEqual([d["lrs"] for d in counted], [d["lrs"] for d in want["decisions"]])
        self.assertFalse(any(d["applied_mismatch"] for d in counted))
        self.assertNotEqual(counted[0]["lr"], counted[-1]["lr"])
        return counted

    def same_rate(self, rate, decision):
        self.assertAlmostEqual(rate, decision["lr"], delta=1e-6 * rate)

    def transformers(self, steps, *arguments):
        first, second = self.said(TRAINER, *arguments)
        counted = self.decided(steps)
        self.assertEqual([d["attempt"] for d in counted], [0, 0, 1, 1, 1])
        self.assertEqual((first[0], second[0]), (20, 25))
        self.same_rate(second[1], counted[-1])

    @needs("transformers")
    def test_transformers(self):
        self.transformers([5, 10, 15, 20, 25])

    @needs("transformers")
    def test_transformers_as_the_scheduler(self):
        self.transformers([1, 2, 3, 4, 5], "as the scheduler")

    def lightning(self, steps, *arguments):
        first, second = self.said(LIGHTNING, *arguments)
        counted = self.decided(steps)
        self.assertEqual((first[0], second[0]), (12, 24))
        self.same_rate(first[1], counted[2])
        self.same_rate(second[1], counted[-1])

    @needs("lightning")
    def test_lightning(self):
        self.lightning([4, 8, 12, 16, 20, 24])

    @needs("lightning")
    def test_lightning_as_the_scheduler(self):
        self.lightning([1, 2, 3, 4, 5, 6], "as the scheduler")

    @needs("accelerate")
    def test_accelerate(self):
        first, back = self.said(ACCELERATE)
        counted = self.decided([1, 2, 3])
        self.assertEqual((first[0], back[0]), (5, 3))
        self.same_rate(back[1], counted[-1])

    @unittest.skipUnless(have("jax") and have("optax"), "jax or optax is not installed")
    def test_jax(self):
        (steps, rate), = self.said(JAX)
        counted = self.decided([1, 2, 3, 4, 5])
        self.same_rate(rate, counted[-1])
        self.assertGreater(counted[0]["value"], 2 / 3)


if __name__ == "__main__":
    unittest.main()
