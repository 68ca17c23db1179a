"""greedylr top: the jobs on a terminal as they go on, and once for scripts."""
import csv
import io
import json
import re
import unittest

from terminal import ENDING, Terminal
from cli_help import CliTest, run

HEADS = ["JOB", "STATUS", "STEP", "VALUE", "BEST", "LR", "CHANGE", "LAST", "ROUND"]


class Top(CliTest):
    def setUp(self):
        super().setUp()
        self.d.ok("POST", "/v1/jobs", {"job": "a.worse", "lr": [0.1], "greedy": {"patience": 0, "smooth": False}, "labels": ["k=v"]})
        self.fill("a.worse", [1, 2, 3])
        self.fill("a.better", [3, 2, 1.5], lr=0.2)
        self.d.ok("POST", "/v1/jobs", {"job": "b.ranks", "lr": 0.3, "ranks": {"world_size": 4, "deadline": "3600s"}})
        self.d.ok("POST", "/v1/jobs:batchReport", {"reports": [{"job": "b.ranks", "step": 7, "loss": 1, "rank": r} for r in (0, 3)]})
        self.fill("b.done", [1], lr=1)
        self.cli("finish", "b.done")

    def screen(self, *args, **more):
        return Terminal("top", "--interval", "200ms", *args, url=self.url, **dict({"width": 120}, **more))

    def names(self, text):
        """Jobs in the order in which they stand."""
        return re.findall(r"^[> ] ([ab]\.\S+)", text, re.M)

    def chosen(self, text):
        return re.findall(r"^> (\S+)", text, re.M)

    def test_once(self):
        want = {j["job"]: j for j in self.d.ok("GET", "/v1/jobs")["jobs"]}
        rows = {r["job"]: r for r in json.loads(self.cli("top", "--once", "--json"))["jobs"]}
        self.assertEqual(set(rows), set(want))
        for name, job in want.items():
            row = rows[name]
            self.assertEqual((row["status"], row["lr"], row.get("step")), (job["status"], job["state"]["lr"], job["state"].get("step")))
            self.assertEqual(row["change"], job["state"]["lr"] / job["spec"]["lr"][0])
            last = (self.d.decisions(name) or [{}])[-1]
            self.assertEqual((row.get("action"), row.get("reason")), (last.get("action"), last.get("reason")), name)
            self.assertLess(row["age_seconds"], 600)
        self.assertEqual(rows["a.worse"]["value"], 3)
        self.assertEqual(rows["b.done"]["value"], 1)  # of the report, not of what was done then
        self.assertEqual(rows["b.ranks"]["round"], {"reported": 2, "world_size": 4, "missing": [1, 2], "overdue": False})
        found = list(csv.DictReader(io.StringIO(self.cli("top", "-o", "csv"))))
        self.assertEqual([(r["job"], r["round.missing"]) for r in found if r["round.missing"]], [("b.ranks", "1;2")])
        shown = self.cli("top", "--once")
        self.assertEqual(shown.splitlines()[0].split(), HEADS)
        self.assertRegex(shown, r"(?m)^  a.worse +active +3 +3 +1 +0.08 +x0.8 +cut \d+s")
        self.assertRegex(shown, r"(?m)^  b.ranks +active +0.3 +x1 +\d+s +2/4 no 1,2$")
        self.assertEqual(self.cli("top", "--once", "--prefix", "none").splitlines()[0].split()[:2], ["JOB", "STATUS"])

    def test_order_and_choice(self):
        names = lambda *args: [r["job"] for r in json.loads(self.cli("top", "--json", *args))["jobs"]]
        self.assertEqual(names()[0], "b.done")  # the last that anything was done to
        self.assertEqual(names("--sort", "job"), ["a.better", "a.worse", "b.done", "b.ranks"])
        self.assertEqual(names("--sort=-job"), ["b.ranks", "b.done", "a.worse", "a.better"])
        self.assertEqual(names("--sort", "lr"), ["b.done", "b.ranks", "a.better", "a.worse"])
        self.assertEqual(names("--sort", "change")[0], "a.worse")
        self.assertEqual(names("--sort", "status")[-1], "b.done")
        self.assertEqual(names("--sort", "round")[0], "b.ranks")
        self.assertEqual(names("--sort", "best", "--prefix", "a."), ["a.worse", "a.better"])
        self.assertEqual(names("--state", "finished"), ["b.done"])
        self.assertEqual(names("--label", "k=v"), ["a.worse"])
        for args, words in ((("--sort", "colour"), "must be one of activity, job, status"), (("--page_size", "3"), "no such flag"),
                            ((), "--once"), (("--plot",), "no such flag")):
            self.assertIn(words, self.cli("top", *args, code=2))
        self.assertIn("state", self.cli("top", "--state", "x", "--once", code=1))

    def test_live(self):
        with self.screen() as t:
            text = t.wait_for(lambda text: self.names(text) and "x0.8" in text)
            self.assertRegex(text.splitlines()[0], "^greedylr top  4 jobs, 3 active, 1 finished, 1 waits for ranks  http://")
            self.assertEqual(text.splitlines()[1].split(), HEADS)
            self.assertEqual(self.chosen(text), ["b.done"])
            self.assertIn("q quit", text.splitlines()[-1])
            self.fill("a.better", [1.2], first=4)
            t.wait_for(lambda text: self.names(text)[:1] == ["a.better"] and re.search("a.better +active +4 +1.2 ", text))
            reason = self.d.decisions("a.better")[-1]["reason"]
            t.wait_for(lambda text: text.splitlines()[-2] == "a.better: " + reason)
            t.type("j")
            t.wait_for(lambda text: self.chosen(text) == ["b.done"])
            t.type("\x1b[B")
            one = self.chosen(t.wait_for(lambda text: self.chosen(text) not in (["b.done"], ["a.better"])))
            self.fill(one[0], [1.1], first=9) if one != ["b.ranks"] else None
            t.type("kk")
            t.wait_for(lambda text: self.names(text)[0] == self.chosen(text)[0])
            t.type("s")
            t.wait_for(lambda text: self.names(text) == ["a.better", "a.worse", "b.done", "b.ranks"] and "s sort: job" in text)
            t.type("r")
            t.wait_for(lambda text: self.names(text) == ["b.ranks", "b.done", "a.worse", "a.better"])
            t.type("/B.D")
            t.wait_for(lambda text: self.names(text) == ["b.done"] and "/B.D_" in text)
            t.type("\x7fR\r")
            t.wait_for(lambda text: self.names(text) == ["b.ranks"] and "/ search: B.R" in text)
            t.resize(40, 24)
            t.wait_for(lambda text: max(map(len, text.splitlines())) <= 40 and "/ search: B.R" in text)
            t.resize(80, 24)
            t.type("\x1b")
            t.wait_for(lambda text: len(self.names(text)) == 4)
            t.type("/zzz")
            t.wait_for("no job has that in its name")
            t.type("\x1b")
            t.wait_for(lambda text: len(self.names(text)) == 4)
            t.type("q")
            self.assertEqual(t.ended(), 0)

    def test_a_jobs_plot(self):
        with self.screen("--prefix", "a.worse") as t:
            t.wait_for("x0.8")
            t.type("\r")
            t.wait_for("a.worse, active: step 3(?s:.*)q leaves")
            t.type("q")
            t.wait_for("greedylr top  1 job, 1 active")
            t.type("\x04")
            self.assertEqual(t.ended(), 0)

    def test_many_jobs_and_sizes(self):
        for i in range(60):
            self.d.ok("POST", "/v1/jobs", {"job": "c.a-job-with-a-long-name-%02d" % i, "lr": 0.1})
        with self.screen("--sort", "job", width=80, height=24) as t:
            text = t.wait_for("greedylr top  64 jobs(?s:.*)q quit")
            self.assertEqual(len(text.splitlines()), 24)
            t.type("G")
            text = t.wait_for(lambda text: re.search(r"(?m)^> c\.a-.*-59 ", text))
            self.assertNotIn("-30 ", text)
            t.resize(50, 12)
            text = t.wait_for(lambda text: re.search(r"(?m)^> c\.a.*59 ", text) and len(text.splitlines()) == 12
                              and "q quit" in text.splitlines()[-1])
            for line in text.splitlines():
                self.assertLessEqual(len(line), 50)
            t.resize(150, 70)
            text = t.wait_for(lambda text: "c.a-job-with-a-long-name-00" in text and "> c.a-job-with-a-long-name-59" in text)
            t.type("g")
            t.wait_for(lambda text: self.chosen(text) == ["a.better"])
            t.type("\x1b[6~\x1b[6~")
            t.wait_for(lambda text: self.chosen(text) == ["c.a-job-with-a-long-name-59"])
            t.type("q")
            self.assertEqual(t.ended(), 0)

    def test_the_daemon_is_away(self):
        with self.screen() as t:
            t.wait_for("x0.8")
            self.d.kill()
            text = t.wait_for("trying again: no answer from http")
            self.assertEqual(len(self.names(text)), 4)
            self.d.start()
            t.wait_for("q quit")
            self.fill("a.better", [1.2], first=4)
            t.wait_for("a.better +active +4 ")
            t.type("q")
            self.assertEqual(t.ended(), 0)
        self.assertIn("greedylrd running", self.cli("top", "--once", code=3, GREEDYLR_URL="http://127.0.0.1:1"))
        with self.screen(GREEDYLR_URL="http://127.0.0.1:1") as t:
            self.assertEqual(t.ended(), 3)
            self.assertNotIn(b"\x1b[?1049h", t.raw)

    def test_ends(self):
        with self.screen() as t:
            t.wait_for("q quit")
            t.type("\x03")
            self.assertEqual(t.ended(), 0)
        for number in ENDING[:2]:
            with self.screen() as t:
                t.wait_for("q quit")
                t.signal(number)
                self.assertEqual(t.ended(), -number)
        with self.screen(TERM="dumb") as t:
            self.assertEqual(t.ended(), 2)

    def test_colours(self):
        for env, colours in (({}, True), ({"NO_COLOR": "1"}, False)):
            with self.screen(**env) as t:
                t.wait_for("x0.8")
                t.type("q")
                self.assertEqual(t.ended(), 0)
                self.assertEqual(b"\x1b[31mcut " in t.raw, colours)
                self.assertEqual(b"\x1b[7m" in t.raw, colours)


if __name__ == "__main__":
    unittest.main()
