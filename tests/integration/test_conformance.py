"""Every golden trace bit for bit: through Simulate, and live with a kill -9 in the middle of each trace."""
import math
import struct
import unittest

from harness import DaemonTest, num, vectors

FILES = ("greedy.jsonl", "greedylr.jsonl", "plateau.jsonl")


def bits(values):
    return [struct.pack("<d", num(v)) for v in values]


def spec_of(vector):
    spec = {"lr": vector["initial_lr"], vector["scheduler"]: vector["config"]}
    if "on_nonfinite" in vector:
        spec["on_nonfinite"] = vector["on_nonfinite"]
    return spec


class Conformance(DaemonTest):
    def check_counters(self, vector, state):
        final = vector.get("final")
        if final is None:
            return
        self.assertEqual(bits([state["best"]]), bits([final["best"]]), vector["id"])
        self.assertEqual(state["num_bad"], final.get("num_bad", final.get("num_bad_epochs")), vector["id"])
        self.assertEqual(state["num_good"], final.get("num_good", final.get("num_good_epochs")), vector["id"])

    def test_simulate(self):
        for name in FILES:
            for v in vectors(name):
                answer = self.d.ok("POST", "/v1/simulate", {"spec": spec_of(v), "losses": v["metrics"]})
                for i, (d, want) in enumerate(zip(answer["decisions"], v["lr"], strict=True)):
                    self.assertEqual(bits(d["lrs"]), bits(want), (v["id"], i))

    def test_live_with_kill(self):
        traces = [v for name in FILES for v in vectors(name)]
        for v in traces:
            self.d.ok("POST", "/v1/jobs", dict(spec_of(v), job=v["id"]))
        got = {v["id"]: [] for v in traces}

        def report(part):
            for v in traces:
                half = len(v["metrics"]) // 2
                steps = range(half) if part == 0 else range(half, len(v["metrics"]))
                answer = self.d.ok("POST", "/v1/jobs:batchReport", {"reports": [
                    {"job": v["id"], "step": i, "loss": v["metrics"][i]} for i in steps]})
                got[v["id"]] += [r["decision"]["lrs"] for r in answer["results"]]

        report(0)
        self.d.restart()
        report(1)
        for v in traces:
            self.assertEqual([bits(x) for x in got[v["id"]]], [bits(x) for x in v["lr"]], v["id"])
            self.check_counters(v, self.d.ok("GET", "/v1/jobs/" + v["id"])["state"])


if __name__ == "__main__":
    unittest.main()
