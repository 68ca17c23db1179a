"""A run's place in its job, without a framework: outages, restarts, going back."""
import json
import logging
import math
import os
import random
import unittest

from harness import ZERO, num
from python_help import LOSSES, RunTest, patient

from greedylr import GreedyLRError, Session, local, outage


class Sessions(RunTest):
    """A run without a framework."""

    def test_decides_as_the_daemon_simulates(self):
        session = Session("a", [0.1], self.url, patience=1)
        got = [list(session.step(x, applied=session.lrs)) for x in LOSSES]
        self.assertEqual(got, self.want(LOSSES, {"greedy": {"patience": 1}}))
        self.assertEqual(self.values(), list(enumerate(LOSSES, 1)))
        self.assertFalse(any(d["applied_mismatch"] for d in self.d.decisions("a")))

    def test_steps_of_the_caller(self):
        session = Session("a", [0.1], self.url)
        for step in (0, 1000, 2000):
            session.step(1.0, step)
        self.assertEqual([s for s, _ in self.values()], [0, 1000, 2000])
        with self.assertLogs("greedylr", "WARNING") as logged:
            session.step(5.0, 2000)  # stepped again by a wrapper: the recorded decision
        self.assertIn("another value", logged.output[0])
        self.assertTrue(session.decision["duplicate"])
        session.step(1.0)
        self.assertEqual(session.last_step, 2001)
        for bad in (-1, 1.5, 2**32, "x"):
            with self.assertRaises(ValueError):
                session.step(1.0, bad)
        with self.assertRaises(TypeError):
            session.step([1.0])
        self.assertEqual((session.last_step, len(self.values())), (2001, 4))

    def test_nonfinite(self):
        session = Session("a", [0.1], self.url, on_nonfinite="cut")
        self.assertEqual(session.step(math.nan), [0.08000000000000002])
        with self.assertRaises(GreedyLRError) as caught:
            refusing = Session("b", [0.1], self.url, on_nonfinite="reject")
            refusing.step(math.nan)
        self.assertEqual(caught.exception.reason, "NONFINITE_REJECTED")

    def test_dead_at_construction(self):
        self.d.kill()
        clock, out = patient(0.3, real=True)
        with self.assertLogs("greedylr", "WARNING") as logged:
            session = Session("a", [0.1], self.url, outage=out, patience=1)
            for x in LOSSES[:5]:
                self.assertEqual(session.step(x), [0.1])
        self.assertEqual(len(logged.output), 1)
        self.d.start()
        clock.now += outage.PROBE_EVERY
        with self.assertLogs("greedylr", "INFO") as logged:
            lrs = session.step(LOSSES[5])
        self.assertIn("again", logged.output[0])
        self.assertEqual(self.values(), list(enumerate(LOSSES[:6], 1)))
        self.assertEqual(lrs, self.want(LOSSES[:6], {"greedy": {"patience": 1}})[-1])

    def outage_in_the_middle(self, on_error):
        clock, out = patient(0.3, real=True)
        session = Session("a", [0.1], self.url, outage=out, patience=1, on_error=on_error)
        got = [list(session.step(x, applied=session.lrs)) for x in LOSSES[:4]]
        self.d.kill()
        with self.assertLogs("greedylr", "WARNING") as logged:
            got += [list(session.step(x, applied=session.lrs)) for x in LOSSES[4:11]]
        self.assertEqual(len(logged.output), 1)
        self.assertEqual(len(session.missed.items), 7)
        self.d.start()
        clock.now += outage.PROBE_EVERY
        got += [list(session.step(x, applied=session.lrs)) for x in LOSSES[11:]]
        self.assertEqual(self.values(), list(enumerate(LOSSES, 1)))
        decisions = self.d.decisions("a")
        want = self.want(LOSSES, {"greedy": {"patience": 1}})
        self.assertNotEqual(want[10], want[3])
        self.assertEqual([d["lrs"] for d in decisions], want)
        self.assertFalse(any(d["applied_mismatch"] for d in decisions))
        return got, want

    def test_hold(self):
        got, want = self.outage_in_the_middle("hold")
        self.assertEqual(got[:4] + got[11:], want[:4] + want[11:])
        self.assertEqual(got[4:11], [want[3]] * 7)

    def test_the_end_of_a_run_hands_in_what_was_missed(self):
        _, out = patient(0.3, real=True)
        session = Session("a", [0.1], self.url, outage=out, patience=1)
        session.step(LOSSES[0])
        self.d.kill()
        for x in LOSSES[1:5]:
            session.step(x)
        self.assertEqual(session.flush(), 4)  # still away
        self.d.start()
        self.assertEqual(session.flush(), 0)  # without waiting for the next probe
        self.assertEqual(session.lrs, self.want(LOSSES[:5], {"greedy": {"patience": 1}})[-1])
        self.assertEqual(self.values(), list(enumerate(LOSSES[:5], 1)))
        self.assertEqual(session.flush(), 0)

    def test_local(self):
        got, want = self.outage_in_the_middle("local")
        self.assertEqual(got, want)

    def test_raise(self):
        session = Session("a", [0.1], self.url, budget=0.1, on_error="raise")
        session.step(3.0)
        self.d.kill()
        for _ in range(2):
            with self.assertRaises(GreedyLRError) as caught:
                session.step(2.0)
            self.assertTrue(caught.exception.outage)
        self.assertEqual(session.last_step, 1)  # not counted
        self.d.start()
        session.step(2.0)
        self.assertEqual(self.values(), [(1, 3.0), (2, 2.0)])

    def test_constructing_never_fails_on_a_dead_daemon(self):
        self.d.kill()
        for on_error in ("hold", "local", "raise"):
            with self.assertLogs("greedylr", "WARNING"):
                session = Session("a", [0.1], self.url, budget=0.1, on_error=on_error)
        self.d.start()
        session.step(1.0)
        self.assertEqual(self.values(), [(1, 1.0)])

    def test_a_step_twice_during_an_outage(self):
        session = Session("a", [0.1], self.url, patience=0, smooth=False, budget=0.1, on_error="local")
        session.step(3.0, 1)
        self.d.kill()
        with self.assertLogs("greedylr", "WARNING"):
            lrs = list(session.step(2.0, 2))
            self.assertEqual(session.step(2.0, 2), lrs)
            self.assertEqual(session.step(2.0, 1), lrs)
            self.assertEqual(session.last_step, 2)
        self.assertEqual([item.step for item in session.missed.items], [2])
        self.d.start()

    def test_the_same_missed_losses_twice(self):
        """The answer to what was handed in gets lost: handed in again, decided once."""
        session = Session("a", [0.1], self.url)
        session.missed.add(outage.Missed(1, (3.0,), (1.0,)))
        session.missed.add(outage.Missed(2, (2.0,), (1.0,)))
        session.client.batch_report([session._late_report(item, None) for item in session.missed.items])
        session.last_step = 2
        session.step(1.0)
        self.assertEqual(self.values(), [(1, 3.0), (2, 2.0), (3, 1.0)])

    def test_many_missed_losses(self):
        session = Session("a", [0.1], self.url)
        for step in range(1, 251):
            session.missed.add(outage.Missed(step, (float(step),), (1.0,)))
        session.last_step = 250
        session.step(251)
        self.assertEqual(self.values(), [(s, float(s)) for s in range(1, 252)])

    def test_refusals_are_raised_in_every_mode(self):
        for i, on_error in enumerate(("hold", "local", "raise")):
            job = "a%d" % i
            session = Session(job, [0.1], self.url, on_error=on_error, strict=None, spec={"strict": True})
            session.step(1.0)
            with self.assertRaises(GreedyLRError) as caught:
                session.step(2.0, 1)
            self.assertEqual(caught.exception.reason, "STEP_CONFLICT")
            with self.assertRaises(GreedyLRError) as caught:
                Session(job, [0.2], self.url, on_error=on_error)
            self.assertEqual(caught.exception.reason, "JOB_EXISTS")
            with self.assertRaises(GreedyLRError) as caught:
                Session("not an id", [0.2], self.url, on_error=on_error)
            self.assertEqual(caught.exception.reason, "FIELD_INVALID")

    def test_bad_arguments_without_a_daemon(self):
        self.d.kill()
        for more, word in (({"on_error": "ignore"}, "on_error"), ({"budget": 0}, "budget"), ({"factor": 3}, "factor"),
                           ({"reduce": "sum"}, "reduce"), ({"attempt": -1}, "attempt"), ({"pace": 1}, "pace"),
                           ({"on_error": "local", "dialect": "transformers"}, "dialect"),
                           ({"on_error": "local", "spec": {"plateau": {}}}, "on_error: plateau cannot"),
                           ({"on_error": "local", "policy": {"cosine_annealing": {"t_max": 5}}}, "on_error: cosine_annealing cannot"),
                           ({"on_error": "local", "ramp": {"reports": 1, "start_factor": 0.5}}, "on_error: ramp cannot"),
                           ({"on_error": "local", "anneal": {"total_reports": 5}}, "on_error: anneal cannot"),
                           ({"policy": "cosine"}, "policy: .*there are greedy, plateau"), ({"policy": {}}, "policy"),
                           ({"policy": {"step": {}, "linear": {}}}, "policy"), ({"policy": {"step": 3}}, "step: must be its settings"),
                           ({"policy": {"step": {"size": 3}}}, "size: no such setting of step; there are step_size, gamma"),
                           ({"policy": "constant", "factor": 0.5}, "factor: is a setting of greedy"),
                           ({"policy": "constant", "spec": {"greedy": {}}}, "policy: spec has one too"),
                           ({"spec": {"greedy": {}, "linear": {}}}, "greedy and linear"), ({"spec": {"rank": {}}}, "rank: no such"),
                           ({"spec": {"lr": [0.2]}}, "lr is"), ({"spec": {"job": "b"}}, "job is"),
                           ({"shadow": [{"plateau": {}}]}, "shadow"), ({"shadow": {"name": "p"}}, "shadow: must be a list"), ({"shadow": [{"name": "p", "plateau": {"x": 1}}]}, "x: no such"),
                           ({"guard_ratio": 1}, "guard_ratio"), ({"guard_ratio": 2, "mode": "max"}, "guard_ratio"),
                           ({"guard_ratio": 2, "dialect": "transformers"}, "guard_ratio")):
            with self.subTest(more=more), self.assertRaisesRegex(ValueError, word):
                Session("a", [0.1], self.url, **more)
        self.d.start()

    def test_a_rate_of_zero_is_a_rate(self):
        session = Session("z", ZERO["lr"], self.url, **ZERO["greedy"])
        for want in ([1e-100], [1e-300], [0.0], [0.0]):
            self.assertEqual(session.step(1.0, applied=session.lrs), want)
        self.assertEqual(session.client.get_lr("z")["lrs"], [0.0])
        self.assertEqual(session.client.report("z", 1.0, applied_lr=0.0)["lrs"], [0.0])
        self.assertFalse(any(d["applied_mismatch"] for d in self.d.decisions("z")))
        state = json.loads(json.dumps(session.state_dict()))
        again = Session("z", ZERO["lr"], self.url, current=[0.0], **ZERO["greedy"])
        again.load_state_dict(state)
        self.assertEqual((again.lrs, again.step(1.0, applied=[0.0])), ([0.0], [0.0]))
        self.assertFalse(again.decision["applied_mismatch"])

    def test_the_rate_a_job_begins_with_is_used(self):
        session = Session("r", [0.1], self.url, ramp={"reports": 2, "start_factor": 0.25})
        self.assertEqual(session.lrs, [0.025])
        session.step(1.0, applied=session.lrs)
        self.assertFalse(session.decision["applied_mismatch"])
        again = Session("r", [0.1], self.url, current=[0.07], ramp={"reports": 2, "start_factor": 0.25})
        self.assertEqual(again.lrs, [0.07])  # where a checkpoint left it, for all that is known
        Session("o", [0.1], self.url)
        self.d.ok("POST", "/v1/jobs/o:setLr", {"lr": [0.3]})
        self.assertEqual(Session("o", [0.1], self.url).lrs, [0.3])
        self.d.kill()
        with self.assertLogs("greedylr", "WARNING"):
            late = Session("l", [0.1], self.url, ramp={"reports": 2, "start_factor": 0.25}, outage=patient(0.3, real=True)[1])
        self.assertEqual(late.lrs, [0.1])
        self.d.start()
        late._outage.closed()
        self.assertEqual(late.step(1.0, applied=[0.1]), [0.0625])
        self.assertFalse(late.decision["applied_mismatch"])

    def test_policies(self):
        session = Session("p", [0.1, 0.2], self.url, group_names=["x", "y"], policy={"plateau": {"patience": 0, "min_lr": {"y": 0.02, "x": 0.05}}})
        self.assertEqual([list(session.step(x)) for x in (1.0, 2.0)], [[0.1, 0.2], [0.05, 0.020000000000000004]])
        spec = self.d.ok("GET", "/v1/jobs/p")["spec"]
        self.assertEqual(spec["plateau"], {"patience": 0, "min_lr": [0.05, 0.02]})
        turned = Session("p", [0.2, 0.1], self.url, group_names=["y", "x"], policy={"plateau": {"patience": 0, "min_lr": [0.02, 0.05]}})
        self.assertEqual(turned.step(3.0, 3), [0.020000000000000004, 0.05])
        for more in ({"spec": {"plateau": {}}}, {"policy": "plateau"}, {"spec": {"job": "q", "lr": [0.1], "plateau": {}}}):
            self.assertEqual(Session("q", [0.1], self.url, **more).client.get_job("q")["spec"]["plateau"], {})
        self.assertEqual(Session("g", [0.1], self.url, spec={"greedy": {"patience": 7}}, factor=0.5).client.get_job("g")["spec"]["greedy"],
                         {"patience": 7, "factor": 0.5})
        with self.assertRaises(GreedyLRError) as caught:
            Session("g", [0.1], self.url, policy="plateau")
        self.assertEqual(caught.exception.reason, "JOB_EXISTS")

    def test_another_run_on_the_same_job_is_noticed(self):
        one, two = Session("a", [0.1], self.url), Session("a", [0.1], self.url)
        one.step(1.0)
        with self.assertLogs("greedylr", "WARNING") as logged:
            two.step(2.0)
        self.assertIn("another run", logged.output[0])
        self.assertEqual(two.lrs, one.lrs)

    def test_rates_that_are_not_used_are_noticed(self):
        session = Session("a", [0.1], self.url)
        session.step(1.0, applied=[0.1])
        with self.assertLogs("greedylr", "WARNING") as logged:
            session.step(1.0, applied=[0.05])
            session.step(1.0, applied=[0.05])
        self.assertEqual(len(logged.output), 1)

    def test_groups_in_another_order(self):
        first = Session("a", [0.1, 0.01], self.url, group_names=["body", "head"], min_lr=[0.001, 0.0001], patience=0,
                        smooth=False)
        self.assertEqual(first.step(1.0), [0.125, 0.01 / 0.8])
        again = Session("a", [0.01, 0.1], self.url, group_names=["head", "body"], min_lr=[0.0001, 0.001], patience=0,
                        smooth=False)
        self.assertEqual(again.step(0.5, 2), [0.01 / 0.8 / 0.8, 0.15625])
        self.assertEqual(again.decision["applied_mismatch"], False)
        with self.assertRaises(GreedyLRError):
            Session("a", [0.1, 0.01], self.url, group_names=["head", "body"], patience=0, smooth=False)


    # ---- restarts ----

    def check_history(self, losses, spec=None, job="a", start=1):
        """Each evaluation has one decision that counts, and they are those of a run without failures."""
        self.assertEqual(self.values(job), list(enumerate(losses, start)))
        decisions = self.counted(job)
        self.assertEqual([d["lrs"] for d in decisions], self.want(losses, spec))

    def test_a_restart_that_reports_decided_steps_again(self):
        old = Session("a", [0.1], self.url, patience=0)
        for step, loss in enumerate(LOSSES[:6], 1):
            old.step(loss, step)
        new = Session("a", [0.1], self.url, patience=0, current=old.lrs)
        for step, loss in enumerate([9.0, 8.0, 7.0], 4):
            new.step(loss, step)
        self.check_history(LOSSES[:3] + [9.0, 8.0, 7.0], {"greedy": {"patience": 0}})
        with self.assertRaises(GreedyLRError) as caught:
            old.step(1.0, 7)
        self.assertEqual(caught.exception.reason, "STALE_ATTEMPT")

    def test_a_restart_from_nothing(self):
        for _ in range(3):
            session = Session("a", [0.1], self.url, patience=0)
            for loss in LOSSES[:5]:
                session.step(loss)
        self.check_history(LOSSES[:5], {"greedy": {"patience": 0}})
        self.assertEqual(self.d.ok("GET", "/v1/jobs/a")["attempt"], 2)

    def test_attempts_of_a_launcher(self):
        session = Session("a", [0.1], self.url, attempt=7)
        session.step(1.0)
        self.assertEqual(session.decision["attempt"], 7)
        state = session.state_dict()
        session.step(1.0)
        session.load_state_dict(state)
        session.step(2.0)
        self.assertEqual(session.decision["attempt"], 8)
        with self.assertRaises(GreedyLRError) as caught:
            Session("a", [0.1], self.url, attempt=3).step(1.0)
        self.assertEqual(caught.exception.reason, "STALE_ATTEMPT")

    def test_loading_goes_back(self):
        session = Session("a", [0.1, 0.02], self.url, patience=0)
        spec = {"lr": [0.1, 0.02], "greedy": {"patience": 0}}
        beginning = json.loads(json.dumps(session.state_dict()))
        for loss in LOSSES[:4]:
            session.step(loss)
        state, lrs = json.loads(json.dumps(session.state_dict())), list(session.lrs)
        for _ in range(3):  # on a live run, as often as wanted
            for loss in (0.5, 0.4, 0.3):
                session.step(loss)
            session.load_state_dict(state)
            self.assertEqual((session.lrs, session.last_step), (lrs, 4))
        for loss in LOSSES[4:8]:
            session.step(loss)
        self.check_history(LOSSES[:8], spec)
        again = Session("a", [0.1, 0.02], self.url, patience=0)  # another process
        again.load_state_dict(state)
        self.assertEqual(again.lrs, lrs)
        for loss in LOSSES[4:]:
            again.step(loss, applied=again.lrs)
        self.check_history(LOSSES, spec)
        self.assertFalse(any(d.get("applied_mismatch") for d in self.d.decisions("a")))
        again.load_state_dict(beginning)
        self.assertEqual(again.lrs, [0.1, 0.02])
        again.step(5.0)
        self.check_history([5.0], spec)

    def test_loading_with_missed_losses(self):
        clock, out = patient(0.3, real=True)
        session = Session("a", [0.1], self.url, patience=0, outage=out)
        for loss in LOSSES[:3]:
            session.step(loss)
        self.d.kill()
        with self.assertLogs("greedylr", "WARNING"):
            for loss in LOSSES[3:6]:
                session.step(loss)
        state = json.loads(json.dumps(session.state_dict()))
        self.d.start()
        clock.now += outage.PROBE_EVERY
        for loss in (9.0, 9.5, 8.0):  # handed in, and three more; then the run is killed
            session.step(loss)
        again = Session("a", [0.1], self.url, patience=0)
        again.load_state_dict(state)
        self.assertEqual((again.last_step, len(again.missed.items)), (6, 3))
        for loss in LOSSES[6:]:
            again.step(loss)
        self.check_history(LOSSES, {"greedy": {"patience": 0}})

    def test_loading_while_the_daemon_is_away(self):
        clock, out = patient(0.3, real=True)
        session = Session("a", [0.1], self.url, patience=0, outage=out)
        for loss in LOSSES[:4]:
            session.step(loss)
        state, lrs = session.state_dict(), list(session.lrs)
        for loss in (0.1, 0.2, 0.3):
            session.step(loss)
        self.d.kill()
        with self.assertLogs("greedylr", "WARNING"):
            session.load_state_dict(state)
            for loss in LOSSES[4:6]:
                self.assertEqual(session.step(loss), lrs)
        self.d.start()
        clock.now += outage.PROBE_EVERY
        for loss in LOSSES[6:]:
            session.step(loss)
        self.check_history(LOSSES, {"greedy": {"patience": 0}})

    def test_loading_what_is_not_ours(self):
        session = Session("a", [0.1], self.url)
        for state in ({}, {"last_epoch": 3, "best": 1.0}, dict(session.state_dict(), version=2),
                      dict(session.state_dict(), job="b"), dict(session.state_dict(), lrs=[0.1, 0.2])):
            with self.assertRaisesRegex(ValueError, "state_dict"):
                session.load_state_dict(state)
        session.step(1.0)

    def lost(self, on_error):
        session = Session("a", [0.1], self.url, patience=0, on_error=on_error)
        for loss in LOSSES[:4]:
            session.step(loss)
        state, lrs = session.state_dict(), list(session.lrs)
        self.assertNotEqual(lrs, [0.1])
        self.d.ok("DELETE", "/v1/jobs/a")
        return session, state, lrs

    def test_a_job_that_is_gone(self):
        session, _, lrs = self.lost("hold")
        with self.assertLogs("greedylr", "WARNING") as logged:
            after = session.step(9.0)
        self.assertIn("created again", logged.output[0])
        self.assertEqual(after, lrs[:1] if session.decision["action"] == "hold" else [lrs[0] / 0.8])
        self.assertEqual(self.values(), [(5, 9.0)])

    def test_loading_into_a_job_that_is_gone(self):
        _, state, lrs = self.lost("hold")
        other = Session("a", [0.1], self.url, patience=0)
        other.step(1.0)
        session = Session("a", [0.1], self.url, patience=0)
        with self.assertLogs("greedylr", "WARNING") as logged:
            session.load_state_dict(state)
        self.assertIn("rates in use", logged.output[0])
        self.assertEqual((session.lrs, self.d.ok("GET", "/v1/jobs/a")["state"]["lrs"]), (lrs, lrs))
        session.step(1.0)
        self.assertEqual(self.values(), [(5, 1.0)])

    def test_loading_what_a_rewind_left_behind(self):
        session = Session("a", [0.1], self.url, patience=0)
        session.step(3.0)
        early = session.state_dict()
        session.step(2.0)
        left, lrs = session.state_dict(), list(session.lrs)
        session.load_state_dict(early)
        session.step(9.0)  # step 2 as well, of another branch
        with self.assertLogs("greedylr", "WARNING") as logged:
            session.load_state_dict(left)
        self.assertIn("went back", logged.output[0])
        self.assertEqual((session.lrs, self.d.ok("GET", "/v1/jobs/a")["state"]["lrs"]), (lrs, lrs))

    def test_local_decisions_survive_a_restart(self):
        session = Session("a", [0.1], self.url, patience=1, on_error="local")
        for loss in LOSSES[:5]:
            session.step(loss)
        state = json.loads(json.dumps(session.state_dict()))
        again = Session("a", [0.1], self.url, patience=1, on_error="local", budget=0.2)
        again.load_state_dict(state)
        self.d.kill()
        with self.assertLogs("greedylr", "WARNING"):
            got = [list(again.step(loss)) for loss in LOSSES[5:]]
        self.d.start()
        self.assertEqual(got, self.want(LOSSES, {"greedy": {"patience": 1}})[5:])

    def test_operators_in_the_middle(self):
        """Local decisions go on from what operators did."""
        session = Session("a", [0.1], self.url, patience=0, smoothing="mean", window_size=2, on_error="local",
                          budget=0.2)
        session.step(3.0)
        session.client.set_lr("a", [0.5])
        self.assertEqual(session.step(3.5), [0.4])
        session.client.pause_job("a")
        self.assertEqual(session.step(100.0), [0.4])
        session.client.resume_job("a")
        self.d.kill()
        with self.assertLogs("greedylr", "WARNING"):
            self.assertEqual(session.step(2.0), [0.5])  # (3.5 + 2) / 2 is better than 3: the pause's value was not seen
        self.d.start()

    def test_random_lives(self):
        """Steps, saves, loads and outages in any order: what counts in the history is one run without failures."""
        seeds = [int(os.environ["SEED"])] if "SEED" in os.environ else range(6)
        for seed in seeds:
            with self.subTest(seed=seed):
                self.random_life(random.Random(seed), "life%d" % seed, ("hold", "local")[seed % 2])

    def random_life(self, rng, job, on_error):
        clock, out = patient(0.2, real=True)

        def start():
            return Session(job, [0.1, 0.03], self.url, patience=1, on_error=on_error, outage=out)
        session, losses, up, lrs = start(), [], True, [0.1, 0.03]
        saved = [(session.state_dict(), [])]
        logging.disable(logging.CRITICAL)
        self.addCleanup(logging.disable, logging.NOTSET)
        for _ in range(60):
            what = rng.choices(("step", "save", "load", "restart", "down", "up", "wait"), (30, 5, 3, 3, 2, 4, 3))[0]
            if what == "step":
                losses.append(rng.choice([rng.uniform(0.5, 3), 1.0, math.nan]))
                lrs = list(session.step(losses[-1]))
                if on_error == "local":
                    self.assertEqual(lrs, self.expected(losses)[-1])
            elif what == "save":
                saved.append((json.loads(json.dumps(session.state_dict())), list(losses)))
            elif what in ("load", "restart"):
                if what == "restart":
                    session = start()
                state, kept = rng.choice(saved)
                session.load_state_dict(state)
                losses = list(kept)
                saved = [(s, k) for s, k in saved if s is state or (s["last_step"] or 0) <= (state["decided"] or 0)]
            elif what == "down" and up:
                self.d.kill()
                up = False
            elif what == "up" and not up:
                self.d.start()
                up = True
            elif what == "wait":
                clock.now += outage.PROBE_EVERY
        if not up:
            self.d.start()
        clock.now += outage.PROBE_EVERY
        losses.append(1.5)
        self.assertEqual(session.step(losses[-1]), self.expected(losses)[-1])
        got = self.values(job)
        self.assertEqual([step for step, _ in got], list(range(1, len(losses) + 1)))
        self.assertEqual([repr(num(value)) for _, value in got], [repr(float(x)) for x in losses])
        decisions = self.counted(job)
        self.assertEqual([d["lrs"] for d in decisions], self.expected(losses))

    @staticmethod
    def expected(losses):
        greedy = local.LocalGreedy(local.settings([0.1, 0.03], {"patience": 1}))
        return [list(greedy.step(x)) for x in losses]

if __name__ == "__main__":
    unittest.main()
