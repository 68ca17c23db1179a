"""What-if on the command line: values from files of every kind, replays of jobs, sweeps over settings, and their pictures."""
import csv
import io
import json
import os
import random
import re
import subprocess
import unittest
import xml.etree.ElementTree as ElementTree

from test_cli import GREEDYLR, MAN, CliTest, environment, run

NOTE = "not how the model would have trained"
SVG = "{http://www.w3.org/2000/svg}"


def rates(decisions):
    return [d["lrs"] for d in decisions]


def curve(seed, n):
    print("seed %d" % seed)
    chance = random.Random(seed)
    return [2 / (1 + i / 20) + chance.gauss(0, 0.05) for i in range(n)]


class Files(CliTest):
    def simulate(self, *args, **more):
        return self.json("simulate", "--lr", "0.1", "--greedy.patience", "1", *args, **more)

    def test_every_format(self):
        want = self.simulate("--losses", "1,0.9,0.8,nan")
        wandb = '"Step","run-a - val_loss","run-a - val_loss__MIN","run-a - val_loss__MAX"\n"1","1","1","1"\n"2","","",""\n'
        for name, text, column in (
                ("plain", "1\n0.9\n0.8\nnan\n", None),
                ("tensorboard", "Wall time,Step,Value\n1700.5,10,1\n1701,20,0.9\n1702,30,0.8\n1703,40,nan\n", None),
                ("spreadsheet", "\ufeffepoch,Loss\r\n1,1\r\n2,0.9\r\n3,0.8\r\n4,NaN\r\n", None),
                ("wandb", wandb + '"3","0.9","0.9","0.9"\n"4","0.8","0.8","0.8"\n"5","NaN","",""\n', None),
                ("wandb by name", wandb + '"3","0.9","0.9","0.9"\n"4","0.8","0.8","0.8"\n"5","NaN","",""\n', "val_loss"),
                ("two runs", "Step,a - loss,b - loss\n1,1,7\n2,0.9,7\n3,0.8,7\n4,nan,7\n", "a - loss"),
                ("objects", '{"epoch":1,"loss":1}\n\n{"epoch":1,"lr":3}\n{"loss":0.9}\r\n{"loss":null}\n{"loss":0.8}\n{"loss":NaN}\n', None),
                ("objects by name", '{"loss":7,"eval/loss":1}\n{"eval/loss":0.9,"x":"-NaN \\" Infinity"}\n'
                                    '{"eval/loss":0.8}\n{"eval/loss":"nan"}', "eval/loss"),
                ("the only number", '{"step":1,"val":1,"tag":"x"}\n{"val":0.9}\n{"val":0.8}\n{"val":NaN}\n', None),
                ("objects and numbers", '{"loss":1}\n0.9\n0.8\nNaN\n', None),
                ("list", "[1, 0.9,\n 0.8, NaN]\n", None), ("list of objects", ' [{"loss": 1}, {"loss": 0.9}, {}, {"loss": 0.8}, {"loss": NaN}]', None)):
            more = ["--losses-column", column] if column else []
            path = self.file(name, text)
            self.assertEqual(self.simulate("--losses", path, *more), want, name)
            self.assertEqual(self.simulate("--losses", "-", *more, stdin=text), want, name)
            self.assertEqual(self.simulate("--losses-file", path, *more), want, name)
        bits = ["4.9e-324", "0.30000000000000004", "-1.7976931348623157e308"]
        got = self.simulate("--losses", "-", stdin="".join('{"loss": %s}\n' % b for b in bits))
        self.assertEqual([d["value"] for d in got["decisions"]], [float(b) for b in bits])
        got = self.simulate("--losses", "-", stdin="[Infinity, -Infinity]")
        self.assertEqual([d["value"] for d in got["decisions"]], ["Infinity", "-Infinity"])

    def test_errors_name_the_line(self):
        for text, why in (('{"loss":1}\n{"loss":\n', "line 2"), ('{"loss":1}\n\n{"loss":"x"}\n', 'line 3: must be a number, got "x"'),
                          ('{"loss":1}\n[1]\n', ""), ("[1,\n2,\n}", "line 3"), ('[1, "x"]', "element 2"), ('{"loss":1e999}', "line 1"),
                          ("[]", "no values"), ('{"a":"b"}', "no values"), ('{"a":1,"b":2}', "takes one of: a, b"),
                          ('loss,n\n1,"two\nlines"\nx,3\n', "line 4: must be a number, got x"), ("loss\n1\n1,2\n3\n,\n\nx\n", "line 7"),
                          ("step,a,b\n1,2,3\n", "takes one of: step, a, b"), ('{"loss":1}\n{"loss":2} 3\n', "line 2"),
                          ('{"loss":"NaN"}\n{"loss":true}', "line 2"), ('{"lo', "line 1")):
            said = self.cli("simulate", "--lr", "0.1", "--losses", "-", stdin=text, code=2)
            self.assertIn(why, said, text)
            self.assertIn("standard input", said)
        said = self.cli("simulate", "--lr", "0.1", "--losses", "-", "--losses-column", "c", stdin='{"a":1,"b":2}', code=2)
        self.assertIn("no single column c; --losses-column takes one of: a, b", said)
        self.assertIn("c; --losses-column", self.cli("simulate", "--lr", "0.1", "--losses", "-", "--losses-column", "c",
                                                     stdin="a - c,b - c\n1,2\n", code=2))
        self.assertIn("no/file", self.cli("simulate", "--lr", "0.1", "--losses", "/no/file", code=2))
        self.assertIn("number", self.cli("simulate", "--lr", "0.1", "--losses", "1,x", code=2))
        said = self.cli("simulate", "--lr", "0.1", "--losses", "-", stdin="1\n" * 10001, code=1)
        self.assertIn("--max-batch-entries 10001", said)

    def test_the_note(self):
        self.assertIn(NOTE, self.cli("simulate", "--lr", "0.1", "--losses", "1,2"))
        self.assertIn("action", self.cli("simulate", "--lr", "0.1", "--losses", "1,2", "-o", "csv").splitlines()[0])


class Pictures(CliTest):
    def drawing(self, path):
        root = ElementTree.parse(path).getroot()
        self.assertEqual(root.tag, SVG + "svg")
        with open(path, encoding="utf-8") as f:
            text = f.read()
        self.assertNotIn("http", text.replace('xmlns="http://www.w3.org/2000/svg"', ""))  # it stands alone
        self.assertNotIn("nan", re.sub(r"<(title|text).*?>.*?<", "", text))
        return root

    def marks(self, root, kind, line=0):
        return len(root.findall(".//%sg[@class='marks%d']/%spath[@class='%s']" % (SVG, line, SVG, kind)))

    def check_marks(self, path, decisions):
        root = self.drawing(path)
        for kind in ("raise", "cut", "reset"):
            self.assertEqual(self.marks(root, kind), len([d for d in decisions if d["action"] == kind]), kind)
        return root

    def test_simulation(self):
        values = curve(7, 120)
        values[40] = values[41] = float("nan")
        path = self.file("a <b> & \x01 \"c\".txt", "".join("%r\n" % v for v in values))
        svg = os.path.join(self.folder, "out.svg")
        args = ("simulate", "--lr", "0.01", "--greedy.reset_start", "3", "--losses", path)
        answer = self.json(*args, "--svg", svg)
        root = self.check_marks(svg, answer["decisions"])
        self.assertIn("a <b> & ?", root.find(SVG + "title").text)
        self.assertGreater(self.marks(root, "raise"), 3)
        self.assertGreater(self.marks(root, "cut"), 3)
        line = root.find("%spath[@class='value']" % SVG).get("d")
        self.assertEqual((line.count("M"), line.count("L")), (2, 116))  # one gap
        self.assertEqual(answer, self.json(*args))
        self.cli(*args, "--svg", svg)  # an SVG is replaced
        self.check_marks(svg, answer["decisions"])
        self.assertEqual(sorted(os.listdir(self.folder)), sorted([os.path.basename(path), "out.svg"]))

    def test_what_else_is_there_is_left(self):
        values = self.file("values.csv", "loss\n1\n2\n")
        for path, why in ((values, "no SVG"), (self.folder, "no SVG"), (os.path.join(self.folder, "no", "x.svg"), "No such file")):
            r = run("simulate", "--lr", "1", "--losses", values, "--svg", path, GREEDYLR_URL=self.url)
            said = r.stderr
            self.assertEqual(r.returncode, 1)
            self.assertIn(path + ": ", said)
            self.assertIn(why, said)
        with open(values, encoding="utf-8") as f:
            self.assertEqual(f.read(), "loss\n1\n2\n")
        self.assertEqual(os.listdir(self.folder), ["values.csv"])

    def test_history(self):
        self.fill("h", curve(8, 300))
        self.cli("set", "h", "0.03")
        self.fill("h", curve(9, 20), first=301)
        svg = os.path.join(self.folder, "h.svg")
        decisions = self.json("history", "h", "--svg", svg)["decisions"]
        root = self.check_marks(svg, decisions)
        self.assertEqual(self.marks(root, "event"), 1)
        self.assertEqual(root.find("%spath[@class='value']" % SVG).get("d").count("M"), 1)  # an event is no gap
        self.cli("rewind", "h", "--step", "100")
        self.check_marks(svg, decisions)
        self.json("history", "h", "--svg", svg, "--superseded")
        root = self.check_marks(svg, self.d.decisions("h"))
        self.assertIn("REVISION", self.cli("history", "h", "--svg", svg))
        self.assertIn("json or csv", self.cli("history", "h", "--plot", "-o", "csv", code=2))
        self.cli("list", "--plot", code=2)

    def test_plot_without_a_terminal(self):
        self.fill("p", [3, 2, 1, "NaN", "Infinity", 5, 6, 7, 8], lr=[0.1, 0.2])
        for env, braille in (({"LC_ALL": "C"}, False), ({"LC_ALL": "", "LC_CTYPE": "", "LANG": "C.UTF-8"}, True),
                             ({"LC_ALL": "en_US.utf8"}, True), ({"LC_ALL": "C", "LANG": "C.UTF-8"}, False)):
            shown = self.cli("history", "p", "--plot", **env)
            self.assertEqual(bool(re.search("[\u2800-\u28ff]", shown)), braille, env)
            self.assertEqual(shown.isascii(), not braille)
            self.assertNotIn("\x1b", shown)
            self.assertLessEqual(max(map(len, shown.splitlines())), 80)
            self.assertRegex(shown, "raises 1 .*cuts 2")
            self.assertNotIn("REVISION", shown)
        self.assertIn(NOTE, self.cli("simulate", "--lr", "0.1", "--losses", "1,2,3", "--plot"))

    def test_odd_curves(self):
        for losses in ("1", "nan", "0,0,0", "1,1", "1e308,-1e308", "5e-324,1e308", "nan,inf,-inf", "-1,-2", "1e-300,1e300,0"):
            for more in ((), ("--ramp.reports", "1", "--ramp.start_factor", "1e-300")):
                svg = os.path.join(self.folder, "odd.svg")
                shown = self.cli("simulate", "--lr", "0.1", "--losses=" + losses, "--plot", "--svg", svg, *more)
                self.assertNotIn("nan", shown.split("rate")[0].replace("simulation", ""))
                self.drawing(svg)
        svg = os.path.join(self.folder, "empty.svg")
        self.cli("create", "empty", "--lr", "0.1")
        self.cli("history", "empty", "--plot", "--svg", svg)
        self.drawing(svg)

    def test_on_a_full_disk(self):
        with open("/dev/full", "w", encoding="utf-8") as full:
            r = subprocess.run([GREEDYLR, "simulate", "--lr", "1", "--losses", "1,2", "--plot"], stdout=full, stderr=subprocess.PIPE,
                               text=True, env=environment(GREEDYLR_URL=self.url), timeout=60)
        self.assertEqual(r.returncode, 1)
        self.assertIn("cannot be written", r.stderr)


if __name__ == "__main__":
    unittest.main()
