"""Rounds: all ranks get one decision, whatever the order of arrival, the retries, the deadlines and the kills."""
import json
import os
import socket
import threading
import time
import unittest

from harness import Daemon, DaemonTest, reason, wait_until


class Ranks:
    """Reports of several ranks at once, each from a thread and a connection of its own."""

    def __init__(self, daemon, job):
        self.d, self.job, self.answers, self.threads = daemon, job, {}, []

    def report(self, rank, step, loss, key=None, **more):
        def run():
            body = dict(step=step, loss=loss, rank=rank, **more)
            try:
                self.answers[key or rank] = self.d.call("POST", "/v1/jobs/%s:report" % self.job, body)
            except OSError as e:
                self.answers[key or rank] = (0, repr(e))
        thread = threading.Thread(target=run)
        thread.start()
        self.threads.append(thread)
        return thread

    def join(self):
        for thread in self.threads:
            thread.join()
        self.threads = []
        return self.answers


def reported(daemon, job):
    round = daemon.ok("GET", "/v1/jobs/" + job)["state"].get("open_round")
    return round["reported"] if round else None


class Rounds(DaemonTest):
    def create(self, job="a", **ranks):
        ranks = dict(dict(world_size=3, deadline="20s"), **ranks)
        return self.d.ok("POST", "/v1/jobs", {"job": job, "lr": 0.1, "greedy": {"smooth": False}, "ranks": ranks})

    def all(self, job, step, losses, **more):
        ranks = Ranks(self.d, job)
        for rank, loss in enumerate(losses):
            ranks.report(rank, step, loss, **more)
        answers = ranks.join()
        self.assertEqual({status for status, _ in answers.values()}, {200}, answers)
        return [answers[rank][1] for rank in range(len(losses))]

    def test_one_decision_for_all(self):
        self.create()
        for step in (10, 20, 30):
            answers = self.all("a", step, [1.0, 2.0, 4.5])
            first = dict(answers[0])
            self.assertEqual(first["value"], 2.5)
            self.assertEqual(first["ranks"], 3)
            for a in answers:
                self.assertEqual(a, first)
        self.assertEqual([d["step"] for d in self.d.decisions("a")], [10, 20, 30])
        self.assertEqual(self.d.ok("GET", "/v1/jobs/a")["revision"], 3)

    def test_every_reduction(self):
        nan = "NaN"
        for reduce, losses, value in (("mean", [1.0, 2.0, 4.5], 2.5), ("min", [3.0, 1.5, 2.0], 1.5), ("max", [3.0, 1.5, 2.0], 3.0),
                                      ("median", [5.0, 1.0, 2.0], 2.0), ("mean", [1.0, nan, 2.0], nan), ("min", [1.0, "Infinity", 2.0], nan)):
            job = "%s-%s" % (reduce, str(value).replace(".", "_"))
            self.create(job, reduce=reduce)
            self.assertEqual(self.all(job, 1, losses)[0]["value"], value, (reduce, losses))
        self.create("even", world_size=4, reduce="median")
        self.assertEqual(self.all("even", 1, [9.0, 1.0, 2.0, 4.0])[0]["value"], 3.0)
        self.create("first", reduce="first")
        self.assertEqual(self.d.ok("POST", "/v1/jobs/first:report", {"step": 1, "loss": 7, "rank": 2})["value"], 7)
        late = self.d.ok("POST", "/v1/jobs/first:report", {"step": 1, "loss": 8, "rank": 0})
        self.assertEqual((late["value"], late["duplicate"], late["conflict"]), (7, False, False))

    def test_weights(self):
        self.create()
        ranks = Ranks(self.d, "a")
        for rank, (loss, weight) in enumerate([(1.0, 100), (2.0, 50), (10.0, 10)]):
            ranks.report(rank, 1, loss, weight=weight)
        self.assertEqual(ranks.join()[0][1]["value"], (100 * 1.0 + 50 * 2.0 + 10 * 10.0) / (100.0 + 50 + 10))

    def test_the_order_of_arrival_does_not_matter(self):
        losses = [0.1, 0.2, 0.3, 1e16, -1e16, 0.7]
        values = set()
        for k, order in enumerate(([0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0], [3, 0, 5, 1, 4, 2])):
            self.create("o%d" % k, world_size=6)
            ranks = Ranks(self.d, "o%d" % k)
            for n, rank in enumerate(order):
                ranks.report(rank, 1, losses[rank])
                if n < 5:
                    wait_until(lambda: reported(self.d, "o%d" % k) == n + 1)
            values.add(ranks.join()[0][1]["value"])
        self.assertEqual(len(values), 1)

    def test_the_smallest_cap_counts_and_mismatches_show(self):
        self.create()
        ranks = Ranks(self.d, "a")
        ranks.report(0, 1, 1.0, lr_cap=0.07)
        ranks.report(1, 1, 1.0, lr_cap=0.05, applied_lr=0.1)
        ranks.report(2, 1, 1.0, applied_lr=0.2)
        answer = ranks.join()[2][1]
        self.assertEqual(answer["lr"], 0.05)
        self.assertTrue(answer["applied_mismatch"])

    def test_retries_and_stragglers(self):
        self.create()
        ranks = Ranks(self.d, "a")
        ranks.report(0, 1, 1.0)
        wait_until(lambda: reported(self.d, "a") == 1)
        ranks.report(0, 1, 1.0, key="again")
        ranks.report(0, 1, 9.0, key="conflict")
        ranks.report(1, 1, 2.0)
        wait_until(lambda: reported(self.d, "a") == 2)
        ranks.report(2, 1, 3.0)
        answers = ranks.join()
        self.assertEqual({a[1]["value"] for a in answers.values()}, {2.0})
        self.assertEqual([answers[k][1]["duplicate"] for k in (0, 1, 2, "again", "conflict")], [False, False, False, True, True])
        self.assertEqual([answers[k][1]["conflict"] for k in (0, 1, 2, "again", "conflict")], [False] * 4 + [True])
        for _ in range(2):  # after the decision, from memory and then from the store
            again = self.d.ok("POST", "/v1/jobs/a:report", {"step": 1, "loss": 3.0, "rank": 2})
            other = self.d.ok("POST", "/v1/jobs/a:report", {"step": 1, "loss": 4.0, "rank": 2})
            self.assertEqual((again["duplicate"], again["conflict"], other["conflict"]), (True, False, True))
            self.d.stop()
            self.d.start()

    def test_a_strict_job_refuses_another_value(self):
        self.d.ok("POST", "/v1/jobs", {"job": "s", "lr": 0.1, "strict": True, "ranks": {"world_size": 2}})
        ranks = Ranks(self.d, "s")
        ranks.report(0, 1, 1.0)
        wait_until(lambda: reported(self.d, "s") == 1)
        status, answer = self.d.call("POST", "/v1/jobs/s:report", {"step": 1, "loss": 2.0, "rank": 0})
        self.assertEqual((status, reason(answer)), (409, "STEP_CONFLICT"))
        ranks.report(1, 1, 1.0)
        ranks.join()

    def test_the_deadline_names_the_missing_and_keeps_the_values(self):
        self.create(world_size=4, deadline="300ms")
        ranks = Ranks(self.d, "a")
        ranks.report(0, 1, 1.0)
        ranks.report(2, 1, 2.0)
        for status, answer in ranks.join().values():
            self.assertEqual((status, answer["code"], reason(answer)), (504, "deadline_exceeded", "ROUND_INCOMPLETE"))
            self.assertIn("ranks 1 and 3", answer["message"])
        round = self.d.ok("GET", "/v1/jobs/a")["state"]["open_round"]
        self.assertEqual((round["missing"], round["reported"], round["overdue"]), ([1, 3], 2, True))
        ranks.report(0, 1, 1.0)
        ranks.report(2, 1, 2.0)
        ranks.report(1, 1, 3.0)
        ranks.report(3, 1, 6.0)
        answers = ranks.join()
        self.assertEqual({(s, a["value"], a["ranks"]) for s, a in answers.values()}, {(200, 3.0, 4)})

    def test_a_quorum_decides_at_the_deadline(self):
        self.create(world_size=4, quorum=2, deadline="300ms")
        ranks = Ranks(self.d, "a")
        ranks.report(3, 1, 1.0)
        ranks.report(1, 1, 2.0)
        answers = ranks.join()
        self.assertEqual({(s, a["value"], a["ranks"]) for s, a in answers.values()}, {(200, 1.5, 2)})
        late = self.d.ok("POST", "/v1/jobs/a:report", {"step": 1, "loss": 100.0, "rank": 0})
        self.assertEqual((late["value"], late["duplicate"], late["conflict"]), (1.5, False, False))
        self.assertEqual(len(self.d.decisions("a")), 1)

    def test_a_quorum_that_comes_after_the_deadline_decides_at_once(self):
        self.create(world_size=4, quorum=2, deadline="200ms")
        ranks = Ranks(self.d, "a")
        ranks.report(3, 1, 1.0)
        self.assertEqual(reason(ranks.join()[3][1]), "ROUND_INCOMPLETE")
        answer = self.d.ok("POST", "/v1/jobs/a:report", {"step": 1, "loss": 3.0, "rank": 0})
        self.assertEqual((answer["value"], answer["ranks"]), (2.0, 2))

    def test_the_own_time_of_a_request_frees_it_without_harm(self):
        self.create()
        status, answer = self.d.call("POST", "/v1/jobs/a:report?wait=100ms", {"step": 1, "loss": 1.0, "rank": 0})
        self.assertEqual((status, reason(answer)), (504, "WAIT_EXPIRED"))
        self.assertIn("recorded", answer["details"][0]["debug"]["metadata"]["outcome"])
        status, answer = self.d.rpc("Report", {"job": "a", "step": 1, "loss": 2.0, "rank": 1}, {"Connect-Timeout-Ms": "50"})
        self.assertEqual((status, answer["code"], reason(answer)), (504, "deadline_exceeded", "WAIT_EXPIRED"))
        status, answer = self.d.call("POST", "/v1/jobs/a:report", {"step": 1, "loss": 2.0, "rank": 1, "wait": "0s"})
        self.assertEqual((status, reason(answer)), (504, "WAIT_EXPIRED"))
        answer = self.d.ok("POST", "/v1/jobs/a:report", {"step": 1, "loss": 3.0, "rank": 2})
        self.assertEqual((answer["value"], answer["ranks"]), (2.0, 3))

    def test_later_steps_wait_and_follow_in_order(self):
        self.create(world_size=2)
        ranks = Ranks(self.d, "a")
        for step in range(1, 10):
            ranks.report(0, step, float(step), key=step)
            wait_until(lambda: self.d.ok("GET", "/v1/jobs/a")["state"].get("open_round", {}).get("rounds_behind") == step - 1)
        status, answer = self.d.call("POST", "/v1/jobs/a:report", {"step": 10, "loss": 1, "rank": 0})
        self.assertEqual((status, reason(answer)), (400, "STEP_TOO_FAR_AHEAD"))
        for step in (9, 3, 2, 4, 5, 8, 7, 6, 1):
            ranks.report(1, step, float(step), key=-step)
        answers = ranks.join()
        self.assertEqual({s for s, _ in answers.values()}, {200})
        self.assertEqual([d["value"] for d in self.d.decisions("a")], [float(s) for s in range(1, 10)])
        self.assertEqual([d["revision"] for d in self.d.decisions("a")], list(range(1, 10)))

    def test_a_round_that_everybody_left_gives_way(self):
        self.create(world_size=2, deadline="150ms")
        ranks = Ranks(self.d, "a")
        ranks.report(0, 1, 1.0)
        self.assertEqual(reason(ranks.join()[0][1]), "ROUND_INCOMPLETE")
        ranks.report(0, 2, 2.0)
        ranks.report(1, 2, 4.0)
        answers = ranks.join()
        self.assertEqual({(s, a["value"]) for s, a in answers.values()}, {(200, 3.0)})
        status, answer = self.d.call("POST", "/v1/jobs/a:report", {"step": 1, "loss": 1.0, "rank": 1})
        self.assertEqual((status, reason(answer)), (400, "STEP_IN_PAST"))

    def test_bad_reports(self):
        self.create()
        for body, status, why in (({"loss": 1, "rank": 0}, 400, "REPORT_REQUIRES_STEP"), ({"step": 1, "loss": 1, "rank": 3}, 400, "FIELD_INVALID"),
                                  ({"step": 1, "loss": 1, "weight": 0}, 400, "FIELD_INVALID"), ({"step": 1, "loss": 1, "weight": "NaN"}, 400, "FIELD_INVALID"),
                                  ({"step": 1, "loss": 1, "weight": -1}, 400, "FIELD_INVALID"), ({"step": 1, "loss": 1, "weight": 1e308}, 400, "FIELD_INVALID"),
                                  ({"step": 1, "loss": 1, "attempt": 4294967295}, 400, "FIELD_INVALID")):
            s, answer = self.d.call("POST", "/v1/jobs/a:report", body)
            self.assertEqual((s, reason(answer)), (status, why), body)
        self.assertIsNone(reported(self.d, "a"))
        self.assertEqual(self.d.ok("GET", "/v1/jobs/a")["revision"], 0)

    def test_a_changed_world_size_applies_to_the_next_round(self):
        self.create(world_size=3)
        ranks = Ranks(self.d, "a")
        ranks.report(0, 1, 1.0)
        wait_until(lambda: reported(self.d, "a") == 1)
        self.d.ok("PATCH", "/v1/jobs/a", {"spec": {"ranks": {"world_size": 2, "deadline": "20s", "quorum": 2}}})
        ranks.report(1, 1, 2.0)
        wait_until(lambda: reported(self.d, "a") == 2)
        ranks.report(2, 1, 3.0)
        self.assertEqual({(s, a["value"], a["ranks"]) for s, a in ranks.join().values()}, {(200, 2.0, 3)})
        self.assertEqual(self.all("a", 2, [1.0, 2.0])[0]["ranks"], 2)
        self.d.ok("PATCH", "/v1/jobs/a", {"spec": {"ranks": {"world_size": 4, "quorum": 4}}})
        self.assertEqual(self.all("a", 3, [1.0, 2.0, 3.0, 4.0])[0]["ranks"], 4)

    def test_a_batch_of_ranks(self):
        self.create()
        reports = [{"job": "a", "step": 1, "loss": float(r), "rank": r} for r in range(2)]
        results = self.d.ok("POST", "/v1/jobs:batchReport", {"reports": reports})["results"]
        self.assertEqual(results, [{"pending": True}] * 2)
        reports.append({"job": "a", "step": 1, "loss": 2.0, "rank": 2})
        results = self.d.ok("POST", "/v1/jobs:batchReport", {"reports": reports})["results"]
        self.assertEqual([r["decision"]["value"] for r in results], [1.0] * 3)
        self.assertEqual([r["decision"]["duplicate"] for r in results], [True, True, False])

    def test_a_peer_that_leaves_is_freed_and_its_value_counts(self):
        self.create(world_size=2)
        body = json.dumps({"step": 1, "loss": 1.0, "rank": 0}).encode()
        s = socket.create_connection(("127.0.0.1", self.d.port))
        s.sendall(b"POST /v1/jobs/a:report HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        wait_until(lambda: reported(self.d, "a") == 1)
        s.close()

        def gone():
            text = self.d.request("GET", "/metrics")[2].decode()
            return "greedylrd_peers_gone_total 1\n" in text and "greedylrd_requests_in_flight 1\n" in text
        wait_until(gone)
        answer = self.d.ok("POST", "/v1/jobs/a:report", {"step": 1, "loss": 3.0, "rank": 1})
        self.assertEqual(answer["value"], 2.0)

    def test_deleting_tells_who_waits(self):
        self.create()
        ranks = Ranks(self.d, "a")
        ranks.report(0, 1, 1.0)
        wait_until(lambda: reported(self.d, "a") == 1)
        self.d.ok("DELETE", "/v1/jobs/a")
        status, answer = ranks.join()[0]
        self.assertEqual((status, reason(answer)), (409, "JOB_DELETED"))

    def test_a_stop_tells_who_waits_and_the_round_goes_on_afterwards(self):
        self.create(world_size=2)
        ranks = Ranks(self.d, "a")
        ranks.report(0, 1, 1.0)
        wait_until(lambda: reported(self.d, "a") == 1)
        self.assertEqual(self.d.stop(), 0)
        status, answer = ranks.join()[0]
        self.assertEqual((status, reason(answer)), (503, "WAIT_INTERRUPTED"))
        self.d.start()
        self.assertEqual(reported(self.d, "a"), 1)
        answer = self.d.ok("POST", "/v1/jobs/a:report", {"step": 1, "loss": 3.0, "rank": 1})
        self.assertEqual(answer["value"], 2.0)

    def test_an_open_round_survives_kill_9(self):
        self.create(world_size=3)
        ranks = Ranks(self.d, "a")
        ranks.report(0, 1, 1.0)
        ranks.report(1, 1, 2.0, weight=3)
        ranks.report(1, 2, 5.0, key="ahead")
        wait_until(lambda: self.d.ok("GET", "/v1/jobs/a")["state"].get("open_round", {}).get("rounds_behind") == 1 and reported(self.d, "a") == 2)
        self.d.kill()
        ranks.join()
        self.d.start()
        round = self.d.ok("GET", "/v1/jobs/a")["state"]["open_round"]
        self.assertEqual((round["reported"], round["missing"], round["rounds_behind"]), (2, [2], 1))
        ranks.report(0, 1, 1.0)  # a retry is not counted twice
        ranks.report(1, 1, 2.0, weight=3)
        ranks.report(2, 1, 9.0)
        answers = ranks.join()
        self.assertEqual({a["value"] for _, a in (answers[0], answers[1], answers[2])}, {(1.0 + 3 * 2.0 + 9.0) / 5})
        self.assertEqual([answers[r][1]["duplicate"] for r in range(3)], [True, True, False])
        ranks.report(0, 2, 1.0)
        ranks.report(2, 2, 3.0)
        answers = ranks.join()
        self.assertEqual(answers[0][1]["value"], 3.0)

    def test_waiting_for_a_rate(self):
        self.d.ok("POST", "/v1/jobs", {"job": "w", "lr": 0.1, "greedy": {"patience": 0, "smooth": False}})
        status, answer = self.d.call("GET", "/v1/jobs/w/lr?step=1&format=json")
        self.assertEqual((status, reason(answer)), (504, "STEP_NOT_DECIDED"))
        status, answer = self.d.call("GET", "/v1/jobs/w/lr?step=1&wait=50ms&format=json")
        self.assertEqual((status, reason(answer)), (504, "STEP_NOT_DECIDED"))
        got = {}
        thread = threading.Thread(target=lambda: got.update(a=self.d.call("GET", "/v1/jobs/w/lr?step=2&wait=30s&format=json")))
        thread.start()
        self.d.ok("POST", "/v1/jobs/w:report", {"step": 1, "loss": 1})
        two = self.d.ok("POST", "/v1/jobs/w:report", {"step": 2, "loss": 0.5})
        thread.join()
        self.assertEqual(got["a"], (200, {"lr": two["lr"], "lrs": two["lrs"], "step": 2, "revision": 2}))
        self.d.ok("POST", "/v1/jobs/w:report", {"step": 3, "loss": 9})
        self.assertEqual(self.d.ok("GET", "/v1/jobs/w/lr?step=2&format=json")["lr"], two["lr"])
        status, answer = self.d.call("GET", "/v1/jobs/w/lr?step=0&wait=1s&format=json")
        self.assertEqual((status, reason(answer)), (400, "STEP_IN_PAST"))
        status, answer = self.d.call("GET", "/v1/jobs/w/lr?wait=1s&format=json")
        self.assertEqual((status, reason(answer)), (400, "FIELD_REQUIRED"))

    def test_who_waits_leaves_room_for_who_asks(self):
        d = Daemon("--max-connections", "40")
        self.addCleanup(d.close)
        d.start()
        d.ok("POST", "/v1/jobs", {"job": "a", "lr": 0.1, "ranks": {"world_size": 30, "deadline": "60s"}})
        ranks = Ranks(d, "a")
        for rank in range(28):
            ranks.report(rank, 1, 1.0)
        wait_until(lambda: reported(d, "a") == 28)
        self.assertEqual(d.request("GET", "/livez")[0], 200)
        self.assertEqual(reason(d.call("GET", "/v1/jobs/a/lr?step=1&wait=5s&format=json")[1]), "TOO_MANY_WAITING")
        for rank in (28, 29):
            ranks.report(rank, 1, 1.0)
        answers = ranks.join()
        self.assertEqual({200} | {s for s, _ in answers.values()}, {200, 504})
        self.assertEqual({reason(a) for s, a in answers.values() if s == 504}, {"WAIT_EXPIRED"})
        self.assertGreaterEqual(sum(s == 200 for s, _ in answers.values()), 20)
        self.assertEqual(d.ok("GET", "/v1/jobs/a")["revision"], 1)

    def test_a_complete_round_behind_the_open_one_says_what_it_waits_for(self):
        self.create(world_size=2)
        ranks = Ranks(self.d, "a")
        ranks.report(0, 1, 1.0)
        wait_until(lambda: reported(self.d, "a") == 1)
        for rank in (0, 1):
            status, answer = self.d.call("POST", "/v1/jobs/a:report?wait=50ms", {"step": 2, "loss": 1, "rank": rank})
        self.assertEqual((status, reason(answer)), (504, "WAIT_EXPIRED"))
        self.assertIn("step: 1 has", answer["message"])
        self.assertIn("missing: rank 1;", answer["message"])
        ranks.report(1, 1, 1.0)
        ranks.join()

    def test_the_memory_of_open_rounds_is_bounded(self):
        d = Daemon("--max-round-memory", "8K")
        self.addCleanup(d.close)
        d.start()

        def report(job, rank, **more):
            return d.call("POST", "/v1/jobs/%s:report" % job, dict(step=1, loss=1.0 + rank, rank=rank, **more))
        for k in range(6):
            d.ok("POST", "/v1/jobs", {"job": "j%d" % k, "lr": 0.1, "ranks": {"world_size": 45, "deadline": "20s" if k < 3 else "10ms"}})
        for k in range(3):
            self.assertEqual(reason(report("j%d" % k, 0, wait="0s")[1]), "WAIT_EXPIRED")
        status, answer = report("j3", 0)
        self.assertEqual((status, reason(answer)), (429, "TOO_MANY_WAITING"))
        self.assertIn("--max-round-memory", answer["message"])
        d.ok("DELETE", "/v1/jobs/j2")
        for k in (3, 4, 5):  # what nobody waits for makes room, and is not forgotten
            self.assertEqual(reason(report("j%d" % k, 7)[1]), "ROUND_INCOMPLETE")
        for k in (3, 4, 5):
            round = d.ok("GET", "/v1/jobs/j%d" % k)["state"]["open_round"]
            self.assertEqual((round["reported"], 7 in round["missing"]), (1, False))

    def test_a_thousand_ranks(self):
        n = 1000
        self.create("big", world_size=n)
        body = [json.dumps({"step": 1, "loss": 1.0 + r, "rank": r}).encode() for r in range(n)]
        sockets = []
        try:
            for r in range(n):
                s = socket.create_connection(("127.0.0.1", self.d.port))
                s.sendall(b"POST /v1/jobs/big:report HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s" % (len(body[r]), body[r]))
                sockets.append(s)
            for s in sockets:
                self.assertIn(b'"value":500.5', s.recv(65536))
        finally:
            for s in sockets:
                s.close()
        self.assertEqual(len(self.d.decisions("big")), 1)


if __name__ == "__main__":
    unittest.main()
