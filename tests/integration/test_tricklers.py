"""1,000 peers that send a byte at a time, of headers and of bodies, while others are served.

TRICKLERS makes it larger; the times of the others are printed.
"""
import http.client
import os
import resource
import select
import socket
import threading
import time
import unittest

from harness import DaemonTest

TRICKLERS = int(os.environ.get("TRICKLERS", 1000))
HEADER_S, REQUEST_S = 1, 2
HEAD = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX: "
BODY = b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000\r\n\r\n"


class Tricklers(DaemonTest):
    flags = ("--header-timeout", "%ds" % HEADER_S, "--request-timeout", "%ds" % REQUEST_S)

    def setUp(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, TRICKLERS + 200), hard), hard))
        super().setUp()

    def others(self, stop, times, failures):
        c = self.d.connection()
        step = 0
        while not stop.is_set():
            step += 1
            start = time.monotonic()
            report = "POST", "/v1/jobs/honest:report", {"step": step, "loss": 1, "lr": 0.1}
            try:
                status = self.d.request(*report, connection=c)[0]
            except (OSError, http.client.HTTPException):  # idle, it made room for one of more than there may be
                if TRICKLERS < 4000:
                    failures.append("closed")
                c.close()
                c = self.d.connection()
                status = self.d.request(*report, connection=c)[0]
            times.append(time.monotonic() - start)
            if status != 200:
                failures.append(status)
            time.sleep(0.005)
        c.close()

    def trickle(self, first):
        """The longest that one of them lived."""
        poll, alive, began = select.poll(), {}, {}
        for _ in range(TRICKLERS):
            s = socket.create_connection(("127.0.0.1", self.d.port), 20)
            began[s.fileno()] = time.monotonic()
            s.sendall(first)
            s.setblocking(False)
            alive[s.fileno()] = s
            poll.register(s, select.POLLIN | select.POLLRDHUP)
        longest = 0
        while alive:
            now = time.monotonic()
            for fd, event in poll.poll(200):
                longest = max(longest, now - began[fd])
                poll.unregister(fd)
                alive.pop(fd).close()
            for s in alive.values():
                try:
                    s.send(b"x")
                except OSError:
                    pass  # the poll tells
            self.assertLess(now - max(began.values()), 60, "%d tricklers are never closed" % len(alive))
        return longest

    def test_they_are_closed_and_others_are_served(self):
        stop, times, failures = threading.Event(), [], []
        thread = threading.Thread(target=self.others, args=(stop, times, failures))
        thread.start()
        try:
            for what, first, deadline in (("headers", HEAD, HEADER_S), ("bodies", BODY, REQUEST_S)):
                del times[:]
                longest = self.trickle(first)
                took = sorted(times)
                print("\n%d tricklers on %s: closed after %.1f s at the latest (deadline %d s); %d others, p50 %.1f ms, p99 %.1f ms"
                      % (TRICKLERS, what, longest, deadline, len(took), took[len(took) // 2] * 1e3, took[len(took) * 99 // 100] * 1e3))
                self.assertLess(longest, deadline + 5)  # this process does its part late, with many
                self.assertGreater(len(took), 20)
        finally:
            stop.set()
            thread.join(30)
        self.assertEqual(failures, [])


if __name__ == "__main__":
    unittest.main()
