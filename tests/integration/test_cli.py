"""The command line tool against a real daemon: a job's life, every command and exit code, output, hostile input."""
import csv
import io
import json
import os
import re
import signal
import socket
import stat
import subprocess
import tempfile
import threading
import unittest

from cli_help import GREEDYLR, MAN, MESSAGES, REQUESTS, CliTest, commands, environment, leaves, run
from harness import BINARY, ROOT, ZERO, Daemon, wait_until


class Life(CliTest):
    def test_from_create_to_delete(self):
        job = self.json("create", "demo", "--lr", "0.1", "--greedy.patience", "1", "--greedy.smooth", "false")
        self.assertEqual((job["job"], job["state"]["lr"], job["spec"]["greedy"]),
                         ("demo", 0.1, {"patience": 1, "smooth": False}))
        for step, loss, decided in ((1, "2.0", ("hold", 0.1)), (2, "1.5", ("raise", 0.125)), (3, "1.0", ("hold", 0.125))):
            d = self.json("report", "demo", "--step", str(step), "--loss", loss)
            self.assertEqual((d["action"], d["lr"]), decided)
        self.assertEqual(self.cli("lr", "demo"), "0.125\n")
        self.assertIs(self.json("report", "demo", "--step", "3", "--loss", "1.0")["duplicate"], True)
        self.assertEqual(self.json("pause", "demo")["status"], "paused")
        self.json("report", "demo", "--step", "4", "--loss", "9")
        self.assertEqual(self.cli("lr", "demo"), "0.125\n")
        self.assertEqual(self.json("resume", "demo")["status"], "active")
        self.assertEqual(self.json("set", "demo", "0.03")["lrs"], [0.03])
        self.assertEqual(self.json("begin", "demo")["attempt"], 1)
        job = self.json("rewind", "demo", "--step", "1")
        self.assertEqual((job["state"]["step"], job["state"]["lr"]), (1, 0.1))
        fork = self.json("fork", "demo", "other", "--step", "1", "--greedy.patience", "7")
        self.assertEqual((fork["job"], fork["effective"]["greedy"]["patience"], fork["attempt"]), ("other", 7, 0))
        self.assertEqual(self.json("update", "demo", "--greedy.patience", "5")["effective"]["greedy"]["patience"], 5)
        self.assertEqual(self.json("rewind", "demo", "--initial")["state"]["reports"], 0)
        self.assertEqual(self.json("finish", "demo")["status"], "finished")
        said = self.cli("report", "demo", "--step", "5", "--loss", "1", code=1)
        self.assertIn("JOB_FINISHED", said)
        self.assertIn("greedylr resume demo", said)
        actions = [d["action"] for d in self.json("history", "demo", "--superseded")["decisions"]]
        self.assertNotIn("raise", [d["action"] for d in self.json("history", "demo")["decisions"]])
        for action in ("raise", "pause", "resume", "override", "begin", "rewind", "update", "finish"):
            self.assertIn(action, actions)
        self.assertEqual([j["job"] for j in self.json("list")["jobs"]], ["demo", "other"])
        self.assertEqual(self.cli("delete", "demo", "--yes"), "demo is deleted\n")
        self.assertIn("JOB_NOT_FOUND", self.cli("get", "demo", code=4))
        self.assertEqual(self.json("delete", "other", "-y"), {})
        self.assertEqual(self.d.ok("GET", "/v1/jobs")["jobs"], [])

    def test_state_moves_in_and_out(self):
        state = {"factor": 0.5, "min_lrs": [0.0], "patience": 1, "cooldown": 0, "eps": 1e-08, "default_min_lr": 0,
                 "last_epoch": 2, "mode": "min", "threshold": 0.0001, "threshold_mode": "rel", "best": float("inf"),
                 "num_bad_epochs": 0, "mode_worse": float("inf"), "cooldown_counter": 0, "_last_lr": [0.1]}
        for job, how in (("a", self.file("state.json", json.dumps(state))), ("b", "-")):
            job = self.json("import", job, how, stdin=json.dumps(state))
            self.assertEqual(job["state"]["lr"], 0.1)
        out = json.loads(self.cli("export", "a"))
        self.assertEqual({k: out[k] for k in ("factor", "patience", "_last_lr", "best")},
                         {"factor": 0.5, "patience": 1, "_last_lr": [0.1], "best": float("inf")})
        self.assertEqual(self.cli("export", "a").encode().strip(), self.d.request("GET", "/v1/jobs/a/state")[2].strip())
        self.assertEqual(self.json("import", "c", "-", stdin=self.cli("export", "a"))["effective"],
                         dict(self.json("get", "a")["effective"], job="c"))
        self.assertIn("STATE_INVALID", self.cli("import", "d", "-", stdin='{"factor": 1}', code=1))
        self.assertIn("no/such/file", self.cli("import", "d", "/no/such/file", code=2))

    def test_a_rate_of_zero_is_a_rate(self):
        self.d.ok("POST", "/v1/jobs", dict(ZERO, job="z"))
        for _ in range(3):
            self.cli("report", "z", "--loss", "1")
        self.assertEqual(self.cli("lr", "z"), "0\n")
        self.assertEqual(json.loads(self.cli("lr", "z", "-o", "json"))["lrs"], [0])
        self.assertEqual(json.loads(self.cli("report", "z", "--loss", "1", "--applied_lr", "0", "-o", "json"))["lrs"], [0])
        for command in (("get", "z"), ("list",), ("history", "z"), ("fork", "z", "y"), ("rewind", "z", "--step", "3")):
            self.cli(*command)
        decisions = json.loads(self.cli("simulate", "--spec", json.dumps(ZERO), "--losses", "1,1,1", "-o", "json"))["decisions"]
        self.assertEqual([d["lrs"] for d in decisions], [[1e-100], [1e-300], [0]])

    def test_ranks_wait_for_each_other(self):
        self.cli("create", "r", "--lr", "0.1", "--ranks.world_size", "2", "--ranks.deadline", "60s")
        said = self.cli("report", "r", "--step", "1", "--loss", "1", "--wait", "50ms", code=1)
        self.assertIn("WAIT_EXPIRED", said)
        self.assertIn("recorded", said)
        self.assertIn("greedylr get r", said)
        self.assertEqual(self.json("get", "r")["state"]["open_round"]["missing"], [1])
        d = self.json("report", "r", "--step", "1", "--loss", "3", "--rank", "1")
        self.assertEqual((d["value"], d["ranks"]), (2, 2))
        self.assertEqual(self.cli("lr", "r", "--step", "1", "--wait", "10s"), "0.1\n")
        self.assertIn("STEP_NOT_DECIDED", self.cli("lr", "r", "--step", "2", "--wait", "50ms", code=1))


class Requests(CliTest):
    def test_every_field_is_a_flag(self):
        for command, request in REQUESTS.items():
            text = run("help", command).stdout
            arguments = text.splitlines()[0].split()[3:]
            flags = re.findall(r"^  --([a-z0-9_.-]+)", text, re.M)
            words = {"JOB": "job", "LR": "lr", "FILE": "state_dict", "NEW": "spec.job"}
            given = {words[a] for a in arguments if a in words}
            if command == "create":
                given = {"spec.job"}
            for path, _, _ in leaves(request + "Request"):
                if path not in given:
                    self.assertIn(path if path == "spec.job" and "job" in given else re.sub(r"^spec\.", "", path), flags, command)

    def test_every_setting_arrives(self):
        spec = {"job": "all", "lr": [0.1, 0.25], "group_names": ["body", "head"], "on_nonfinite": "skip", "strict": True,
                "labels": ["team=nlp", "k=a,b"], "ramp": {"reports": 2, "start_factor": 0.5},
                "ranks": {"world_size": 1, "reduce": "min", "quorum": 1, "deadline": "45s"},
                "greedy": {"dialect": "greedylr", "mode": "max", "factor": 0.7, "patience": 3, "threshold": 1e-05,
                           "threshold_mode": "abs", "cooldown": 1, "warmup": 2, "stage_mode": "hold",
                           "min_lr": [1e-05, 1e-06], "max_lr": [1, 2], "eps": 1e-09, "smooth": True, "smoothing": "ema",
                           "window_size": 7, "reset_start": 4}}
        mine = {k for k, _, _ in MESSAGES["Greedy"] if not k.startswith("guard")} | {k for m in ("Ramp", "Ranks") for k, _, _ in MESSAGES[m]}
        self.assertEqual(mine, {f for k in ("ramp", "ranks", "greedy") for f in spec[k]})  # the rest is test_cli_spec.py's
        flags = []
        for key, value in spec.items():
            for name, v in (((key + "." + f, x) for f, x in value.items()) if isinstance(value, dict) else ((key, value),)):
                if name == "labels":
                    flags += ["--labels", "team=nlp", "--labels", '["k=a,b"]']
                elif name != "job":
                    text = ",".join(map(str, v)) if isinstance(v, list) else str(v).lower() if isinstance(v, bool) else str(v)
                    flags += ["--" + name, text]
        self.assertEqual(self.json("create", "all", *flags)["spec"], spec)
        dashes = [f.replace("_", "-") if f.startswith("--") else f for f in flags]
        self.assertEqual(self.json("create", "all", *dashes)["revision"], 0)
        self.assertEqual(self.json("create", "all", "--spec", json.dumps(spec))["revision"], 0)
        self.assertEqual(self.json("create", "--spec=@" + self.file("spec.json", json.dumps(spec)))["revision"], 0)

    def test_flags_win_over_objects_in_any_order(self):
        spec = '{"lr": [0.5], "greedy": {"patience": 4, "factor": 0.5}}'
        for job, args in (("a", ("--spec", spec, "--greedy.patience", "9")), ("b", ("--spec.greedy.patience", "9", "--spec", spec))):
            self.assertEqual(self.json("create", job, *args)["spec"],
                             {"job": job, "lr": [0.5], "greedy": {"patience": 9, "factor": 0.5}})
        self.assertEqual(self.json("create", "p", "--lr", "1", "--plateau")["spec"]["plateau"], {})

    def test_numbers_keep_their_bits(self):
        for text in ("0.1", "0.30000000000000004", "1e-300", "4.9e-324", "1.7976931348623157e308", "123456789.123456789"):
            d = self.json("report", "bits", "--loss", text, "--lr", "0.1")
            self.assertEqual(d["value"], float(text))
        for text, value in (("nan", "NaN"), ("-inf", "-Infinity"), ("Infinity", "Infinity"), ("NaN", "NaN")):
            self.assertEqual(self.json("report", "bits", "--loss", text)["value"], value)

    def test_spellings(self):
        self.cli("--url", self.url, "report", "--lr=0.1", "s", "--loss=1", GREEDYLR_URL="http://127.0.0.1:1")
        self.cli("report", "--loss", "-2", "--", "s")
        self.assertEqual(self.json("get", "s")["state"]["reports"], 2)
        self.assertIs(self.json("report", "s", "--loss", "3", "--dry-run")["duplicate"], False)
        self.assertEqual(self.json("get", "s")["state"]["reports"], 2)
        self.cli("report", "s", "--loss", "3", "--dry_run=false")
        self.assertEqual(self.json("get", "s")["state"]["reports"], 3)
        self.cli("report", "--job", "s", "--metric", "1")
        self.assertEqual(self.cli("lr", "s", "-o", "table"), self.cli("lr", "s", "-otable"))

    def test_list_asks_for_what_is_wanted(self):
        for name in ("a1", "a2", "b1"):
            self.cli("create", name, "--lr", "1", "--labels", "k=%s b&c" % name[0])
        names = lambda *args: [j["job"] for j in self.json("list", *args)["jobs"]]
        self.assertEqual(names("--prefix", "a"), ["a1", "a2"])
        self.assertEqual(names("--label", "k=b b&c"), ["b1"])
        self.assertEqual(names("--state", "paused"), [])
        self.assertEqual(names("--page-size", "2"), ["a1", "a2"])

    def test_unix_socket(self):
        path = os.path.join(self.folder, "s")
        process = subprocess.Popen([BINARY, "--listen", "unix:" + path, "--data-dir", os.path.join(self.folder, "data")],
                                   stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            process.stdout.readline()
            self.cli("report", "u", "--loss", "1", "--lr", "0.1", GREEDYLR_URL="unix:" + path)
            self.assertEqual(self.cli("lr", "u", "--url", "unix:" + path), "0.1\n")
        finally:
            process.terminate()
            process.communicate()

    def test_simulate(self):
        want = self.d.ok("POST", "/v1/simulate", {"spec": {"lr": 0.1, "greedy": {"patience": 1}}, "losses": [1, 0.9, 0.8, "NaN"]})
        args = ("simulate", "--lr", "0.1", "--greedy.patience", "1")
        self.assertEqual(self.json(*args, "--losses", "1,0.9,0.8,nan"), want)
        files = {"plain": "1\n0.9\r\n\n0.8\nNaN", "line": "1,0.9, 0.8 ,nan\n",
                 "named": 'step,"loss",note\n1,1,"a ""quoted"", note"\n2,0.9,"two\nlines"\n3,"0.8",\n4,nan,x\n',
                 "empty-cells": "value,x\n1,\n,2\n0.9,\n0.8,\nNaN,\n"}
        for name, text in files.items():
            path = self.file(name, text)
            self.assertEqual(self.json(*args, "--losses-file", path), want, name)
            self.assertEqual(self.json(*args, "--losses-file", "-", stdin=text), want, name)
        path = self.file("many", "epoch,val loss,acc\n1,1,5\n2,0.9,6\n3,0.8,7\n4,nan,8\n")
        self.assertEqual(self.json(*args, "--losses-file", path, "--losses-column", "val loss"), want)
        said = self.cli(*args, "--losses-file", path, code=2)
        self.assertIn("epoch, val loss, acc", said)
        for text, why in (("1\ntwo\n", "line 2"), ("", "no values"), ("loss\n", "no values"), ('a,"b\n1,2\n', "quote"),
                          ("1,2\n3,4\n", "line of names"), ("loss,x\n1,2\n\n\n3\n,\n1e999,2", "1e999")):
            self.assertIn(why, self.cli(*args, "--losses-file", "-", stdin=text, code=2), text)
        self.assertIn("--losses", self.cli(*args, code=2))
        self.assertIn("one of the two", self.cli(*args, "--losses", "1", "--losses-file", "-", code=2))
        self.assertIn("--losses-file", self.cli(*args, "--losses", "1", "--losses-column", "x", code=2))

    def test_a_history_can_be_simulated_again(self):
        self.fill("h", [1.0, 0.9, 0.95, 0.8, 0.7, 0.7])
        self.cli("update", "h", "--greedy.patience", "2")
        again = self.json("simulate", "--lr", "0.1", "--losses-file", "-", stdin=self.cli("history", "h", "-o", "csv"))
        rates = [d["lr"] for d in self.d.decisions("h") if "value" in d]
        self.assertEqual([d["lr"] for d in again["decisions"]], rates)


class Output(CliTest):
    def test_json_is_the_daemons_answer(self):
        self.fill("j", [1, "NaN", 0.30000000000000004], lr=[0.1, 1e-7])
        for args, path in ((("get", "j"), "/v1/jobs/j"), (("list",), "/v1/jobs"), (("history", "j"), "/v1/jobs/j/decisions"),
                           (("lr", "j"), "/v1/jobs/j/lr?format=json"), (("version",), "/version")):
            self.assertEqual(self.cli(*args, "-o", "json").strip().encode(), self.d.request("GET", path)[2].strip(), args)
        self.assertEqual(self.cli("lr", "j"), "0.1\n1e-7\n".replace("1e-7", "1e-07"))

    def test_pages(self):
        self.fill("big", [1 / (i + 3) for i in range(2345)])
        want = self.d.decisions("big")
        self.assertEqual(self.json("history", "big"), {"decisions": want})
        page = self.json("history", "big", "--page_size", "10")
        self.assertEqual(page["decisions"], want[:10])
        rest = self.json("history", "big", "--page-token", page["next_page_token"], "--page-size", "5")
        self.assertEqual(rest["decisions"], want[10:15])
        self.assertEqual(self.json("history", "big", "--from-step", "100", "--to-step", "1500")["decisions"], want[99:1500])
        self.assertEqual(len(self.cli("history", "big").splitlines()), 2346)
        page = self.json("history", "big", "--page_size", "10")
        self.assertEqual(page["decisions"], want[:10])
        rest = self.json("history", "big", "--page-token", page["next_page_token"], "--page-size", "5")
        self.assertEqual(rest["decisions"], want[10:15])
        self.assertEqual(self.json("history", "big", "--from-step", "100", "--to-step", "1500")["decisions"], want[99:1500])
        self.assertEqual(len(self.cli("history", "big").splitlines()), 2346)
        thin = self.json("history", "big", "--max-points", "100")["decisions"]
        self.assertEqual(thin, self.d.ok("GET", "/v1/jobs/big/decisions?max_points=100")["decisions"])
        self.assertTrue(50 < len(thin) <= 100)
        self.assertEqual(len(self.cli("history", "big", "--max_points=100").splitlines()), len(thin) + 1)
        r = run("history", "big", "--page-size", "10", GREEDYLR_URL=self.url)
        self.assertIn("--page-token " + page["next_page_token"], r.stderr)
        for i in range(3):
            self.d.ok("POST", "/v1/jobs:batchReport",
                      {"reports": [{"job": "j%04d" % (400 * i + k), "loss": 1, "lr": 0.1} for k in range(400)]})
        self.assertEqual(len(self.json("list")["jobs"]), 1201)
        self.assertEqual(len(self.cli("list").splitlines()), 1202)
        self.assertEqual([len(self.json("history", "j0001", "--from-step", "5")["decisions"])], [0])

    def test_csv_is_the_daemons(self):
        self.fill("c", [1 / 3, "Infinity", 0.1 * 3, 1e-300, 5e-324, 2 ** 60], lr=[0.1, 0.2])
        self.cli("update", "c", "--greedy.patience", "9")
        self.cli("pause", "c")  # its reason has a comma
        self.assertEqual(run("history", "c", "-o", "csv", text=False, GREEDYLR_URL=self.url).stdout,
                         self.d.request("GET", "/v1/jobs/c/decisions?format=csv")[2])
        rows = list(csv.DictReader(io.StringIO(self.cli("list", "-o", "csv"))))
        self.assertEqual((rows[0]["job"], rows[0]["state.lrs"].count(";"), rows[0]["status"]), ("c", 1, "paused"))
        rows = list(csv.DictReader(io.StringIO(self.cli("simulate", "--lr", "0.1", "--losses", "1,2", "-o", "csv"))))
        self.assertEqual([r["value"] for r in rows], ["1", "2"])

    def test_tables(self):
        self.fill("t", [1.0, 0.123456789, 0.3], lr=[0.1, 0.25])
        self.d.ok("POST", "/v1/jobs/t:report", {"step": 4, "loss": 1, "applied_lr": 0.7})
        lines = self.cli("history", "t").splitlines()
        heads = lines[0].split()
        self.assertEqual(heads, ["REVISION", "ATTEMPT", "STEP", "ACTION", "LR", "VALUE", "BEST", "REASON"])
        for line, d in zip(lines[1:], self.d.decisions("t")):
            cells = line.split(None, 7)
            self.assertEqual(cells[:6], [str(d["revision"]), "0", str(d["step"]), d["action"],
                                         ",".join("%.6g" % x for x in d["lrs"]), "%.6g" % d["value"]])
            self.assertTrue(cells[7].endswith(d["reason"]))
        # Aligned: every cell of a column ends where its head does, or begins there.
        for name, right in (("STEP", True), ("ACTION", False), ("VALUE", True), ("REASON", False)):
            at = lines[0].index(name) + (len(name) if right else 0)
            for line in lines[1:]:
                self.assertTrue(line[at - 1] != " " and line[at] == " " if right else line[at] != " " and line[at - 1] == " ", line)
        self.assertIn("[applied_mismatch]", lines[4])
        self.assertIn("[duplicate] [conflict]", self.cli("report", "t", "--step", "4", "--loss", "2"))
        text = self.cli("get", "t")
        for line in ("job          t", "greedy.patience        2", "best_step   3"):
            self.assertIn(line, text.splitlines())
        self.assertRegex(self.cli("list").splitlines()[1], r"^t +active +0 +4 +0.125,0.3125 +0.3 +20")
        self.assertEqual(self.cli("health").splitlines()[-1], "readyz ok")
        self.assertRegex(self.cli("version"), r"^greedylr (\S+)\ngreedylrd \1 at " + re.escape(self.url) + "\n$")

    def test_output_that_cannot_be_written(self):
        self.fill("t", [1.0] * 300)
        for args in (("history", "t"), ("get", "t"), ("help",), ("lr", "t"), ("history", "t", "-o", "json")):
            with open("/dev/full", "w", encoding="utf-8") as full:
                r = subprocess.run([GREEDYLR, *args], stdout=full, stderr=subprocess.PIPE, text=True,
                                   env=environment(GREEDYLR_URL=self.url), timeout=60)
            self.assertEqual(r.returncode, 1, args)
            self.assertIn("cannot be written", r.stderr)
        r = subprocess.run("%s history t | true; echo ${PIPESTATUS[0]}" % GREEDYLR, shell=True, executable="/bin/bash",
                           capture_output=True, text=True, env=environment(GREEDYLR_URL=self.url), timeout=60)
        self.assertIn(r.stdout.strip(), ("141", "0"))
        self.assertEqual(r.stderr, "")


class Watch(CliTest):
    def watch(self, *args):
        process = subprocess.Popen([GREEDYLR, "watch", *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                   env=environment(GREEDYLR_URL=self.url))
        lines, said = [], []
        for stream, into in ((process.stdout, lines), (process.stderr, said)):
            threading.Thread(target=lambda s=stream, i=into: [i.append(x) for x in s], daemon=True).start()
        self.addCleanup(process.stderr.close)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process, lines, said

    def revisions(self, lines):
        return [json.loads(line)["revision"] for line in lines]

    def test_live_and_resumed(self):
        self.fill("w", [1.0, 0.9])
        process, lines, said = self.watch("w", "-o", "json", "--after-revision", "1")
        wait_until(lambda: len(lines) == 1)
        self.fill("w", [0.8, 0.7], first=3)
        wait_until(lambda: len(lines) == 3)
        for step in (5, 7):
            self.d.kill()
            self.d.start()
            self.fill("w", [0.6, 0.5], first=step)
            wait_until(lambda: len(lines) == step)
        self.assertEqual(self.revisions(lines), list(range(2, 9)))
        self.assertEqual([json.loads(line) for line in lines], self.d.decisions("w")[1:])
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(20), 0)
        wait_until(lambda: len([x for x in said if "is lost" in x]) == 2)

    def test_a_table_from_now_on(self):
        self.fill("w", [1.0])
        process, lines, said = self.watch("w")
        wait_until(lambda: lines)
        # Its first look fixes where it begins: what is decided from here on is shown, connected or not.
        self.fill("w", [0.5], first=2)
        wait_until(lambda: len(lines) == 2)
        self.assertEqual(lines[0].split()[0], "REVISION")
        self.assertEqual(lines[1].split()[:3], ["2", "0", "2"])
        self.d.ok("DELETE", "/v1/jobs/w")
        self.assertEqual(process.wait(20), 4)
        wait_until(lambda: "JOB_DELETED" in "".join(said))  # the thread that reads may be behind

    def test_interrupted_while_the_daemon_is_away(self):
        self.fill("w", [1.0])
        process, lines, said = self.watch("w")
        wait_until(lambda: lines)
        self.d.kill()
        wait_until(lambda: said)
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(20), 0)
        process, lines, said = None, None, None
        self.d.start()
        process, lines, said = self.watch("w", "--timeout", "1500ms")
        wait_until(lambda: lines)
        self.d.kill()
        self.assertEqual(process.wait(30), 3)
        self.d.start()

    def test_refused(self):
        self.assertIn("JOB_NOT_FOUND", self.cli("watch", "none", code=4))
        self.assertIn("no answer", self.cli("watch", "none", "--url", "http://127.0.0.1:1", code=3))

    def test_created_again_meanwhile(self):
        self.fill("w", [1.0, 0.5])
        process, lines, said = self.watch("w")
        wait_until(lambda: lines)
        other = Daemon()  # the same job, of another making
        self.addCleanup(other.close)
        other.start()
        other.ok("POST", "/v1/jobs/w:report", {"loss": 1, "lr": 0.1})
        other.stop()
        self.d.kill()
        other.port = self.d.port
        other.start()
        self.assertEqual(process.wait(30), 4)
        self.assertIn("created again", "".join(said))
        other.close()
        self.d.start()


class Refusals(CliTest):
    def test_usage(self):
        for args, words in (
                ((), "a command"), (("repot", "x"), "mean report?"), (("hist",), "mean history?"), (("plto", "x"), "mean plot?"), (("lsit",), "mean list?"), (("zzzzzz",), "no such command"),
                (("report", "x", "--los", "1"), "mean --loss?"), (("create", "x", "--patience", "1"), "mean --greedy.patience?"),
                (("create", "x", "--greedy.min-lt", "1"), "mean --greedy.min_lr?"), (("list", "--qqqqqqq"), "no such flag"),
                (("--lr", "1", "create"), "in front of a command"), (("get",), "JOB is missing"), (("fork", "x"), "NEW is missing"),
                (("fork", "x", "--job", "y"), "x and y; the new job's id is the second word: greedylr fork JOB NEW"),
                (("fork", "--job", "x", "y"), "the second word"), (("get", "x", "--job", "y"), "given twice, as an argument"),
                (("get", "x", "y"), "too many"), (("get", "x", "--url"), "needs a value"), (("report", "x", "--loss"), "NUMBER"),
                (("report", "x", "--step", "-1"), "from 0 to 4294967295"), (("report", "x", "--step", "1.5"), "--step 1.5"),
                (("report", "x", "--step", "4294967296"), "4294967295"), (("report", "x", "--step", ""), "integer"),
                (("report", "x", "--loss", "one"), "--loss one: must be a number"), (("report", "x", "--loss", "1e999"), "range"),
                (("report", "x", "--loss", "0x10"), "a number"), (("report", "x", "--loss", "1", "--loss", "2"), "twice"),
                (("report", "x", "--lr", "0.1,,2", "--loss", "1"), "a number"), (("report", "x", "--dry-run=maybe"), "true or false"),
                (("list", "-o", "xml"), "table, json or csv"), (("get", "x", "-o", "csv"), "json"), (("list", "-x"), "no such flag"),
                (("list", "--timeout", "5"), "500ms"), (("list", "--timeout", "0s"), "500ms"), (("list", "--yes"), "no such flag"),
                (("delete", "x", "--yes=1"), "no value"), (("completion", "fish"), "bash and zsh"), (("help", "nothing"), "no such"),
                (("create", "x", "--spec=[]"), "an object"), (("create", "x", "--spec={"), "JSON"),
                (("create", "x", "--spec=@/no/file"), "/no/file"), (("create", "x", "--labels", "[1"), "a list"),
                (("list", "--url", "ftp://x"), "ftp://x"), (("list", "--token-file", "/no/file"), "/no/file"),
                (("import", "x"), "FILE is missing"), (("import", "x", self.folder), self.folder)):
            said = self.cli(*args, code=2)
            self.assertIn(words, said, args)
            self.assertIn("Try greedylr help", said)

    def test_the_daemon_refuses(self):
        self.fill("x", [1.0, 0.9])
        for args, words in (
                (("create", "x", "--lr", "0.7"), ("JOB_EXISTS", "lr", "greedylr update x")),
                (("create", "y"), ("FIELD_REQUIRED", "spec.lr")), (("create", "y", "--lr", "-1"), ("FIELD_INVALID", "spec.lr")),
                (("create", "y", "--lr", "1", "--greedy.factor", "2"), ("FIELD_INVALID", "spec.greedy.factor", "(0, 1)")),
                (("create", "y", "--lr", "1", "--greedy", '{"patienc": 1}'), ("FIELD_UNKNOWN", "patience")),
                (("report", "x"), ("FIELD_REQUIRED", "loss")), (("report", "x", "--loss", "1", "--metric", "1"), ("one of the two",)),
                (("report", "x", "--step", "0", "--loss", "1"), ("STEP_IN_PAST", "greedylr rewind x")),
                (("update", "x", "--lr", "3"), ("FIELD_FIXED", "greedylr fork x")), (("update", "x"), ("FIELD_REQUIRED",)),
                (("rewind", "x"), ("FIELD_REQUIRED",)), (("fork", "x", "x"), ("JOB_EXISTS",)), (("list", "--state", "gone"), ("state",)),
                (("history", "x", "--page-token", "nonsense"), ("PAGE_TOKEN_INVALID",)), (("set", "x", "-1"), ("lr",)),
                (("report", "x", "--loss", "1", "--wait", "long"), ("wait", "30s"))):
            said = self.cli(*args, code=1)
            for word in words:
                self.assertIn(word, said, args)
        for args in (("get", "no"), ("lr", "no"), ("report", "no", "--loss", "1"), ("history", "no"), ("delete", "no", "-y"),
                     ("pause", "no"), ("resume", "no"), ("finish", "no"), ("begin", "no"), ("rewind", "no", "--initial"),
                     ("fork", "no", "new"), ("set", "no", "1"), ("update", "no", "--strict"), ("export", "no"), ("watch", "no"),
                     ("rewind", "x", "--step", "99")):
            self.assertIn("_NOT_FOUND]", self.cli(*args, code=4), args)
        self.assertEqual(self.d.ok("GET", "/v1/jobs/x")["revision"], 2)

    def test_no_answer(self):
        for args in (("list",), ("get", "x"), ("report", "x", "--loss", "1"), ("watch", "x"), ("health",), ("history", "x"),
                     ("simulate", "--lr", "1", "--losses", "1")):
            said = self.cli(*args, code=3, GREEDYLR_URL="http://127.0.0.1:1")
            for word in ("http://127.0.0.1:1", "greedylrd", "--url", "GREEDYLR_URL"):
                self.assertIn(word, said, args)
        self.cli("list", "--url", "unix:/no/socket", code=3)
        r = run("version", GREEDYLR_URL="http://127.0.0.1:1")
        self.assertEqual((r.returncode, r.stdout), (3, run("--version").stdout.splitlines(True)[0]))
        with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and says nothing
            url = "http://127.0.0.1:%d" % silent.getsockname()[1]
            said = self.cli("list", "--timeout", "200ms", code=3, GREEDYLR_URL=url)
            self.assertIn("--timeout", said)

    def answered(self, answer, *args, code, stdin="", **env):
        """(what the tool says, the request it sent) where a peer answers with these bytes."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            seen = []

            def serve():
                c, _ = listener.accept()
                with c:
                    while b"\r\n\r\n" not in b"".join(seen):
                        seen.append(c.recv(65536))
                    c.sendall(answer)

            thread = threading.Thread(target=serve, daemon=True)
            thread.start()
            said = self.cli(*args, code=code, stdin=stdin, GREEDYLR_URL="http://127.0.0.1:%d" % listener.getsockname()[1], **env)
            thread.join(20)
            return said, b"".join(seen)

    def test_answers_that_are_not_the_daemons(self):
        page = b"HTTP/1.1 %s\r\nContent-Type: %s\r\nConnection: close\r\n\r\n%s"
        for status, kind, body in ((b"502 Bad Gateway", b"text/html", b"<html>\x1b[31m</html>"), (b"404 Not Found", b"text/plain", b""),
                                   (b"200 OK", b"text/html", b"<html></html>"), (b"200 OK", b"application/json", b"[1]"),
                                   (b"500 Oops", b"application/json", b'{"message": 7}'), (b"200 OK", b"application/json", b"{" * 5000)):
            for args in (("get", "x"), ("list",), ("history", "x", "-o", "json"), ("report", "x", "--loss", "1"), ("watch", "x")):
                said, _ = self.answered(page % (status, kind, body), *args, code=3)
                self.assertIn("--url", said)
                self.assertNotIn("\x1b", said)
        for garbage in (b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nshort", b"\x00\xff" * 500):
            self.assertIn("greedylrd", self.answered(garbage, "get", "x", code=3)[0])

    def test_what_the_daemon_says_cannot_drive_a_terminal(self):
        error = json.dumps({"code": "aborted", "message": "bad \x1b[2J\x07\x9b31m \u202e news\n", "details": []})
        said, _ = self.answered(b"HTTP/1.1 409 Conflict\r\nConnection: close\r\n\r\n" + error.encode(), "get", "x", code=1)
        self.assertIn("bad ?[2J", said)
        for bad in "\x1b\x07\x9b":
            self.assertNotIn(bad, said)
        self.cli("create", "evil", "--lr", "0.1", "--group-names", "\x1b]0;title\x07")
        for args in (("get", "evil"), ("list",)):
            self.assertNotRegex(self.cli(*args), "[\x00-\x09\x0b-\x1f\x7f-\x9f]")

    def test_hostile_words(self):
        self.fill("x", [1.0])
        for job in ("", ".", "..", "../jobs", "a/b", "a%2fb", "a?b", "a#b", "a b", "a\nb", "é", "x" * 129, "x\x1b[31m", "@x"):
            for command in ("get", "delete", "lr", "export", "history", "pause"):
                said = self.cli(command, job, *(["--yes"] if command == "delete" else []), code=2)
                self.assertIn("job's id", said)
                self.assertNotIn("\x1b", said)
        self.cli("get", "x" * 128, code=4)
        long = "x" * 100000
        for args in ((long,), ("get", "x", "--" + long), ("get", "x", "--" + long + "=1"), ("get", long), ("list", "-o", long),
                     ("report", "x", "--loss", long), ("list", "--timeout", "9" * 1000 + "s"), ("report", "x", "--step", "9" * 500)):
            self.assertLess(len(self.cli(*args, code=2)), 4000)
        self.cli("list", "--prefix", "%s%n%s&page_size=1", code=0)
        self.cli("list", "--prefix", "x", "--page-token", "a&b=c\r\nHost: evil", code=1)
        for argument in (b"\xff\xfe", b"\xc0\xaf"):
            r = subprocess.run([GREEDYLR.encode(), b"create", b"bytes", b"--lr", b"1", b"--labels", argument],
                               capture_output=True, env=environment(GREEDYLR_URL=self.url), timeout=60)
            self.assertEqual((r.returncode, r.stdout), (2, b""))
        self.assertIn("NUL", self.cli("import", "x", self.file("nul", b'{"a": 1}\0'), code=2))
        self.assertIn("UTF-8", self.cli("import", "x", self.file("latin", b'{"a": "\xe9"}'), code=2))
        self.assertIn("BODY", self.cli("import", "x", self.file("deep", "[" * 10000), code=1))
        self.cli("import", "x", self.file("big", '{"a": "%s"}' % ("x" * 2000000)), code=1)
        self.assertIn("columns", self.cli("simulate", "--lr", "1", "--losses-file", self.file("wide", "1," * 5000), code=2))
        self.cli("simulate", "--lr", "1", "--losses-file", "-", stdin="1\n" * 10001, code=1)
        self.assertEqual(self.d.ok("GET", "/v1/jobs/x")["revision"], 1)

    def test_a_large_body_is_not_sent_into_a_refusal(self):
        """A peer that refuses it at its head closes; what was on the way then would break the connection under the answer."""
        refusal = json.dumps({"code": "resource_exhausted", "message": "too large", "details": []}).encode()
        answer = b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(refusal), refusal)
        said, request = self.answered(answer, "import", "x", self.file("big", '{"a": "%s"}' % ("x" * 8000000)), code=1)
        self.assertIn("too large", said)
        self.assertIn(b"\r\nExpect: 100-continue\r\n", request[:1000])
        self.assertNotIn(b"Expect:", self.answered(answer, "import", "x", self.file("small", "{}"), code=1)[1])

    def test_token(self):
        token = self.file("token", "id.secret\n")
        empty = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 12\r\n\r\n{\"jobs\": []}"
        for args, env in ((("--token-file", token), {}), ((), {"GREEDYLR_TOKEN_FILE": token})):
            self.answered(empty, "list", *args, code=0, **env)
            _, request = self.answered(empty, "list", *args, code=0, **env)
            self.assertIn(b"\r\nAuthorization: Bearer id.secret\r\n", request)
        self.assertNotIn(b"Authorization", self.answered(empty, "list", code=0)[1])
        for mode in (0o644, 0o604):
            os.chmod(token, mode)
            for args, env in ((("--token-file", token), {}), ((), {"GREEDYLR_TOKEN_FILE": token})):
                said = self.cli("list", *args, code=2, **env)
                self.assertIn("everybody may read", said)
                self.assertNotIn("secret", said)
        for text in ("", "\n", "with space.x\n", "a.b\x1b\n"):
            said = self.cli("list", "--token-file", self.file("bad", text), code=2)
            self.assertIn("token", said)
        self.cli("list", "--token-file", self.folder, code=2)
        self.cli("list", "--token-file", "/dev/null", code=2)


class Help(unittest.TestCase):
    def test_help(self):
        for args in (("help",), ("--help",), ("-h",), ("help", "report"), ("report", "--help"), ("report", "-h", "--nonsense")):
            r = run(*args)
            self.assertEqual((r.returncode, r.stderr), (0, ""), args)
        self.assertEqual(run("report", "--help").stdout, run("help", "report").stdout)
        self.assertEqual(run("--help").stdout, run("help").stdout)
        self.assertRegex(run("--version").stdout, r"^greedylr \d+\.\d+\.\d+\nlibcurl/\d\S+ .*, jansson \d\S+, protobuf-c \d\S+\n$")
        self.assertIn("--dry_run", run("help", "report").stdout)
        self.assertIn("Only say what this value would decide", run("help", "report").stdout)
        for name in commands():
            self.assertEqual(run("help", name).returncode, 0)
        self.assertLessEqual(set(REQUESTS), set(commands()))

    def test_man_page_has_every_command_and_option(self):
        with open(MAN, encoding="utf-8") as f:
            page = f.read()
        table = page.split(".Sh COMMANDS")[1].split(".El")[0]
        rows = re.findall(r"^\.It Cm (\S+)(?: Ar (.+))?\n(.*)$", table, re.M)
        documented = {name: ((name + " " + arguments).strip(), text) for name, arguments, text in rows}
        self.assertEqual(list(documented.items()), list(commands().items()))
        documented = re.findall(r"^\.It Fl -([a-z-]+)", page.split(".Sh OPTIONS")[1].split("\n.Sh ")[0], re.M)
        documented = [f for f in documented if f not in ("job", "set", "policy", "to-step", "sort", "from-step", "last", "follow", "interval", "once")]  # of other test files
        options = set()
        for command, request in REQUESTS.items():
            fields = {re.sub(r"^spec\.", "", path) for path, _, _ in leaves(request + "Request")} | {"spec.job", "spec.step"}
            options |= set(re.findall(r"^  --([a-z0-9_.-]+)", run("help", command).stdout, re.M)) - fields
        self.assertEqual(sorted(documented), sorted(options))
        codes = re.findall(r"^\.It (\d)", page.split(".Sh EXIT STATUS")[1], re.M)
        self.assertEqual(codes, ["0", "1", "2", "3", "4"])


class Installation(unittest.TestCase):
    def test_tool_page_and_completion(self):
        build = os.path.relpath(os.path.dirname(BINARY), ROOT)
        with tempfile.TemporaryDirectory() as folder:
            env = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS", "BUILD"))}
            make = ["make", "-C", ROOT, "BUILD=" + build, "DESTDIR=" + folder, "PREFIX=/usr", "--no-print-directory"]
            # What is built stays: what is tested is where things go.
            keep = [x for built in os.listdir(os.path.join(ROOT, build)) for x in ("-o", build + "/" + built)]
            subprocess.run(make + keep + ["install"], check=True, capture_output=True, env=env)
            for path, text in (("bin/greedylr", None), ("share/man/man1/greedylr.1", None),
                               ("share/bash-completion/completions/greedylr", run("completion", "bash").stdout),
                               ("share/zsh/site-functions/_greedylr", run("completion", "zsh").stdout)):
                full = os.path.join(folder, "usr", path)
                self.assertTrue(stat.S_ISREG(os.stat(full).st_mode), path)
                if text:
                    with open(full, encoding="utf-8") as f:
                        self.assertEqual(f.read(), text)
            r = subprocess.run([os.path.join(folder, "usr/bin/greedylr"), "--version"], capture_output=True)
            self.assertEqual(r.returncode, 0)
            subprocess.run(make + ["uninstall"], check=True, capture_output=True, env=env)
            self.assertEqual([f for _, _, names in os.walk(folder) for f in names], [])


if __name__ == "__main__":
    unittest.main()
