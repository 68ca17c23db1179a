"""Jobs not used for a while leave memory and come back from the store as they were; and what happens without any."""
import re
import resource
import threading
import unittest

from harness import DaemonTest, reason, wait_until


class Eviction(DaemonTest):
    flags = ("--resident-jobs", "4")

    def resident(self):
        text = self.d.request("GET", "/metrics")[2].decode()
        return float(re.search(r"^greedylrd_resident_jobs (\S+)$", text, re.M).group(1))

    def test_evicted_jobs_come_back(self):
        for step in range(1, 4):
            for i in range(40):
                d = self.d.ok("POST", "/v1/jobs/j%d:report" % i, {"step": step, "loss": 1.0 / step, "lr": 0.1})
                self.assertEqual(d["revision"], step)
        wait_until(lambda: self.d.ok("GET", "/v1/jobs/j0")["revision"] == 3 and self.resident() <= 4)
        for i in range(40):
            self.assertTrue(self.d.ok("POST", "/v1/jobs/j%d:report" % i, {"step": 2, "loss": 0.5})["duplicate"])
            d = self.d.ok("POST", "/v1/jobs/j%d:report" % i, {"step": 4, "loss": 0.25})
            self.assertEqual((d["revision"], d["num_good"]), (4, 1))


class Lists(DaemonTest):
    """A list shows what was answered before it was asked for."""
    flags = ("--resident-jobs", "1")

    def test_of_jobs_that_leave_memory_meanwhile(self):
        for i in range(120):
            self.d.ok("POST", "/v1/jobs", {"job": "z%03d" % i, "lr": [0.123456789 + i] * 256})
        stop = threading.Event()

        def others():
            c, i = self.d.connection(), 0
            while not stop.is_set():
                i += 1
                self.d.ok("GET", "/v1/jobs/z%03d" % (i % 120), connection=c)
            c.close()

        t = threading.Thread(target=others)
        t.start()
        try:
            for step in range(1, 7):
                self.d.ok("POST", "/v1/jobs/a:report", {"step": step, "loss": 1, "lr": 0.1})
                self.assertEqual(self.d.ok("GET", "/v1/jobs?page_size=1000")["jobs"][0]["state"]["step"], step)
        finally:
            stop.set()
            t.join()


class NoMemory(DaemonTest):
    def address_space(self):
        with open("/proc/%d/status" % self.d.process.pid) as f:
            return int(re.search(r"VmSize:\s*(\d+)", f.read()).group(1)) * 1024

    def limit(self, size):
        resource.prlimit(self.d.process.pid, resource.RLIMIT_AS, (size, resource.RLIM_INFINITY))

    def test_says_when_to_come_back(self):
        if self.address_space() > 1 << 40:
            self.skipTest("a sanitizer has reserved all addresses")
        path, all_of_it = "/v1/jobs/x/decisions?page_size=%d", 1000
        self.d.ok("POST", "/v1/jobs/x:report", {"step": 0, "loss": 1, "lr": 0.1})
        for first in range(1, all_of_it, 100):
            self.d.ok("POST", "/v1/jobs:batchReport",
                      {"reports": [{"job": "x", "step": step, "loss": 1} for step in range(first, first + 100)]})
        connection = self.d.connection()  # it and the threads that read have their memory already
        self.d.ok("GET", path % 1, connection=connection)
        self.limit(self.address_space())
        status, headers, _ = self.d.request("GET", path % all_of_it, connection=connection)
        self.assertEqual((status, headers.get("retry-after")), (503, "1"))
        self.assertEqual(reason(self.d.call("GET", path % all_of_it, connection=connection)[1]), "OUT_OF_MEMORY")
        self.limit(resource.RLIM_INFINITY)
        self.assertEqual(len(self.d.ok("GET", path % all_of_it, connection=connection)["decisions"]), all_of_it)


if __name__ == "__main__":
    unittest.main()
