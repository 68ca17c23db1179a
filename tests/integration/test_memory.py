"""Jobs not used for a while leave memory and come back from the store as they were."""
import re
import unittest

from harness import DaemonTest, wait_until


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


if __name__ == "__main__":
    unittest.main()
