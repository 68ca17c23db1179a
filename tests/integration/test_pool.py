"""Work that takes long: simulations and lists beside everything else, their limits, and the end while they run."""
import json
import os
import select
import signal
import socket
import unittest

from harness import BINARY, DaemonTest, reason, wait_until

# One decision costs a median of 1,000 values.
HEAVY = {"spec": {"lr": [0.1], "greedy": {"window_size": 1000}}, "losses": [(i * 7919 % 1000) / 1000 for i in range(2500)]}


def post(path, body):
    body = json.dumps(body).encode()
    return b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s" % (path.encode(), len(body), body)


def get(path):
    return b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % path.encode()


class PoolTest(DaemonTest):
    def send(self, data, buffer=None):
        s = socket.socket()
        self.addCleanup(s.close)
        if buffer:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        s.settimeout(60)
        s.connect(("127.0.0.1", self.d.port))
        s.sendall(data)
        return s

    def answer(self, s):
        """(status, body) of the next answer."""
        data = b""
        while b"\r\n\r\n" not in data:
            more = s.recv(65536)
            self.assertTrue(more, "closed without an answer")
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        while len(body) < length:
            more = s.recv(65536)
            self.assertTrue(more, "closed in the middle")
            body += more
        return int(head.split()[1]), body

    def metric(self, name):
        for line in self.d.request("GET", "/metrics")[2].decode().splitlines():
            if line.startswith(name + " "):
                return float(line.split()[1])
        self.fail(name)


class Ends(PoolTest):
    flags = ("--max-simulations", "200")

    def test_peers_that_left_are_not_waited_for(self):
        self.d.ok("POST", "/v1/jobs/v:report", {"step": 1, "loss": 1, "lr": 0.1})
        sockets = [self.send(post("/v1/simulate", HEAVY)) for _ in range(8)]
        wait_until(lambda: self.metric("greedylrd_requests_in_flight") > 8)
        sockets += [self.send(get("/v1/jobs")) for _ in range(4)]
        sockets += [self.send(get("/v1/jobs/v/decisions")) for _ in range(4)]
        for s in sockets:
            s.close()
        wait_until(lambda: self.metric("greedylrd_requests_in_flight") == 1)
        self.assertEqual(self.d.stop(), 0)  # the harness looks for what sanitizers say

    def test_what_waits_is_told(self):
        sockets = [self.send(post("/v1/simulate", HEAVY)) for _ in range(60)]
        wait_until(lambda: self.metric("greedylrd_requests_in_flight") > 50)
        self.d.process.send_signal(signal.SIGTERM)
        answers = [self.answer(s) for s in sockets]
        self.assertEqual({status for status, _ in answers}, {200, 503})
        self.assertEqual({reason(json.loads(body)) for status, body in answers if status == 503}, {"DRAINING"})
        self.assertEqual(self.d._ended(), 0)


class Shares(PoolTest):
    flags = ("--max-simulations", "40")

    def threads(self):
        return len(os.listdir("/proc/%d/task" % self.d.process.pid))

    def test_reads_do_not_wait_for_simulations(self):
        before = self.threads()
        self.d.ok("POST", "/v1/jobs/v:report", {"step": 1, "loss": 1, "lr": 0.1})
        sockets = [self.send(post("/v1/simulate", HEAVY)) for _ in range(30)]
        wait_until(lambda: self.metric("greedylrd_requests_in_flight") > 20)
        self.assertEqual(len(self.d.decisions("v")), 1)
        answered, _, _ = select.select(sockets, [], [], 0)
        self.assertLess(len(answered), 20)
        for s in sockets:
            self.assertEqual(self.answer(s)[0], 200)
        self.assertEqual(self.threads(), before)  # they were there when the daemon said it is ready

    def test_too_many_are_refused(self):
        sockets = [self.send(post("/v1/simulate", HEAVY)) for _ in range(60)]
        answers = [self.answer(s) for s in sockets]
        self.assertEqual({status for status, _ in answers}, {200, 429})
        for status, body in answers:
            if status == 429:
                self.assertEqual(reason(json.loads(body)), "TOO_MANY_WAITING")
                self.assertIn("--max-simulations", json.loads(body)["message"])
        self.assertEqual(self.d.call("POST", "/v1/simulate", HEAVY)[0], 200)


class Limits(PoolTest):
    flags = ("--max-answer-memory", "8M", "--max-simulated-rates", "100000")

    def test_rates(self):
        body = {"spec": {"lr": [0.1] * 100}, "losses": [1] * 1001}
        status, answer = self.d.call("POST", "/v1/simulate", body)
        self.assertEqual((status, reason(answer)), (400, "FIELD_INVALID"))
        self.assertRegex(answer["message"], r"^losses: must be at most 1000 for 100 groups, got 1001; .*--max-simulated-rates")
        body["spec"]["shadow"] = [{"name": "s"}]
        self.assertRegex(self.d.call("POST", "/v1/simulate", body)[1]["message"],
                         r"^losses: must be at most 500 for 100 groups and 1 shadow, got 1001; .*--max-simulated-rates")
        del body["spec"]["shadow"]
        body["losses"].pop()
        self.assertEqual(len(self.d.ok("POST", "/v1/simulate", body)["decisions"]), 1000)

    def test_answers_that_nobody_reads(self):
        body = {"spec": {"lr": [0.123456789 + i * 1e-3 for i in range(10)]}, "losses": [1] * 10000}
        sockets = [self.send(post("/v1/simulate", body), buffer=4096) for _ in range(8)]
        wait_until(lambda: self.d.request("POST", "/v1/simulate", body)[0] == 429)
        status, answer = self.d.call("POST", "/v1/simulate", body)
        self.assertEqual((status, reason(answer)), (429, "TOO_MANY_WAITING"))
        self.assertIn("--max-answer-memory", answer["message"])
        self.d.ok("POST", "/v1/jobs/v:report", {"step": 1, "loss": 1, "lr": 0.1})
        self.assertEqual(len(self.d.decisions("v")), 1)  # small answers always go
        for s in sockets:
            s.close()
        wait_until(lambda: self.d.request("POST", "/v1/simulate", body)[0] == 200)


class Batches(PoolTest):
    def test_others_are_served_meanwhile(self):
        n = 5000
        self.d.ok("POST", "/v1/jobs", {"job": "w", "lr": 0.1, "greedy": {"window_size": 1000}})
        batch = self.send(post("/v1/jobs:batchReport", {"reports": [{"job": "w", "loss": i * 7919 % 1000} for i in range(n)]}))
        seen = set()
        while not select.select([batch], [], [], 0)[0]:
            seen.add(self.d.ok("GET", "/v1/jobs/w")["revision"])
        self.assertTrue(seen - {0, n}, seen)
        results = json.loads(self.answer(batch)[1])["results"]
        self.assertEqual([x["decision"]["revision"] for x in results], list(range(1, n + 1)))
        self.assertEqual([x["value"] for x in self.d.decisions("w")], [i * 7919 % 1000 for i in range(n)])

    def test_a_small_one_is_one_commit(self):
        self.d.ok("POST", "/v1/jobs", {"job": "a", "lr": 0.1})
        before = self.metric("greedylrd_commit_changes_count")
        self.d.ok("POST", "/v1/jobs:batchReport", {"reports": [{"job": "a", "loss": 1}] * 100})
        self.assertEqual(self.metric("greedylrd_commit_changes_count"), before + 1)

    def test_a_large_one_does_what_reports_do(self):
        self.d.ok("POST", "/v1/jobs", {"job": "r", "lr": 0.1, "ranks": {"world_size": 4}})
        reports = [{"job": "r", "step": i // 4, "rank": i % 4, "loss": i} for i in range(4001)]
        reports += [{"job": "r", "step": 0, "rank": 1, "loss": 1}, {"job": "r", "step": 0, "rank": 1, "loss": -1},
                    {"job": "no", "loss": 1}, {"job": "new", "loss": 1, "lr": 0.5}]
        results = self.d.ok("POST", "/v1/jobs:batchReport", {"reports": reports})["results"]
        self.assertEqual([x["decision"]["value"] for x in results[:4000]], [i // 4 * 4 + 1.5 for i in range(4000)])
        self.assertEqual(results[4000], {"pending": True})
        self.assertEqual([(x["decision"]["duplicate"], x["decision"]["conflict"]) for x in results[4001:4003]],
                         [(True, False), (True, True)])
        self.assertEqual(results[4003]["error"]["reason"], "JOB_NOT_FOUND")
        self.assertEqual(results[4004]["decision"]["lr"], 0.5)

    def test_too_many_entries_cost_nothing(self):
        body = b'{"reports":[' + b"{}," * 340000 + b"{}]}"
        status, answer = self.d.call("POST", "/v1/jobs:batchReport", body)
        self.assertEqual((status, reason(answer)), (400, "FIELD_INVALID"))
        self.assertIn("reports: must be at most 10000, got 340001", answer["message"])
        # 340,000 empty messages of protobuf
        status, _, text = self.d.request("POST", "/greedylr.v1.SchedulerService/BatchReport", b"\n\0" * 340000,
                                         {"Content-Type": "application/proto"})
        self.assertIn(b"reports: must be at most 10000, got 340000", text)
        self.assertLess(self.metric("process_resident_memory_bytes"), 60e6 if "asan" not in BINARY else 1e9)

    def test_the_end_in_the_middle(self):
        self.d.ok("POST", "/v1/jobs", {"job": "w", "lr": 0.1, "greedy": {"window_size": 1000}})
        s = self.send(post("/v1/jobs:batchReport", {"reports": [{"job": "w", "loss": i} for i in range(10000)]}))
        wait_until(lambda: self.d.ok("GET", "/v1/jobs/w")["revision"] > 0)
        s.close()
        wait_until(lambda: self.metric("greedylrd_requests_in_flight") == 1)
        self.assertEqual(self.d.stop(), 0)
        self.d.start()
        self.assertGreater(self.d.ok("GET", "/v1/jobs/w")["revision"], 0)


class Lists(PoolTest):
    def test_open_rounds(self):
        self.d.ok("POST", "/v1/jobs", {"job": "r", "lr": 0.1, "ranks": {"world_size": 3}})
        self.d.ok("POST", "/v1/jobs", {"job": "s", "lr": 0.1})
        for step, rank in ((5, 0), (5, 2), (6, 0), (7, 0)):
            status, answer = self.d.call("POST", "/v1/jobs/r:report?wait=0s", {"step": step, "rank": rank, "loss": 1})
            self.assertEqual(reason(answer), "WAIT_EXPIRED")

        def rounds():
            jobs = self.d.ok("GET", "/v1/jobs")["jobs"]
            self.assertNotIn("open_round", jobs[1]["state"])
            self.assertEqual(jobs[0]["state"]["open_round"], one()["state"]["open_round"])
            return jobs[0]["state"]["open_round"]

        def one():
            return self.d.ok("GET", "/v1/jobs/r")
        listed = rounds()
        self.assertEqual((listed["step"], listed["reported"], listed["missing"], listed["rounds_behind"]), (5, 2, [1], 2))
        self.d.restart()
        jobs = self.d.ok("GET", "/v1/jobs")["jobs"]  # before anything else reads the job
        self.assertEqual(jobs[0]["state"]["open_round"], listed)
        rounds()


if __name__ == "__main__":
    unittest.main()
