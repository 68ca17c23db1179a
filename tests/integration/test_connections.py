"""Connections: every count of them is answered in time, and at the limit those who ask still get an answer."""
import contextlib
import json
import os
import re
import resource
import select
import signal
import socket
import time
import unittest

from harness import DaemonTest, reason, wait_until

HOST = b"Host: localhost\r\n"
LIVE = b"GET /livez HTTP/1.1\r\n" + HOST + b"\r\n"
#: COUNTS=all: each from 1 to 1,024.
COUNTS = range(1, 1025) if os.environ.get("COUNTS") == "all" else \
    (1, 2, 3, 31, 32, 33, 63, 64, 65, 126, 127, 128, 129, 130, 191, 255, 256, 257, 383, 511, 512, 513, 1023, 1024)


def post(path, body, more=b""):
    text = json.dumps(body).encode()
    return b"POST %s HTTP/1.1\r\n%s%sContent-Length: %d\r\n\r\n%s" % (path.encode(), HOST, more, len(text), text)


def refusals(daemon):
    """What met limits, by limit, and the rest of what is told of connections."""
    text = daemon.request("GET", "/metrics")[2].decode()
    found = dict(re.findall(r'^greedylrd_limit_refusals_total\{limit="([^"]*)"\} (\S+)$', text, re.M))
    found.update(re.findall(r"^greedylrd_(connections\w*) (\S+)$", text, re.M))
    return {name: float(value) for name, value in found.items()}


class Connected(DaemonTest):
    def setUp(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft < 4096:
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
        super().setUp()
        self.stack = contextlib.ExitStack()
        self.addCleanup(self.stack.close)

    def connect(self, data=b"", receive=None):
        s = self.stack.enter_context(socket.socket())
        if receive:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
        s.settimeout(20)
        s.connect(("127.0.0.1", self.d.port))
        s.sendall(data)
        return s

    def ask(self, data=LIVE):
        """(status, body) of an answer on a connection of its own."""
        with socket.create_connection(("127.0.0.1", self.d.port), 20) as s:
            s.sendall(data)
            answer = b""
            while b"\r\n\r\n" not in answer or len(answer) < self.length(answer):
                more = s.recv(65536)
                if not more:
                    break
                answer += more
        return (int(answer[9:12]) if answer else 0), answer.partition(b"\r\n\r\n")[2]

    @staticmethod
    def length(answer):
        head, _, _ = answer.partition(b"\r\n\r\n")
        found = re.search(rb"\r\nContent-Length: (\d+)", head)
        return len(head) + 4 + (int(found.group(1)) if found else 0)

    def ended(self, s, seconds=20):
        """What still comes until the daemon closes, and how long that takes."""
        start, got = time.monotonic(), b""
        s.settimeout(seconds)
        with contextlib.suppress(ConnectionResetError):
            while more := s.recv(65536):
                got += more
        return time.monotonic() - start, got


class Counts(Connected):
    """Lost wake-ups of resumed connections: a report is suspended until it is durable, whatever the number."""

    def slowest(self, sockets, step):
        poll = select.epoll()
        left = {}
        start = time.monotonic()
        for i, s in enumerate(sockets):
            s.sendall(post("/v1/jobs/c%d:report" % i, {"step": step, "loss": 1, "lr": 0.1}))
            poll.register(s, select.EPOLLIN)
            left[s.fileno()] = s
        last = time.monotonic()
        while left:
            events = poll.poll(20)
            self.assertTrue(events, "%d of %d unanswered after 20 s" % (len(left), len(sockets)))
            for fd, _ in events:
                answer = left.pop(fd).recv(65536)
                self.assertTrue(answer.startswith(b"HTTP/1.1 200 "), answer)
                poll.unregister(fd)
            last = time.monotonic()
        poll.close()
        return last - start

    def test_every_count_is_answered(self):
        sockets, step, worst = [], 0, 0
        for n in COUNTS:
            while len(sockets) < n:
                sockets.append(self.connect())
            for _ in range(3):  # a busy machine is not a lost wake-up
                step += 1
                took = self.slowest(sockets, step)
                if took < 1:
                    break
            worst = max(worst, took)
            self.assertLess(took, 1.0, "%d connections" % n)
        print("\n%d counts up to %d connections, slowest answer %.0f ms" % (len(COUNTS), len(sockets), worst * 1000))


class Leaving(Connected):
    """A peer that leaves with its last bytes: epoll tells of both at once, and only once."""

    def test_with_its_last_bytes(self):
        body = b"POST /v1/simulate HTTP/1.1\r\n" + HOST + b"Content-Length: 100\r\n\r\n{"
        for data in (b"", b"GET / HTTP/1.1\r\nHo", b"GET /livez HTTP/1.1\r\n" + HOST, body, LIVE, LIVE + b"GET /"):
            s = self.connect()
            os.kill(self.d.process.pid, signal.SIGSTOP)
            try:
                s.sendall(data)
                s.shutdown(socket.SHUT_WR)
            finally:
                os.kill(self.d.process.pid, signal.SIGCONT)
            seconds, answer = self.ended(s)
            self.assertLess(seconds, 4, data)
            self.assertEqual(answer.startswith(b"HTTP/1.1 200 "), data.startswith(LIVE), (data, answer))

    def test_a_slow_end_is_no_end(self):
        """Bytes that the daemon has not read yet come before the end."""
        s = self.connect(post("/v1/jobs", {"job": "x", "lr": 0.1}) * 50 + LIVE)
        s.shutdown(socket.SHUT_WR)
        seconds, answer = self.ended(s)
        self.assertEqual(answer.count(b"HTTP/1.1 200 "), 51)


class Headers(Connected):
    def test_every_size_is_answered(self):
        seen = {}
        for target, n in [(t, n) for t in (b"/livez", b"/v1/jobs/none") for n in range(7700, 9300, 8)]:
            status, body = self.ask(b"GET " + target + b" HTTP/1.1\r\n" + HOST + b"X: " + b"x" * n + b"\r\n\r\n")
            seen.setdefault(target, []).append(status)
        for target, good in ((b"/livez", 200), (b"/v1/jobs/none", 404)):
            self.assertEqual(sorted(seen[target], key=lambda s: s == 431), seen[target])
            self.assertEqual(set(seen[target]), {good, 431})
        for n in range(60, 200):
            self.assertIn(self.ask(b"GET /livez HTTP/1.1\r\n" + HOST + b"X: y\r\n" * n + b"\r\n")[0], (200, 431), n)
        for n in range(7900, 9300, 8):
            self.assertIn(self.ask(b"GET /" + b"x" * n + b" HTTP/1.1\r\n" + HOST + b"\r\n")[0], (404, 431, 414), n)
        for n in range(60, 260):
            self.assertIn(self.ask(b"GET /v1/jobs?" + b"a=b&" * n + b" HTTP/1.1\r\n" + HOST + b"\r\n")[0], (400, 431), n)

    def test_refused_by_name(self):
        status, body = self.ask(b"GET /livez HTTP/1.1\r\n" + HOST + b"X: " + b"x" * 8100 + b"\r\n\r\n")
        self.assertEqual((status, reason(json.loads(body))), (431, "HEADERS_TOO_LARGE"))
        self.assertIn("--connection-memory", json.loads(body)["message"])
        before = refusals(self.d)["connection-memory"]
        self.assertEqual(self.ask(b"GET /livez HTTP/1.1\r\n" + HOST + b"X: " + b"x" * 20000)[0], 431)
        self.assertEqual(refusals(self.d)["connection-memory"], before + 1)
        self.assertIn(b'{method="other",code="431"}', self.d.request("GET", "/metrics")[2])

    def test_a_stream_has_room(self):
        self.d.ok("POST", "/v1/jobs", {"job": "w", "lr": 0.1})
        s = self.connect(b"GET /v1/jobs/w:watch HTTP/1.1\r\n" + HOST + b"X: " + b"x" * 7900 + b"\r\n\r\n")
        self.assertTrue(s.recv(4096).startswith(b"HTTP/1.1 200 "))
        self.d.ok("POST", "/v1/jobs/w:report", {"step": 1, "loss": 1})
        got = b""
        while b"event: decision" not in got:
            more = s.recv(4096)
            self.assertTrue(more)
            got += more


class Causes(Connected):
    flags = ("--header-timeout", "300ms", "--request-timeout", "300ms", "--answer-timeout", "300ms",
             "--keepalive-timeout", "300ms", "--max-body", "2K", "--max-batch-body", "3M")

    def test_each_deadline_is_counted_by_its_limit(self):
        large = {"spec": {"lr": [0.123456789012345] * 20}, "losses": [1] * 10000}
        for limit, data in (("header-timeout", b""), ("header-timeout", b"GET / HTTP/1.1\r\nX: y"),
                            ("request-timeout", b"POST /v1/jobs HTTP/1.1\r\n" + HOST + b"Content-Length: 9\r\n\r\n{"),
                            ("keepalive-timeout", LIVE), ("answer-timeout", post("/v1/simulate", large))):
            before = refusals(self.d)[limit]
            s = self.connect(data, 4096 if limit == "answer-timeout" else None)
            if limit == "answer-timeout":
                wait_until(lambda: refusals(self.d)[limit] > before)
                continue
            seconds, _ = self.ended(s)
            self.assertGreater(seconds, 0.25)
            self.assertLess(seconds, 4)
            self.assertGreaterEqual(refusals(self.d)[limit], before + 1)

    def test_bodies(self):
        before = refusals(self.d)
        self.assertEqual(self.d.request("POST", "/v1/jobs", " " * 3000)[0], 413)
        self.assertEqual(self.ask(b"POST /v1/simulate HTTP/1.1\r\n" + HOST + b"Content-Length: 3145729\r\n\r\n")[0], 413)
        after = refusals(self.d)
        self.assertEqual([after[l] - before[l] for l in ("max-body", "max-batch-body")], [1, 1])


class AtTheLimit(Connected):
    flags = ("--max-connections", "8", "--answer-timeout", "1m")

    def test_slow_ones_make_room(self):
        """Half requests take every connection there is, again and again; others are served at once."""
        slow = (b"", b"G", b"GET / HTTP/1.1\r\nX: y", b"POST /v1/jobs HTTP/1.1\r\n" + HOST + b"Content-Length: 9\r\n\r\n{")
        for i in range(3):
            for k in range(40):
                self.connect(slow[k % len(slow)])
            self.assertEqual(self.ask()[0], 200)
            self.assertEqual(self.ask(post("/v1/jobs/j:report", {"step": i, "loss": 1, "lr": 0.1}))[0], 200)
        self.assertGreater(refusals(self.d)["connections_evicted_total"], 40)

    def fill(self):
        """Eight connections that cannot make room: their answers are on their way."""
        large = post("/v1/simulate", {"spec": {"lr": [0.123456789012345] * 20}, "losses": [1] * 10000})
        for s in [self.connect(large, 4096) for _ in range(8)]:
            self.assertTrue(s.recv(1, socket.MSG_PEEK))

    def test_the_reserve_tells_how_it_is(self):
        self.fill()
        for _ in range(5):
            for path in (b"/livez", b"/readyz?verbose", b"/healthz", b"/metrics", b"/version"):
                status, _ = self.ask(b"GET " + path + b" HTTP/1.1\r\n" + HOST + b"\r\n")
                self.assertEqual(status, 200)
        for _ in range(3):
            # Answers that have lain there for 5 s make room: on a slow machine those of above have.
            self.stack.close()
            wait_until(lambda: refusals(self.d)["connections"] == 1)
            start = time.monotonic()
            self.fill()
            status, headers, text = self.d.request("POST", "/v1/jobs/j:report", {"step": 1, "loss": 1, "lr": 0.1})
            if status != 200:
                break
            self.assertGreater(time.monotonic() - start, 5)
        else:
            return  # slower than that, three times
        self.assertEqual((status, reason(json.loads(text))), (503, "OVERLOADED"))
        self.assertEqual((headers["retry-after"], headers["connection"]), ("1", "close"))
        self.assertIn("--max-connections", json.loads(text)["message"])
        self.assertGreaterEqual(refusals(self.d)["max-connections"], 1)

    def test_the_reserve_is_not_for_sale(self):
        """Idle and slow ones do not keep it, and it is there again afterwards."""
        self.fill()
        held = [self.connect() for _ in range(100)]
        start = time.monotonic()
        self.assertEqual(self.ask()[0], 200)
        self.assertLess(time.monotonic() - start, 5)
        self.stack.close()
        wait_until(lambda: refusals(self.d)["connections"] == 1)
        self.assertEqual(self.ask(post("/v1/jobs/j:report", {"step": 1, "loss": 1, "lr": 0.1}))[0], 200)


class PerAddress(Connected):
    flags = ("--listen", "0.0.0.0:0", "--insecure", "no-tokens,no-tls", "--max-connections-per-address", "4")

    def own_address(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            try:
                s.connect(("192.0.2.1", 9))
                return s.getsockname()[0]
            except OSError:
                return "127.0.0.1"

    def test_counted(self):
        address = self.own_address()
        if address.startswith("127."):
            self.skipTest("no address but loopback")
        held = []
        for _ in range(6):
            held.append(self.stack.enter_context(socket.create_connection((address, self.d.port), 20)))
        time.sleep(0.2)
        self.assertEqual(refusals(self.d)["max-connections-per-address"], 2)
        self.assertEqual(held[-1].recv(10), b"")


if __name__ == "__main__":
    unittest.main()
