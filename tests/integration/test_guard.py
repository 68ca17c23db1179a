"""GreedyLR's guard over HTTP: a smoothed value far above the best one cuts at once."""
import os
import random
import sys
import unittest

from harness import ROOT, DaemonTest, reason

sys.path.insert(0, os.path.join(ROOT, "client", "python"))

from greedylr import local  # noqa: E402

SPEC = {"job": "g", "lr": [0.4, 0.02], "greedy": {"smoothing": "median", "window_size": 3, "patience": 5, "guard_ratio": 2}}
LOSSES = [2.0, 1.5, 1.0, 30.0, 40.0, 50.0, 1.0, 1.0, 0.9]


class Guard(DaemonTest):
    def create(self, **greedy):
        return self.d.ok("POST", "/v1/jobs", dict(SPEC, greedy=dict(SPEC["greedy"], **greedy)))

    def report(self, losses, job="g"):
        return [self.d.ok("POST", "/v1/jobs/%s:report" % job, {"loss": loss}) for loss in losses]

    def test_a_divergence_cuts_and_says_so(self):
        self.assertEqual(self.create()["effective"]["greedy"]["guard_factor"], 0.5)
        decisions = self.report(LOSSES)
        # Medians of three: 2 1.75 1.5 1.5 30 40 40 1 1; bests until then 2 1.75 1.5.
        self.assertEqual([d["lr"] for d in decisions], [0.4] * 4 + [0.2, 0.1, 0.05, 0.05, 0.05])
        self.assertEqual([d["action"] for d in decisions], ["hold"] * 4 + ["cut"] * 3 + ["hold"] * 2)
        self.assertEqual(decisions[4]["reason"], "smoothed 30 is above guard_ratio 2 * best 1.5 (step 3): rate cut")
        self.assertEqual((decisions[4]["num_good"], decisions[4]["num_bad"], decisions[4]["best"]), (0, 0, 1.5))
        simulated = self.d.ok("POST", "/v1/simulate", {"spec": {k: SPEC[k] for k in ("lr", "greedy")},
                                                       "losses": LOSSES})["decisions"]
        self.assertEqual([d["lrs"] for d in simulated], [d["lrs"] for d in decisions])
        self.assertEqual([d["reason"] for d in simulated], [d["reason"] for d in decisions])

    def test_the_python_client_decides_the_same_in_its_process(self):
        seed = random.SystemRandom().randrange(2**32)
        print("test_guard seed", seed)
        dice, fired = random.Random(seed), 0
        for _ in range(40):
            greedy = {"guard_ratio": dice.choice([1.2, 2, 5]), "guard_factor": dice.choice([0.1, 0.5, 0.9]),
                      "patience": dice.randrange(4), "smooth": dice.random() < 0.7, "window_size": dice.randint(1, 4),
                      "smoothing": dice.choice(["mean", "median", "ema"]), "cooldown": dice.randrange(3),
                      "warmup": dice.randrange(3), "stage_mode": dice.choice(["continue", "hold", "ignore"])}
            losses = [dice.choice([1, 1, 1, 6, -0.1, float("nan"), 1.7e308]) * (0.5 + dice.random()) for _ in range(50)]
            losses = [x if x < 1e308 or x != x else 1.7e308 for x in losses]
            rule = dice.choice(["bad", "skip", "cut"])
            want = self.d.ok("POST", "/v1/simulate", {"spec": {"lr": [0.4, 0.02], "greedy": greedy, "on_nonfinite": rule},
                                                      "losses": losses})["decisions"]
            mine = local.LocalGreedy(local.settings([0.4, 0.02], greedy, rule))
            self.assertEqual([list(mine.step(x)) for x in losses], [d["lrs"] for d in want], (seed, greedy))
            fired += sum("guard_ratio" in d["reason"] for d in want)
        self.assertGreater(fired, 50, seed)

    def test_it_holds_after_a_restart_and_a_rewind(self):
        self.create()
        straight = self.report(LOSSES)
        self.d.restart()
        self.d.ok("POST", "/v1/jobs/g:rewind", {"step": 4})
        again = self.report(LOSSES[4:])
        self.assertEqual([d["lrs"] for d in again], [d["lrs"] for d in straight[4:]])

    def test_it_can_be_changed_on_a_live_job(self):
        self.create(guard_ratio=0, smooth=False)
        self.report([1.0, 9.0])
        self.assertEqual(self.d.ok("GET", "/v1/jobs/g")["state"]["lr"], 0.4)
        self.d.ok("PATCH", "/v1/jobs/g", {"spec": {"greedy": {"guard_ratio": 2, "guard_factor": 0.25}}})
        self.assertEqual(self.report([9.0])[0]["lr"], 0.1)
        status, answer = self.d.call("PATCH", "/v1/jobs/g", {"spec": {"greedy": {"mode": "max"}}})
        self.assertEqual((status, reason(answer)), (400, "FIELD_INVALID"))
        self.assertTrue(answer["message"].startswith("spec.greedy.guard_ratio: must be 0 with mode max"), answer)
        status, answer = self.d.call("GET", "/v1/jobs/g/state")
        self.assertEqual((status, reason(answer)), (400, "STATE_NOT_EXPORTABLE"))
        self.assertIn("greedy.guard_ratio", answer["message"])

    def test_what_is_refused_and_what_is_not(self):
        for greedy, message in (({"guard_ratio": 1}, "spec.greedy.guard_ratio: must be above 1, or 0 for no guard, got 1"),
                                ({"guard_ratio": -1}, "spec.greedy.guard_ratio: must be finite and at least 0"),
                                ({"guard_ratio": 2, "dialect": "transformers"}, "spec.greedy.guard_ratio: must be 0 in"),
                                ({"guard_ratio": 2, "guard_factor": 1}, "spec.greedy.guard_factor: must be in (0, 1)")):
            status, answer = self.d.call("POST", "/v1/jobs", {"job": "b", "lr": 0.1, "greedy": greedy})
            self.assertEqual((status, reason(answer)), (400, "FIELD_INVALID"), greedy)
            self.assertTrue(answer["message"].startswith(message), answer)
        # The effective settings of a job make another one, in either dialect.
        for dialect in ("greedylr", "transformers"):
            job = self.d.ok("POST", "/v1/jobs", {"job": dialect, "lr": 0.1, "greedy": {"dialect": dialect}})
            self.d.ok("POST", "/v1/jobs", dict(job["effective"], job=dialect + "-again"))


if __name__ == "__main__":
    unittest.main()
