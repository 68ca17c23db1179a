"""The adapters where the training is on a GPU: rates that compiled code and captured graphs hold, bfloat16, processes."""
import os
import tempfile
import unittest

from python_help import RunTest, have, needs, run_ranks
from test_adapters_ranks import TRAINER

try:
    import torch
    CUDA = torch.cuda.is_available()
except ImportError:
    CUDA = False

#: Two ranks on one GPU: gloo, since NCCL wants a GPU for each.
TWO_RANKS = """
import sys
import torch
import torch.distributed as dist
from greedylr import GreedyLR

url, = sys.argv[1:]
dist.init_process_group("gloo")
rank = dist.get_rank()
torch.manual_seed(0)
model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(8, 1).cuda(), device_ids=[0])
optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, fused=True)
scheduler = GreedyLR(optimizer, "run", url, patience=0)
x = torch.randn(512, 8, device="cuda")[rank::2]
for epoch in range(1, 7):
    for batch in x.split(32):
        optimizer.zero_grad()
        with torch.autocast("cuda", torch.bfloat16):
            loss = ((model(batch) - batch.sum(1, keepdim=True)) ** 2).mean()
        loss.backward()
        optimizer.step()
    scheduler.step(loss, epoch, weight=len(x))
rates = [None, None]
dist.all_gather_object(rates, optimizer.param_groups[0]["lr"])
assert rates[0] == rates[1], rates
dist.barrier()
dist.destroy_process_group()
"""

#: NCCL, alone in its group: its records travel on the GPU.
NCCL = """
import torch
import torch.distributed as dist
from greedylr.distributed import TorchRanks

dist.init_process_group("nccl")
record = {"value": 0.1 + 0.2, "text": "a"}
for device in ("cuda:0", "cpu", None):
    ranks = TorchRanks(dist, device)
    assert ranks.gather(record, 256) == [record]
    assert ranks.broadcast(record, 256) == record
    assert torch.device(ranks._device).type == "cuda", ranks._device
dist.destroy_process_group()
"""


@unittest.skipUnless(CUDA, "torch sees no GPU")
class Gpu(RunTest):
    def decided(self, steps):
        """The history has these steps, its rates are those of an uninterrupted run; they moved, and the loss fell."""
        counted = self.counted("run")
        self.assertEqual([d["step"] for d in counted], list(steps))
        spec = self.d.ok("GET", "/v1/jobs/run")["spec"]
        want = self.d.ok("POST", "/v1/simulate", {"spec": spec, "losses": [d["value"] for d in counted]})
        self.assertEqual([d["lrs"] for d in counted], [d["lrs"] for d in want["decisions"]])
        self.assertFalse(any(d["applied_mismatch"] for d in counted))
        self.assertNotEqual(counted[0]["lr"], counted[-1]["lr"])
        self.assertLess(counted[-1]["value"], counted[0]["value"])
        return counted

    def test_compiled(self):
        """A small transformer in bfloat16, forward and optimizer compiled: new rates compile nothing again."""
        from torch._dynamo.utils import counters
        from greedylr import GreedyLR
        torch.manual_seed(0)
        body = torch.nn.Sequential(torch.nn.Embedding(64, 64), torch.nn.TransformerEncoderLayer(
            64, 2, 128, dropout=0.0, batch_first=True)).cuda()
        head = torch.nn.Linear(64, 64).cuda()
        optimizer = torch.optim.AdamW([
            {"params": body.parameters(), "name": "body", "lr": torch.tensor(0.0003, device="cuda")},
            {"params": head.parameters(), "name": "head", "lr": torch.tensor(0.003, device="cuda")}], capturable=True)
        held = [group["lr"] for group in optimizer.param_groups]
        scheduler = GreedyLR(optimizer, "run", self.url, patience=0)
        tokens = (torch.arange(64)[:, None] + torch.arange(17)).cuda() % 64

        @torch.compile
        def loss_of(tokens):
            with torch.autocast("cuda", torch.bfloat16):
                logits = head(body(tokens[:, :-1]))
            return torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), tokens[:, 1:].flatten())

        @torch.compile
        def update():
            optimizer.step()
        graphs = []
        for epoch in range(1, 9):
            for _ in range(5):
                optimizer.zero_grad()
                loss = loss_of(tokens)
                loss.backward()
                update()
            scheduler.step(loss, epoch)
            graphs.append(counters["stats"]["unique_graphs"])
        counted = self.decided(range(1, 9))
        self.assertGreater(graphs[0], 0)
        self.assertEqual(graphs, graphs[:1] * 8)
        for group, tensor, rate in zip(optimizer.param_groups, held, counted[-1]["lrs"]):
            self.assertIs(group["lr"], tensor)
            self.assertAlmostEqual(float(tensor), rate, delta=1e-6 * rate)

    def test_a_captured_graph(self):
        """A replay of the optimizer's step uses the rate that was set since the capture."""
        from greedylr import GreedyLR
        weight = torch.nn.Parameter(torch.zeros(1, device="cuda"))
        weight.grad = torch.ones_like(weight)
        optimizer = torch.optim.Adam([weight], lr=torch.tensor(0.5, device="cuda"), capturable=True)
        scheduler = GreedyLR(optimizer, "run", self.url, patience=0, factor=0.5)
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            optimizer.step()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            optimizer.step()
        for step, loss in enumerate((3.0, 2.0, 4.0, 5.0, 6.0, 1.0), 1):
            before, rate = weight.item(), scheduler.get_last_lr()[0]
            graph.replay()
            self.assertAlmostEqual(before - weight.item(), rate, delta=1e-3 * rate)  # Adam, where all gradients are 1
            scheduler.step(loss, step)
        self.decided(range(1, 7))

    def test_ranks_that_share_the_gpu(self):
        run_ranks(2, TWO_RANKS, self.url, LOCAL_RANK="0")
        self.decided(range(1, 7))

    @needs("transformers")
    def test_ranks_of_the_trainer(self):
        with tempfile.TemporaryDirectory() as folder:
            run_ranks(2, TRAINER, folder, self.url, LOCAL_RANK="0")  # the number of the GPU
        self.assertEqual([d["attempt"] for d in self.decided(range(5, 26, 5))], [0, 0, 1, 1, 1])

    def test_nccl(self):
        run_ranks(1, NCCL)

    @needs("transformers")
    def test_transformers(self):
        """The Trainer, bfloat16, a GPT-2 made from its configuration; on from a checkpoint in the middle."""
        from greedylr.transformers import GreedyLRCallback
        from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments
        tokens = (torch.arange(64)[:, None] + torch.arange(16)) % 64
        rows = [{"input_ids": row, "labels": row} for row in tokens]
        config = GPT2Config(vocab_size=64, n_positions=16, n_embd=32, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0)
        with tempfile.TemporaryDirectory() as folder:
            for steps, resume in ((40, None), (50, os.path.join(folder, "checkpoint-20"))):
                torch.manual_seed(0)
                args = TrainingArguments(folder, max_steps=steps, learning_rate=0.001, eval_strategy="steps", eval_steps=5,
                                         save_steps=20, lr_scheduler_type="constant", bf16=True, report_to=[],
                                         per_device_train_batch_size=32)
                trainer = Trainer(GPT2LMHeadModel(config), args, train_dataset=rows, eval_dataset=rows,
                                  callbacks=[GreedyLRCallback("run", self.url, patience=1)])
                trainer.train(resume_from_checkpoint=resume)
        counted = self.decided(range(5, 51, 5))
        self.assertEqual([d["attempt"] for d in counted], [0] * 4 + [1] * 6)
        rates = [group["lr"] for group in trainer.optimizer.param_groups]
        self.assertEqual(rates, [counted[-1]["lr"]] * len(rates))

    @unittest.skipUnless(have("lightning") or have("pytorch_lightning"), "lightning is not installed")
    def test_lightning(self):
        from greedylr.lightning import GreedyLRCallback
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
                return torch.optim.AdamW(self.parameters(), lr=0.01, fused=True)
        data = torch.utils.data.DataLoader(torch.randn(64, 4, generator=torch.Generator().manual_seed(1)), 16)
        trainer = pl.Trainer(max_epochs=6, accelerator="gpu", devices=1, precision="bf16-mixed", logger=False,
                             enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
                             callbacks=[GreedyLRCallback("run", self.url, patience=0)])
        trainer.fit(Line(), data, data)
        counted = self.decided(range(4, 25, 4))
        self.assertEqual(trainer.optimizers[0].param_groups[0]["lr"], counted[-1]["lr"])


if __name__ == "__main__":
    unittest.main()
