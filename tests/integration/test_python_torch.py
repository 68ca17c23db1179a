"""GreedyLR as a scheduler of PyTorch."""
import os
import tempfile
import unittest
import warnings

from python_help import LOSSES, RunTest, needs

import greedylr


@needs("torch")
class Torch(RunTest):
    """GreedyLR as a scheduler of PyTorch."""

    def setUp(self):
        super().setUp()
        import torch
        self.torch = torch

    def optimizer(self, **more):
        body, head = self.torch.nn.Linear(2, 2), self.torch.nn.Linear(2, 1)
        return self.torch.optim.SGD([{"params": body.parameters(), "name": "body"},
                                     {"params": head.parameters(), "name": "head", "lr": 0.01}], lr=0.1, **more)

    def test_it_is_a_plateau(self):
        optimizer = self.optimizer()
        scheduler = greedylr.GreedyLR(optimizer, "a", self.url)
        plateau = self.torch.optim.lr_scheduler.ReduceLROnPlateau
        self.assertIsInstance(scheduler, plateau)
        base = getattr(self.torch.optim.lr_scheduler, "LRScheduler", None)
        if base is not None and issubclass(plateau, base):
            self.assertIsInstance(scheduler, base)
        self.assertLessEqual(vars(plateau(optimizer)).keys(), vars(scheduler).keys())
        self.assertFalse(scheduler.in_cooldown)

    def test_a_run(self):
        optimizer = self.optimizer()
        scheduler = greedylr.GreedyLR(optimizer, "a", self.url, patience=0, smooth=False,
                                      min_lr={"head": 0.001, "body": 0.02})
        self.assertEqual(scheduler.get_last_lr(), [0.1, 0.01])
        for loss in (self.torch.tensor(3.0), self.torch.tensor([2.0], dtype=self.torch.float64), 1.0):
            scheduler.step(loss)
        rates = [0.1, 0.01]
        for i in range(3):
            rates = [rate / 0.8 for rate in rates]
        self.assertEqual(scheduler.get_last_lr(), rates)
        self.assertEqual([group["lr"] for group in optimizer.param_groups], rates)
        self.assertEqual((scheduler.last_epoch, scheduler.best, scheduler.num_bad_epochs), (3, 1.0, 0))
        self.assertEqual(scheduler.last_decision["action"], "raise")
        job = self.d.ok("GET", "/v1/jobs/a")
        self.assertEqual((job["spec"]["group_names"], job["spec"]["greedy"]["min_lr"]),
                         (["body", "head"], [0.02, 0.001]))
        scheduler.step(5.0, epoch=10)
        self.assertEqual(scheduler.last_epoch, 10)
        with self.assertRaises((ValueError, RuntimeError)):
            scheduler.step(self.torch.ones(2))
        with self.assertRaisesRegex(ValueError, "min_lr"):
            greedylr.GreedyLR(optimizer, "b", self.url, min_lr={"tail": 1})
        with self.assertRaisesRegex(TypeError, "optimizer"):
            greedylr.GreedyLR(object(), "b", self.url)
        optimizer.add_param_group({"params": [self.torch.nn.Parameter(self.torch.zeros(1))], "lr": 1.0})
        with self.assertRaisesRegex(ValueError, "groups"):
            scheduler.step(1.0)

    def test_a_checkpoint(self):
        losses = LOSSES
        optimizer = self.optimizer(momentum=0.9)
        scheduler = greedylr.GreedyLR(optimizer, "a", self.url, patience=0)
        for loss in losses[:5]:
            scheduler.step(loss)
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "checkpoint.pt")
            self.torch.save({"optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}, path)
            for loss in (9.0, 8.0, 7.0):
                scheduler.step(loss)
            checkpoint = self.torch.load(path)
        for order in (("optimizer", "scheduler"), ("scheduler", "optimizer")):
            new = self.optimizer(momentum=0.9)
            again = greedylr.GreedyLR(new, "a", self.url, patience=0)
            for part in order:
                {"optimizer": new, "scheduler": again}[part].load_state_dict(checkpoint[part])
            self.assertEqual((again.get_last_lr(), again.last_epoch), ([g["lr"] for g in new.param_groups], 5))
            for loss in losses[5:]:
                again.step(loss)
            history = self.counted()
            self.assertEqual([d["value"] for d in history], losses)
            self.assertFalse(any(d.get("applied_mismatch") for d in history))
            self.assertEqual(again.get_last_lr(), history[-1]["lrs"])
        late = self.optimizer(momentum=0.9)  # the optimizer is loaded before the scheduler is made
        late.load_state_dict(checkpoint["optimizer"])
        greedylr.GreedyLR(late, "a", self.url, patience=0).load_state_dict(checkpoint["scheduler"])

    def test_policies(self):
        optimizer = self.optimizer()
        scheduler = greedylr.GreedyLR(optimizer, job="x", url=self.url, policy={"plateau": {"factor": 0.5, "min_lr": {"head": 0.001, "body": 0.02}}},
                                      ramp={"reports": 2, "start_factor": 0.5}, spec={"labels": ["a=b"]})
        self.assertEqual([group["lr"] for group in optimizer.param_groups], [0.05, 0.005])
        self.assertEqual(scheduler.get_last_lr(), [0.05, 0.005])
        self.assertEqual((scheduler.factor, scheduler.patience, scheduler.min_lrs, scheduler.mode), (0.5, 10, [0.02, 0.001], "min"))
        self.assertEqual([group["initial_lr"] for group in optimizer.param_groups], [0.1, 0.01])
        spec = self.d.ok("GET", "/v1/jobs/x")["spec"]
        self.assertEqual((spec["plateau"], spec["labels"]), ({"factor": 0.5, "min_lr": [0.02, 0.001]}, ["a=b"]))
        with self.assertRaisesRegex(ValueError, "value: plateau decides on it"):
            scheduler.step()
        with self.assertRaisesRegex(ValueError, "ranks: is for rounds=True"):
            greedylr.GreedyLR(optimizer, "y", self.url, ranks={"quorum": 1})

    def test_an_optimizer_at_rate_zero(self):
        optimizer = self.optimizer()
        optimizer.param_groups[1]["lr"] = 0.0
        with self.assertRaisesRegex(ValueError, "lr: .*0.0 in parameter group 1.*initial_lr"):
            greedylr.GreedyLR(optimizer, "a", self.url)
        self.assertFalse(any("initial_lr" in group for group in optimizer.param_groups))
        optimizer.param_groups[1]["lr"] = 0.01
        greedylr.GreedyLR(optimizer, "a", self.url)
        for group in optimizer.param_groups:  # where a run is that went down to 0
            group["lr"] = 0.0
        scheduler = greedylr.GreedyLR(optimizer, "a", self.url)
        scheduler.step(1.0)
        self.assertEqual(scheduler.get_last_lr(), [0.1, 0.01])

    def test_rates_that_are_tensors(self):
        optimizer = self.optimizer()
        rate = optimizer.param_groups[0]["lr"] = self.torch.tensor(0.1)
        scheduler = greedylr.GreedyLR(optimizer, "a", self.url, patience=0, smooth=False)
        scheduler.step(1.0)
        scheduler.step(0.5)
        self.assertIs(optimizer.param_groups[0]["lr"], rate)
        self.assertAlmostEqual(float(rate), 0.1 / 0.8 / 0.8, places=6)
        self.assertFalse(scheduler.last_decision["applied_mismatch"])

    def test_values_of_one_element(self):
        """Newer versions warn of one with a gradient as a training step leaves it, and NumPy of one in an array."""
        import numpy
        scheduler = greedylr.GreedyLR(self.optimizer(), "a", self.url)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for value in (2 * self.torch.ones(1, requires_grad=True), self.torch.tensor(2, dtype=self.torch.bfloat16),
                          numpy.full((1, 1), 2.0, numpy.float32), numpy.float16(2)):
                scheduler.step(value)
                self.assertEqual(scheduler.last_decision["value"], 2)
        with self.assertRaises((ValueError, RuntimeError)):
            scheduler.step(self.torch.ones(2))

    def test_where_the_ranks_tensors_travel(self):
        """Sharded and offloading optimizers show parameters on the CPU, or none, whatever the backend moves."""
        from unittest import mock

        from greedylr.distributed import TorchRanks
        gpu, cpu = self.torch.device("cuda", 3), self.torch.device("cpu")
        for backend, device, want in (("gloo", gpu, cpu), ("gloo", None, cpu), ("nccl", self.torch.device("cuda", 1), self.torch.device("cuda", 1)),
                                      ("nccl", cpu, gpu), ("nccl", None, gpu), ("undefined", cpu, cpu), ("undefined", gpu, gpu),
                                      ("undefined", None, cpu), ("cpu:gloo,cuda:nccl", gpu, cpu)):
            dist = mock.Mock(**{"get_rank.return_value": 0, "get_world_size.return_value": 2, "get_backend.return_value": backend})
            with mock.patch.object(self.torch.cuda, "current_device", lambda: 3):
                self.assertEqual(TorchRanks(dist, device)._device, want, (backend, device))
        optimizer = self.optimizer()
        scheduler = greedylr.GreedyLR(optimizer, "a", self.url)
        self.assertEqual(scheduler._device(), cpu)
        optimizer.param_groups[0]["params"] = []
        self.assertEqual(scheduler._device(), cpu)
        optimizer.param_groups[1]["params"] = []
        self.assertIsNone(scheduler._device())

    def test_a_dead_daemon(self):
        self.d.kill()
        with self.assertLogs("greedylr", "WARNING"):
            scheduler = greedylr.GreedyLR(self.optimizer(), "a", self.url, budget=0.2)
            scheduler.step(1.0)
        self.assertEqual((scheduler.get_last_lr(), scheduler.missed, scheduler.last_decision), ([0.1, 0.01], 1, None))
        self.d.start()


if __name__ == "__main__":
    unittest.main()
