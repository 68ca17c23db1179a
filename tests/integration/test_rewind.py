"""The past: attempts, rewinds, forks, overrides, pauses; on live jobs, exactly, and kept in the history."""
import random
import unittest

from harness import DaemonTest, num, reason

CURVE = [2.3, 1.9, 1.5, 1.4, 1.45, 1.39, 1.5, 1.6, 1.3, 1.2, 1.25, 1.24, 1.1, 1.3, 1.5, 1.6, 1.7, 0.9, 0.8, 0.85]
FACTS = ("step", "lr", "lrs", "action", "stage", "value", "smoothed", "best", "num_good", "num_bad", "at_min", "at_max", "plateaued")


def facts(decision):
    return {k: decision.get(k) for k in FACTS}


class Past(DaemonTest):
    def create(self, job="a", lr=0.1, **spec):
        greedy = {"patience": 1, "cooldown": 2, "warmup": 1, "window_size": 3}
        return self.d.ok("POST", "/v1/jobs", dict({"job": job, "lr": lr, "greedy": greedy}, **spec))

    def report(self, step, loss, job="a", **more):
        return self.d.ok("POST", "/v1/jobs/%s:report" % job, dict(step=step, loss=loss, **more))

    def refused(self, method, path, body, status, why):
        got, answer = self.d.call(method, path, body)
        self.assertEqual((got, reason(answer)), (status, why), answer)
        return answer["message"]

    def post(self, verb, body=None, job="a"):
        return self.d.ok("POST", "/v1/jobs/%s:%s" % (job, verb), body)


class Rewind(Past):
    def run_all(self, job, steps=range(1, 21)):
        return [self.report(s, CURVE[s - 1], job) for s in steps]

    def test_as_if_the_later_ones_had_never_come(self):
        self.create("ref")
        expected = [facts(d) for d in self.run_all("ref")]
        self.create()
        self.run_all("a")
        for kill, back in ((False, 12), (True, 7), (False, 19), (True, 1), (False, 5)):
            if kill:
                self.d.restart()
            job = self.post("rewind", {"step": back})
            self.assertEqual(job["state"]["step"], back)
            self.assertEqual(num(job["state"]["lr"]), expected[back - 1]["lr"])
            # other values for a while, and back again
            for s in range(back + 1, min(back + 4, 21)):
                self.report(s, 100.0 + s)
            self.post("rewind", {"step": back})
            again = [facts(d) for d in self.run_all("a", range(back + 1, 21))]
            self.assertEqual(again, expected[back:])
        live = self.d.decisions("a")
        self.assertEqual([facts(d) for d in live if "value" in d], expected)
        every = []
        token = ""
        while True:
            page = self.d.ok("GET", "/v1/jobs/a/decisions?superseded=true&page_size=7" + token)
            every += page["decisions"]
            if "next_page_token" not in page:
                break
            token = "&page_token=" + page["next_page_token"]
        self.assertEqual([d["revision"] for d in every], list(range(1, len(every) + 1)))
        self.assertEqual(sum(d["action"] == "rewind" for d in every), 10)
        self.assertTrue(all("actor" in d for d in every if d["action"] == "rewind"))
        self.assertGreater(sum(d.get("superseded", False) for d in every), 20)

    def test_the_start(self):
        self.create("ref")
        expected = [facts(d) for d in self.run_all("ref")]
        self.create()
        self.run_all("a", range(1, 12))
        job = self.post("rewind", {"initial": True})
        self.assertNotIn("step", job["state"])
        self.assertEqual(job["state"]["reports"], 0)
        self.assertEqual([facts(d) for d in self.run_all("a")], expected)

    def test_random_walks(self):
        seed = random.SystemRandom().getrandbits(32)
        print("seed %d" % seed)
        rng = random.Random(seed)
        self.create()
        self.create("ref")
        path = []  # (step, loss) that count
        for n in range(150):
            if path and rng.random() < 0.2:
                k = rng.randrange(len(path))
                self.post("rewind", {"step": path[k][0]})
                path = path[:k + 1]
            elif rng.random() < 0.05:
                self.d.restart()
            else:
                path.append((path[-1][0] + rng.randint(1, 3) if path else rng.randint(0, 3), rng.uniform(0, 2)))
                self.report(*path[-1])
        expected = [facts(self.report(step, loss, "ref")) for step, loss in path]
        self.assertEqual([facts(d) for d in self.d.decisions("a") if "value" in d], expected)

    def test_a_step_that_never_was(self):
        self.create()
        self.report(10, 1.0)
        self.report(20, 1.0)
        before = self.d.ok("GET", "/v1/jobs/a")
        self.assertIn("nearest one below is 10", self.refused("POST", "/v1/jobs/a:rewind", {"step": 15}, 404, "STEP_NOT_FOUND"))
        self.assertIn("initial", self.refused("POST", "/v1/jobs/a:rewind", {"step": 5}, 404, "STEP_NOT_FOUND"))
        self.refused("POST", "/v1/jobs/a:rewind", {}, 400, "FIELD_REQUIRED")
        self.refused("POST", "/v1/jobs/a:rewind", {"initial": False}, 400, "FIELD_INVALID")
        self.refused("POST", "/v1/jobs/none:rewind", {"step": 5}, 404, "JOB_NOT_FOUND")
        self.post("rewind", {"step": 10})
        self.refused("POST", "/v1/jobs/a:rewind", {"step": 20}, 404, "STEP_NOT_FOUND")  # superseded
        self.assertEqual(self.d.ok("GET", "/v1/jobs/a")["revision"], before["revision"] + 1)

    def test_superseded_decisions_never_answer(self):
        self.create()
        self.report(1, 1.0)
        self.report(2, 1.0, request_id="x")
        self.d.ok("POST", "/v1/jobs/a:report", {"loss": 2.0, "request_id": "y"})
        self.post("rewind", {"step": 1})
        again = self.d.ok("POST", "/v1/jobs/a:report", {"loss": 7.0, "request_id": "y"})
        self.assertEqual((again["step"], again["duplicate"], again["value"]), (2, False, 7.0))
        self.d.restart()
        self.post("rewind", {"step": 1})
        again = self.report(2, 9.0)
        self.assertEqual((again["duplicate"], again["value"]), (False, 9.0))

    def test_settings_stay_and_overrides_go(self):
        self.create()
        self.run_all("a", range(1, 6))
        self.post("setLr", {"lr": 0.03})
        self.assertEqual(self.post("rewind", {"step": 5})["state"]["lr"], self.d.decisions("a")[4]["lr"])
        self.d.ok("PATCH", "/v1/jobs/a", {"spec": {"greedy": {"max_lr": 0.101, "patience": 7, "window_size": 2}}})
        self.run_all("a", range(6, 9))
        for restart in (False, True):
            if restart:
                self.d.restart()
            job = self.post("rewind", {"step": 5})
            self.assertEqual(job["effective"]["greedy"]["patience"], 7)
            self.assertLessEqual(job["state"]["lr"], 0.101)
            self.report(6, 1.0)
        # what was recorded when the window was larger fits into the smaller one, as if set right after that step
        self.create("ref")
        self.run_all("ref", range(1, 6))
        self.d.ok("PATCH", "/v1/jobs/ref", {"spec": {"greedy": {"max_lr": 0.101, "patience": 7, "window_size": 2}}})
        self.post("rewind", {"step": 5})
        self.assertEqual([facts(d) for d in self.run_all("a", range(6, 21))], [facts(d) for d in self.run_all("ref", range(6, 21))])

    def test_a_rewind_of_an_attempt_is_done_once(self):
        self.create()
        self.run_all("a", range(1, 9))
        first = self.post("rewind", {"step": 5, "attempt": 1})
        self.report(6, 1.0, attempt=1)
        second = self.post("rewind", {"step": 5, "attempt": 1})
        self.assertEqual((first["attempt"], second["attempt"], second["state"]["step"]), (1, 1, 6))
        self.refused("POST", "/v1/jobs/a:rewind", {"step": 5, "attempt": 0}, 400, "STALE_ATTEMPT")
        self.d.restart()
        self.assertEqual(self.post("rewind", {"step": 5, "attempt": 1})["state"]["step"], 6)
        self.assertEqual(self.post("rewind", {"step": 5, "attempt": 2})["state"]["step"], 5)


class Attempts(Past):
    def test_begin(self):
        self.create()
        for s in range(1, 7):
            self.report(s, CURVE[s])
        self.assertEqual(self.post("begin")["attempt"], 1)
        self.assertEqual(self.d.ok("GET", "/v1/jobs/a")["state"]["step"], 6)
        self.refused("POST", "/v1/jobs/a:report", {"step": 7, "loss": 1, "attempt": 0}, 400, "STALE_ATTEMPT")
        self.assertEqual(self.report(7, 1.0, attempt=1)["attempt"], 1)
        job = self.post("begin", {"step": 4})
        self.assertEqual((job["attempt"], job["state"]["step"]), (2, 4))
        self.refused("POST", "/v1/jobs/a:begin", {"step": 6}, 404, "STEP_NOT_FOUND")
        self.assertEqual(self.report(5, 1.0)["attempt"], 2)
        actions = [(d["action"], d["attempt"]) for d in self.d.decisions("a") if "actor" in d]
        self.assertEqual(actions, [("begin", 1), ("rewind", 2)])

    def test_a_higher_attempt_that_repeats_a_step_goes_back(self):
        self.create("ref")
        self.create()
        for s in range(10, 80, 10):
            self.report(s, CURVE[s // 10])
        for s in range(10, 40, 10):
            self.report(s, CURVE[s // 10], "ref")
        answer = self.report(40, 5.0, attempt=3)  # the checkpoint was of step 30 or so
        self.assertEqual(facts(answer), facts(self.report(40, 5.0, "ref")))
        self.assertEqual((answer["attempt"], answer["duplicate"]), (3, False))
        self.assertEqual(self.report(40, 5.0, attempt=3)["duplicate"], True)
        self.refused("POST", "/v1/jobs/a:report", {"step": 80, "loss": 1, "attempt": 0}, 400, "STALE_ATTEMPT")
        self.d.restart()
        answer = self.report(5, 5.0, attempt=4)  # before everything
        self.assertEqual((answer["step"], answer["attempt"], self.d.ok("GET", "/v1/jobs/a")["state"]["reports"]), (5, 4, 1))

    def test_beyond_the_last_step_it_just_goes_on(self):
        self.create()
        self.report(1, 1.0)
        self.assertEqual(self.report(2, 1.0, attempt=5)["attempt"], 5)
        self.assertEqual([d["action"] in ("rewind", "begin") for d in self.d.decisions("a")], [False, False])


class Fork(Past):
    def test_from_a_step_with_other_settings(self):
        self.create()
        for s in range(1, 9):
            self.report(s, CURVE[s])
        job = self.post("fork", {"step": 5, "spec": {"job": "b", "greedy": {"patience": 0}, "labels": ["x=y"]}})
        self.assertEqual((job["job"], job["attempt"], job["revision"], job["state"]["step"]), ("b", 0, 1, 5))
        self.assertEqual(job["effective"]["greedy"]["patience"], 0)
        self.assertEqual(job["effective"]["greedy"]["window_size"], 3)
        self.assertEqual(job["spec"]["labels"], ["x=y"])
        first = self.d.decisions("b")[0]
        self.assertEqual((first["action"], first["step"]), ("fork", 5))
        self.assertIn("a at step 5", first["reason"])
        self.report(6, 1.0, "b")
        self.d.restart()
        self.assertEqual(self.post("rewind", {"step": 5}, "b")["state"]["lr"], job["state"]["lr"])
        self.report(6, 1.0, "b")
        self.assertEqual(self.post("rewind", {"initial": True}, "b")["state"]["step"], 5)
        self.refused("POST", "/v1/jobs/b:report", {"step": 4, "loss": 1}, 400, "STEP_IN_PAST")
        self.assertEqual(self.d.ok("GET", "/v1/jobs/a")["state"]["step"], 8)

    def test_the_same_settings_decide_the_same(self):
        self.create()
        for s in range(1, 9):
            self.report(s, CURVE[s])
        self.post("fork", {"spec": {"job": "b"}})
        for s in range(9, 20):
            self.assertEqual(facts(self.report(s, CURVE[s], "b")), facts(self.report(s, CURVE[s])))

    def test_refusals(self):
        self.create()
        self.create("b")
        self.report(1, 1.0)
        self.assertIn("b", self.refused("POST", "/v1/jobs/a:fork", {"spec": {"job": "b"}}, 409, "JOB_EXISTS"))
        self.refused("POST", "/v1/jobs/a:fork", {"spec": {"job": "a"}}, 409, "JOB_EXISTS")
        self.refused("POST", "/v1/jobs/a:fork", {}, 400, "FIELD_REQUIRED")
        self.refused("POST", "/v1/jobs/a:fork", {"spec": {"job": "-"}}, 400, "FIELD_INVALID")
        self.refused("POST", "/v1/jobs/a:fork", {"step": 9, "spec": {"job": "c"}}, 404, "STEP_NOT_FOUND")
        self.refused("POST", "/v1/jobs/a:fork", {"spec": {"job": "c", "lr": 0.2}}, 400, "FIELD_FIXED")
        self.assertIn("spec.plateau", self.refused("POST", "/v1/jobs/a:fork", {"spec": {"job": "c", "plateau": {}}}, 400, "FIELD_FIXED"))
        self.assertIn("spec.greedy.dialect", self.refused("POST", "/v1/jobs/a:fork", {"spec": {"job": "c", "greedy": {"dialect": "transformers"}}}, 400, "FIELD_FIXED"))
        self.refused("POST", "/v1/jobs/a:fork", {"spec": {"job": "c", "greedy": {"factor": 2}}}, 400, "FIELD_INVALID")
        self.refused("GET", "/v1/jobs/c", None, 404, "JOB_NOT_FOUND")


class Operators(Past):
    def test_set_lr(self):
        self.create("g", lr=[0.1, 0.2])
        answer = self.post("setLr", {"lr": [0.05, 0.3]}, "g")
        self.assertEqual((answer["action"], answer["lrs"]), ("override", [0.05, 0.3]))
        self.assertIn("127.0.0.1", answer["actor"])
        self.assertEqual(self.d.ok("GET", "/v1/jobs/g")["state"]["lrs"], [0.05, 0.3])
        self.assertEqual(self.post("setLr", {"lr": 0.15}, "g")["lrs"], [0.15, 0.15])
        for lr, why in ((0, "FIELD_INVALID"), (-1, "FIELD_INVALID"), ("NaN", "FIELD_INVALID"), ("Infinity", "FIELD_INVALID"), (1.5, "FIELD_INVALID"),
                        (1e-9, "FIELD_INVALID"), ([0.1, 0.1, 0.1], "FIELD_INVALID")):
            self.refused("POST", "/v1/jobs/g:setLr", {"lr": lr}, 400, why)
        self.refused("POST", "/v1/jobs/g:setLr", {}, 400, "FIELD_REQUIRED")
        self.d.restart()
        self.assertEqual(self.d.ok("GET", "/v1/jobs/g")["state"]["lrs"], [0.15, 0.15])

    def test_an_override_is_no_mismatch_of_a_run_that_cannot_know_it_yet(self):
        self.create()
        first = self.report(1, 1.0, applied_lr=0.1)
        self.post("setLr", {"lr": 0.5})
        self.assertFalse(self.report(2, 1.0, applied_lr=first["lr"])["applied_mismatch"])
        self.d.restart()
        self.assertFalse(self.report(3, 1.0, applied_lr=0.5)["applied_mismatch"])
        self.assertTrue(self.report(4, 1.0, applied_lr=0.1)["applied_mismatch"])

    def test_pause_resume_finish(self):
        self.create()
        self.report(1, 1.0)
        state = self.d.ok("GET", "/v1/jobs/a")["state"]
        self.assertEqual(self.post("pause")["status"], "paused")
        self.assertEqual(self.post("pause")["revision"], 2)
        for s, loss in ((2, 0.1), (3, 9.0), (4, 0.01)):
            answer = self.report(s, loss)
            self.assertEqual((answer["action"], answer["lr"], answer["best"]), ("hold", state["lr"], state["best"]))
        self.assertEqual([j["job"] for j in self.d.ok("GET", "/v1/jobs?state=paused")["jobs"]], ["a"])
        self.d.restart()
        self.assertEqual(self.d.ok("GET", "/v1/jobs/a")["status"], "paused")
        self.assertEqual(self.post("resume")["status"], "active")
        self.assertEqual(self.post("finish")["status"], "finished")
        self.refused("POST", "/v1/jobs/a:report", {"step": 5, "loss": 1}, 400, "JOB_FINISHED")
        self.refused("POST", "/v1/jobs/a:pause", None, 400, "JOB_FINISHED")
        self.refused("POST", "/v1/jobs/a:rewind", {"step": 1}, 400, "JOB_FINISHED")
        self.refused("POST", "/v1/jobs/a:setLr", {"lr": 0.1}, 400, "JOB_FINISHED")
        self.refused("POST", "/v1/jobs/a:begin", None, 400, "JOB_FINISHED")
        self.assertEqual(self.report(4, 0.01)["duplicate"], True)
        self.assertEqual([j["job"] for j in self.d.ok("GET", "/v1/jobs?state=finished")["jobs"]], ["a"])
        self.assertEqual(self.post("resume")["status"], "active")
        self.assertEqual(self.report(5, 1.0)["step"], 5)
        events = [d["action"] for d in self.d.decisions("a") if "value" not in d]
        self.assertEqual(events, ["pause", "resume", "finish", "resume"])
        self.assertTrue(all("actor" in d and "time" in d for d in self.d.decisions("a") if "value" not in d))

    def test_updates_at_the_same_moment_are_all_done(self):
        import threading
        self.create()
        answers = []
        threads = [threading.Thread(target=lambda k=k: answers.append(self.d.call("PATCH", "/v1/jobs/a", {"spec": {"greedy": {"patience": k}}}))) for k in range(12)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual([s for s, _ in answers], [200] * 12, answers)
        self.assertEqual(sum(d["action"] == "update" for d in self.d.decisions("a")), 12)

    def test_ranges_of_steps_are_what_the_whole_list_has_of_them(self):
        self.create()
        for step in range(1, 30):
            self.d.ok("POST", "/v1/jobs/a:report", {"step": step, "loss": 1})
            if step % 10 == 0:
                self.d.ok("POST", "/v1/jobs/a:rewind", {"step": step - 5})
                self.d.ok("POST", "/v1/jobs/a:setLr", {"lr": [0.01 * step]})
        for _ in range(2):  # not folded yet, and folded
            every = self.d.decisions("a")
            for first in range(0, 31, 3):
                for last in (first, first + 4, 29, 4999, 100000):
                    want = [x for x in every if first <= x.get("step", -1) <= last]
                    for size in (2, 1000):
                        url = "/v1/jobs/a/decisions?from_step=%d&to_step=%d&page_size=%d" % (first, last, size)
                        page = self.d.ok("GET", url)
                        got = page["decisions"]
                        while "next_page_token" in page:
                            page = self.d.ok("GET", url + "&page_token=" + page["next_page_token"])
                            got += page["decisions"]
                        self.assertEqual(got, want, url)
                    url = "/v1/jobs/a/decisions?from_step=%d&to_step=%d&max_points=1000" % (first, last)
                    self.assertEqual(self.d.ok("GET", url)["decisions"], want, url)
            self.d.stop()
            self.d.start()


if __name__ == "__main__":
    unittest.main()
