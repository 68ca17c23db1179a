"""Descriptors used up: by connections, by a limit that is lowered, and by the whole machine (shim.c).

The store has what it needs, so reports on connections that are there go on; once there are descriptors again new
connections are served at once.
"""
import errno
import resource
import socket
import time
import unittest

from faults import FaultyDaemon
from harness import Daemon, reason, wait_until

#: RELIABILITY: within 1 s; more where the machine is busy with other things.
RECOVERY_S = 3


class Descriptors(unittest.TestCase):
    def begin(self, d):
        self.addCleanup(d.close)
        d.start()
        self.d, self.step = d, 0
        # Without descriptors the connection that has been idle for longest makes room, a few a second.
        idle = [d.connection() for _ in range(24)]
        for c in idle:
            self.addCleanup(c.close)
            d.request("GET", "/livez", connection=c)
        self.kept = idle[-1]
        self.report()
        # Watchers and those that wait are never what makes room.
        self.watch = socket.create_connection(("127.0.0.1", d.port), 20)
        self.addCleanup(self.watch.close)
        self.watch.sendall(b"GET /v1/jobs/x:watch HTTP/1.1\r\nHost: localhost\r\n\r\n")
        self.heard = b""
        self.hear("retry:")

    def report(self):
        self.step += 1
        answer = self.d.ok("POST", "/v1/jobs/x:report", {"step": self.step, "loss": 1, "lr": 0.1}, connection=self.kept)
        self.assertEqual(answer["revision"], self.step)

    def hear(self, what):
        while what.encode() not in self.heard:
            more = self.watch.recv(65536)
            self.assertTrue(more, self.heard)
            self.heard += more

    def served_meanwhile(self):
        """What a connection from before gets."""
        for _ in range(20):
            self.report()
        for path in ("/livez", "/readyz", "/metrics"):
            self.assertEqual(self.d.request("GET", path, connection=self.kept)[0], 200)
        # The history is read with descriptors of its own: there, or refused by name.
        status, answer = self.d.call("GET", "/v1/jobs/x/decisions", connection=self.kept)
        if status != 200:
            self.assertEqual((status, reason(answer)), (503, "OVERLOADED"))
        self.hear("id: %d" % self.step)

    def connect(self):
        """A connection that may have to wait to be accepted, with a request on its way."""
        s = socket.create_connection(("127.0.0.1", self.d.port), 20)
        self.addCleanup(s.close)
        s.sendall(b"GET /v1/jobs/x/lr HTTP/1.1\r\nHost: localhost\r\n\r\n")
        return s

    def not_served(self, s):
        s.settimeout(1.2)
        with self.assertRaises(TimeoutError):
            s.recv(1)

    def recovers(self, s, end_of_pressure):
        s.settimeout(20)
        start = time.monotonic()
        end_of_pressure()
        self.assertTrue(s.recv(4096).startswith(b"HTTP/1.1 200 "))
        took = time.monotonic() - start
        self.assertEqual(self.d.request("GET", "/readyz")[0], 200)
        print("recovered after %.2f s" % took, end=" ", flush=True)
        self.assertLess(took, RECOVERY_S)
        self.report()
        self.assertEqual(len(self.d.decisions("x")), self.step)

    def test_more_connections_than_descriptors(self):
        limit = 128
        self.begin(Daemon("--log-level", "error", "--header-timeout", "60s",
                          preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))))
        many = []
        for _ in range(2 * limit):  # slow ones: each has begun a request
            s = socket.create_connection(("127.0.0.1", self.d.port), 20)
            self.addCleanup(s.close)
            s.sendall(b"GET /livez HTTP/1.1\r\n")
            many.append(s)
        for _ in range(20):  # on new connections: idle ones, and then slow ones, make room
            self.kept.close()
            self.report()
        self.assertEqual(self.d.request("GET", "/readyz", connection=self.kept)[0], 200)
        self.assertEqual(self.d.call("GET", "/v1/jobs/x/decisions", connection=self.kept)[0], 200)
        self.hear("id: %d" % self.step)

        def end():
            for s in many:
                s.close()
        end()
        s = self.connect()
        self.recovers(s, lambda: None)

    def test_a_limit_below_what_is_open(self):
        self.begin(Daemon("--log-level", "error"))
        before = resource.prlimit(self.d.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(self.d.process.pid, resource.RLIMIT_NOFILE, (8, before[1]))
        s = self.connect()
        self.not_served(s)
        self.served_meanwhile()
        self.recovers(s, lambda: resource.prlimit(self.d.process.pid, resource.RLIMIT_NOFILE, before))

    def test_none_left_on_the_machine(self):
        self.begin(FaultyDaemon("--log-level", "error"))
        with self.d.failing("descriptors", forever=True, errno=errno.ENFILE, calls=("accept", "open", "socket")):
            s = self.connect()
            self.not_served(s)
            self.served_meanwhile()
            self.assertGreater(self.d.hits("descriptors"), 0)
        self.recovers(s, lambda: None)

    def test_each_call_once(self):
        """Every descriptor that the first list of a daemon asks for, once: readers of the store are kept after it."""
        for code in (errno.EMFILE, errno.ENFILE):
            for path in ("/v1/jobs", "/v1/jobs/x/decisions"):
                self.begin(FaultyDaemon("--log-level", "error"))
                for at in range(1, 50):
                    with self.d.failing("descriptors", at=at, errno=code, calls=("open", "socket")):
                        status, answer = self.d.call("GET", path, connection=self.kept)
                    if status != 200:
                        self.assertEqual((status, reason(answer)), (503, "OVERLOADED"), answer)
                    if not self.d.hits("descriptors"):
                        break
                self.assertEqual(status, 200)
                self.assertGreater(at, 1)
                self.report()


if __name__ == "__main__":
    unittest.main()
