"""ImportState and ExportState: a run moves to the daemon in mid-flight and back, with identical decisions after.

`greedy_start` and `greedy_step` are the public GreedyLR of Transformers in our own words, its state in the keys of its
state_dict; the golden traces say whether they are right, and where Transformers is installed its own is held against
them too.  ReduceLROnPlateau is PyTorch's own.
"""
import copy
import json
import math
import struct
import threading
import unittest

from harness import DaemonTest, num, reason, vectors

try:
    import torch
except ImportError:
    torch = None
try:
    from transformers.optimization import GreedyLR as TransformersGreedyLR
except ImportError:
    TransformersGreedyLR = None


def bits(values):
    return [struct.pack("<d", num(v)) for v in values]


def greedy_start(lrs, config):
    """The state_dict of a new GreedyLR."""
    per_group = lambda v: [num(x) for x in v] if isinstance(v, list) else [num(v)] * len(lrs)
    state = {"verbose": False, "cooldown_counter": 0, "warmup_counter": 0, "num_bad_epochs": 0, "num_good_epochs": 0,
             "last_epoch": 0, "reset_start": config["reset_start"], "reset_start_original": config["reset_start"],
             "min_lrs": per_group(config["min_lr"]), "max_lrs": per_group(config["max_lr"]),
             "_last_lr": list(lrs), "_init_lrs": list(lrs), "best": math.inf if config["mode"] == "min" else -math.inf}
    for key in ("factor", "patience", "cooldown", "warmup", "mode", "threshold", "threshold_mode", "eps", "smooth",
                "window_size"):
        state[key] = config[key]
    if config["smooth"]:
        state["_streaming_avg"] = {"window_size": config["window_size"], "values": [], "sum": 0.0}
    return state


def greedy_better(s, x):
    sign = 1.0 if s["mode"] == "max" else -1.0
    margin = s["best"] + sign * s["threshold"] if s["threshold_mode"] == "abs" else \
        s["best"] * (1.0 + sign * s["threshold"])
    return x > margin if s["mode"] == "max" else x < margin


def greedy_cut(s):
    for i, lr in enumerate(s["_last_lr"]):
        new = max(lr * s["factor"], s["min_lrs"][i])
        if lr - new > s["eps"]:
            s["_last_lr"][i] = new
    if any(lr > low for lr, low in zip(s["_last_lr"], s["min_lrs"])):
        return
    s["reset_start"] -= 1
    if s["reset_start"] <= 0:
        s.update(_last_lr=list(s["_init_lrs"]), reset_start=s["reset_start_original"], num_good_epochs=0,
                 num_bad_epochs=0, warmup_counter=0, best=math.inf if s["mode"] == "min" else -math.inf)
        if s["smooth"]:
            s["_streaming_avg"].update(values=[], sum=0.0)


def greedy_raise(s):
    for i, lr in enumerate(s["_last_lr"]):
        new = min(lr / s["factor"], s["max_lrs"][i])
        if new - lr > s["eps"]:
            s["_last_lr"][i] = new
    s["reset_start"] = s["reset_start_original"]


def greedy_step(s, x):
    """One report; returns the rates."""
    s["last_epoch"] += 1
    if s["smooth"]:
        window = s["_streaming_avg"]
        window["values"].append(x)
        window["sum"] += x
        if len(window["values"]) > window["window_size"]:
            window["sum"] -= window["values"].pop(0)
        x = window["sum"] / len(window["values"])
    for counter in ("cooldown_counter", "warmup_counter"):
        if s[counter]:
            s[counter] -= 1
            s["num_good_epochs"] = s["num_bad_epochs"] = 0
            return s["_last_lr"]
    better = greedy_better(s, x)
    s["num_good_epochs"], s["num_bad_epochs"] = \
        (s["num_good_epochs"] + 1, 0) if better else (0, s["num_bad_epochs"] + 1)
    if better:
        s["best"] = x
    if s["num_good_epochs"] > s["patience"]:
        greedy_raise(s)
        s.update(num_good_epochs=0, warmup_counter=s["warmup"])
    elif s["num_bad_epochs"] > s["patience"]:
        greedy_cut(s)
        s.update(num_bad_epochs=0, cooldown_counter=s["cooldown"])
    return s["_last_lr"]


def greedy_run(s, values):
    return [list(greedy_step(s, num(x))) for x in values]


def facts(dict_):
    """A state_dict with every number as its bits."""
    if isinstance(dict_, dict):
        return {k: facts(v) for k, v in dict_.items()}
    if isinstance(dict_, list):
        return [facts(v) for v in dict_]
    if isinstance(dict_, (int, float)) and not isinstance(dict_, bool):
        return "NaN" if dict_ != dict_ else struct.pack("<d", dict_)
    return dict_


class StateTest(DaemonTest):
    def put(self, job, state):
        return self.d.call("PUT", "/v1/jobs/%s/state" % job, state if isinstance(state, str) else json.dumps(state))

    def get(self, job):
        return self.d.ok("GET", "/v1/jobs/%s/state" % job)

    def report(self, job, values):
        """Steps by themselves; the rates after each."""
        reports = {"reports": [{"job": job, "loss": x} for x in values]}
        answer = self.d.ok("POST", "/v1/jobs:batchReport", reports)
        return [r["decision"]["lrs"] for r in answer["results"]]

    def same(self, got, want, name):
        self.assertEqual([bits(x) for x in got], [bits(x) for x in want], name)


def halves(v):
    half = len(v["metrics"]) // 2
    return v["metrics"][:half], v["metrics"][half:], v["lr"][:half], v["lr"][half:]


class Greedy(StateTest):
    traces = vectors("greedy.jsonl")

    def test_the_public_state_is_right(self):
        for v in self.traces:
            state = greedy_start(v["initial_lr"], v["config"])
            self.same(greedy_run(state, v["metrics"]), v["lr"], v["id"])
            for key, want in v["final"].items():
                self.assertEqual(bits([state[key]]), bits([want]), (v["id"], key))

    def test_to_the_daemon_after_half_a_trace(self):
        states = {}
        for v in self.traces:
            first, _, rates, _ = halves(v)
            states[v["id"]] = state = greedy_start(v["initial_lr"], v["config"])
            self.same(greedy_run(state, first), rates, v["id"])
            status, job = self.put(v["id"], state)
            self.assertEqual(status, 200, (v["id"], job))
            self.assertEqual(bits(job["state"]["lrs"]), bits(rates[-1]), v["id"])
            self.assertEqual(facts(self.get(v["id"])), facts(state), v["id"])
        self.d.restart()
        for v in self.traces:
            _, second, _, rates = halves(v)
            self.same(self.report(v["id"], second), rates, v["id"])
            greedy_run(states[v["id"]], second)
            self.assertEqual(facts(self.get(v["id"])), facts(states[v["id"]]), v["id"])

    def test_back_after_half_a_trace(self):
        for v in self.traces:
            first, second, early, late = halves(v)
            self.d.ok("POST", "/v1/jobs", {"job": v["id"], "lr": v["initial_lr"], "greedy": v["config"]})
            self.same(self.report(v["id"], first), early, v["id"])
            self.same(greedy_run(self.get(v["id"]), second), late, v["id"])

    def test_the_greedylr_dialect_goes_where_it_is_expressible(self):
        spec = {"job": "g", "lr": [0.1, 0.3], "greedy": {"smooth": False, "patience": 1}}
        values = [2.0 - 0.01 * i + 0.3 * math.sin(i) for i in range(200)]
        self.d.ok("POST", "/v1/jobs", spec)
        self.report("g", values[:100])
        state = self.get("g")
        self.same(self.report("g", values[100:]), greedy_run(state, values[100:]), "g")

    def test_what_is_not_expressible_says_why(self):
        self.d.ok("POST", "/v1/jobs", {"job": "m", "lr": 0.1})
        status, answer = self.d.call("GET", "/v1/jobs/m/state")
        self.assertEqual((status, answer["code"], reason(answer)),
                         (400, "failed_precondition", "STATE_NOT_EXPORTABLE"))
        self.assertIn("greedy.smooth", answer["message"])
        self.d.ok("PATCH", "/v1/jobs/m", {"spec": {"greedy": {"smooth": False}}})
        self.assertEqual(self.get("m")["patience"], 2)


@unittest.skipUnless(TransformersGreedyLR, "Transformers is not installed, or has no GreedyLR yet")
class Transformers(StateTest):
    """Its own GreedyLR, as it is installed."""
    traces = vectors("greedy.jsonl")

    def scheduler(self, v):
        groups = [{"params": [torch.zeros(1, requires_grad=True)], "lr": lr} for lr in v["initial_lr"]]
        def plain(x):
            return [plain(one) for one in x] if isinstance(x, list) else num(x) if x == "Infinity" else x
        config = {key: plain(value) for key, value in v["config"].items() if key != "dialect"}
        return TransformersGreedyLR(torch.optim.SGD(groups, lr=1.0), **config)

    def rates(self, scheduler, values):
        out = []
        for x in values:
            scheduler.step(num(x))
            out.append([group["lr"] for group in scheduler.optimizer.param_groups])
        return out

    def test_its_traces(self):
        for v in self.traces:
            self.same(self.rates(self.scheduler(v), v["metrics"]), v["lr"], v["id"])

    def test_to_the_daemon_after_half_a_trace(self):
        for v in self.traces:
            first, second, _, late = halves(v)
            scheduler = self.scheduler(v)
            self.rates(scheduler, first)
            text = json.dumps(scheduler.state_dict(), default=float)
            status, job = self.put(v["id"], text)
            self.assertEqual(status, 200, (v["id"], job))
            self.same(self.report(v["id"], second), late, v["id"])

    def test_back_after_half_a_trace(self):
        for v in self.traces:
            first, second, early, late = halves(v)
            self.d.ok("POST", "/v1/jobs", {"job": v["id"], "lr": v["initial_lr"], "greedy": v["config"]})
            self.same(self.report(v["id"], first), early, v["id"])
            scheduler, state = self.scheduler(v), self.get(v["id"])
            scheduler.load_state_dict(state)
            for group, lr in zip(scheduler.optimizer.param_groups, state["_last_lr"]):
                group["lr"] = lr
            self.same(self.rates(scheduler, second), late, v["id"])


@unittest.skipUnless(torch, "PyTorch is not installed")
class Plateau(StateTest):
    traces = vectors("plateau.jsonl")

    def scheduler(self, lrs, **config):
        groups = [{"params": [torch.zeros(1, requires_grad=True)], "lr": lr} for lr in lrs]
        optimizer = torch.optim.SGD(groups, lr=1.0)
        return torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, **config), optimizer

    def run_torch(self, scheduler, optimizer, values):
        rates = []
        for x in values:
            scheduler.step(num(x))
            rates.append([g["lr"] for g in optimizer.param_groups])
        return rates

    def test_to_the_daemon_after_half_a_trace(self):
        running = {}
        for v in self.traces:
            first, _, rates, _ = halves(v)
            running[v["id"]] = scheduler, optimizer = self.scheduler(v["initial_lr"], **v["config"])
            self.same(self.run_torch(scheduler, optimizer, first), rates, v["id"])
            status, job = self.put(v["id"], scheduler.state_dict())
            self.assertEqual(status, 200, (v["id"], job))
        self.d.restart()
        for v in self.traces:
            _, second, _, rates = halves(v)
            self.same(self.report(v["id"], second), rates, v["id"])
            scheduler, optimizer = running[v["id"]]
            self.run_torch(scheduler, optimizer, second)
            got, want = facts(self.get(v["id"])), facts(scheduler.state_dict())
            for key in ("default_min_lr", "verbose"):  # the one came, the other went, and nothing is decided by them
                got.pop(key, None)
                want.pop(key, None)
            self.assertEqual(got, want, v["id"])

    def test_back_after_half_a_trace(self):
        for v in self.traces:
            first, second, early, late = halves(v)
            self.d.ok("POST", "/v1/jobs", {"job": v["id"], "lr": v["initial_lr"], "plateau": v["config"]})
            self.same(self.report(v["id"], first), early, v["id"])
            # Settings come with the state; PyTorch leaves the optimizer's rates to the caller.
            state = self.get(v["id"])
            scheduler, optimizer = self.scheduler([1.0] * len(v["initial_lr"]))
            scheduler.load_state_dict(state)
            for group, lr in zip(optimizer.param_groups, state["_last_lr"]):
                group["lr"] = lr
            self.same(self.run_torch(scheduler, optimizer, second), late, v["id"])


CONFIG = {"mode": "min", "factor": 0.5, "patience": 1, "threshold": 1e-6, "threshold_mode": "abs", "cooldown": 2,
          "warmup": 1, "min_lr": 1e-3, "max_lr": 1.0, "eps": 1e-8, "smooth": True, "window_size": 4, "reset_start": 5}

# (key, value or None to remove it, what the message says)
BAD = [
    ("factor", None, "state_dict.factor: is missing"),
    ("_init_lrs", None, "state_dict._init_lrs: is missing"),
    ("factor", 2.0, "state_dict.factor: must be in (0, 1), got 2"),
    ("patience", -1, "state_dict.patience: must be a whole number"),
    ("mode", "sideways", "state_dict.mode: must be"),
    ("best", math.nan, "state_dict.best: must be a number, got NaN"),
    ("max_lrs", [math.inf], "state_dict.max_lrs: must be finite"),
    ("_last_lr", [-0.1], "state_dict._last_lr[0]: must be finite and at least 0"),
    ("_last_lr", [0.1, 0.2], "state_dict._last_lr: must have 1 rates, as the job has, got 2"),
    ("_streaming_avg", None, "state_dict._streaming_avg.window_size: is missing"),
    ("mode_worse", math.inf, "state_dict.mode_worse: is a key of ReduceLROnPlateau (PyTorch)"),
    ("colour", "blue", "state_dict.colour: is not a key of GreedyLR (Transformers)"),
]


class Service(StateTest):
    def setUp(self):
        super().setUp()
        self.state = greedy_start([0.25], CONFIG)
        greedy_run(self.state, [3.0, 2.0, 1.0, 5.0, 4.0, 6.0])

    def test_bad_dicts_change_nothing(self):
        self.d.ok("POST", "/v1/jobs", {"job": "there", "lr": 0.1, "greedy": {"patience": 7}})
        self.report("there", [1.0, 2.0])
        before = self.d.ok("GET", "/v1/jobs/there")
        for key, value, message in BAD:
            state = copy.deepcopy(self.state)
            if value is None:
                del state[key]
            else:
                state[key] = value
            status, answer = self.put("there", state)
            self.assertEqual((status, answer["code"], reason(answer)), (400, "invalid_argument", "STATE_INVALID"), key)
            self.assertIn(message, answer["message"])
            self.assertEqual(answer["details"][0]["debug"]["metadata"]["outcome"], "nothing was changed")
            if "as the job has" not in message:
                self.assertEqual(self.put("fresh", state)[0], 400, key)
        for text, why in (("", "FIELD_REQUIRED"), ("[1]", "BODY_INVALID"), ("{", "BODY_INVALID"),
                          ('{"a":1,"a":2}', "BODY_INVALID"), ("{}", "STATE_INVALID"),
                          ('{"step_size": 3, "last_epoch": 1}', "STATE_INVALID")):
            status, answer = self.put("there", text)
            self.assertEqual((status, reason(answer)), (400, why), text)
        self.assertEqual(self.d.ok("GET", "/v1/jobs/there"), before)
        self.assertEqual(len(self.d.decisions("there")), 2)
        self.assertEqual(self.d.call("GET", "/v1/jobs/fresh")[0], 404)
        self.assertEqual(self.d.call("GET", "/v1/jobs/fresh/state")[0], 404)

    def test_an_import_is_in_the_history(self):
        status, job = self.put("new", self.state)
        self.assertEqual(status, 200, job)
        self.assertEqual((job["revision"], job["status"], job["attempt"]), (1, "active", 0))
        self.assertEqual(job["state"]["reports"], 6)
        self.assertNotIn("step", job["state"])
        self.assertEqual(job["spec"]["lr"], self.state["_init_lrs"])
        for settings in (job["spec"], job["effective"]):
            self.assertEqual(settings["greedy"]["dialect"], "transformers")
            self.assertEqual(settings["greedy"]["window_size"], 4)
        first, = self.d.decisions("new")
        self.assertEqual((first["action"], first["revision"]), ("import", 1))
        self.assertEqual(first["reason"], "state of GreedyLR (Transformers) after 6 reports")
        self.assertTrue(first["actor"])
        self.assertEqual(bits(first["lrs"]), bits(self.state["_last_lr"]))
        self.assertEqual(self.d.ok("POST", "/v1/jobs", job["spec"]), job)
        # A trainer counts its steps as it likes.
        decision = self.d.ok("POST", "/v1/jobs/new:report", {"step": 0, "loss": 2.5})
        self.assertEqual((decision["step"], decision["revision"]), (0, 2))

    def test_into_a_job_that_is_there(self):
        spec = {"job": "a", "lr": 0.1, "strict": True, "labels": ["team=nlp"], "on_nonfinite": "skip",
                "greedy": {"patience": 7}}
        self.d.ok("POST", "/v1/jobs", spec)
        self.d.ok("POST", "/v1/jobs/a:report", {"step": 40, "loss": 1.0, "attempt": 3})
        status, job = self.put("a", self.state)
        self.assertEqual(status, 200, job)
        self.assertEqual((job["revision"], job["attempt"], job["state"]["step"]), (2, 3, 40))
        self.assertEqual(job["spec"]["labels"], ["team=nlp"])
        self.assertTrue(job["spec"]["strict"])
        self.assertNotIn("on_nonfinite", job["effective"])
        self.assertEqual(job["effective"]["greedy"]["patience"], 1)
        self.assertEqual(job["spec"]["lr"], self.state["_init_lrs"])
        self.d.restart()
        self.assertEqual(self.d.ok("GET", "/v1/jobs/a"), job)
        self.assertEqual(self.d.ok("POST", "/v1/jobs", spec), job)  # a trainer that starts again
        values = [2.0, math.nan, 7.0, 1.0, 0.5, 0.4, 0.3]
        self.same(self.report("a", values), greedy_run(self.state, values), "a")
        self.assertEqual(self.d.ok("GET", "/v1/jobs/a")["state"]["step"], 47)

    def test_the_kind_of_policy_stays(self):
        self.d.ok("POST", "/v1/jobs", {"job": "p", "lr": 0.1, "plateau": {}})
        status, answer = self.put("p", self.state)
        self.assertEqual((status, reason(answer)), (400, "STATE_INVALID"))
        self.assertIn("the job's policy is plateau; import into another job", answer["message"])

    def test_a_finished_job_refuses_and_a_paused_one_stays_paused(self):
        self.put("f", self.state)
        self.d.ok("POST", "/v1/jobs/f:pause")
        status, job = self.put("f", self.state)
        self.assertEqual((status, job["status"]), (200, "paused"), job)
        self.d.ok("POST", "/v1/jobs/f:finish")
        status, answer = self.put("f", self.state)
        self.assertEqual((status, reason(answer)), (400, "JOB_FINISHED"))
        self.assertEqual(facts(self.get("f")), facts(self.state))

    def test_a_rewind_to_the_start_is_to_the_imported_state(self):
        self.put("r", self.state)
        values = [2.0, 9.0, 9.0, 9.0, 1.0]
        once = self.report("r", values)
        self.d.ok("POST", "/v1/jobs/r:rewind", {"initial": True})
        self.assertEqual(facts(self.get("r")), facts(self.state))
        self.same(self.report("r", values), once, "r")

    def test_a_rewind_behind_the_import_keeps_its_settings(self):
        self.d.ok("POST", "/v1/jobs", {"job": "b", "lr": 0.1, "greedy": {"smooth": False, "patience": 5}})
        early = self.report("b", [5.0, 4.0])
        self.put("b", self.state)
        late = self.report("b", [2.0])
        job = self.d.ok("POST", "/v1/jobs/b:rewind", {"step": 2})
        self.assertEqual(facts(self.get("b")), facts(self.state))  # the import is what the state at step 2 is
        self.same(self.report("b", [2.0]), late, "b")
        job = self.d.ok("POST", "/v1/jobs/b:rewind", {"step": 1})
        self.assertEqual(bits(job["state"]["lrs"]), bits(early[0]))
        self.assertEqual(job["state"]["best"], 5.0)
        self.assertEqual(job["effective"]["greedy"]["dialect"], "transformers")

    def test_settings_of_a_plateau_job_change(self):
        self.d.ok("POST", "/v1/jobs", {"job": "s", "lr": 0.5, "plateau": {"patience": 0}})
        self.report("s", [1.0, 2.0])
        job = self.d.ok("PATCH", "/v1/jobs/s", {"spec": {"plateau": {"min_lr": 0.1, "patience": 3}}})
        self.assertEqual(job["state"]["lrs"], [0.1])
        self.assertEqual(job["effective"]["plateau"]["factor"], 0.1)
        self.assertNotIn("on_nonfinite", job["effective"])
        state = self.get("s")
        self.assertEqual((state["patience"], state["min_lrs"], state["best"]), (3, [0.1], 1.0))
        status, answer = self.d.call("PATCH", "/v1/jobs/s", {"spec": {"on_nonfinite": "skip"}})
        self.assertEqual((status, reason(answer)), (400, "FIELD_INVALID"))
        self.assertIn("does not apply to plateau", answer["message"])

    def test_many_imports_at_once(self):
        def run():
            status, job = self.put("m", self.state)
            self.assertEqual(status, 200, job)
            revisions.append(job["revision"])

        revisions = []
        threads = [threading.Thread(target=run) for _ in range(8)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        history = self.d.decisions("m")
        self.assertEqual([d["revision"] for d in history], list(range(1, 9)))
        self.assertEqual({d["action"] for d in history}, {"import"})
        self.assertEqual(len(revisions), 8)
        self.assertEqual(facts(self.get("m")), facts(self.state))

    def test_what_json_does_not_know_becomes_a_number(self):
        if not torch:
            self.skipTest("PyTorch is not installed")
        state = dict(self.state, _last_lr=[torch.tensor(0.25, dtype=torch.float64)])
        status, job = self.put("t", json.dumps(state, default=float))
        self.assertEqual((status, job["state"]["lrs"]), (200, [0.25]))

    def test_the_connect_face(self):
        status, job = self.d.rpc("ImportState", {"job": "c", "state_dict": json.dumps(self.state)})
        self.assertEqual((status, job["job"]), (200, "c"), job)
        status, answer = self.d.rpc("ExportState", {"job": "c"})
        self.assertEqual(status, 200)
        self.assertEqual(facts(json.loads(answer["state_dict"])), facts(self.state))
        status, answer = self.d.rpc("ImportState", {"job": "c", "state_dict": "{}"})
        self.assertEqual((status, reason(answer)), (400, "STATE_INVALID"))

    def test_a_ramp_has_to_be_over(self):
        self.d.ok("POST", "/v1/jobs", {"job": "w", "lr": 0.1, "plateau": {}, "ramp": {"reports": 2,
                                                                                     "start_factor": 0.1}})
        self.report("w", [1.0])
        status, answer = self.d.call("GET", "/v1/jobs/w/state")
        self.assertEqual((status, reason(answer)), (400, "STATE_NOT_EXPORTABLE"))
        self.assertIn("1 of 2 reports", answer["message"])
        self.report("w", [1.0])
        self.assertEqual(self.get("w")["_last_lr"], [0.1])


if __name__ == "__main__":
    unittest.main()
