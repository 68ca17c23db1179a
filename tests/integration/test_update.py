"""UpdateJob: bounds that move past the initial rate, ranks, what a patch must have, what GetJob shows."""
import unittest

from harness import DaemonTest, reason


class Bounds(DaemonTest):
    def patch(self, greedy, job="a"):
        return self.d.call("PATCH", "/v1/jobs/" + job, {"spec": {"greedy": greedy}})

    def create(self, **greedy):
        self.d.ok("POST", "/v1/jobs", {"job": "a", "lr": 0.1, "greedy": greedy})

    def lr(self, job="a"):
        return self.d.ok("GET", "/v1/jobs/" + job)["state"]["lr"]

    def test_move_past_the_initial_rate(self):
        self.create()
        self.assertEqual(self.patch({"max_lr": 0.05})[0], 200)
        self.assertEqual(self.lr(), 0.05)
        self.assertEqual(self.patch({"max_lr": 0.9, "min_lr": 0.2})[0], 200)
        self.assertEqual(self.lr(), 0.2)
        self.d.ok("POST", "/v1/jobs/a:report", {"step": 1, "loss": 1})
        # Read again from the store, in every place that does.
        for how in (self.d.restart, lambda: (self.d.stop(), self.d.start())):
            how()
            self.assertEqual([job["state"]["lr"] for job in self.d.ok("GET", "/v1/jobs")["jobs"]], [0.2])
            self.assertEqual(self.lr(), 0.2)
        self.assertEqual(self.patch({"patience": 3})[0], 200)
        self.assertEqual(self.d.ok("POST", "/v1/jobs/a:rewind", {"step": 1})["state"]["lr"], 0.2)
        self.assertEqual(self.d.ok("POST", "/v1/jobs/a:fork", {"step": 1, "spec": {"job": "b"}})["state"]["lr"], 0.2)
        self.assertEqual(self.d.ok("POST", "/v1/jobs/a:rewind", {"initial": True})["state"]["lr"], 0.2)
        # The spec that it was created with is still the same one.
        self.assertEqual(self.d.ok("POST", "/v1/jobs", {"job": "a", "lr": 0.1, "greedy": {}})["state"]["lr"], 0.2)

    def test_a_reset_stays_within_them(self):
        self.create(patience=0, smooth=False, reset_start=1, min_lr=0.01, factor=0.5)
        self.patch({"max_lr": 0.04})
        self.d.ok("POST", "/v1/jobs/a:report", {"step": 1, "loss": 1})
        for step in range(2, 9):
            decision = self.d.ok("POST", "/v1/jobs/a:report", {"step": step, "loss": 2})
            self.assertLessEqual(decision["lr"], 0.04)
            if decision["action"] == "reset":
                self.assertEqual(decision["lr"], 0.04)
                return
        self.fail("no reset")

    def test_crossed_or_impossible_ones_are_refused(self):
        self.create()
        for greedy in ({"max_lr": 0.00001}, {"min_lr": 2}, {"min_lr": 0}, {"max_lr": "Infinity"},
                       {"min_lr": 0.3, "max_lr": 0.2}):
            status, answer = self.patch(greedy)
            self.assertEqual((status, reason(answer)), (400, "FIELD_INVALID"), greedy)
            self.assertRegex(answer["message"], r"^spec\.greedy\.m(in|ax)_lr\b")
        self.assertEqual(self.d.ok("GET", "/v1/jobs/a")["revision"], 0)
        # At creation they are about the initial rate.
        status, answer = self.d.call("POST", "/v1/jobs", {"job": "b", "lr": 0.1, "greedy": {"max_lr": 0.05}})
        self.assertEqual((status, reason(answer)), (400, "FIELD_INVALID"))
        self.assertIn("at least lr 0.1", answer["message"])


class Ranks(DaemonTest):
    DEFAULTS = {"world_size": 1, "quorum": 1, "reduce": "mean", "deadline": "60s"}

    def effective(self, job="a"):
        return self.d.ok("GET", "/v1/jobs/" + job)["effective"]["ranks"]

    def test_defaults_are_shown_and_are_the_same_spec(self):
        uid = self.d.ok("POST", "/v1/jobs", {"job": "a", "lr": 0.1})["uid"]
        self.assertEqual(self.effective(), self.DEFAULTS)
        self.assertNotIn("ranks", self.d.ok("GET", "/v1/jobs/a")["spec"])
        for ranks in ({}, {"world_size": 1}, {"quorum": 1}, {"reduce": "mean"}, {"deadline": "60.000s"}, self.DEFAULTS):
            self.assertEqual(self.d.ok("POST", "/v1/jobs", {"job": "a", "lr": 0.1, "ranks": ranks})["uid"], uid)
        for ranks in ({"world_size": 2}, {"reduce": "min"}, {"deadline": "61s"}):
            status, answer = self.d.call("POST", "/v1/jobs", {"job": "a", "lr": 0.1, "ranks": ranks})
            self.assertEqual((status, reason(answer)), (409, "JOB_EXISTS"))
            self.assertIn("spec.ranks." + next(iter(ranks)), answer["message"])

    def test_a_quorum_that_was_not_given_follows_world_size(self):
        self.d.ok("POST", "/v1/jobs", {"job": "a", "lr": 0.1, "ranks": {"world_size": 4}})
        self.assertEqual(self.effective(), dict(self.DEFAULTS, world_size=4, quorum=4))
        for world_size in (2, 8):
            self.d.ok("PATCH", "/v1/jobs/a", {"spec": {"ranks": {"world_size": world_size}}})
            self.assertEqual(self.effective(), dict(self.DEFAULTS, world_size=world_size, quorum=world_size))
            self.d.restart()
        self.d.ok("POST", "/v1/jobs/a:fork", {"spec": {"job": "b", "ranks": {"world_size": 3}}})
        self.assertEqual(self.effective("b")["quorum"], 3)

    def test_one_that_was_given_stays(self):
        self.d.ok("POST", "/v1/jobs", {"job": "a", "lr": 0.1, "ranks": {"world_size": 4}})
        self.d.ok("PATCH", "/v1/jobs/a", {"spec": {"ranks": {"quorum": 3}}})
        self.d.ok("PATCH", "/v1/jobs/a", {"spec": {"ranks": {"world_size": 8}}})
        self.assertEqual(self.effective()["quorum"], 3)
        status, answer = self.d.call("PATCH", "/v1/jobs/a", {"spec": {"ranks": {"world_size": 2}}})
        self.assertEqual((status, reason(answer)), (400, "FIELD_INVALID"))
        self.assertIn("spec.ranks.quorum", answer["message"])
        self.assertEqual(self.effective(), dict(self.DEFAULTS, world_size=8, quorum=3))


class Empty(DaemonTest):
    def test_a_patch_must_change_something(self):
        self.d.ok("POST", "/v1/jobs", {"job": "a", "lr": 0.1, "labels": ["k=v"]})
        before = self.d.ok("GET", "/v1/jobs/a")
        for body in ({}, {"spec": {}}, {"spec": {"job": "a"}}, {"spec": {"labels": []}}, {"spec": {"greedy": {}}}):
            status, answer = self.d.call("PATCH", "/v1/jobs/a", body)
            self.assertEqual((status, reason(answer)), (400, "FIELD_REQUIRED"), body)
            self.assertTrue(answer["message"].startswith("spec: "), answer)
        self.assertEqual(self.d.ok("GET", "/v1/jobs/a"), before)
        self.assertEqual(self.d.decisions("a"), [])
        self.assertEqual(self.d.ok("PATCH", "/v1/jobs/a", {"spec": {"labels": ["k=w"]}})["spec"]["labels"], ["k=w"])


if __name__ == "__main__":
    unittest.main()
