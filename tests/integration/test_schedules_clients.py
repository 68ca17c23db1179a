"""Schedules by count, and rates of 0 among theirs, through every client: the Python package, the C library, the tool."""
import json
import math
import unittest

from harness import DaemonTest
from python_help import RunTest, needs, patient
from cli_help import run
from test_clib import Driver

import greedylr
from greedylr import GreedyLRError, Session

COSINE = {"cosine_annealing": {"t_max": 4}}
WARMUP = {"linear_with_warmup": {"num_warmup_steps": 2, "num_training_steps": 4}}


class Python(RunTest):
    def test_a_cosine_ends_at_zero(self):
        session = Session("c", [0.1], self.url, policy=COSINE)
        got = [list(session.step(1.0, applied=session.lrs)) for _ in range(4)]
        self.assertEqual(got, self.want([1.0] * 4, COSINE))
        self.assertEqual(got[-1], [0.0])
        self.assertEqual(session.decision["action"], "schedule")
        state = json.loads(json.dumps(session.state_dict()))
        session.step(1.0)
        again = Session("c", [0.1], self.url, current=[0.0], policy=COSINE)
        again.load_state_dict(state)
        self.assertEqual(again.lrs, [0.0])
        again.step(1.0, applied=again.lrs)
        self.assertFalse(any(d.get("applied_mismatch") for d in self.counted("c")))

    def test_no_value_where_nobody_looks(self):
        session = Session("n", [0.1], self.url, policy=WARMUP)
        self.assertEqual(session.lrs, [0.0])
        self.assertEqual([session.step()[0] for _ in range(4)], [0.05, 0.1, 0.05, 0.0])
        self.assertEqual(session.step(step=4), [0.0])
        self.assertTrue(session.decision["duplicate"])
        self.assertFalse(session.decision["conflict"])
        self.assertEqual([d["value"] for d in self.counted("n")], ["NaN"] * 4)
        with self.assertRaisesRegex(ValueError, "on_nonfinite is reject"):
            Session("r", [0.1], self.url, policy=WARMUP, on_nonfinite="reject").step()
        with self.assertRaisesRegex(ValueError, "value: greedy decides on it"):
            Session("g", [0.1], self.url).step()

    def test_an_outage(self):
        session = Session("o", [0.1], self.url, policy=WARMUP, outage=patient(0.3, real=True)[1])
        session.step()
        self.d.kill()
        with self.assertLogs("greedylr", "WARNING"):
            self.assertEqual(session.step(), [0.05])
        self.d.start()
        session._outage.closed()
        self.assertEqual(session.step(), [0.05])
        self.assertEqual([d["lrs"] for d in self.counted("o")], [[0.05], [0.1], [0.05]])

    def test_a_job_that_is_gone_starts_its_schedule_over(self):
        session = Session("d", [0.1], self.url, policy=WARMUP)
        for _ in range(3):
            session.step()
        self.d.ok("DELETE", "/v1/jobs/d")
        with self.assertLogs("greedylr", "WARNING") as logged:
            self.assertEqual(session.step(), [0.05])
        self.assertIn("starts over", logged.output[0])

    def test_rates_by_group(self):
        policy = {"cosine_annealing": {"t_max": 1, "eta_min": {"y": 0.02, "x": 0.01}}}
        session = Session("e", [0.1, 0.2], self.url, group_names=["x", "y"], policy=policy)
        self.assertEqual(session.step(), [0.01, 0.02])
        turned = Session("e", [0.2, 0.1], self.url, group_names=["y", "x"], policy=policy)
        self.assertEqual(turned.step(step=1), [0.02, 0.01])
        with self.assertRaises(GreedyLRError) as caught:
            Session("e", [0.1, 0.2], self.url, group_names=["x", "y"], policy={"cosine_annealing": {"t_max": 2}})
        self.assertEqual(caught.exception.reason, "JOB_EXISTS")

    @needs("torch")
    def test_an_optimizer_begins_at_zero(self):
        import torch
        weight = torch.nn.Parameter(torch.ones(1))
        optimizer = torch.optim.SGD([weight], lr=0.1)
        scheduler = greedylr.GreedyLR(optimizer, job="t", url=self.url, policy=WARMUP)
        rates = []
        for _ in range(5):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.zero_grad()
            (weight * 2).sum().backward()
            before = weight.item()
            optimizer.step()
            self.assertEqual(weight.item() == before, rates[-1] == 0)
            scheduler.step()
        self.assertEqual(rates, [0.0, 0.05, 0.1, 0.05, 0.0])
        self.assertEqual(scheduler.get_last_lr(), [0.0])
        self.assertTrue(math.isinf(scheduler.best))
        self.assertFalse(any(d.get("applied_mismatch") for d in self.counted("t")))
        again = greedylr.GreedyLR(optimizer, job="t", url=self.url, policy=WARMUP)  # the optimizer is at 0, and began at 0.1
        again.load_state_dict(scheduler.state_dict())
        self.assertEqual(optimizer.param_groups[0]["lr"], 0.0)


class CLibrary(DaemonTest):
    def test_from_zero_to_zero(self):
        c = Driver("http://127.0.0.1:%d" % self.d.port, 20000)
        self.addCleanup(c.end)
        c.ok("create", "w", "0.1", json.dumps(WARMUP))
        self.assertEqual(c.ok("get")["lrs"], [0])
        used, rates = 0.0, []
        for step in range(1, 5):
            decision = c.report(step, 1.0, "applied_lr=%r" % used)
            self.assertEqual((decision["action"], decision["applied_mismatch"]), ("schedule", False))
            used = decision["lr"]
            rates.append(used)
        self.assertEqual(rates, [0.05, 0.1, 0.05, 0.0])
        self.assertEqual([c.ok(*words)["lrs"] for words in (("wait", 4), ("begin", 4), ("rewind", 2, 2), ("initial", 3))], [[0], [0], [0.1], [0]])
        self.assertEqual(c.ok("report", "step=1", "value=nan")["decision"]["lr"], 0.05)
        c.ok("close")
        c.ok("create", "c", "0.1", json.dumps(COSINE))
        self.assertEqual([c.report(step, 1.0)["lr"] for step in range(1, 5)][-1], 0)


class Tool(DaemonTest):
    def test_from_zero_to_zero(self):
        def cli(*args):
            r = run(*args, GREEDYLR_URL="http://127.0.0.1:%d" % self.d.port)
            self.assertEqual((r.returncode, r.stderr), (0, ""), args)
            return r.stdout
        cli("create", "w", "--lr", "0.1", "--linear_with_warmup.num_warmup_steps", "2", "--linear_with_warmup.num_training_steps", "4")
        rates = [cli("lr", "w")]
        for _ in range(4):
            cli("report", "w", "--loss", "nan")
            rates.append(cli("lr", "w"))
        self.assertEqual(rates, ["0\n", "0.05\n", "0.1\n", "0.05\n", "0\n"])
        for command in (("get", "w"), ("list",), ("history", "w"), ("fork", "w", "v", "--step", "2"), ("rewind", "w", "--initial")):
            cli(*command)
        self.assertEqual((cli("lr", "v"), cli("lr", "w")), ("0.1\n", "0\n"))
        answer = json.loads(cli("simulate", "--lr", "0.1", "--cosine_annealing.t_max", "4", "--losses", "1,1,1,1", "-o", "json"))
        self.assertEqual((answer["initial_lrs"], answer["decisions"][-1]["lrs"]), ([0.1], [0]))


if __name__ == "__main__":
    unittest.main()
