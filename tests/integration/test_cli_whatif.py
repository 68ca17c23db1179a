"""What-if on the command line: values from files of every kind, replays of jobs, sweeps over settings, and their pictures."""
import csv
import http.server
import io
import json
import math
import os
import random
import re
import subprocess
import threading
import unittest
import xml.etree.ElementTree as ElementTree

from test_cli_liars import Liar
from cli_help import GREEDYLR, MAN, CliTest, environment, run

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
        for losses in ("1", "nan", "0,0,0", "1,1", "1e308,-1e308", "5e-324,1e308", "nan,inf,-inf", "-1,-2", "1e-300,1e300,0", "2,-0.3"):
            for more in ((), ("--ramp.reports", "1", "--ramp.start_factor", "1e-300")):
                svg = os.path.join(self.folder, "odd.svg")
                shown = self.cli("simulate", "--lr", "0.1", "--losses=" + losses, "--plot", "--svg", svg, *more)
                self.assertNotIn("nan", shown.split("rate")[0].replace("simulation", ""))
                self.drawing(svg)
                self.assertNotRegex(shown, r"(?m)^ *-0 ")
                with open(svg, encoding="utf-8") as f:
                    self.assertNotIn(">-0<", f.read())
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


class Replay(CliTest):
    def replay(self, job, *args):
        return self.json("replay", job, *args)

    def check_equal(self, job, reports):
        answer = self.replay(job)
        self.assertEqual((answer["different"], len(answer["rows"]), "first_difference" in answer), (0, reports, False), answer)
        decisions = [d for d in self.d.decisions(job) if "value" in d]
        for side in ("recorded", "replayed"):
            self.assertEqual([(r["step"], r["value"], r[side]["lrs"], r[side]["action"]) for r in answer["rows"]],
                             [(d["step"], d["value"], d["lrs"], d["action"]) for d in decisions])
        self.assertEqual(answer["recorded"], answer["replayed"])
        return answer

    def test_without_a_change_it_equals_the_record(self):
        for policy, more in (("greedy", {"stage_mode": "hold", "cooldown": 2, "reset_start": 2}), ("greedy", {"dialect": "transformers", "min_lr": 1e-4}),
                             ("plateau", {"patience": 1, "factor": 0.5}), ("greedy", {})):
            job = "%s-%d" % (policy, len(more))
            spec = {"job": job, "lr": [0.1, 0.30000000000000004], policy: more, "ramp": {"reports": 5, "start_factor": 0.1}, "labels": ["a=b"]}
            if "dialect" not in more:
                spec["on_nonfinite"] = "skip" if policy == "greedy" else "bad"
            if policy == "plateau":
                del spec["on_nonfinite"]
            self.d.ok("POST", "/v1/jobs", spec)
            self.fill(job, curve(11, 90) + ["NaN", "Infinity"] + curve(12, 40), first=100)
            answer = self.check_equal(job, 132)
            self.assertEqual(answer["not_replayed"], [])
            self.assertIn(NOTE, answer["note"])
            self.assertEqual((answer["ratio"], answer["mean_ratio"]), (1, 1))
        said = self.cli("replay", "greedy-0")
        self.assertIn("No difference in 132 reports", said)
        self.assertIn(NOTE, said)

    def test_many_pages(self):
        self.fill("big", curve(13, 2345))
        self.check_equal("big", 2345)
        self.assertEqual(len(self.replay("big", "--to-step", "1700")["rows"]), 1700)
        self.assertEqual(self.replay("big", "--to-step", "1700")["rows"][-1]["step"], 1700)

    def test_ranks_and_a_rewind(self):
        self.cli("create", "r", "--lr", "0.1", "--ranks.world_size", "2", "--greedy.patience", "1", "--greedy.smooth", "false")
        for step in range(1, 13):
            reports = [{"job": "r", "step": step, "rank": rank, "loss": 3 - 0.1 * step + rank} for rank in (0, 1)]
            self.d.ok("POST", "/v1/jobs:batchReport", {"reports": reports})
        self.cli("rewind", "r", "--step", "6")
        for step in range(7, 11):
            self.d.ok("POST", "/v1/jobs:batchReport", {"reports": [{"job": "r", "step": step, "rank": rank, "loss": 9 + step} for rank in (0, 1)]})
        answer = self.check_equal("r", 10)
        self.assertEqual([r["value"] for r in answer["rows"]][5:7], [2.9, 16])
        self.assertEqual(answer["not_replayed"], [])

    def test_changes(self):
        self.fill("c", curve(14, 100), lr=[0.1, 0.2])
        values = [d["value"] for d in self.d.decisions("c")]
        for changes, spec in ((("patience=5", "factor=0.9"), {"lr": [0.1, 0.2], "greedy": {"patience": 5, "factor": 0.9}}),
                              (("ramp.reports=5", "ramp.start_factor=0.5"), {"lr": [0.1, 0.2], "ramp": {"reports": 5, "start_factor": 0.5}}),
                              (("lr=0.3",), {"lr": [0.3, 0.3]}), (("lr=0.3,0.4",), {"lr": [0.3, 0.4]}),
                              (("greedy.max-lr=[0.2,0.3]", "mode=max"), {"lr": [0.1, 0.2], "greedy": {"max_lr": [0.2, 0.3], "mode": "max"}}),
                              (("dialect=transformers", "max_lr=2"), {"lr": [0.1, 0.2], "greedy": {"dialect": "transformers", "max_lr": [2, 2]}}),
                              (("on_nonfinite=skip",), {"lr": [0.1, 0.2], "on_nonfinite": "skip"})):
            answer = self.replay("c", *(x for c in changes for x in ("--set", c)))
            self.assertEqual(answer["spec"], spec)
            want = self.d.ok("POST", "/v1/simulate", {"spec": spec, "losses": values})["decisions"]
            self.assertEqual([r["replayed"]["lrs"] for r in answer["rows"]], rates(want), changes)
            self.assertEqual(answer["replayed"], {k + "s": len([d for d in want if d["action"] == k]) for k in ("raise", "cut", "reset")})
            different = [i for i, r in enumerate(answer["rows"]) if (r["recorded"]["lrs"], r["recorded"]["action"]) !=
                         (r["replayed"]["lrs"], r["replayed"]["action"])]
            self.assertEqual(answer["different"], len(different))
            if different:
                self.assertEqual(answer["first_difference"], {"row": different[0], "step": different[0] + 1})
            pairs = [(r["recorded"]["lr"], r["replayed"]["lr"]) for r in answer["rows"]]
            mean = math.exp(math.fsum(math.log(b) - math.log(a) for a, b in pairs) / len(pairs))
            self.assertAlmostEqual(answer["mean_ratio"], mean, delta=1e-9 * mean)
            self.assertEqual(answer["ratio"], pairs[-1][1] / pairs[-1][0])
        answer = self.replay("c", "--policy", "plateau", "--set", "patience=3")
        self.assertEqual(answer["spec"], {"lr": [0.1, 0.2], "plateau": {"patience": 3}})
        self.cli("create", "ramped", "--lr", "0.1", "--ramp.reports", "3", "--ramp.start_factor", "0.1")
        self.fill("ramped", [3, 2, 1, 4])
        self.assertEqual(self.replay("ramped", "--set", "ramp=none")["spec"], {"lr": [0.1]})

    def test_another_policy_that_ends_at_zero(self):
        self.fill("z", curve(17, 40))
        values = [d["value"] for d in self.d.decisions("z")]
        args = ("--policy", "cosine-annealing", "--set", "t_max=40")
        answer = self.replay("z", *args)
        self.assertEqual(answer["spec"], {"lr": [0.1], "cosine_annealing": {"t_max": 40}})
        want = self.d.ok("POST", "/v1/simulate", {"spec": answer["spec"], "losses": values})["decisions"]
        self.assertEqual([r["replayed"]["lrs"] for r in answer["rows"]], rates(want))
        self.assertEqual(answer["rows"][-1]["replayed"]["lr"], 0)
        self.assertNotIn("ratio", answer)
        self.assertIn("reports with a rate of 0 left out: 1", self.cli("replay", "z", *args))
        svg = os.path.join(self.folder, "z.svg")
        self.assertRegex(self.cli("replay", "z", *args, "--plot", "--svg", svg), r"(?m)^ +0 [+\u2524]")
        ElementTree.parse(svg)
        row, other = self.json("sweep", "--job", "z", *args[:2], "--set", "t_max=20,40")["rows"]
        self.assertEqual((row["set"], row["min"], other["final"]), ({"t_max": 20}, 0, 0))
        answer = self.replay("z", "--set", "anneal.total_reports=40", "--set", "anneal.fraction=0.5")
        self.assertEqual(answer["first_difference"]["row"], 20)

    def test_what_is_not_replayed_is_named(self):
        self.fill("e", [5, 4, 3, 2.5])
        self.cli("set", "e", "0.05")
        self.fill("e", [2.4, 2.3], first=5)
        self.cli("pause", "e")
        self.fill("e", [2.2, 2.1, 2.0], first=7)
        self.cli("resume", "e")
        self.cli("update", "e", "--greedy.patience", "1")
        self.d.ok("POST", "/v1/jobs/e:report", {"step": 10, "loss": 1, "lr_cap": 0.01})
        answer = self.replay("e")
        self.assertEqual([(n["what"], n["count"], n["first_steps"]) for n in answer["not_replayed"]],
                         [("override", 1, [4]), ("update", 1, [9]), ("pause", 3, [7, 8, 9]), ("lr_cap", 1, [10])])
        self.assertGreater(answer["different"], 0)
        self.assertEqual([r["value"] for r in answer["rows"]], [5, 4, 3, 2.5, 2.4, 2.3, 2.2, 2.1, 2.0, 1])
        said = self.cli("replay", "e")
        self.assertIn("Not replayed: rates set by hand (step 4)", said)
        self.assertIn("(steps 7, 8, 9)", said)
        self.cli("fork", "e", "f")
        said = self.cli("replay", "f", code=1)
        self.assertIn("no reports", said)
        self.fill("f", [1.0, 0.9], first=11)
        self.assertEqual([(n["what"], n["first_steps"]) for n in self.replay("f")["not_replayed"]], [("fork", [10])])

    def test_formats(self):
        self.fill("t", [5, 4, 3, "NaN", 2, 1, 7])
        answer = self.replay("t", "--set", "patience=1")
        r = run("replay", "t", "--set", "patience=1", "-o", "csv", GREEDYLR_URL=self.url)
        self.assertIn(NOTE, r.stderr)
        rows = list(csv.DictReader(io.StringIO(r.stdout)))
        self.assertEqual([(float(x["value"]), float(x["replayed_lrs"]), x["recorded_action"]) for x in rows if x["value"] != "NaN"],
                         [(x["value"], x["replayed"]["lr"], x["recorded"]["action"]) for x in answer["rows"] if x["value"] != "NaN"])
        said = self.cli("replay", "t", "--set", "patience=1")
        self.assertEqual(said.splitlines()[0].split(), ["STEP", "VALUE", "RECORDED", "LR", "REPLAYED", "LR", "RATIO"])
        self.assertIn("First difference: step 2, recorded hold 0.1, replayed raise 0.125", said)
        svg = os.path.join(self.folder, "t.svg")
        shown = self.cli("replay", "t", "--set", "patience=1", "--plot", "--svg", svg)
        self.assertIn("recorded rate", shown)
        self.assertIn("replayed rate", shown)
        self.assertIn(NOTE, shown)
        self.assertNotIn("RATIO", shown)
        root = ElementTree.parse(svg).getroot()
        for line, side in enumerate(("recorded", "replayed")):
            for kind in ("raise", "cut"):
                found = root.findall(".//%sg[@class='marks%d']/%spath[@class='%s']" % (SVG, line, SVG, kind))
                self.assertEqual(len(found), answer[side][kind + "s"], (side, kind))
        self.assertIn("patience=1", root.find(SVG + "title").text)
        self.assertIn("json or csv", self.cli("replay", "t", "--plot", "-o", "json", code=2))

    def test_refusals(self):
        self.fill("x", [3, 2, 1])
        for args, words, code in (((), "JOB is missing", 2), (("none",), "JOB_NOT_FOUND", 4), (("x", "--set", "patience"), "NAME=VALUE", 2),
                                  (("x", "--set", "patienc=1"), "mean patience?", 2), (("x", "--set", "patience=x"), "--set patience=x: must be", 2),
                                  (("x", "--set", "world_size=2"), "no such setting", 2), (("x", "--set", "ranks.world_size=2"), "no such setting", 2),
                                  (("x", "--set", "labels=a"), "no such setting", 2), (("x", "--policy", "platea"), "mean plateau?", 2),
                                  (("x", "--policy", "lr"), "no such policy", 2), (("x", "--set", "factor=2"), "spec.greedy.factor", 1),
                                  (("x", "--to-step", "-1"), "4294967295", 2), (("x", "--to-step", "0"), "no reports up to step 0", 1),
                                  (("x", "--set", "eta_min=1"), "--policy", 2), (("../x",), "job's id", 2), (("x", "--set", "patience=" + "9" * 5000), "must be", 2)):
            self.assertIn(words, self.cli("replay", *args, code=code), args)
        self.cli("create", "empty", "--lr", "1")
        self.assertIn("no reports", self.cli("replay", "empty", code=1))
        self.cli("replay", "x", code=3, GREEDYLR_URL="http://127.0.0.1:1")

    def test_too_long(self):
        self.fill("long", [1 / (i + 1) for i in range(10001)])
        said = self.cli("replay", "long", code=1)
        self.assertIn("--max-batch-entries 10001", said)
        self.assertIn("--to-step", said)
        self.assertEqual(len(self.replay("long", "--to-step", "10000")["rows"]), 10000)


class Sweep(CliTest):
    def test_the_rows_are_those_of_simulate(self):
        values = curve(15, 80)
        path = self.file("v.csv", "loss\n" + "".join("%r\n" % v for v in values))
        args = ("sweep", "--losses", path, "--lr", "0.1", "--greedy.min_lr", "0.05", "--set", "patience=1,2,5", "--set", "factor=0.5,0.8")
        answer = self.json(*args)
        self.assertEqual([r["set"] for r in answer["rows"]], [{"patience": p, "factor": f} for p in (1, 2, 5) for f in (0.5, 0.8)])
        self.assertIn(NOTE, answer["note"])
        for row in answer["rows"]:
            want = self.d.ok("POST", "/v1/simulate", {"spec": {"lr": 0.1, "greedy": dict(row["set"], min_lr=0.05)}, "losses": values})["decisions"]
            lrs = [d["lr"] for d in want]
            plateaued = [d["step"] for d in want if d["plateaued"]]
            self.assertEqual((row["final"], row["min"], row["max"], row.get("plateaued")), (lrs[-1], min(lrs), max(lrs), plateaued[0] if plateaued else None))
            for kind in ("raise", "cut", "reset"):
                self.assertEqual(row[kind + "s"], len([d for d in want if d["action"] == kind]))
        self.assertTrue(any("plateaued" in r for r in answer["rows"]))
        rows = list(csv.DictReader(io.StringIO(self.cli(*args, "-o", "csv"))))
        self.assertEqual([(float(r["factor"]), float(r["final"]), int(r["cuts"])) for r in rows],
                         [(r["set"]["factor"], r["final"], r["cuts"]) for r in answer["rows"]])
        said = self.cli(*args)
        self.assertEqual(said.splitlines()[0].split(), ["PATIENCE", "FACTOR", "FINAL", "MIN", "MAX", "RAISES", "CUTS", "RESETS", "PLATEAUED"])
        self.assertIn(NOTE, said)
        for sort in ("final", "-final", "cuts", "-patience", "plateaued"):
            got = self.json(*args, "--sort=" + sort)["rows"]
            key = [r["set"].get(sort.strip("-"), r.get(sort.strip("-"))) for r in got]
            known = [k for k in key if k is not None]
            self.assertEqual(key, sorted(known, reverse=sort[0] == "-") + [None] * (len(key) - len(known)), sort)
            self.assertCountEqual([str(r) for r in got], [str(r) for r in answer["rows"]])

    def test_a_job(self):
        self.cli("create", "j", "--lr", "0.1,0.2", "--greedy.patience", "1")
        self.fill("j", curve(16, 60), first=500)
        self.cli("rewind", "j", "--step", "549")
        recorded = [d for d in self.d.decisions("j") if "value" in d]
        row, = self.json("sweep", "--job", "j")["rows"]
        self.assertEqual((row["final"], row["cuts"]), (recorded[-1]["lr"], len([d for d in recorded if d["action"] == "cut"])))
        answer = self.json("sweep", "--job", "j", "--set", "min_lr=[0.05,0.1],0.08,0.09", "--greedy.factor", "0.5", "--to-step", "540")
        self.assertEqual((answer["values"], answer["spec"]), (41, {"lr": [0.1, 0.2], "greedy": {"patience": 1, "factor": 0.5}}))
        self.assertEqual([r["set"]["min_lr"] for r in answer["rows"]], [[0.05, 0.1], 0.08, 0.09])
        self.assertEqual(self.json("sweep", "--job", "j", "--policy", "plateau", "--set", "patience=1")["spec"], {"lr": [0.1, 0.2], "plateau": {}})
        self.assertEqual(self.json("sweep", "--job", "j", "--plateau.factor", "0.5")["spec"], {"lr": [0.1, 0.2], "plateau": {"factor": 0.5}})
        plateaued = [r["plateaued"] for r in self.json("sweep", "--job", "j", "--set", "factor=0.1", "--set", "min_lr=0.09")["rows"] if "plateaued" in r]
        self.assertTrue(all(p >= 500 for p in plateaued))

    def test_refusals(self):
        self.fill("j", [3, 2, 1])
        many = ",".join(map(str, range(1, 41)))
        for args, words, code in (((), "one of the two", 2), (("--losses", "1", "--job", "j"), "one of the two", 2), (("--job", "none"), "JOB_NOT_FOUND", 4),
                                  (("--job", "j", "--set", "patience=" + many, "--set", "cooldown=" + many), "more than 1000", 2),
                                  (("--job", "j", "--set", "patience=1,"), "empty", 2), (("--job", "j", "--set", "patience=1", "--set", "patience=2"), "twice", 2),
                                  (("--job", "j", "--sort", "x"), "must be one of final", 2), (("--job", "j", "--set", "patience=1,x"), "patience=x: must be", 2),
                                  (("--losses", "1", "--to-step", "3", "--lr", "1"), "--job", 2), (("--losses", "1"), "spec.lr", 1),
                                  (("--job", "../j"), "job's id", 2), (("--job", "j", "--losses-column", "x"), "needs --losses", 2)):
            self.assertIn(words, self.cli("sweep", *args, code=code), args)
        said = self.cli("sweep", "--job", "j", "--set", "patience=1,3", "--set", "factor=0.5,2", code=1)
        self.assertIn("With patience=1 factor=2", said)

    def test_progress_is_for_terminals(self):
        path = self.file("many", "".join("%d\n" % i for i in range(3000)))
        args = ("sweep", "--losses", path, "--lr", "1", "--set", "patience=" + ",".join(map(str, range(30))))
        code, shown = self.terminal(*args)
        self.assertEqual(code, 0)
        self.assertRegex(shown, r"\r\x1b\[K\[#* *\] \d+ of 30 settings")
        self.cli(*args)  # nothing on standard error


class Liars(unittest.TestCase):
    def test_odd_histories(self):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Liar)
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = "http://127.0.0.1:%d" % server.server_port
        job = '"uid":"a","state":{"lrs":[1]},"revision":-1,"spec":[],'
        report = '{"lrs":[1],"lr":1,"revision":7,"step":1,"value":1}'
        for body, code in (('"decisions":[%s],"next_page_token":"x"' % report, 3), ('"decisions":[],"next_page_token":"x"', 3),
                           ('"decisions":[]', 1), ('"decisions":[{"lrs":[1],"value":{"a":1}, "step":"x","action":7,"reason":[]}]', 0),
                           ('"decisions":[{"lrs":[0],"value":"\\u001b[2J","action":"\\u001b[2J"}]', 0)):
            Liar.body = ("{" + job + body + "}").encode()
            for command in (("replay", "a"), ("sweep", "--job", "a"), ("replay", "a", "--plot")):
                r = run(*command, "--url", url)
                self.assertEqual(r.returncode, code, (command, body, r.stderr))
                self.assertNotIn("\x1b", r.stdout + r.stderr)


class Words(CliTest):
    def test_man_page_and_help(self):
        with open(MAN, encoding="utf-8") as f:
            page = f.read()
        for option in ("job", "set", "policy", "to-step", "sort", "plot", "svg"):
            self.assertIn("\n.It Fl -%s" % option, page)
        for command in ("simulate", "replay", "sweep"):
            self.assertIn("not how the model would have trained", " ".join(run("help", command).stdout.split()))
        self.assertIn("not how the\nmodel would have trained", page)
        text = run("help", "sweep").stdout
        self.assertEqual(len(re.findall("^  --job ", text, re.M)), 1)
        self.assertNotIn("--spec.job", text)

    def offered(self, *words):
        return [line.split("\t")[0] for line in run("__complete", *words, GREEDYLR_URL=self.url).stdout.splitlines()]

    def test_completion(self):
        self.fill("job-1", [1])
        for words, want in ((("replay", "j"), ["job-1"]), (("sweep", "--job", ""), ["job-1"]), (("replay", "--policy", "plat"), ["plateau"]),
                            (("replay", "j", "--set", "pat"), ["patience="]), (("sweep", "--set", "ramp.r"), ["ramp.reports="]),
                            (("sweep", "--policy", "plateau", "--set", "cool"), ["cooldown="]), (("replay", "--set", "patience", "=", "1", "job"), ["job-1"]),
                            (("sweep", "--sort", "f"), ["final"]), (("replay", "x", "--sv"), ["--svg"]), (("replay", "--svg", ""), [":files"]),
                            (("simulate", "--losses", ""), [":files"]), (("sweep", "--jo"), ["--job"]), (("history", "--pl"), ["--plot"]),
                            (("report", "--pl"), []), (("replay", "-o", "c"), ["csv"])):
            found = self.offered(*words)
            for _ in range(20):  # on a busy machine the daemon may need more than the 300 ms it is given
                found = found if found == want else self.offered(*words)
            self.assertEqual(found, want, words)


if __name__ == "__main__":
    unittest.main()
