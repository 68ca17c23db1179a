"""The anneal over HTTP: a line to 0 behind any policy, over the last part of a run of known length."""
import unittest

from harness import DaemonTest, reason

REST = {"patience": 1000, "smooth": False, "min_lr": 0.001}


def line(n, p, t):
    return 1.0 if t <= n - p * n else max(0.0, (n - t) / (p * n))


class Anneal(DaemonTest):
    def create(self, job="a", anneal=None, **more):
        return self.d.ok("POST", "/v1/jobs", dict({"job": job, "lr": 1, "greedy": REST, "anneal": anneal or
                                                   {"total_reports": 10, "fraction": 0.5}}, **more))

    def report(self, n, job="a", **fields):
        for _ in range(n):
            decision = self.d.ok("POST", "/v1/jobs/%s:report" % job, dict({"loss": 1}, **fields))
        return decision

    def lr(self, job="a"):
        return self.d.ok("GET", "/v1/jobs/" + job)["state"]["lr"]

    def refused(self, spec, message, status="FIELD_INVALID"):
        code, answer = self.d.call("POST", "/v1/jobs", dict({"job": "bad", "lr": 1}, **spec))
        self.assertEqual((code, reason(answer)), (400, status), answer)
        self.assertTrue(answer["message"].startswith(message), answer)

    def test_settings(self):
        self.assertEqual(self.create("d", {"total_reports": 40})["effective"]["anneal"],
                         {"total_reports": 40, "fraction": 0.2})
        self.assertNotIn("fraction", self.d.ok("GET", "/v1/jobs/d")["spec"]["anneal"])
        # The default spelled out is the same spec, another length is not.
        self.create("d", {"total_reports": 40, "fraction": 0.2})
        code, answer = self.d.call("POST", "/v1/jobs", {"job": "d", "lr": 1, "greedy": REST,
                                                        "anneal": {"total_reports": 41}})
        self.assertEqual((code, reason(answer)), (409, "JOB_EXISTS"))
        self.assertIn("spec.anneal.total_reports", answer["message"])
        self.assertNotIn("anneal", self.d.ok("POST", "/v1/jobs", {"job": "none", "lr": 1})["effective"])
        for anneal in ({}, {"fraction": 0.5}, {"total_reports": 0}):
            self.refused({"anneal": anneal}, "spec.anneal.total_reports: is required", "FIELD_REQUIRED")
        for fraction in (0, -0.5, 1.5, "NaN", "Infinity"):
            self.refused({"anneal": {"total_reports": 9, "fraction": fraction}}, "spec.anneal.fraction: must be in (0, 1]")

    def test_the_line_and_what_follows_it(self):
        self.create()
        rates = [self.report(1)["lr"] for _ in range(12)]
        self.assertEqual(rates, [max(0.001, line(10, 0.5, t)) for t in range(1, 13)])
        last = self.d.decisions("a")[-1]
        self.assertTrue(last["at_min"] and last["reason"].endswith("; anneal x0, its end"), last)
        self.d.restart()
        self.d.ok("POST", "/v1/jobs/a:rewind", {"step": 6})
        self.assertEqual([self.report(1)["lr"] for _ in range(6)], rates[6:])
        self.d.ok("POST", "/v1/jobs/a:rewind", {"initial": True})
        self.assertEqual([self.report(1)["lr"] for _ in range(12)], rates)
        simulated = self.d.ok("POST", "/v1/simulate", {
            "spec": {"lr": 1, "greedy": REST, "anneal": {"total_reports": 10, "fraction": 0.5}}, "losses": [1] * 12})
        self.assertEqual([d["lr"] for d in simulated["decisions"]], rates)
        self.assertEqual([d["reason"] for d in simulated["decisions"]],
                         [d["reason"] for d in self.d.decisions("a") if not d.get("superseded")][-12:])

    def test_other_policies_and_a_ramp(self):
        self.create("p", greedy=None, plateau={"patience": 1000}, ramp={"reports": 4, "start_factor": 0.5},
                    anneal={"total_reports": 8, "fraction": 1})
        for t in range(1, 10):
            ramped = 0.5 + (1 - 0.5) * t / 4 if t < 4 else 1
            self.assertEqual(self.report(1, "p")["lr"], ramped * line(8, 1, t))

    def test_pause_and_skip_do_not_count(self):
        self.create(on_nonfinite="skip")
        self.report(6)
        self.d.ok("POST", "/v1/jobs/a:pause")
        self.assertEqual(self.report(9)["lr"], 0.8)
        self.d.ok("POST", "/v1/jobs/a:resume")
        self.assertEqual(self.report(9, loss="NaN")["lr"], 0.8)
        self.d.restart()
        self.assertEqual(self.report(1)["lr"], 0.6)

    def test_a_run_made_longer(self):
        self.create()
        self.report(8)
        self.assertEqual(self.lr(), 0.4)
        job = self.d.ok("PATCH", "/v1/jobs/a", {"spec": {"anneal": {"total_reports": 20}}})
        self.assertEqual((job["state"]["lr"], job["effective"]["anneal"]), (1, {"total_reports": 20, "fraction": 0.5}))
        self.assertEqual(self.d.decisions("a")[-1]["reason"], "anneal.total_reports")
        self.d.restart()
        self.assertEqual(self.report(4)["lr"], 0.8)
        self.d.ok("PATCH", "/v1/jobs/a", {"spec": {"anneal": {"fraction": 0.1}}})
        self.assertEqual(self.lr(), 1)
        # Where settings changed since, a rewind is as if they had been changed right after that step.
        self.assertEqual(self.d.ok("POST", "/v1/jobs/a:rewind", {"step": 8})["state"]["lr"], 1)

    def test_added_to_a_live_job(self):
        self.d.ok("POST", "/v1/jobs", {"job": "l", "lr": 1, "greedy": REST})
        self.report(8, "l")
        code, answer = self.d.call("PATCH", "/v1/jobs/l", {"spec": {"anneal": {"fraction": 0.5}}})
        self.assertEqual((code, reason(answer)), (400, "FIELD_REQUIRED"))
        job = self.d.ok("PATCH", "/v1/jobs/l", {"spec": {"anneal": {"total_reports": 10}}})
        self.assertEqual((job["effective"]["anneal"]["fraction"], job["state"]["lr"]), (0.2, 1))
        self.assertEqual(self.report(1, "l")["lr"], 0.5)
        self.d.restart()
        self.assertEqual(self.lr("l"), 0.5)

    def test_forks(self):
        self.create()
        self.report(8)
        self.assertEqual(self.d.ok("POST", "/v1/jobs/a:fork", {"spec": {"job": "b"}})["state"]["lr"], 0.4)
        self.assertEqual(self.report(1, "b")["lr"], 0.2)
        longer = {"job": "c", "anneal": {"total_reports": 16}}
        self.assertEqual(self.d.ok("POST", "/v1/jobs/a:fork", {"step": 7, "spec": longer})["state"]["lr"], 1)
        self.assertEqual(self.report(2, "c")["lr"], 0.875)

    def test_overrides(self):
        self.create()
        self.report(8)
        self.assertEqual(self.d.ok("POST", "/v1/jobs/a:setLr", {"lr": 0.5})["lr"], 0.5)
        self.assertEqual(self.d.decisions("a")[-1]["reason"], "set from 0.4 to 0.5; anneal x0.4")
        self.assertEqual(self.report(1)["lr"], 0.5 / 0.4 * 0.2)
        code, answer = self.d.call("POST", "/v1/jobs/a:setLr", {"lr": 2.5})
        self.assertEqual((code, reason(answer)), (400, "FIELD_INVALID"))
        self.assertIn("max_lr times the anneal's 0.2", answer["message"])
        self.report(1)
        code, answer = self.d.call("POST", "/v1/jobs/a:setLr", {"lr": 0.5})
        self.assertEqual((code, reason(answer)), (400, "FIELD_INVALID"))
        self.assertIn("anneal.total_reports", answer["message"])

    def test_caps_and_dry_runs(self):
        self.create()
        self.report(7)
        self.assertEqual(self.report(1, dry_run=True)["lr"], 0.4)
        self.assertEqual(self.report(1, lr_cap=0.4)["lr"], 0.4)
        self.assertEqual(self.report(1, lr_cap=0.1)["lr"], 0.1)
        self.assertEqual(self.report(1)["lr"], 0.001)

    def test_ranks_are_one_report(self):
        self.create("r", ranks={"world_size": 2, "reduce": "first"})
        for step in range(1, 9):
            for rank in (0, 1):
                decision = self.d.ok("POST", "/v1/jobs/r:report", {"step": step, "rank": rank, "loss": 1})
        self.assertEqual(decision["lr"], 0.4)

    def test_state_dicts(self):
        self.create("s", greedy=None, plateau={"patience": 1000})
        self.report(5, "s")
        text = self.d.ok("GET", "/v1/jobs/s/state")
        self.report(1, "s")
        code, answer = self.d.call("GET", "/v1/jobs/s/state")
        self.assertEqual((code, reason(answer)), (400, "STATE_NOT_EXPORTABLE"))
        self.assertIn("the anneal has begun, report 6 of 10", answer["message"])
        job = self.d.ok("PUT", "/v1/jobs/s/state", dict(text, last_epoch=8))
        self.assertEqual((job["effective"]["anneal"]["total_reports"], job["state"]["lr"]), (10, 0.4))
        self.d.ok("PATCH", "/v1/jobs/s", {"spec": {"anneal": {"total_reports": 1000}}})
        self.assertEqual(self.d.ok("GET", "/v1/jobs/s/state")["_last_lr"], [1])


if __name__ == "__main__":
    unittest.main()
