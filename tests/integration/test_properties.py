"""What holds for every policy with random settings, rules and losses: what Simulate says is what a live job does, and a
rewind, a restart and a fork go on as if nothing had been.  The seed is printed; SEED repeats it."""
import os
import random
import unittest

from harness import DaemonTest

JOBS = int(os.environ.get("PROPERTY_JOBS", "4"))  # of each policy
LOSSES = 40


def whole(low, high):
    return lambda dice, lr: dice.randint(low, high)


def real(low, high):
    return lambda dice, lr: low + (high - low) * dice.random()


def word(*words):
    return lambda dice, lr: dice.choice(words)


def rates(low, high):
    """One for each group, or one for all of them, as parts of the initial ones."""
    return lambda dice, lr: ([x * (low + (high - low) * dice.random()) for x in lr] if dice.random() < 0.5 else
                             [(min(lr) if high <= 1 else max(lr)) * high])


FLAG = word(True, False)
STEPS = {"num_warmup_steps": whole(0, 8), "num_training_steps": whole(8, 45)}
# For each policy its settings; those that are required come first, in REQUIRED.
POLICIES = {
    "greedy": {"dialect": word("greedylr", "transformers"), "mode": word("min", "max"), "factor": real(0.1, 0.95),
               "patience": whole(0, 4), "threshold": real(0, 0.2), "threshold_mode": word("rel", "abs"),
               "cooldown": whole(0, 4), "warmup": whole(0, 4), "stage_mode": word("continue", "hold", "ignore"),
               "min_lr": rates(0.01, 0.2), "max_lr": rates(1, 8), "eps": real(0, 0.01), "smooth": FLAG,
               "smoothing": word("mean", "median", "ema"), "window_size": whole(1, 8), "reset_start": whole(0, 4),
               "guard_ratio": word(0, 1.5, 2), "guard_factor": real(0.1, 0.9)},
    "plateau": {"mode": word("min", "max"), "factor": real(0.1, 0.95), "patience": whole(0, 4), "threshold": real(0, 0.2),
                "threshold_mode": word("rel", "abs"), "cooldown": whole(0, 4), "min_lr": rates(0, 0.2),
                "eps": real(0, 0.01)},
    "constant": {},
    "step": {"step_size": whole(1, 9), "gamma": real(0.1, 1.2)},
    "multi_step": {"milestones": lambda dice, lr: sorted(dice.sample(range(1, 40), dice.randint(1, 5))),
                   "gamma": real(0.1, 1.2)},
    "exponential": {"gamma": real(0.7, 1.1)},
    "cosine_annealing": {"t_max": whole(1, 30), "eta_min": rates(0, 0.5)},
    "cosine_annealing_warm_restarts": {"t_0": whole(1, 12), "t_mult": whole(1, 3), "eta_min": rates(0, 0.5)},
    "polynomial": {"total_iters": whole(1, 45), "power": real(0, 3)},
    "linear": {"start_factor": real(0.01, 1), "end_factor": real(0, 1), "total_iters": whole(1, 45)},
    "one_cycle": {"max_lr": rates(1, 8), "total_steps": whole(3, 60), "pct_start": real(0.05, 0.95),
                  "div_factor": real(1, 30), "final_div_factor": real(1, 1e4), "anneal_strategy": word("cos", "linear"),
                  "three_phase": FLAG},
    "constant_with_warmup": {"num_warmup_steps": whole(0, 20)},
    "linear_with_warmup": STEPS,
    "cosine_with_warmup": dict(STEPS, num_cycles=real(0.1, 2), min_lr=rates(0, 0.5)),
    "cosine_with_hard_restarts": dict(STEPS, num_cycles=whole(1, 4)),
    "polynomial_decay_with_warmup": dict(STEPS, lr_end=rates(0, 0.5), power=real(0.5, 3)),
    "inverse_sqrt": {"num_warmup_steps": whole(0, 20), "timescale": whole(1, 50)},
    "warmup_stable_decay": {"num_warmup_steps": whole(0, 9), "num_stable_steps": whole(0, 15),
                            "num_decay_steps": whole(0, 20), "warmup_type": word("linear", "cosine", "1-sqrt"),
                            "decay_type": word("linear", "cosine", "1-sqrt"), "min_lr_ratio": real(0, 0.5),
                            "num_cycles": real(0.2, 1)},
    "learned": {"total_reports": whole(0, 80), "min_lr": rates(0.01, 0.2), "max_lr": rates(1, 8),
                "noise_gate": word(0, 0.05)},
}
REQUIRED = {"step_size", "milestones", "t_max", "t_0", "max_lr", "total_steps", "num_warmup_steps", "num_training_steps",
            "num_stable_steps", "num_decay_steps"}


def random_spec(dice, policy):
    lr = [0.05 + 0.2 * dice.random() for _ in range(dice.randint(1, 3))]
    often = dice.random()
    settings = {name: draw(dice, lr) for name, draw in POLICIES[policy].items()
                if dice.random() < often or name in REQUIRED or policy == "exponential"}
    spec = {"lr": lr, policy: settings}
    if dice.random() < 0.4:
        spec["ramp"] = {"reports": dice.randint(1, 10), "start_factor": 1 - dice.random()}
    if dice.random() < 0.5:
        spec["anneal"] = {"total_reports": dice.randint(1, 60), "fraction": 1 - dice.random()}
    if policy in ("greedy", "learned") and dice.random() < 0.5:
        spec["on_nonfinite"] = dice.choice(["bad", "skip", "cut"])
    return spec


def random_losses(dice):
    losses, level = [], 4.0
    for _ in range(LOSSES):
        level *= 0.85 + 0.27 * dice.random()
        losses.append(dice.choice(["NaN", "Infinity", "-Infinity", 0, -1.5, 1e300]) if dice.random() < 0.06 else
                      level * dice.choice([1, 1, 1, 1, 4]))
    return losses


class Properties(DaemonTest):
    def setUp(self):
        super().setUp()
        self.seed = int(os.environ.get("SEED", "0")) or random.SystemRandom().randrange(1, 2**32)
        print("test_properties seed", self.seed)
        self.dice = random.Random(self.seed)

    def draw(self, policy):
        """A spec that the daemon takes, losses, and what Simulate makes of them."""
        for _ in range(200):
            spec, losses = random_spec(self.dice, policy), random_losses(self.dice)
            status, answer = self.d.call("POST", "/v1/simulate", {"spec": spec, "losses": losses})
            if status == 200:
                return spec, losses, answer
            self.assertEqual(status, 400, (self.seed, spec, answer))
        self.fail("no settings of %s are taken, seed %d: %s" % (policy, self.seed, answer))

    def report(self, job, losses):
        results = self.d.ok("POST", "/v1/jobs:batchReport", {"reports": [{"job": job, "loss": x} for x in losses]})["results"]
        self.assertEqual([r for r in results if "decision" not in r], [], (self.seed, job))
        return [r["decision"] for r in results]

    def same(self, got, want, about):
        """All that the wanted decisions say but for revisions: they go on growing."""
        for a, b in zip(got, want, strict=True):
            self.assertEqual({k: a.get(k) for k in b if k != "revision"}, {k: v for k, v in b.items() if k != "revision"},
                             (self.seed, about))

    def live(self):
        """Jobs of every policy: (name, spec, losses, what Simulate says), created and not yet reported to."""
        jobs = []
        for policy in POLICIES:
            for i in range(JOBS):
                spec, losses, simulated = self.draw(policy)
                job = "%s-%d" % (policy, i)
                state = self.d.ok("POST", "/v1/jobs", dict(spec, job=job))["state"]
                self.assertEqual(state["lrs"], simulated["initial_lrs"], (self.seed, spec))
                jobs.append((job, spec, losses, simulated["decisions"]))
        return jobs

    def test_every_policy_of_the_contract_is_here(self):
        status, answer = self.d.call("POST", "/v1/jobs", dict({"job": "x", "lr": 1}, no_such_policy={}))
        self.assertEqual(status, 400)
        with open(os.path.join(os.path.dirname(__file__), "../../proto/greedylr/v1/scheduler.proto"), encoding="utf-8") as f:
            text = f.read()
        oneof = text[text.index("message JobSpec {"):]
        oneof = oneof[oneof.index("oneof policy {"):]
        lines = [line.split() for line in oneof[:oneof.index("}")].split("\n")[1:] if "=" in line and "//" not in line]
        self.assertEqual(sorted(words[1] for words in lines), sorted(POLICIES))

    def test_what_simulate_says_is_what_a_live_job_does(self):
        for job, spec, losses, simulated in self.live():
            self.same(self.report(job, losses), simulated, spec)
            # What is read back is what was answered.
            self.same(self.d.decisions(job), simulated, spec)

    def test_a_restart_in_the_middle_changes_nothing(self):
        jobs, cuts = self.live(), {}
        for job, spec, losses, simulated in jobs:
            cuts[job] = self.dice.randrange(LOSSES)
            self.same(self.report(job, losses[:cuts[job]]), simulated[:cuts[job]], spec)
        self.d.restart()
        for job, spec, losses, simulated in jobs:
            self.same(self.report(job, losses[cuts[job]:]), simulated[cuts[job]:], spec)

    def test_a_rewind_is_as_if_the_rest_had_never_been(self):
        jobs = self.live()
        for job, spec, losses, simulated in jobs:
            self.report(job, losses)
            self.report(job, random_losses(self.dice)[:self.dice.randint(1, 9)])
        for _ in range(2):
            for job, spec, losses, simulated in jobs:
                to = self.dice.randint(0, LOSSES - 1)
                self.d.ok("POST", "/v1/jobs/%s:rewind" % job, {"step": to} if to else {"initial": True})
                self.same(self.report(job, losses[to:]), simulated[to:], (spec, to))
            self.d.restart()

    def test_a_fork_goes_on_as_its_parent(self):
        for job, spec, losses, simulated in self.live():
            self.report(job, losses)
            at = self.dice.randint(1, LOSSES - 1)
            self.d.ok("POST", "/v1/jobs/%s:fork" % job, {"step": at, "spec": {"job": job + "-fork"}})
            self.same(self.report(job + "-fork", losses[at:]), simulated[at:], (spec, at))

    def test_a_pause_rests(self):
        """Reports of a pause are as if they had never been, but for the steps they take."""
        for job, spec, losses, simulated in self.live():
            at = self.dice.randrange(LOSSES)
            before = self.report(job, losses[:at])
            self.d.ok("POST", "/v1/jobs/%s:pause" % job)
            paused = self.report(job, random_losses(self.dice)[:5])
            self.d.ok("POST", "/v1/jobs/%s:resume" % job)
            after = self.report(job, losses[at:])
            rests = (before or [{"lrs": self.d.ok("POST", "/v1/simulate", {"spec": spec})["initial_lrs"]}])[-1]["lrs"]
            self.assertEqual([d["lrs"] for d in paused], [rests] * 5, (self.seed, spec))
            self.assertEqual([d["lrs"] for d in before + after], [d["lrs"] for d in simulated], (self.seed, spec))


if __name__ == "__main__":
    unittest.main()
