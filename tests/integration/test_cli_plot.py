"""greedylr plot: a job's values and rates on a terminal, whole and in part, once and followed; colours where they belong."""
import json
import os
import re
import signal
import unittest
import xml.etree.ElementTree as ElementTree

from terminal import ENDING, ENTER, Terminal
from cli_help import CliTest, run


class Plot(CliTest):
    def setUp(self):
        super().setUp()
        self.cli("create", "j", "--lr", "0.1", "--greedy.patience", "1")
        self.fill("j", [1 / (i + 1) + (0.5 if i % 9 > 5 else 0) for i in range(60)])

    def screen(self, *args, **more):
        return Terminal("plot", "j", *args, url=self.url, **more)

    def steps(self, *args):
        """First and last number along the steps."""
        line = next(line for line in self.cli("plot", "j", *args).splitlines() if line.strip().startswith("step"))
        numbers = re.findall(r"\d+", line)
        return int(numbers[0]), int(numbers[-1])

    def test_what_is_shown(self):
        shown = self.cli("plot", "j", LC_ALL="C")
        state = self.d.ok("GET", "/v1/jobs/j")["state"]
        self.assertTrue(shown.startswith("j, active: step 60, rate %.4g, value " % state["lr"]), shown)
        self.assertIn(", best %.4g at %d\n" % (state["best"], state["best_step"]), shown)
        self.assertTrue(shown.isascii())
        for heading in ("value", "rate (log)"):  # above their axes
            self.assertIn("\n" + " " * 11 + heading + "\n", shown)
        self.assertNotIn("\x1b", shown)
        done = [d["action"] for d in self.d.decisions("j")]
        self.assertIn("^ raises %d   v cuts %d\n" % (done.count("raise"), done.count("cut")), shown)
        self.cli("set", "j", "0.05")
        self.assertRegex(self.cli("plot", "j", LC_ALL="C.UTF-8"), "\u25b2 raises .* \u2502 events 1")
        svg = os.path.join(self.folder, "j.svg")
        self.cli("plot", "j", "--svg", svg)
        self.assertTrue(ElementTree.parse(svg).getroot().tag.endswith("svg"))
        self.cli("create", "empty", "--lr", "1")
        self.assertEqual(self.cli("plot", "empty"), "empty, active: rate 1\nnothing was decided here yet\n")

    def test_ranges(self):
        self.assertEqual(self.steps(), (20, 60))
        self.assertEqual(self.steps("--from-step", "20", "--to-step", "30"), (20, 30))
        self.assertEqual(self.steps("--last", "11"), (50, 60))
        self.assertEqual(self.steps("--last", "4294967295"), (20, 60))
        self.cli("rewind", "j", "--step", "30")
        self.assertEqual(self.steps("--from-step", "20"), (20, 30))
        for args, words in ((("--last", "0"), "from 1"), (("--last", "x"), "--last x"), (("--from-step", "-1"), "from-step -1"),
                            (("--follow", "--to-step", "3"), "one of the two"), (("--follow", "--svg", "x"), "without it"),
                            (("--interval", "1s"), "needs --follow"), (("--follow", "--interval", "1ms"), "100ms"),
                            (("--log", "all"), "rate, value, both or none"), (("-o", "json"), "greedylr history"),
                            (("-o", "csv"), "csv"), (("--follow",), "needs a terminal"), (("--color", "red"), "auto, always or never")):
            self.assertIn(words, self.cli("plot", "j", *args, code=2), args)
        self.assertIn("JOB_NOT_FOUND", self.cli("plot", "none", code=4))

    def test_scales(self):
        heads = lambda *args: re.findall(r"^ +(value|rate)( \(.*\))?$", self.cli("plot", "j", *args), re.M)
        for args, value, rate in (((), "", " (log)"), (("--log", "both"), " (log)", " (log)"), (("--log=none",), "", ""),
                                  (("--log=value",), " (log)", "")):
            self.assertEqual(heads(*args), [("value", value), ("rate", rate)], args)
        self.fill("j", [-1], first=61)
        self.assertEqual(heads("--log", "both")[0], ("value", " (not log: some are below 0)"))
        svg = os.path.join(self.folder, "j.svg")
        self.cli("plot", "j", "--log", "none", "--svg", svg)
        with open(svg, encoding="utf-8") as f:
            self.assertNotIn("(log)", f.read())

    def test_colours(self):
        with self.screen() as t:
            self.assertEqual(t.ended(), 0)
            self.assertIn(b"\x1b[34m", t.raw)
        for env in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
            with self.screen(**env) as t:
                self.assertEqual((t.ended(), b"\x1b" in t.raw), (0, False), env)
            with self.screen("--color=always", **env) as t:
                self.assertEqual((t.ended(), b"\x1b[34m" in t.raw), (0, True), env)
        with self.screen("--color", "never") as t:
            self.assertEqual((t.ended(), b"\x1b" in t.raw), (0, False))
        self.assertIn("\x1b[34m", self.cli("plot", "j", "--color", "always"))
        self.assertIn("\x1b[32mraise\x1b[0m", self.cli("history", "j", "--color=always"))
        self.assertEqual(json.loads(self.cli("get", "j", "--json")), self.json("get", "j"))

    def test_fits(self):
        for width, height in ((80, 24), (132, 50), (40, 16)):
            with self.screen(width=width, height=height) as t:
                self.assertEqual(t.ended(), 0)
                plain = re.sub(r"\x1b\[\d*m", "", t.raw.decode()).splitlines()
                self.assertLess(len(plain), height)
                self.assertLessEqual(max(map(len, plain)), width)

    def test_followed(self):
        with self.screen("--follow", "--interval", "100ms") as t:
            t.wait_for("step 60,.*(?s:.*)q leaves")
            self.fill("j", [0.01], first=61)
            t.wait_for("step 61,.*value 0.01,")
            self.cli("set", "j", "0.05")
            t.wait_for("rate 0.05.*(?s:.*)events 1")
            self.cli("rewind", "j", "--step", "20")
            t.wait_for(r"(?m)step 20,(?s:.*) step +(\d+ +)*20$")
            t.resize(100, 30)
            text = t.wait_for(lambda text: "q leaves" in text.splitlines()[-1] and len(text.splitlines()) == 30)
            self.assertEqual(len(text.splitlines()), 30)
            self.d.kill()
            t.wait_for("trying again: no answer from http")
            self.d.start()
            t.wait_for("q leaves")
            self.fill("j", [0.02], first=21)
            t.wait_for("step 21,")
            self.cli("delete", "j", "-y")
            self.assertEqual(t.ended(), 4)
            self.assertIn(b"j is deleted", t.raw)

    def test_ends(self):
        for keys in ("q", "\x1b", "\r", "\x03", "\x04"):
            with self.screen("-f") as t:
                t.wait_for("q leaves")
                t.type(keys)
                self.assertEqual(t.ended(), 0, keys)
                self.assertIn(ENTER.encode(), t.raw)
        for number in ENDING:
            with self.screen("-f") as t:
                t.wait_for("q leaves")
                t.signal(number)
                self.assertEqual(t.ended(), -number)

    def test_stopped_and_gone_on(self):
        with self.screen("-f") as t:
            t.wait_for("q leaves")
            t.signal(signal.SIGTSTP)
            t.wait_for(lambda _: t.raw.count(b"\x1b[?1049l") == 1 and t.stopped())
            t.signal(signal.SIGCONT)
            t.wait_for(lambda _: t.raw.count(ENTER.encode()) == 2)
            t.wait_for("q leaves")
            t.type("q")
            self.assertEqual(t.ended(), 0)


if __name__ == "__main__":
    unittest.main()
