"""What is on its way to the disk neither shows nor is lost: found by the model check (tests/model)."""
import unittest

import test_faults
from harness import DaemonTest, reason, wait_until
from test_rounds import Ranks, reported


def report(job, step, loss, **more):
    return ("POST", "/v1/jobs/%s:report" % job, dict(step=step, loss=loss, **more))


@unittest.skipUnless(test_faults.can_trace(), "strace cannot inject faults here")
class InFlight(unittest.TestCase):
    setUp = test_faults.OneCommit.setUp
    in_flight = test_faults.OneCommit.in_flight
    together = test_faults.OneCommit.together

    def folded(self, job, steps):
        """A job with these steps, in the history and no longer in memory."""
        self.d.ok("POST", "/v1/jobs", {"job": job, "lr": 0.1, "greedy": {"smooth": False}})
        for step in steps:
            self.d.ok(*report(job, step, 1.0 / step))
        self.d.restart()
        self.d.ok("GET", "/v1/jobs/" + job)

    def test_what_a_rewind_goes_behind_answers_no_report(self):
        self.folded("a", (1, 2, 3))
        rewound, nine, three = self.together(("POST", "/v1/jobs/a:rewind", {"step": 1}), report("a", 9, 0.5), report("a", 3, 1.0 / 3))
        self.assertEqual((rewound[0], nine[0]), (200, 200))
        self.assertEqual((three[0], reason(three[1])), (400, "STEP_IN_PAST"), three)

    def test_what_a_rewind_goes_behind_answers_no_request_id(self):
        self.folded("a", (1, 2))
        self.d.ok("POST", "/v1/jobs/a:report", {"loss": 7.0, "request_id": "x"})
        self.d.restart()
        self.d.ok("GET", "/v1/jobs/a")
        rewound, again = self.together(("POST", "/v1/jobs/a:rewind", {"step": 1}), ("POST", "/v1/jobs/a:report", {"loss": 8.0, "request_id": "x"}))
        self.assertEqual((rewound[0], again[0]), (200, 200))
        self.assertEqual((again[1]["step"], again[1]["value"], again[1]["duplicate"]), (2, 8.0, False))

    def test_reads_see_a_rewind_once_it_is_durable(self):
        self.d.ok("POST", "/v1/jobs", {"job": "a", "lr": 0.1})
        for step in (1, 2, 3):
            answer = self.d.ok(*report("a", step, 1.0))
        rewound, read = self.together(("POST", "/v1/jobs/a:rewind", {"step": 1}), ("GET", "/v1/jobs/a/lr?step=3&format=json", None))
        self.assertEqual(rewound[0], 200)
        self.assertEqual((read[0], read[1].get("revision")), (200, answer["revision"]), read)
        self.assertEqual(reason(self.d.call("GET", "/v1/jobs/a/lr?step=3&format=json")[1]), "STEP_NOT_DECIDED")

    def test_who_asks_for_a_rate_while_the_job_is_deleted_is_told(self):
        self.d.ok("POST", "/v1/jobs", {"job": "a", "lr": 0.1})
        deleted, waited = self.together(("DELETE", "/v1/jobs/a", None), ("GET", "/v1/jobs/a/lr?step=3&wait=2s&format=json", None))
        self.assertEqual(deleted[0], 200)
        self.assertEqual((waited[0], reason(waited[1])), (409, "JOB_DELETED"))
        self.d.ok("POST", "/v1/jobs", {"job": "a", "lr": 0.1})


class Restarts(DaemonTest):
    def test_an_open_round_outlives_a_kill_though_the_job_is_of_one_rank_now(self):
        self.d.ok("POST", "/v1/jobs", {"job": "a", "lr": 0.1, "ranks": {"world_size": 3, "deadline": "20s"}})
        ranks = Ranks(self.d, "a")
        for rank in range(2):
            ranks.report(rank, 1, 1.0 + rank)
        wait_until(lambda: reported(self.d, "a") == 2)
        self.d.ok("PATCH", "/v1/jobs/a", {"spec": {"ranks": {"world_size": 1, "quorum": 1}}})
        self.d.kill()
        ranks.join()
        self.d.start()
        self.assertEqual(reported(self.d, "a"), 2)
        answer = self.d.ok(*report("a", 1, 6.0, rank=2))
        self.assertEqual((answer["value"], answer["ranks"]), (3.0, 3))
        self.assertEqual(self.d.ok(*report("a", 2, 6.0)).get("ranks"), None)

    def test_a_fork_does_not_go_back_behind_its_beginning(self):
        self.d.ok("POST", "/v1/jobs", {"job": "a", "lr": 0.1})
        for step in (10, 20):
            self.d.ok(*report("a", step, 1.0))
        self.d.ok("POST", "/v1/jobs/a:fork", {"spec": {"job": "b"}})
        before = self.d.ok("GET", "/v1/jobs/b")
        for step in (5, 20):
            status, answer = self.d.call(*report("b", step, 1.0, attempt=2))
            self.assertEqual((status, reason(answer)), (400, "STEP_IN_PAST"), answer)
        self.assertEqual(self.d.ok("GET", "/v1/jobs/b"), before)
        self.d.ok(*report("b", 30, 1.0))
        self.assertEqual(self.d.ok(*report("b", 30, 2.0, attempt=2))["attempt"], 2)

    def test_a_round_is_given_up_only_for_one_that_is_decided(self):
        self.d.ok("POST", "/v1/jobs", {"job": "a", "lr": 0.1, "ranks": {"world_size": 2, "deadline": "3s"}})
        ranks = Ranks(self.d, "a")
        ranks.report(0, 1, 1.0)
        self.assertEqual(reason(ranks.join()[0][1]), "ROUND_INCOMPLETE")

        def behind():
            return self.d.ok("GET", "/v1/jobs/a")["state"]["open_round"]["rounds_behind"]
        ranks.report(0, 2, 3.0, key="two")
        wait_until(lambda: behind() == 1)
        for rank in range(2):
            ranks.report(rank, 3, 3.0)
        # Step 3 is complete, but step 2 still has its time: so step 1 is not given up, either.
        wait_until(lambda: behind() == 2)
        self.assertEqual(self.d.ok("GET", "/v1/jobs/a")["state"]["open_round"]["step"], 1)
        answers = ranks.join()
        self.assertEqual({s for s, _ in (answers[0], answers[1])}, {200})
        self.assertEqual(reason(answers["two"][1]), "STEP_IN_PAST")
        self.assertEqual([d["step"] for d in self.d.decisions("a")], [3])


if __name__ == "__main__":
    unittest.main()
