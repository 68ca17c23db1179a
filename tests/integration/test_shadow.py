"""Shadow policies over HTTP: what one decides is what a job of its own would, and the job does not notice it."""
import json
import random
import sqlite3
import os
import unittest

from harness import DaemonTest, reason

#: One setting of every policy, for jobs of one or more groups.
POLICIES = [
    {"greedy": {"patience": 1}},
    {"greedy": {"patience": 0, "cooldown": 2, "smoothing": "ema", "guard_ratio": 1.5}},
    {"greedy": {"dialect": "transformers", "patience": 1, "min_lr": 0.001, "max_lr": 1}},
    {"plateau": {"patience": 1, "factor": 0.5}},
    {"constant": {}},
    {"step": {"step_size": 3, "gamma": 0.5}},
    {"multi_step": {"milestones": [2, 5, 5]}},
    {"exponential": {"gamma": 0.9}},
    {"cosine_annealing": {"t_max": 10}},
    {"cosine_annealing_warm_restarts": {"t_0": 4, "t_mult": 2}},
    {"polynomial": {"total_iters": 12, "power": 2}},
    {"linear": {"total_iters": 8}},
    {"one_cycle": {"max_lr": 0.5, "total_steps": 20}},
    {"constant_with_warmup": {"num_warmup_steps": 3}},
    {"linear_with_warmup": {"num_warmup_steps": 3, "num_training_steps": 20}},
    {"cosine_with_warmup": {"num_warmup_steps": 3, "num_training_steps": 20}},
    {"cosine_with_hard_restarts": {"num_warmup_steps": 2, "num_training_steps": 20, "num_cycles": 2}},
    {"polynomial_decay_with_warmup": {"num_warmup_steps": 2, "num_training_steps": 20}},
    {"inverse_sqrt": {"num_warmup_steps": 4}},
    {"warmup_stable_decay": {"num_warmup_steps": 2, "num_stable_steps": 5, "num_decay_steps": 8}},
    {"learned": {"total_reports": 40}},
]


def said(decision):
    return {s["name"]: s for s in decision.get("shadow", [])}


class Shadows(DaemonTest):
    def setUp(self):
        super().setUp()
        self.seed = int(os.environ.get("TEST_SEED") or random.randrange(2**32))
        self.random = random.Random(self.seed)
        print("seed %d" % self.seed, end=" ", flush=True)

    def create(self, job, **spec):
        return self.d.ok("POST", "/v1/jobs", dict({"job": job, "lr": 0.1}, **spec))

    def report(self, job, **fields):
        return self.d.ok("POST", "/v1/jobs/%s:report" % job, fields)

    def refused(self, shadow, message, status="FIELD_INVALID", path="/v1/jobs"):
        code, answer = self.d.call("POST", path, {"job": "bad", "lr": 0.1, "shadow": shadow})
        self.assertEqual((code, reason(answer)), (400, status), answer)
        self.assertIn(message, answer["message"])

    def more(self, policy):
        """Rules around a policy, at random."""
        rules = dict(policy)
        if self.random.random() < 0.3:
            rules["ramp"] = {"reports": self.random.randint(1, 5), "start_factor": 0.1}
        if self.random.random() < 0.4:
            rules["anneal"] = {"total_reports": self.random.randint(5, 30), "fraction": 0.5}
        if policy.get("greedy", {}).get("dialect") is None and "greedy" in policy and self.random.random() < 0.5:
            rules["on_nonfinite"] = self.random.choice(["bad", "skip", "cut"])
        return rules

    def test_settings_refused(self):
        self.refused([{"greedy": {}}], "spec.shadow[0].name: is required", "FIELD_REQUIRED")
        self.refused([{"name": "-a"}], 'spec.shadow[0].name: must be 1 to 64 of')
        self.refused([{"name": "a b"}], 'got "a b"')
        self.refused([{"name": "a"}, {"name": "b"}, {"name": "a"}], 'spec.shadow[2].name: must be another')
        self.refused([{"name": "s%d" % i} for i in range(9)], "spec.shadow: must be at most 8, got 9")
        self.refused([{"name": "a"}, {"name": "b", "greedy": {"factor": 2}}],
                     "spec.shadow[1].greedy.factor: must be in (0, 1), got 2")
        self.refused([{"name": "a", "cosine_annealing": {}}], "spec.shadow[0].cosine_annealing.t_max", "FIELD_REQUIRED")
        self.refused([{"name": "a", "on_nonfinite": "reject"}], "spec.shadow[0].on_nonfinite: must be bad, skip or cut")
        for rule in ("reject", "skip"):
            self.refused([{"name": "a", "constant": {}, "on_nonfinite": rule}],
                         "spec.shadow[0].on_nonfinite: must be left out with constant, which takes no notice of values")
        self.refused([{"name": "a", "anneal": {"total_reports": 3, "fraction": 2}}], "spec.shadow[0].anneal.fraction")
        self.refused([{"name": "a", "ranks": {"world_size": 2}}], "shadow[0].ranks", "FIELD_UNKNOWN")
        self.assertEqual(self.d.ok("GET", "/v1/jobs")["jobs"], [])

    def test_settings_shown(self):
        job = self.create("a", shadow=[{"name": "g", "anneal": {"total_reports": 9}}, {"name": "s", "step": {"step_size": 4}}])
        self.assertEqual(job["spec"]["shadow"][0], {"name": "g", "anneal": {"total_reports": 9}})
        effective = job["effective"]["shadow"]
        self.assertEqual(effective[0]["greedy"]["patience"], 2)
        self.assertEqual(effective[0]["anneal"]["fraction"], 0.2)
        self.assertEqual(effective[1]["step"], {"step_size": 4, "gamma": 0.1})
        self.assertEqual([s["name"] for s in job["state"]["shadow"]], ["g", "s"])
        # The same spec again is the same job; another shadow is not.
        self.create("a", shadow=[{"name": "g", "anneal": {"total_reports": 9}}, {"name": "s", "step": {"step_size": 4}}])
        code, answer = self.d.call("POST", "/v1/jobs", {"job": "a", "lr": 0.1, "shadow": [{"name": "g"}]})
        self.assertEqual((code, reason(answer)), (409, "JOB_EXISTS"))
        self.assertIn("shadow", answer["message"])
        code, answer = self.d.call("POST", "/v1/jobs", {"job": "a", "lr": 0.1, "shadow": [
            {"name": "g", "anneal": {"total_reports": 9}}, {"name": "s", "step": {"step_size": 5}}]})
        self.assertEqual((code, reason(answer)), (409, "JOB_EXISTS"))
        self.assertIn("shadow[1].step.step_size", answer["message"])

    def test_a_shadow_equals_a_job_of_its_own(self):
        """Every policy as a shadow and as a job, reports with NaNs, caps, pauses, rewinds and kills between."""
        policies = [self.more(p) for p in self.random.sample(POLICIES, len(POLICIES))]
        jobs = {}  # a job with shadows -> its shadows' names
        for at in range(0, len(policies), 7):
            job = "driver-%d" % at
            shadows = [dict(p, name="s%d" % (at + i)) for i, p in enumerate(policies[at:at + 7])]
            self.create(job, lr=[0.1, 0.02], cosine_annealing={"t_max": 10}, shadow=shadows)
            jobs[job] = [s["name"] for s in shadows]
        for i, policy in enumerate(policies):
            self.create("s%d" % i, lr=[0.1, 0.02], **policy)
        self.create("plain", lr=[0.1, 0.02], cosine_annealing={"t_max": 10})
        everyone = list(jobs) + ["plain"] + ["s%d" % i for i in range(len(policies))]

        def all_of_them(action, body):
            return {job: self.d.ok("POST", "/v1/jobs/%s:%s" % (job, action), body) for job in everyone}

        step, steps = 0, []
        for _ in range(40):
            chance = self.random.random()
            if chance < 0.06 and steps:
                step = self.random.choice(steps)
                steps = [s for s in steps if s <= step]
                all_of_them("rewind", {"step": step})
            elif chance < 0.1:
                all_of_them(self.random.choice(["pause", "resume"]), {})
            elif chance < 0.14:
                self.d.restart()
            else:
                step += self.random.randint(1, 2)
                steps.append(step)
                body = {"step": step, "loss": self.random.choice(["NaN", "Infinity", 9.0]) if chance < 0.25
                        else 1.2 * self.random.random()}
                if self.random.random() < 0.15:
                    body["lr_cap"] = 0.03 * self.random.random()
                answers = all_of_them("report", body)
                for job, names in jobs.items():
                    own = answers[job]
                    self.assertEqual([own[k] for k in ("lrs", "action", "reason")],
                                     [answers["plain"][k] for k in ("lrs", "action", "reason")])
                    self.assertEqual([s["name"] for s in own["shadow"]], names)
                    for s in own["shadow"]:
                        self.assertEqual([s[k] for k in ("lrs", "action", "reason")],
                                         [answers[s["name"]][k] for k in ("lrs", "action", "reason")], (s, policies))
                        self.assertEqual(s["lr"], s["lrs"][0])
        for job in jobs:
            state = self.d.ok("GET", "/v1/jobs/" + job)["state"]
            for s in state["shadow"]:
                alone = self.d.ok("GET", "/v1/jobs/" + s["name"])["state"]
                self.assertEqual({k: v for k, v in s["state"].items()}, alone)

    def test_shown_everywhere(self):
        self.create("a", shadow=[{"name": "c", "cosine_annealing": {"t_max": 4}}, {"name": "k", "constant": {}}])
        watch = self.d.connection()
        watch.request("GET", "/v1/jobs/a:watch", headers={"Accept": "text/event-stream"})
        stream = watch.getresponse()
        first = self.report("a", step=1, loss=1)
        self.assertEqual({n: (s["action"], s["reason"]) for n, s in said(first).items()}["k"][0], "schedule")
        while not (line := stream.readline()).startswith(b"data:"):
            pass
        watch.close()
        self.assertEqual(json.loads(line[5:])["shadow"], first["shadow"])
        again = self.report("a", step=1, loss=1)
        self.assertTrue(again["duplicate"])
        self.assertEqual(again["shadow"], first["shadow"])
        dry = self.report("a", step=2, loss=1, dry_run=True)
        batch = self.d.ok("POST", "/v1/jobs:batchReport", {"reports": [{"job": "a", "step": 2, "loss": 1}]})
        second = batch["results"][0]["decision"]
        self.assertEqual(dry["shadow"], second["shadow"])
        self.d.ok("POST", "/v1/jobs/a:setLr", {"lr": 0.05})
        self.d.restart()
        self.assertEqual(self.report("a", step=1, loss=1)["shadow"], first["shadow"])
        history = self.d.decisions("a")
        self.assertEqual([d.get("shadow") for d in history], [first["shadow"], second["shadow"], None])
        _, _, csv = self.d.request("GET", "/v1/jobs/a/decisions?format=csv")
        lines = csv.decode().split("\r\n")
        self.assertTrue(lines[0].endswith(",shadow"))
        self.assertTrue(lines[1].endswith(",c=%r k=0.1" % said(first)["c"]["lr"]), lines[1])
        self.assertTrue(lines[3].endswith(","), lines[3])
        _, _, nd = self.d.request("GET", "/v1/jobs/a/decisions?format=ndjson")
        self.assertEqual(json.loads(nd.splitlines()[0])["shadow"], first["shadow"])
        spec = {"lr": 0.1, "shadow": [{"name": "c", "cosine_annealing": {"t_max": 4}}, {"name": "k", "constant": {}}]}
        simulated = self.d.ok("POST", "/v1/simulate", {"spec": spec, "losses": [1, 1]})
        self.assertEqual([d["shadow"] for d in simulated["decisions"]], [first["shadow"], second["shadow"]])
        # An override is the job's own.
        self.assertEqual(said(self.report("a", step=3, loss=1))["k"]["lr"], 0.1)

    def test_added_to_and_replaced_on_a_live_job(self):
        self.create("a", cosine_annealing={"t_max": 10})
        for step in range(1, 4):
            self.assertNotIn("shadow", self.report("a", step=step, loss=1))
        self.d.ok("PATCH", "/v1/jobs/a", {"spec": {"shadow": [{"name": "g", "greedy": {"patience": 0, "smooth": False}},
                                                              {"name": "e", "exponential": {"gamma": 0.5}}]}})
        self.assertEqual([said(self.report("a", step=4, loss=1))[n]["lr"] for n in ("g", "e")], [0.125, 0.05])
        # g stays what it has become under other settings, e is another kind by that name and starts over.
        self.d.ok("PATCH", "/v1/jobs/a", {"spec": {"shadow": [{"name": "e", "constant": {}}, {"name": "g", "greedy": {
            "patience": 0, "smooth": False, "factor": 0.5}}]}})
        state = {s["name"]: s["state"] for s in self.d.ok("GET", "/v1/jobs/a")["state"]["shadow"]}
        self.assertEqual((state["g"]["lr"], state["g"]["best"], state["e"]["lr"]), (0.125, 1, 0.1))
        self.assertEqual([said(self.report("a", step=5, loss=2))[n]["lr"] for n in ("g", "e")], [0.0625, 0.1])
        code, answer = self.d.call("PATCH", "/v1/jobs/a", {"spec": {"shadow": [{"name": "g", "greedy": {"factor": 3}}]}})
        self.assertEqual((code, reason(answer)), (400, "FIELD_INVALID"))
        self.d.restart()
        # Back to where there was none: it starts there.
        self.d.ok("POST", "/v1/jobs/a:rewind", {"step": 2})
        self.assertEqual(said(self.report("a", step=3, loss=1))["g"]["lr"], 0.2)
        self.d.ok("POST", "/v1/jobs/a:rewind", {"step": 3})
        self.assertEqual(said(self.report("a", step=4, loss=2))["g"]["lr"], 0.1)

    def test_forks_take_them_along(self):
        self.create("a", shadow=[{"name": "e", "exponential": {"gamma": 0.5}}])
        for step in range(1, 4):
            self.report("a", step=step, loss=1)
        self.d.ok("POST", "/v1/jobs/a:fork", {"step": 2, "spec": {"job": "b"}})
        self.assertEqual(said(self.report("b", step=3, loss=1))["e"]["lr"], 0.0125)
        self.d.ok("POST", "/v1/jobs/a:fork", {"spec": {"job": "c", "shadow": [{"name": "k", "constant": {}}]}})
        self.assertEqual([s["name"] for s in self.report("c", step=4, loss=1)["shadow"]], ["k"])

    def test_rounds_and_imports(self):
        self.create("a", lr=0.5, ranks={"world_size": 2}, greedy={"dialect": "transformers", "min_lr": 0.001, "max_lr": 1},
                    shadow=[{"name": "p", "plateau": {"patience": 0, "factor": 0.5}}])
        for step, (left, right) in enumerate([(1, 3), (4, 4)], 1):
            self.d.ok("POST", "/v1/jobs:batchReport", {"reports": [{"job": "a", "step": step, "rank": 0, "loss": left}]})
            answer = self.report("a", step=step, rank=1, loss=right)
        self.assertEqual((answer["value"], said(answer)["p"]["lr"]), (4, 0.25))
        state = self.d.ok("GET", "/v1/jobs/a/state")
        self.d.ok("PUT", "/v1/jobs/a/state", state)
        shadow = self.d.ok("GET", "/v1/jobs/a")["state"]["shadow"][0]["state"]
        self.assertEqual((shadow["lr"], shadow["best"]), (0.25, 2))
        # Other initial rates are those of its shadows as well, and what is kept of settings says so after a restart.
        self.d.ok("PATCH", "/v1/jobs/a", {"spec": {"shadow": [{"name": "k", "constant": {}}, {"name": "p", "plateau": {}}]}})
        state["_init_lrs"] = [0.25]
        self.d.ok("PUT", "/v1/jobs/a/state", state)
        for _ in range(2):
            shadows = {s["name"]: s["state"]["lr"] for s in self.d.ok("GET", "/v1/jobs/a")["state"]["shadow"]}
            self.assertEqual(shadows, {"k": 0.25, "p": 0.25})
            self.d.restart()

    def test_a_job_at_the_limit(self):
        groups = 256
        self.create("big", lr=[0.1] * groups, shadow=[dict(p, name="s%d" % i) for i, p in enumerate(POLICIES[3:11])])
        answer = self.report("big", step=1, loss=1)
        self.assertEqual([len(s["lrs"]) for s in answer["shadow"]], [groups] * 8)
        self.d.restart()
        self.assertEqual(self.d.decisions("big")[0]["shadow"], answer["shadow"])


class Evicted(Shadows):
    """The same where jobs leave memory at once."""
    flags = ("--resident-jobs", "1")


class OldDatabase(DaemonTest):
    def test_schema_2_goes_on(self):
        """A database without the column: what is in it is history, and a shadow can be added."""
        self.d.ok("POST", "/v1/jobs", {"job": "a", "lr": 0.1})
        self.d.ok("POST", "/v1/jobs/a:report", {"step": 1, "loss": 1})
        self.d.stop()
        with sqlite3.connect(os.path.join(self.d.data, "greedylr.db")) as db:
            for table in ("log", "decision"):
                db.execute("ALTER TABLE %s DROP COLUMN shadow" % table)
            db.execute("DROP INDEX job_at_rest")
            db.execute("PRAGMA user_version=2")
        db.close()
        self.d.start()
        self.assertNotIn("shadow", self.d.decisions("a")[0])
        self.d.ok("PATCH", "/v1/jobs/a", {"spec": {"shadow": [{"name": "k", "constant": {}}]}})
        self.assertEqual(self.d.ok("POST", "/v1/jobs/a:report", {"step": 2, "loss": 1})["shadow"][0]["lr"], 0.1)


class FullBatch(DaemonTest):
    flags = ("--max-batch-entries", "4")

    def batch(self, job, *steps):
        reports = [{"job": job, "loss": 1 / step, "step": step} for step in steps]
        return self.d.ok("POST", "/v1/jobs:batchReport", {"reports": reports})["results"]

    def test_an_answer_has_as_many_rates_as_jobs_without_shadows_could_give_it(self):
        lrs = [0.1] * 256
        shadows = [{"name": "s%d" % i} for i in range(3)]
        self.d.ok("POST", "/v1/jobs", {"job": "bare", "lr": lrs})
        self.d.ok("POST", "/v1/jobs", {"job": "watched", "lr": lrs, "shadow": shadows})
        self.assertEqual([r["decision"]["step"] for r in self.batch("bare", 1, 2, 3, 4)], [1, 2, 3, 4])
        first, *refused = self.batch("watched", 1, 2, 3)
        self.assertEqual(len(first["decision"]["shadow"]), 3)
        for item in refused:
            self.assertEqual(item.get("error", {}).get("reason"), "TOO_MANY_WAITING", item)
            self.assertIn("has 1024 rates, those of shadows included, and takes at most 1024; repeat this report in "
                          "another batch", item["error"]["message"])
        self.assertEqual(self.d.ok("GET", "/v1/jobs/watched")["state"]["step"], 1)
        self.assertEqual(self.batch("watched", 2)[0]["decision"]["revision"], 2)


if __name__ == "__main__":
    unittest.main(verbosity=2)
