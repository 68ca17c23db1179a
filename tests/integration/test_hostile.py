"""Hostile peers of every kind at once, and honest ones among them.

SECONDS says for how long (6; an hour in `make soak`), SEED repeats a run.
"""
import concurrent.futures
import os
import random
import re
import resource
import socket
import struct
import threading
import time
import unittest

from harness import BINARY, DaemonTest, wait_until

SECONDS = float(os.environ.get("SECONDS", 6))
SEED = int(os.environ.get("SEED", random.randrange(1 << 32)))
SANITIZED = "asan" in BINARY or "tsan" in BINARY
HOST = b"Host: localhost\r\n"


class Hostile(DaemonTest):
    flags = ("--header-timeout", "1s", "--request-timeout", "1s", "--answer-timeout", "2s", "--max-connections", "300",
             "--max-watchers", "40", "--history-limit", "100")

    def process(self, what):
        if what == "descriptors":
            return len(os.listdir("/proc/%d/fd" % self.d.process.pid))
        with open("/proc/%d/statm" % self.d.process.pid) as f:
            return int(f.read().split()[1]) * resource.getpagesize()

    # ---- the hostile ----

    def send(self, data, read=True, reset=False, wait=0.0, receive=None):
        with socket.socket() as s:
            s.settimeout(3)
            if receive:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
            if reset:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            s.connect(("127.0.0.1", self.d.port))
            s.sendall(data)
            time.sleep(wait)
            if read:
                s.recv(65536)

    def nonsense(self, r):
        self.send(r.randbytes(r.randrange(1, 4000)) + b"\r\n\r\n")

    def half(self, r):
        whole = b"POST /v1/jobs/h:report HTTP/1.1\r\n" + HOST + b'Content-Length: 19\r\n\r\n{"loss":1,"lr":0.1}'
        self.send(whole[:r.randrange(len(whole))], read=False, reset=r.random() < 0.5)

    def huge(self, r):
        self.send(b"GET /livez HTTP/1.1\r\n" + HOST + b"X: " + b"x" * r.randrange(7000, 100000) + b"\r\n\r\n")

    def trickle(self, r):
        with socket.create_connection(("127.0.0.1", self.d.port), 3) as s:
            for _ in range(40):
                s.sendall(b"G")
                time.sleep(0.05)

    def abort(self, r):
        body = b'{"spec":{"lr":[0.123456789,0.2,0.3]},"losses":[' + b",".join([b"1"] * 5000) + b"]}"
        self.send(b"POST /v1/simulate HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % len(body) + body, read=r.random() < 0.5,
                  reset=True, wait=r.random() * 0.2, receive=4096)

    def watch(self, r):
        self.send(b"GET /v1/jobs/honest0:watch?after_revision=0 HTTP/1.1\r\n" + HOST + b"\r\n", read=False, wait=r.random(),
                  reset=r.random() < 0.5, receive=4096)

    def pipeline(self, r):
        self.send((b"GET /v1/jobs/honest%d HTTP/1.1\r\n" + HOST + b"\r\n") % r.randrange(4) * 200, read=False, reset=True)

    def foreign(self, r):
        self.send(b"POST /v1/jobs HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 2\r\n\r\n{}")

    def bomb(self, r):
        body = r.choice((b"[" * 60000, b'{"a":' * 10000, b'{"job":"x","lr":[' + b"1," * 20000, b'"' + b"\\u0000" * 5000))
        self.send(b"POST /v1/jobs HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % len(body) + body)

    def hostile(self, number, stop):
        r = random.Random("%d %d" % (SEED, number))
        kinds = (self.nonsense, self.half, self.huge, self.trickle, self.abort, self.watch, self.pipeline, self.foreign, self.bomb)
        while not stop.is_set():
            try:
                kinds[(number + r.randrange(2) * r.randrange(9)) % 9](r)
            except OSError:
                pass  # refused, cut off, too slow: as they deserve
            self.attacks += 1

    # ---- the honest ----

    def honest(self, number, stop):
        name, step, c = "/v1/jobs/honest%d" % number, 0, None
        while not stop.is_set():
            step += 1
            for attempt in range(5):  # a connection that made room, or a 503: the same report again, as clients do
                try:
                    c = c or self.d.connection()
                    start = time.monotonic()
                    status, _, text = self.d.request("POST", name + ":report", {"step": step, "loss": 1, "lr": 0.1}, connection=c)
                    self.slowest = max(self.slowest, time.monotonic() - start)
                    if status == 200:
                        break
                except (OSError, ValueError) as e:
                    status, text = 0, repr(e)
                except Exception as e:  # http.client's: a connection that closed
                    status, text = 0, repr(e)
                c and c.close()
                c = None
                self.retries += 1
                time.sleep(0.1)
            else:
                self.failed.append((name, step, status, text))
            self.reports += 1
            if self.d.request("GET", "/livez")[0] != 200:
                self.failed.append("livez")
            time.sleep(0.02)
        if c:
            c.close()

    def test_all_at_once(self):
        print("\nSEED=%d" % SEED)
        self.attacks = self.reports = self.retries = 0
        self.failed, self.slowest = [], 0.0
        for i in range(4):
            self.d.ok("POST", "/v1/jobs", {"job": "honest%d" % i, "lr": 0.1})
        at_start = self.process("descriptors") + 12  # readers of the database stay open
        stop = threading.Event()
        threads = [threading.Thread(target=self.hostile, args=(i, stop)) for i in range(36)]
        threads += [threading.Thread(target=self.honest, args=(i, stop)) for i in range(4)]
        for t in threads:
            t.start()
        resident = []
        end = time.monotonic() + SECONDS
        try:
            while time.monotonic() < end and not self.failed:
                time.sleep(min(1.0, SECONDS / 20))
                resident.append(self.process("resident"))
        finally:
            stop.set()
            for t in threads:
                t.join(60)
        self.assertEqual(self.failed, [])
        half = resident[len(resident) // 2:]
        n = max(1, len(half) // 5)
        # The least: what is being worked on comes on top, by megabytes; what is never given back raises the least as well.
        first, last = min(half[:n]), min(half[-n:])
        print("%d attacks, %d reports (%d repeated, slowest %.0f ms) in %g s; resident at most %.1f MB, least of the second half %.2f -> %.2f MB: %+.2f %%"
              % (self.attacks, self.reports, self.retries, self.slowest * 1e3, SECONDS, max(resident) / 1e6, first / 1e6, last / 1e6,
                 (last / first - 1) * 100))
        for i in range(4):
            job = self.d.ok("GET", "/v1/jobs/honest%d" % i)
            self.assertEqual(job["state"]["reports"], job["state"]["step"])
        wait_until(lambda: b"\ngreedylrd_connections 1\n" in self.d.request("GET", "/metrics")[2])
        wait_until(lambda: self.process("descriptors") <= at_start)
        if not SANITIZED:
            self.assertLess(max(resident), 200e6)
        if SECONDS >= 600 and not SANITIZED:
            self.assertLess(abs(last / first - 1), 0.01)


class Logs(DaemonTest):
    """What peers send never makes a line of its own, nor reaches a terminal as it is."""
    flags = ("--log-level", "debug")

    def hostile_lines(self):
        heads = []
        for text in (b"a\nts=1 event=forged", b"a\r\nevent=forged", b"\x1b[2Jevil", b"\xff\xfe\x80", b"\xc2\x9b31m", b"a\x00b", b'"},{"event":"forged', b"\xe2\x80\xa8forged"):
            quoted = b"".join(b"%%%02x" % c for c in text)
            for head in (b"GET /v1/jobs/" + quoted + b" HTTP/1.1\r\n" + HOST, b"GET /" + text + b" HTTP/1.1\r\n" + HOST,
                         b"GET / HTTP/1.1\r\nHost: " + text + b"\r\n", b"GET / HTTP/1.1\r\n" + HOST + b"Origin: " + text + b"\r\n",
                         b"GET / HTTP/1.1\r\n" + HOST + b"User-Agent: " + text + b"\r\n", text + b" / HTTP/1.1\r\n" + HOST,
                         b"GET / HTTP/" + text + b"\r\n" + HOST):
                heads.append(head + b"\r\n")
            self.d.request("POST", "/v1/jobs", {"job": "x", "lr": 0.1, "labels": [text.decode("latin-1")], "group_names": [text.decode("latin-1")]})
            self.d.request("POST", "/v1/jobs/%s:report" % quoted.decode(), {"loss": 1, "lr": 0.1, "request_id": text.decode("latin-1")})

        with concurrent.futures.ThreadPoolExecutor(30) as pool:
            list(pool.map(lambda head: self.d.raw(head, 5, half_close=True), heads))

    def check(self, shape):
        self.hostile_lines()
        self.d.ok("POST", "/v1/jobs/honest:report", {"loss": 1, "lr": 0.1})
        wait_until(lambda: any("honest" in line for line in self.d._lines))
        for line in self.d._lines:
            self.assertRegex(line, shape)
            self.assertTrue(all(c == "\n" or " " <= c <= "~" or ord(c) >= 0xa0 for c in line), repr(line))
            self.assertNotRegex(line, r"^(event|ts=1 )")

    def test_logfmt(self):
        self.check(r"^ts=2\d\d\d-\S+ level=[a-z]+ event=[a-z_]+( [a-z_]+=(\"([^\"\\]|\\.)*\"|[^\" ]*))*\n$")

    def test_json(self):
        self.d.close()
        self.d.flags += ["--log-format", "json"]
        self.d.own, self.d.port = True, None
        os.makedirs(self.d.data, exist_ok=True)
        self.d.start()
        self.check(r'^\{"ts":"2\d\d\d-[^"]+","level":"[a-z]+","event":"[a-z_]+".*\}\n$')

    def test_not_dumpable(self):
        if SANITIZED:
            self.skipTest("the leak checker needs to look")
        with open("/proc/%d/status" % self.d.process.pid) as f:
            self.assertTrue(re.search(r"^Name:\tgreedylrd", f.read()))
        # The files of a process that is not dumpable are root's.
        self.assertEqual(os.stat("/proc/%d/environ" % self.d.process.pid).st_uid, 0)


if __name__ == "__main__":
    unittest.main()
