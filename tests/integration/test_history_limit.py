"""--history-limit: what a retry or a rewind needs is kept, the rest goes and is said to be gone."""
import contextlib
import sqlite3
import unittest

from harness import DaemonTest, reason


class HistoryLimit(DaemonTest):
    flags = ("--history-limit", "5")

    def folded(self, job="h"):
        """Pruning comes with folding, which a clean stop completes."""
        self.d.stop()
        self.d.start()
        return [x["revision"] for x in self.d.decisions(job)]

    def test_keeps_the_newest(self):
        for step in range(1, 31):
            self.d.ok("POST", "/v1/jobs/h:report", {"step": step, "loss": 1, "lr": 0.1})
        self.assertEqual(self.folded(), [26, 27, 28, 29, 30])
        for ask in (("POST", "/v1/jobs/h:report", {"step": 3, "loss": 1}), ("GET", "/v1/jobs/h/lr?step=3&format=json")):
            status, answer = self.d.call(*ask)
            self.assertEqual((status, reason(answer)), (400, "STEP_IN_PAST"))
            self.assertIn("is not in the history (any more: --history-limit)", answer["message"])

    def test_the_last_report_can_be_retried_behind_events(self):
        for step in range(1, 11):
            last = self.d.ok("POST", "/v1/jobs/h:report", {"step": step, "loss": 1, "lr": 0.1})
        for patience in range(3, 12):
            self.d.ok("PATCH", "/v1/jobs/h", {"spec": {"greedy": {"patience": patience}}})
        self.assertEqual(self.folded(), [10, 15, 16, 17, 18, 19])
        again = self.d.ok("POST", "/v1/jobs/h:report", {"step": 10, "loss": 1})
        self.assertEqual(again, dict(last, duplicate=True))

    def test_after_a_rewind_it_is_an_older_one(self):
        for step in range(1, 5):
            answer = self.d.ok("POST", "/v1/jobs/h:report", {"step": step, "loss": 1, "lr": 0.1})
            second = answer if step == 2 else second if step > 2 else None
        self.d.ok("POST", "/v1/jobs/h:rewind", {"step": 2})
        for patience in range(3, 12):
            self.d.ok("PATCH", "/v1/jobs/h", {"spec": {"greedy": {"patience": patience}}})
        self.assertEqual(self.folded()[:2], [2, 10])
        self.assertEqual(self.d.ok("POST", "/v1/jobs/h:report", {"step": 2, "loss": 1}), dict(second, duplicate=True))

    def test_request_ids_can_be_repeated(self):
        first = self.d.ok("POST", "/v1/jobs/h:report", {"loss": 1, "lr": 0.1, "request_id": "r1"})
        for step in range(2, 31):
            self.d.ok("POST", "/v1/jobs/h:report", {"step": step, "loss": 1})
        self.assertEqual(self.folded(), [1, 26, 27, 28, 29, 30])
        self.assertEqual(self.d.ok("POST", "/v1/jobs/h:report", {"loss": 1, "request_id": "r1"}),
                         dict(first, duplicate=True))
        self.d.ok("POST", "/v1/jobs:batchReport",
                  {"reports": [{"job": "h", "step": step, "loss": 1} for step in range(31, 1102)]})
        self.assertEqual(self.folded()[:2], [1097, 1098])

    def test_a_fork_can_go_back_to_its_start(self):
        for step in range(1, 8):
            last = self.d.ok("POST", "/v1/jobs/h:report", {"step": step, "loss": 1.0 / step, "lr": 0.1})
        self.assertNotEqual(last["lr"], 0.1)
        self.d.ok("POST", "/v1/jobs/h:fork", {"spec": {"job": "f"}})
        for step in range(8, 30):
            self.d.ok("POST", "/v1/jobs/f:report", {"step": step, "loss": 9})
        self.assertEqual(self.folded("f")[:2], [1, 19])
        self.assertEqual(self.d.ok("POST", "/v1/jobs/f:rewind", {"initial": True})["state"]["lr"], last["lr"])

    def test_settings_that_no_decision_needs_go_as_well(self):
        for patience in range(1, 30):
            self.d.ok("PATCH", "/v1/jobs/h", {"spec": {"greedy": {"patience": patience}}}) if patience > 1 else None
            for _ in range(2):
                self.d.ok("POST", "/v1/jobs/h:report", {"loss": 1, "lr": 0.1})
        self.assertEqual(self.folded(), [82, 83, 84, 85, 86])
        with contextlib.closing(sqlite3.connect("file:%s/greedylr.db?mode=ro" % self.d.data, uri=True)) as db:
            self.assertEqual(db.execute("SELECT revision FROM settings ORDER BY revision").fetchall(), [(81,), (84,)])
        # Those of the oldest that is kept are there: its state is read under them.
        self.assertEqual(self.d.ok("POST", "/v1/jobs/h:rewind", {"step": 55})["revision"], 87)

    def test_an_attempt_does_not_silently_start_over(self):
        for step in range(1, 21):
            self.d.ok("POST", "/v1/jobs/h:report", {"step": step, "loss": 1, "lr": 0.1})
        self.folded()
        status, answer = self.d.call("POST", "/v1/jobs/h:report", {"step": 10, "loss": 1, "attempt": 1})
        self.assertEqual((status, reason(answer)), (404, "STEP_NOT_FOUND"))
        self.assertEqual(self.d.ok("POST", "/v1/jobs/h:report", {"step": 18, "loss": 1, "attempt": 1})["attempt"], 1)


if __name__ == "__main__":
    unittest.main()
