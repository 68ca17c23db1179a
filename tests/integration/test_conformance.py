"""Every golden trace, through Simulate and live with a kill -9 in the middle of each: GreedyLR, ReduceLROnPlateau and
learned bit for bit, schedules by report count within rounding, and then live as in Simulate bit for bit."""
import struct
import unittest

from harness import DaemonTest, num, vectors

FILES = ("greedy.jsonl", "greedylr.jsonl", "plateau.jsonl", "learned.jsonl")
VALUES = (1.0, "NaN", -3.5, "Infinity")  # a schedule takes no notice of any


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


class Schedules(DaemonTest):
    def near(self, got, want, where):
        self.assertEqual(len(got), len(want), where)
        for a, b in zip(got, want):
            self.assertLessEqual(abs(num(a) - num(b)), max(1e-9 * abs(num(b)), 1e-15), where)

    def test_simulate_and_live_with_kill(self):
        traces = vectors("schedules.jsonl")
        self.assertGreaterEqual(len(traces), 128)
        simulated, live = {}, {v["id"]: [] for v in traces}
        losses = {v["id"]: [VALUES[t % 4] for t in range(1, len(v["lr"]))] for v in traces}
        for v in traces:
            answer = self.d.ok("POST", "/v1/simulate", {"spec": spec_of(v), "losses": losses[v["id"]]})
            rates = [answer["initial_lrs"]] + [d["lrs"] for d in answer["decisions"]]
            for t, (got, want) in enumerate(zip(rates, v["lr"], strict=True)):
                self.near(got, want, (v["id"], t))
            for d in answer["decisions"]:
                self.assertEqual(d["action"], "schedule")
                self.assertTrue(d["reason"].startswith("report %d" % d["step"]), d)
                self.assertFalse({"best", "smoothed", "num_good", "num_bad", "stage", "at_min"} & set(d), d)
            simulated[v["id"]] = answer["decisions"]
            created = self.d.ok("POST", "/v1/jobs", dict(spec_of(v), job=v["id"]))
            self.assertEqual(bits(created["state"]["lrs"]), bits(answer["initial_lrs"]), v["id"])

        def report(part):
            reports = []
            for v in traces:
                half = len(losses[v["id"]]) // 2
                steps = range(half) if part == 0 else range(half, len(losses[v["id"]]))
                reports += [{"job": v["id"], "step": i + 1, "loss": losses[v["id"]][i]} for i in steps]
            for start in range(0, len(reports), 5000):
                part = reports[start:start + 5000]
                answer = self.d.ok("POST", "/v1/jobs:batchReport", {"reports": part})
                for r, result in zip(part, answer["results"], strict=True):
                    live[r["job"]].append(result["decision"])

        report(0)
        self.d.restart()
        report(1)
        for v in traces:
            for got, want in zip(live[v["id"]], simulated[v["id"]], strict=True):
                self.assertEqual(bits(got["lrs"]), bits(want["lrs"]), (v["id"], want["step"]))
                self.assertEqual(got["reason"], want["reason"], v["id"])


if __name__ == "__main__":
    unittest.main()
