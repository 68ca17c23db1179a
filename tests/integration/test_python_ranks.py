"""Several ranks, as threads of one process, each with a Session: what they agree on and how they fail together."""
import json
import math
import unittest

from harness import num
from python_help import Meeting, RunTest, patient

from greedylr import Client, GreedyLRError, Session, local, outage


class Ranks(RunTest):
    """Several ranks in one process, each with a Session."""

    def setUp(self):
        super().setUp()
        self.meeting = Meeting(3)

    def sessions(self, urls=None, **more):
        def make(rank):
            url = (urls or {}).get(rank.rank, self.url)
            return Session("a", [0.1], url, ranks=lambda: rank, patience=0, smooth=False, **more)
        made = self.meeting.run(make)
        for one in made:
            if isinstance(one, Exception):
                raise one
        return made

    def step(self, sessions, values, weights=(1, 1, 1), steps=(None, None, None)):
        before = self.meeting.collectives
        out = self.meeting.run(lambda r: list(sessions[r.rank].step(values[r.rank], steps[r.rank],
                                                                     weight=weights[r.rank])))
        self.spent = self.meeting.collectives - before
        return out

    def history(self):
        return [(step, num(value)) for step, value in self.values()]

    def test_rank_0_reports_what_they_combine(self):
        sessions = self.sessions()
        self.assertEqual(self.step(sessions, (1.0, 2.0, 3.0), (1, 1, 2)), [[0.125]] * 3)
        self.assertEqual(self.spent, 2)  # one to combine, one for the outcome
        self.assertEqual(self.history(), [(1, 9 / 4)])
        self.step(sessions, (1.0, math.nan, 2.0), (1, 0, 1))  # a rank without samples does not count
        self.assertEqual(self.history()[1], (2, 1.5))
        self.step(sessions, (1.0, math.nan, 2.0))
        self.assertTrue(math.isnan(self.history()[2][1]))
        for reduce, want in (("min", 1.0), ("max", 3.0), ("median", 2.0), ("first", 1.0)):
            for one in sessions:
                one.reduce = reduce
            self.step(sessions, (1.0, 3.0, 2.0))
            self.assertEqual(self.history()[-1][1], want)

    def test_rounds(self):
        sessions = self.sessions(rounds=True)
        for i, values in enumerate([(1.0, 2.0, 3.0), (1.0, 1.0, 2.5), (4.0, math.inf, 1.0)], 1):
            rates = self.step(sessions, values, (1, 1, 2))
            self.assertEqual(self.spent, 1)
            self.assertEqual(rates, [self.d.decisions("a")[-1]["lrs"]] * 3)
            self.assertEqual(self.d.decisions("a")[-1]["ranks"], 3)
        self.assertEqual(self.history()[:2], [(1, 9 / 4), (2, 7 / 4)])
        self.assertTrue(math.isnan(self.history()[2][1]))

    def both(self, check):
        for rounds in (False, True):
            with self.subTest(rounds=rounds):
                sessions = self.sessions(rounds=rounds)
                self.step(sessions, (1.0, 2.0, 3.0))
                check(sessions)
                self.assertEqual(len({tuple(s.lrs) for s in sessions}), 1)
                self.step(sessions, (1.0, 1.0, 1.0), steps=(50, 50, 50))  # they go on together
                self.assertEqual(self.history()[-1], (50, 1.0))
                self.d.ok("DELETE", "/v1/jobs/a")

    def raised(self, results, kind, word):
        for result in results:
            self.assertIsInstance(result, kind)
            self.assertIn(word, str(result))

    def test_what_is_bad_on_one_rank_is_raised_on_all(self):
        def check(sessions):
            self.raised(self.step(sessions, (1.0, "x", 3.0)), ValueError, "rank 1")
            self.raised(self.step(sessions, (1.0, 2.0, 3.0), (1, 1, -1)), ValueError, "weight")
        self.both(check)

    def test_ranks_out_of_step_are_told(self):
        sessions = self.sessions()
        self.raised(self.step(sessions, (1.0, 2.0, 3.0), steps=(1, 1, 2)), ValueError, "rank 2 reports 2")
        self.step(sessions, (1.0, 2.0, 3.0))
        self.assertEqual([step for step, _ in self.history()], [1])

    def test_refusals_are_raised_on_all(self):
        def check(sessions):
            sessions[0].client.finish_job("a")
            self.raised(self.step(sessions, (1.0, 2.0, 3.0)), GreedyLRError, "JOB_FINISHED")
            self.assertEqual([s.last_step for s in sessions], [1, 1, 1])
            sessions[0].client.resume_job("a")
        self.both(check)

    def test_a_failure_of_rank_0_is_known_to_all(self):
        sessions = self.sessions()
        sessions[0].client.report = None
        results = self.step(sessions, (1.0, 2.0, 3.0))
        self.assertIsInstance(results[0], TypeError)
        self.raised(results[1:], RuntimeError, "rank 0")

    def test_an_outage_and_back(self):
        def check(sessions):
            clock, out = patient(0.2, real=True)
            for one in sessions:
                one._outage = outage.Outage(0.3, clock=clock)
            lrs = sessions[0].lrs
            self.d.kill()
            with self.assertLogs("greedylr", "WARNING") as logged:
                for i in range(12):  # more than a job lets wait behind an open round
                    self.assertEqual(self.step(sessions, (1.0 + i, 2.0, 3.0)), [lrs] * 3)
            self.assertEqual(len(logged.output), 1)
            self.d.start()
            for one in sessions:
                one._outage.budget = 10.0
            clock.now += outage.PROBE_EVERY
            while not self.step(sessions, (1.0, 1.0, 1.0)) or sessions[0].missed.items:
                pass
            got = self.history()
            self.assertEqual([step for step, _ in got], list(range(1, len(got) + 1)))
            self.assertEqual([value for _, value in got[1:13]], [(6.0 + i) / 3 for i in range(12)])
        self.both(check)

    def test_one_rank_is_cut_off(self):
        """The others have the decision, once the cut-off rank's value is not needed; all ranks use the same."""
        sessions = self.sessions({2: "http://127.0.0.1:1"}, rounds=True, budget=0.3, spec={"ranks": {"quorum": 2,
                                                                                               "deadline": "100ms"}})
        with self.assertLogs("greedylr", "WARNING") as logged:
            for values in ((3.0, 2.0, 9.0), (2.0, 1.5, 9.0), (1.0, 1.0, 9.0)):
                rates = self.step(sessions, values)
                self.assertEqual(rates, [self.d.decisions("a")[-1]["lrs"]] * 3)
        self.assertEqual(len(logged.output), 1)
        self.assertIn("rank 2", logged.output[0])
        self.assertEqual(self.history(), [(1, 2.5), (2, 1.75), (3, 1.0)])
        self.assertEqual([len(s.missed.items) for s in sessions], [0, 0, 0])

    def test_rank_0_is_cut_off(self):
        sessions = self.sessions(rounds=True, budget=0.3, spec={"ranks": {"quorum": 2, "deadline": "100ms"}})
        self.step(sessions, (3.0, 2.0, 1.0))
        sessions[0].client = Client("http://127.0.0.1:1")
        with self.assertLogs("greedylr", "WARNING") as logged:
            for values in ((9.0, 1.5, 1.0), (9.0, 1.0, 0.5)):
                rates = self.step(sessions, values)
                self.assertEqual(rates, [self.d.decisions("a")[-1]["lrs"]] * 3)
        self.assertEqual((len(logged.output), "rank 0" in logged.output[0]), (1, True))
        self.assertEqual(self.history(), [(1, 2.0), (2, 1.25), (3, 0.75)])

    def test_a_daemon_that_comes_late(self):
        def check(sessions):
            self.step(sessions, (5.0, 5.0, 5.0))
            self.d.kill()
            with self.assertLogs("greedylr", "WARNING") as logged:
                late = self.sessions(rounds=sessions[0].rounds, budget=0.3)
                self.assertEqual(self.step(late, (3.0, 2.0, 1.0)), [[0.1]] * 3)
            self.assertEqual(len(logged.output), 1)
            self.d.start()
            for one in late:
                one._outage = outage.Outage(10.0)
            self.step(late, (1.0, 1.0, 1.0))
            self.assertEqual(self.history(), [(1, 2.0), (2, 1.0)])
            self.assertEqual({d["attempt"] for d in self.counted()}, {1})
            sessions[:] = late
        self.both(check)

    def test_nobody_reports_for_a_rank_0_that_never_found_the_job(self):
        """The job and the attempt are rank 0's to find: the others would not know which attempt they are."""
        with self.assertLogs("greedylr", "WARNING"):
            sessions = self.sessions({0: "http://127.0.0.1:1"}, rounds=True, budget=0.3)
            self.assertEqual(self.step(sessions, (3.0, 2.0, 1.0)), [[0.1]] * 3)
        self.assertEqual(self.d.call("GET", "/v1/jobs/a")[0], 404)

    def test_a_round_that_does_not_complete(self):
        """Without a quorum nobody has a decision: all hold, nothing is lost, and it is decided later."""
        sessions = self.sessions({2: "http://127.0.0.1:1"}, rounds=True, budget=0.3)
        with self.assertLogs("greedylr", "WARNING"):
            for values in ((3.0, 2.0, 4.0), (2.0, 1.5, 1.0)):
                self.assertEqual(self.step(sessions, values), [[0.1]] * 3)
        self.assertEqual(self.history(), [])
        sessions[2].client = sessions[0].client
        sessions[2]._outage = outage.Outage(5.0)
        rates = self.step(sessions, (1.0, 1.0, 1.0))
        self.assertEqual(self.history(), [(1, 3.0), (2, 1.5), (3, 1.0)])
        self.assertEqual(rates, [self.d.decisions("a")[-1]["lrs"]] * 3)

    def test_loading(self):
        def check(sessions):
            state = sessions[0].state_dict()
            self.assertEqual([s.state_dict() for s in sessions], [state] * 3)
            for values in ((9.0, 9.0, 9.0), (8.0, 8.0, 8.0)):
                self.step(sessions, values)
            self.meeting.run(lambda r: sessions[r.rank].load_state_dict(state))
            self.step(sessions, (0.5, 0.5, 0.5))
            self.assertEqual(self.history(), [(1, 2.0), (2, 0.5)])
            self.assertEqual({d["attempt"] for d in self.d.decisions("a")[-1:]}, {1})
            other = sessions[0].state_dict()
            results = self.meeting.run(lambda r: sessions[r.rank].load_state_dict(other if r.rank == 1 else state))
            self.raised(results, ValueError, "rank 1 loads step 2")
        self.both(check)

    def test_another_number_of_ranks(self):
        """Elastic training: the same job goes on with fewer ranks, values that wait for a decision included."""
        sessions = self.sessions(rounds=True, budget=0.3)
        self.step(sessions, (3.0, 2.0, 4.0))
        self.d.kill()
        with self.assertLogs("greedylr", "WARNING"):
            self.step(sessions, (1.0, 2.0, 3.0))
        state = json.loads(json.dumps(sessions[1].state_dict()))
        self.d.start()
        self.meeting = Meeting(2)
        fewer = self.sessions(rounds=True)
        self.meeting.run(lambda r: fewer[r.rank].load_state_dict(state))
        self.step(fewer, (1.0, 0.5))
        self.assertEqual(self.history(), [(1, 3.0), (2, 2.0), (3, 0.75)])
        self.assertEqual([d.get("ranks") for d in self.d.decisions("a") if "value" in d], [3, 2, 2])

    def test_local_decisions(self):
        for rounds in (False, True):
            sessions = self.sessions(rounds=rounds, on_error="local", budget=0.3)
            values = [(1.0, 2.0, 3.0), (1.0, 1.0, 1.0), (5.0, 6.0, 7.0), (0.1, 0.1, 0.2), (0.1, 0.0, 0.1)]
            got = [self.step(sessions, values[0])]
            self.d.kill()
            with self.assertLogs("greedylr", "WARNING"):
                got += [self.step(sessions, v) for v in values[1:]]
            self.d.start()
            means = [local.combine(v, (1, 1, 1), "mean") for v in values]
            want = self.d.ok("POST", "/v1/simulate", {"spec": {"lr": 0.1, "greedy": {"patience": 0, "smooth": False}},
                                                      "losses": means})
            self.assertEqual(got, [[d["lrs"]] * 3 for d in want["decisions"]])
            self.d.ok("DELETE", "/v1/jobs/a")

if __name__ == "__main__":
    unittest.main()
