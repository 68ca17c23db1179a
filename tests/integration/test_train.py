"""greedylr-train as its user runs it: one command to a weights file, the same whatever the threads and interruptions."""
import http.server
import os
import subprocess
import tempfile
import threading
import unittest

from harness import BINARY, DaemonTest

TRAIN = os.path.join(os.path.dirname(BINARY), "greedylr-train")


def run(*args):
    return subprocess.run([TRAIN, *args], capture_output=True, text=True, timeout=600)


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


class Train(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = lambda name: os.path.join(folder.name, name)

    def train(self, out, *args):
        r = run("--out", self.path(out), "--seed", "3", "--generations", "1", *args)
        self.assertEqual(r.returncode, 0, r.stderr)
        return read(self.path(out))

    def test_one_command_to_a_file_that_the_daemon_takes(self):
        one = self.train("one", "--threads", "1", "--checkpoint", self.path("state"))
        # The checkpoint is of the finished training: nothing is left but to write the same file.
        self.assertEqual(self.train("two", "--threads", "3", "--checkpoint", self.path("state")), one)
        r = subprocess.run([BINARY, "--check-config", "--data-dir", self.path(""), "--learned-weights", self.path("one")],
                           capture_output=True, text=True, timeout=60)
        self.assertEqual(r.returncode, 0, r.stderr)
        r = run("--weights", self.path("one"), "--header", self.path("header.h"))
        self.assertEqual(r.returncode, 0, r.stderr)
        self.assertIn(one.split("model ")[1].split()[0], read(self.path("header.h")))
        r = run("--out", self.path("x"), "--seed", "4", "--generations", "1", "--checkpoint", self.path("state"))
        self.assertEqual(r.returncode, 1)
        self.assertIn("no checkpoint of a training with these settings", r.stderr)

    def test_evaluate(self):
        r = run("--evaluate", "--brief", "--problems", "12", "--svg", self.path("picture.svg"))
        self.assertEqual(r.returncode, 0, r.stderr)
        for words in ("Trained classes", "Held-out class", "| GreedyLR, tuned |", "| learned |"):
            self.assertIn(words, r.stdout)
        self.assertIn("</svg>", read(self.path("picture.svg")))

    def test_usage(self):
        for args, says in (((), "say what to do"), (("--seed", "x"), "must be a whole number"), (("what",), "not understood"),
                           (("--up", "1"), "--up: must be in (1, 10]"),
                           (("--out", "x", "--threads", "0"), "--threads: must be a whole number from 1 to 64")):
            r = run(*args)
            self.assertEqual((r.returncode, says in r.stderr), (2, True), (args, r.stderr))
        self.assertIn("--checkpoint FILE", run("--help").stdout)
        r = run("--evaluate", "--data", self.path("nothing"))
        self.assertEqual(r.returncode, 1)
        self.assertIn("python3-sklearn", r.stderr)


class Past(DaemonTest):
    def test_past_jobs_shape_the_training_and_are_replayed(self):
        for job, losses in (("b", [2 * 0.95**i for i in range(40)]), ("a", [1, 0.5, 0, -1, "NaN"] + [0.4] * 30), ("s", [1, 2])):
            self.d.ok("POST", "/v1/jobs", {"job": job, "lr": 0.1, "labels": ["note=\"a, b\""]})
            self.d.ok("POST", "/v1/jobs:batchReport", {"reports": [{"job": job, "loss": x} for x in losses]})
        url = "http://127.0.0.1:%d" % self.d.port
        r = run("--from", url)
        self.assertEqual(r.returncode, 0, r.stderr)
        rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in r.stdout.splitlines() if line.startswith("|")]
        self.assertEqual([row[:2] for row in rows[2:]], [["a", "32"], ["b", "40"]], r.stdout)
        self.assertEqual(rows[3][-1], "the model", r.stdout)
        self.assertIn("1 jobs have fewer than 10 losses", r.stdout)
        with tempfile.TemporaryDirectory() as folder:
            for job in "ab":
                with open(os.path.join(folder, job + ".csv"), "wb") as file:
                    file.write(self.d.request("GET", "/v1/jobs/%s/decisions?format=csv&page_size=1000" % job)[2])
            out = [os.path.join(folder, name) for name in ("x", "y")]
            for path, more in zip(out, (["--from", folder], [])):
                r = run("--out", path, "--generations", "1", "--quiet", *more)
                self.assertEqual(r.returncode, 0, r.stderr)
            self.assertIn("| a.csv | 32 |", run("--from", folder, "--weights", out[0]).stdout)
            self.assertNotEqual(read(out[0]).split("config ")[1][:8], read(out[1]).split("config ")[1][:8])
            os.remove(os.path.join(folder, "a.csv"))
            os.remove(os.path.join(folder, "b.csv"))
            for where, says in ((folder, "no job with 10 losses"), (os.path.join(folder, "none"), "give the URL"),
                                ("http://127.0.0.1:1", "no list of jobs"), ("http://x'y", "no ' in it")):
                r = run("--from", where)
                self.assertEqual((r.returncode, says in r.stderr), (1, True), (where, r.stderr))

    def test_what_a_server_answers_is_no_command(self):
        class Liar(http.server.BaseHTTPRequestHandler):
            answer = b""

            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Length", str(len(self.answer)))
                self.end_headers()
                self.wfile.write(self.answer)

            def log_message(self, *_):
                pass

        with tempfile.TemporaryDirectory() as folder, http.server.ThreadingHTTPServer(("127.0.0.1", 0), Liar) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            url, path = "http://127.0.0.1:%d" % server.server_address[1], os.path.join(folder, "made")
            for answer in ('{"jobs":[{"job":"x\'; touch %s; \'"}]}' % path, '{"jobs":[],"next_page_token":"x\'; touch %s; \'"}' % path,
                           '{"jobs":[{"job":"../x"}]}', '{"jobs":[{"job":7}]}', '{"jobs":7}', '{}', '[', "", '{"jobs":[{}]}'):
                Liar.answer = answer.encode()
                r = run("--from", url)
                self.assertEqual(r.returncode, 1, (answer, r.stdout))
                self.assertRegex(r.stderr, r"--from: .*: no list of jobs|no job with 10 losses")
                self.assertFalse(os.path.exists(path), answer)
            server.shutdown()


if __name__ == "__main__":
    unittest.main()
