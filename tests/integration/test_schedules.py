"""Schedules by report count as users meet them: settings refused by name, what GetJob shows, rounds, rewinds, forks,
overrides, caps, pauses, changed settings, values that are not numbers."""
import os
import re
import threading
import unittest

from harness import ROOT, DaemonTest, num, reason

WARMUP = {"num_warmup_steps": 2, "num_training_steps": 6}

# policy, settings, lr, reason, what the message has.
BAD = [
    ("step", {}, 1, "FIELD_REQUIRED", "spec.step.step_size: is required; give a whole number, at least 1"),
    ("step", {"step_size": 0}, 1, "FIELD_INVALID", "spec.step.step_size: must be at least 1, got 0"),
    ("step", {"step_size": 1, "gamma": -1}, 1, "FIELD_INVALID", "spec.step.gamma: must be finite and above 0, got -1"),
    ("multi_step", {}, 1, "FIELD_REQUIRED", "spec.multi_step.milestones: is required"),
    ("multi_step", {"milestones": []}, 1, "FIELD_REQUIRED", "spec.multi_step.milestones: is required"),
    ("multi_step", {"milestones": [3, 2]}, 1, "FIELD_INVALID", "spec.multi_step.milestones[1]: must be at least the one "
     "before it, 3, got 2"),
    ("multi_step", {"milestones": list(range(1001))}, 1, "FIELD_INVALID", "must have 1 to 1000 values, got 1001"),
    ("exponential", {}, 1, "FIELD_REQUIRED", "spec.exponential.gamma: is required"),
    ("exponential", {"gamma": "NaN"}, 1, "FIELD_INVALID", "spec.exponential.gamma: must be finite and above 0, got NaN"),
    ("cosine_annealing", {}, 1, "FIELD_REQUIRED", "spec.cosine_annealing.t_max: is required"),
    ("cosine_annealing", {"t_max": 5, "eta_min": [0, 0]}, [1, 2, 3], "FIELD_INVALID", "must have 1 or 3 values"),
    ("cosine_annealing_warm_restarts", {}, 1, "FIELD_REQUIRED", "spec.cosine_annealing_warm_restarts.t_0: is required"),
    ("cosine_annealing_warm_restarts", {"t_0": 1, "t_mult": 0}, 1, "FIELD_INVALID", "t_mult: must be at least 1, got 0"),
    ("polynomial", {"power": -1}, 1, "FIELD_INVALID", "spec.polynomial.power: must be finite and at least 0, got -1"),
    ("linear", {"start_factor": 0}, 1, "FIELD_INVALID", "spec.linear.start_factor: must be in (0, 1], got 0"),
    ("one_cycle", {"total_steps": 9}, 1, "FIELD_REQUIRED", "spec.one_cycle.max_lr: is required"),
    ("one_cycle", {"max_lr": 1}, 1, "FIELD_REQUIRED", "spec.one_cycle.total_steps: is required"),
    ("one_cycle", {"max_lr": 1, "total_steps": 9, "pct_start": 0.6, "three_phase": True}, 1, "FIELD_INVALID",
     "spec.one_cycle.pct_start: must be below 0.5 with three_phase"),
    ("one_cycle", {"max_lr": 1, "total_steps": 9, "anneal_strategy": "cosine"}, 1, "FIELD_INVALID",
     'spec.one_cycle.anneal_strategy: must be "cos" or "linear", got "cosine"'),
    ("constant_with_warmup", {}, 1, "FIELD_REQUIRED", "spec.constant_with_warmup.num_warmup_steps: is required"),
    ("linear_with_warmup", {"num_warmup_steps": 1}, 1, "FIELD_REQUIRED",
     "spec.linear_with_warmup.num_training_steps: is required"),
    ("linear_with_warmup", {"num_warmup_steps": 9, "num_training_steps": 8}, 1, "FIELD_INVALID",
     "spec.linear_with_warmup.num_training_steps: must be at least num_warmup_steps 9, got 8"),
    ("cosine_with_warmup", dict(WARMUP, min_lr=2), 1, "FIELD_INVALID",
     "spec.cosine_with_warmup.min_lr: must be at most lr 1, got 2"),
    ("cosine_with_hard_restarts", dict(WARMUP, num_cycles=0), 1, "FIELD_INVALID",
     "spec.cosine_with_hard_restarts.num_cycles: must be at least 1, got 0"),
    ("polynomial_decay_with_warmup", dict(WARMUP, lr_end=[0, 3]), [1, 2], "FIELD_INVALID",
     "spec.polynomial_decay_with_warmup.lr_end[1]: must be below lr[1] 2, got 3"),
    ("inverse_sqrt", {}, 1, "FIELD_REQUIRED", "spec.inverse_sqrt.num_warmup_steps: is required"),
    ("warmup_stable_decay", {"num_warmup_steps": 1, "num_stable_steps": 1}, 1, "FIELD_REQUIRED",
     "spec.warmup_stable_decay.num_decay_steps: is required"),
    ("warmup_stable_decay", {"num_warmup_steps": 1, "num_stable_steps": 1, "num_decay_steps": 1, "decay_type": "exp"}, 1,
     "FIELD_INVALID", 'spec.warmup_stable_decay.decay_type: must be "linear", "cosine" or "1-sqrt", got "exp"'),
    ("constant", {"lr": 1}, 1, "FIELD_UNKNOWN", "lr"),
]


class Schedules(DaemonTest):
    def create(self, policy, settings, lr=1.0, **more):
        return self.d.ok("POST", "/v1/jobs", dict({"job": "a", "lr": lr, policy: settings}, **more))

    def report(self, step, job="a", loss="NaN", **more):
        return self.d.ok("POST", "/v1/jobs/%s:report" % job, dict({"step": step, "loss": loss}, **more))

    def lrs(self, steps, **more):
        return [self.report(step, **more)["lr"] for step in steps]

    def state(self, job="a"):
        return self.d.ok("GET", "/v1/jobs/" + job)["state"]

    def test_bad_settings_are_refused_by_name(self):
        for policy, settings, lr, why, text in BAD:
            status, answer = self.d.call("POST", "/v1/jobs", {"job": "a", "lr": lr, policy: settings})
            self.assertEqual((status, reason(answer)), (400, why), (policy, settings, answer))
            self.assertIn(text, answer["message"])
            status, answer = self.d.call("POST", "/v1/simulate", {"spec": {"lr": lr, policy: settings}, "losses": [1]})
            self.assertEqual((status, reason(answer)), (400, why), (policy, settings, answer))
        self.assertEqual(self.d.ok("GET", "/v1/jobs")["jobs"], [])

    def test_effective_has_every_setting(self):
        job = self.create("warmup_stable_decay", {"num_warmup_steps": 1, "num_stable_steps": 2, "num_decay_steps": 3},
                          lr=[1, 2])
        self.assertEqual(job["effective"]["warmup_stable_decay"],
                         {"num_warmup_steps": 1, "num_stable_steps": 2, "num_decay_steps": 3, "warmup_type": "linear",
                          "decay_type": "cosine", "min_lr_ratio": 0, "num_cycles": 0.5})
        self.assertEqual(self.create("multi_step", {"milestones": [2, 2, 4]}, job="b")["effective"]["multi_step"],
                         {"milestones": [2, 2, 4], "gamma": 0.1})
        self.assertEqual(self.create("inverse_sqrt", {"num_warmup_steps": 0}, job="c")["effective"]["inverse_sqrt"],
                         {"num_warmup_steps": 0, "timescale": 10000})
        self.assertEqual(self.create("cosine_annealing", {"t_max": 4}, lr=[1, 2], job="d")["effective"]["cosine_annealing"],
                         {"t_max": 4, "eta_min": [0, 0]})
        self.assertEqual(self.create("constant", {}, job="e")["effective"]["constant"], {})
        # What was filled in is the same spec; what differs is named, elements of a list included.
        self.create("multi_step", {"milestones": [2, 2, 4]}, job="b")
        status, answer = self.d.call("POST", "/v1/jobs", {"job": "b", "lr": 1, "multi_step": {"milestones": [2, 3, 4]}})
        self.assertEqual((status, reason(answer)), (409, "JOB_EXISTS"))
        self.assertIn("multi_step.milestones", answer["message"])
        # Another policy is what is named, and not that one of the two has no on_nonfinite by default.
        for job, spec, name in (("g", {"greedy": {}}, "greedy"), ("s", {"shadow": [{"name": "p", "greedy": {}}]}, "shadow[0].greedy")):
            self.d.ok("POST", "/v1/jobs", dict({"job": job, "lr": 1}, **spec))
            other = {"constant": {}} if job == "g" else {"shadow": [{"name": "p", "constant": {}}]}
            status, answer = self.d.call("POST", "/v1/jobs", dict({"job": job, "lr": 1}, **other))
            self.assertEqual((status, reason(answer)), (409, "JOB_EXISTS"))
            self.assertIn("another spec.%s;" % name, answer["message"])
        self.d.restart()
        self.assertEqual(self.d.ok("GET", "/v1/jobs/b")["effective"]["multi_step"]["milestones"], [2, 2, 4])

    def test_what_a_value_is_does_not_matter(self):
        self.create("polynomial", {"total_iters": 4})
        for step, loss in enumerate((1, "NaN", "Infinity", "-Infinity", 5), 1):
            decision = self.report(step, loss=loss)
            self.assertEqual(decision["lr"], max(0, 1 - step / 4))
            self.assertEqual(decision["action"], "schedule")
            self.assertEqual(decision["value"], loss)
        self.assertEqual(decision["reason"], "report 5, past the end at 4")
        self.assertEqual(self.state(), {"lr": 0, "lrs": [0], "step": 5, "reports": 5})
        self.assertEqual(self.d.request("GET", "/v1/jobs/a/lr")[2], b"0\n")
        lines = self.d.request("GET", "/v1/jobs/a/decisions?format=csv")[2].decode().split("\r\n")
        row = dict(zip(lines[0].split(","), lines[2].split(",")))
        self.assertEqual((row["lr"], row["value"], row["stage"], row["num_bad"], row["best"], row["at_min"]),
                         ("0.5", "NaN", "", "", "", ""))

    def test_reject_is_the_only_rule_for_values(self):
        for rule in ("bad", "skip", "cut"):
            status, answer = self.d.call("POST", "/v1/jobs", {"job": "a", "lr": 1, "constant": {}, "on_nonfinite": rule})
            self.assertEqual((status, reason(answer)), (400, "FIELD_INVALID"))
            self.assertIn('spec.on_nonfinite: must be "reject" with constant', answer["message"])
        self.create("step", {"step_size": 1}, on_nonfinite="reject")
        status, answer = self.d.call("POST", "/v1/jobs/a:report", {"step": 1, "loss": "NaN"})
        self.assertEqual((status, reason(answer)), (400, "NONFINITE_REJECTED"))
        self.assertEqual(self.report(1, loss=1)["lr"], 0.1)

    def test_a_round_counts_once(self):
        self.create("polynomial", {"total_iters": 4}, ranks={"world_size": 2})
        for step in (1, 2, 3):
            answers = []
            ranks = [threading.Thread(target=lambda r=r: answers.append(self.report(step, rank=r))) for r in (0, 1)]
            for rank in ranks:
                rank.start()
            for rank in ranks:
                rank.join()
            self.assertEqual([(a["lr"], a["ranks"], a["reason"]) for a in answers],
                             [(1 - step / 4, 2, "report %d of 4" % step)] * 2)

    def test_duplicates_and_rewinds(self):
        self.create("exponential", {"gamma": 0.7}, lr=[0.3, 3])
        first = [self.report(step)["lrs"] for step in range(1, 9)]
        self.assertTrue(self.report(3)["duplicate"])
        for restart in (False, True):
            self.d.ok("POST", "/v1/jobs/a:rewind", {"step": 4})
            if restart:
                self.d.restart()
            self.assertEqual(self.state()["lrs"], first[3])
            self.assertEqual([self.report(step)["lrs"] for step in range(5, 9)], first[4:])
        self.d.ok("POST", "/v1/jobs/a:rewind", {"initial": True})
        self.assertEqual(self.state()["lrs"], [0.3, 3])
        self.assertEqual([self.report(step)["lrs"] for step in range(1, 9)], first)

    def test_a_fork_goes_on_with_other_settings(self):
        self.create("polynomial", {"total_iters": 4})
        self.lrs(range(1, 4))
        job = self.d.ok("POST", "/v1/jobs/a:fork", {"step": 2, "spec": {"job": "b", "polynomial": {"total_iters": 8}}})
        self.assertEqual(job["state"]["lr"], 0.75)
        self.assertEqual(self.report(3, job="b")["reason"], "report 3 of 8")
        self.assertEqual(self.report(4)["lr"], 0)
        job = self.d.ok("POST", "/v1/jobs/a:fork", {"step": 2, "spec": {"job": "c"}})
        self.assertEqual(self.report(3, job="c")["lr"], 0.25)

    def test_settings_that_change(self):
        self.create("cosine_annealing", {"t_max": 4}, lr=[1, 2])
        self.lrs((1, 2))
        job = self.d.ok("PATCH", "/v1/jobs/a", {"spec": {"cosine_annealing": {"t_max": 8, "eta_min": [0, 1]}}})
        self.assertEqual(job["effective"]["cosine_annealing"], {"t_max": 8, "eta_min": [0, 1]})
        self.d.restart()
        decision = self.report(3)
        self.assertEqual(decision["reason"], "report 3 of 8")
        want = self.d.ok("POST", "/v1/simulate", {"losses": [1] * 3, "spec": {
            "lr": [1, 2], "cosine_annealing": {"t_max": 8, "eta_min": [0, 1]}}})["decisions"][2]
        self.assertEqual(decision["lrs"], want["lrs"])
        status, answer = self.d.call("PATCH", "/v1/jobs/a", {"spec": {"cosine_annealing": {"t_max": 0}}})
        self.assertEqual((status, reason(answer)), (400, "FIELD_INVALID"))
        status, answer = self.d.call("PATCH", "/v1/jobs/a", {"spec": {"linear": {"total_iters": 4}}})
        self.assertEqual((status, reason(answer)), (400, "FIELD_FIXED"))
        self.assertIn("policy is cosine_annealing", answer["message"])

    def test_a_milestone_more(self):
        self.create("multi_step", {"milestones": [1], "gamma": 0.5})
        self.assertEqual(self.report(1)["lr"], 0.5)
        self.d.ok("PATCH", "/v1/jobs/a", {"spec": {"multi_step": {"milestones": [1, 2, 2]}}})
        self.assertEqual(self.report(2)["lr"], 0.125)

    def test_a_timescale_that_nobody_gave_is_the_warm_up(self):
        for job, given, scale in (("left-out", {}, 20), ("given", {"timescale": 4}, 4)):
            self.d.ok("POST", "/v1/jobs", {"job": job, "lr": 0.1, "inverse_sqrt": dict(given, num_warmup_steps=4)})
            for warmup in (10, 20):
                change = {"spec": {"inverse_sqrt": {"num_warmup_steps": warmup}}}
                changed = self.d.ok("PATCH", "/v1/jobs/" + job, change)
            self.assertEqual(changed["effective"]["inverse_sqrt"], {"num_warmup_steps": 20, "timescale": scale})

    def test_an_override_is_a_scale(self):
        self.create("polynomial", {"total_iters": 4}, lr=[1, 2])
        self.report(1)
        decision = self.d.ok("POST", "/v1/jobs/a:setLr", {"lr": [0.3, 7]})
        self.assertEqual(decision["lrs"], [0.3, 7])
        self.d.restart()
        for got, want in zip(self.report(2)["lrs"], (0.2, 14 / 3)):
            self.assertAlmostEqual(got, want, delta=1e-12)
        # A rewind behind it takes it back.
        self.d.ok("POST", "/v1/jobs/a:rewind", {"initial": True})
        self.report(1)
        self.assertEqual(self.report(2)["lrs"], [0.5, 1])

    def test_an_override_of_zero_is_refused(self):
        self.create("linear_with_warmup", WARMUP)
        before = self.d.ok("GET", "/v1/jobs/a")
        self.assertEqual(before["state"]["lr"], 0)
        status, answer = self.d.call("POST", "/v1/jobs/a:setLr", {"lr": 0.5})
        self.assertEqual((status, reason(answer)), (400, "FIELD_INVALID"))
        self.assertIn("linear_with_warmup is at 0 after 0 reports", answer["message"])
        self.assertEqual(self.d.ok("GET", "/v1/jobs/a"), before)
        self.lrs(range(1, 7))
        status, answer = self.d.call("POST", "/v1/jobs/a:setLr", {"lr": 0.5})
        self.assertEqual((status, reason(answer)), (400, "FIELD_INVALID"))
        # As the message says.
        self.d.ok("PATCH", "/v1/jobs/a", {"spec": {"linear_with_warmup": {"num_training_steps": 10}}})
        self.assertEqual(self.d.ok("POST", "/v1/jobs/a:setLr", {"lr": 0.5})["lr"], 0.5)

    def test_caps_pauses_and_ramps(self):
        self.create("polynomial", {"total_iters": 4}, ramp={"reports": 2, "start_factor": 0.5})
        self.assertEqual(self.lrs((1, 2)), [0.75, 1])
        capped = self.report(3, lr_cap=0.1)
        self.assertEqual(capped["lr"], 0.1)
        self.assertIn("report 1 of 4; the answer is limited to lr_cap 0.1", capped["reason"])
        self.d.ok("POST", "/v1/jobs/a:pause", {})
        self.assertEqual(self.report(4)["action"], "hold")
        self.d.ok("POST", "/v1/jobs/a:resume", {})
        decision = self.report(5)
        self.assertEqual((decision["lr"], decision["reason"]), (0.5, "report 2 of 4"))

    def test_the_applied_rate_may_be_zero(self):
        self.create("constant_with_warmup", {"num_warmup_steps": 2})
        self.assertFalse(self.report(1, applied_lr=0)["applied_mismatch"])
        self.assertTrue(self.report(2, applied_lr=0)["applied_mismatch"])
        self.assertFalse(self.report(3, applied_lr=1)["applied_mismatch"])

    def test_one_cycle_ignores_the_rates_but_for_their_number(self):
        self.assertEqual(self.create("one_cycle", {"max_lr": 50, "total_steps": 9}, lr=[9, 8])["state"]["lrs"], [2, 2])

    def test_it_is_not_exported(self):
        self.create("step", {"step_size": 2})
        status, answer = self.d.call("GET", "/v1/jobs/a/state")
        self.assertEqual((status, reason(answer)), (400, "STATE_NOT_EXPORTABLE"))
        self.assertIn("step has no state_dict here", answer["message"])
        self.assertIn("last_epoch", answer["message"])

    def test_dry_run(self):
        self.create("polynomial", {"total_iters": 4})
        self.assertEqual(self.report(1, dry_run=True)["lr"], 0.75)
        self.assertEqual(num(self.state()["lr"]), 1)


class Documents(unittest.TestCase):
    def test_every_schedule_is_in_the_protocol(self):
        with open(os.path.join(ROOT, "proto", "greedylr", "v1", "scheduler.proto"), encoding="utf-8") as file:
            contract = re.sub(r"//.*", "", file.read())
        with open(os.path.join(ROOT, "proto", "PROTOCOL.md"), encoding="utf-8") as file:
            text = file.read()
        oneofs = [re.findall(r"(\w+) (\w+) = (\d+);", body) for body in re.findall(r"oneof policy \{(.*?)\}", contract, re.S)]
        self.assertEqual(len(oneofs), 2)
        self.assertEqual(oneofs[0], oneofs[1], "the policies of JobSpec and Shadow")
        schedules = [(message, name) for message, name, _ in oneofs[0] if name not in ("greedy", "plateau")]
        self.assertGreaterEqual(len(schedules), 16)
        for message, name in schedules:
            row = re.search(r"^\| `%s` \| (.*?)\|" % name, text, re.M)
            self.assertIsNotNone(row, "proto/PROTOCOL.md has no row for " + name)
            body = re.search(r"message %s \{(.*?)\}" % message, contract, re.S).group(1)
            for field in re.findall(r"(\w+) = \d+", body):
                self.assertIn("`%s`" % field, row.group(1), name)


if __name__ == "__main__":
    unittest.main()
