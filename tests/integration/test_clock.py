"""The wall clock set backwards and forwards, and made to run fast and slow, while the daemon works.

Deadlines and waits are of the monotonic clock; what is recorded is what the wall clock said, in the order of revisions.
"""
import calendar
import re
import socket
import time
import unittest
from concurrent.futures import ThreadPoolExecutor

from faults import FaultyDaemon
from harness import reason, wait_until

HOUR = 3600
NOW = time.time()
#: Seconds off, millionths fast.
CLOCKS = {
    "an hour back": (-HOUR, 0), "an hour on": (HOUR, 0), "to 1970": (5 - NOW, 0), "before 1970": (-10 * HOUR - NOW, 0),
    "beyond 2038": (2 ** 31 + HOUR - NOW, 0), "beyond 2106": (2 ** 32 + HOUR - NOW, 0),
    "fast": (0, 900000), "slow, and then backwards": (0, -1900000),
}
#: The longest that a deadline of 1 s takes on a machine that is busy with other things.
BOUND = 15


def seconds(text):
    """RFC 3339 as seconds since 1970."""
    found = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?Z", text)
    assert found, text
    return calendar.timegm(time.strptime(found.group(1), "%Y-%m-%dT%H:%M:%S")) + float(found.group(2) or 0)


class Clock(unittest.TestCase):
    def start(self):
        d = FaultyDaemon("--log-level", "error")
        self.addCleanup(d.close)
        d.start()
        d.ok("POST", "/v1/jobs", {"job": "quorum", "lr": 0.1, "ranks": {"world_size": 3, "quorum": 1, "deadline": "1s"}})
        d.ok("POST", "/v1/jobs", {"job": "short", "lr": 0.1, "ranks": {"world_size": 2, "deadline": "1s"}})
        d.ok("POST", "/v1/jobs/one:report", {"step": 1, "loss": 1, "lr": 0.1})
        return d

    def timed(self, d, *request):
        start = time.monotonic()
        status, answer = d.call(*request)
        return status, answer, time.monotonic() - start

    def check_deadlines(self, d, offset, ppm, step):
        """What waits when the clock changes ends a second after it began to, not before and not much later."""
        kept = d.connection()
        d.ok("GET", "/v1/jobs/one/lr?format=json", connection=kept)
        watch = socket.create_connection(("127.0.0.1", d.port), 20)
        watch.sendall(b"GET /v1/jobs/one:watch HTTP/1.1\r\nHost: localhost\r\n\r\n")
        with ThreadPoolExecutor(3) as pool:
            waits = [pool.submit(self.timed, d, *request) for request in (
                ("POST", "/v1/jobs/quorum:report", {"step": step, "rank": 0, "loss": 2}),
                ("POST", "/v1/jobs/short:report", {"step": step, "rank": 0, "loss": 2}),
                ("GET", "/v1/jobs/one/lr?format=json&step=1000&wait=1s"))]
            wait_until(lambda: all(d.ok("GET", "/v1/jobs/" + job)["state"].get("open_round", {}).get("reported") == 1
                                   for job in ("quorum", "short")))
            d.set_clock(offset, ppm)
            ended = [wait.result() for wait in waits]
        for (status, answer, took), expected in zip(ended, (200, 504, 504)):
            self.assertEqual(status, expected, answer)
            self.assertGreater(took, 0.95)
            self.assertLess(took, BOUND)
        self.assertEqual(reason(ended[1][1]), "ROUND_INCOMPLETE")
        self.assertEqual(reason(ended[2][1]), "STEP_NOT_DECIDED")
        d.ok("GET", "/v1/jobs/one/lr?format=json", connection=kept)  # a connection that idled meanwhile
        kept.close()
        d.ok("POST", "/v1/jobs/one:report", {"step": step + 1, "loss": 1})
        text = b""
        while b"event: decision" not in text:
            more = watch.recv(65536)
            self.assertTrue(more, text)
            text += more
        watch.close()

    def check_times(self, d, offset, ppm, step):
        before = time.time() + offset
        decision = d.ok("POST", "/v1/jobs/one:report", {"step": step + 2, "loss": 1})
        if not ppm:
            self.assertLess(abs(seconds(decision["time"]) - before), BOUND)
        found = d.decisions("one")
        self.assertEqual(found[-1]["time"], decision["time"])
        self.assertEqual([x["revision"] for x in found], list(range(1, len(found) + 1)))
        self.assertEqual([x["step"] for x in found], sorted(x["step"] for x in found))
        job = d.ok("GET", "/v1/jobs/one")
        self.assertEqual(job["revision"], len(found))
        seconds(job["create_time"]), seconds(job["update_time"])
        return found

    def one(self, offset, ppm):
        d = self.start()
        self.check_deadlines(d, offset, ppm, 2)
        found = self.check_times(d, offset, ppm, 2)
        # A start at another time than that of what is stored, contributions of an open round included.
        d.kill()
        d.start()
        self.assertEqual(d.decisions("one"), found)
        status, answer, took = self.timed(d, "POST", "/v1/jobs/short:report", {"step": 2, "rank": 0, "loss": 2})
        self.assertEqual((status, reason(answer)), (504, "ROUND_INCOMPLETE"))
        self.assertTrue(0.95 < took < BOUND, took)
        self.assertEqual(d.ok("POST", "/v1/jobs/short:report", {"step": 2, "rank": 1, "loss": 4})["value"], 3)
        d.set_clock(0)
        again = self.check_times(d, 0, 0, 10)
        self.assertEqual(again[:len(found)], found)

    def test_changes(self):
        with ThreadPoolExecutor(4) as pool:
            results = {name: pool.submit(self.one, *clock) for name, clock in CLOCKS.items()}
        for name, result in results.items():
            with self.subTest(clock=name):
                result.result()


if __name__ == "__main__":
    unittest.main()
