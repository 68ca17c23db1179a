"""Work that takes long: simulations and lists beside everything else, their limits, and the end while they run."""
import json
import os
import select
import signal
import socket
import unittest

from harness import DaemonTest, reason, wait_until

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
