"""The command line tool and everything a spec may have: each setting is a flag that arrives, shadows come as JSON and are shown."""
import csv
import http.server
import io
import json
import os
import tempfile
import threading
import unittest

from cli_help import MESSAGES, leaves, run

JOB = {"job": "a", "uid": "0", "revision": 0, "spec": {"job": "a", "lr": [1], "shadow": [{"name": "p", "plateau": {"factor": 0.8}}]},
       "state": {"lr": 0, "lrs": [0, 0.5], "shadow": [{"name": "p", "state": {"lr": 1, "lrs": [1, 0.1]}}, {"name": "q", "state": {"lrs": [0, 5e-324]}}]}}
DECISION = {"revision": 1, "lr": 0, "lrs": [0], "action": "schedule", "reason": "report 1 of 2", "value": 1,
            "shadow": [{"name": "p", "lr": 0.1, "lrs": [0.1], "action": "hold", "reason": "x"}]}
ANSWERS = {"GET": {"a": JOB, "jobs": {"jobs": [JOB]}}, "POST": {"simulate": {"initial_lrs": [1], "decisions": [DECISION]}}}


class Recorder(http.server.BaseHTTPRequestHandler):
    """Answers as the daemon does, and keeps the body of the last request."""
    body = None

    def answer(self):
        Recorder.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        text = json.dumps(ANSWERS[self.command].get(self.path.split("?")[0].rsplit("/", 1)[1], JOB)).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = answer

    def log_message(self, *args):
        pass


class Specs(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Recorder)
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.url = "http://127.0.0.1:%d" % server.server_port

    def cli(self, *args):
        r = run(*args, "--url", self.url)
        self.assertEqual((r.returncode, r.stderr), (0, ""), args)
        return r.stdout

    def sent(self, *flags):
        self.cli("create", "a", *flags)
        return json.loads(Recorder.body)

    def test_every_setting_arrives(self):
        values = {"double": [0.125, 5e-324], "uint32": [7, 4294967295], "int32": [-3, 3], "bool": [True, False], "string": ["cos", "min"], "Duration": ["5s"]}
        checked = 0
        for path, kind, repeated in leaves("JobSpec"):
            if path in ("job", "shadow"):
                continue
            for value in values.get(kind, [{}]):
                value = [value, value] if repeated else value
                text = json.dumps(value).strip("[]").replace('"', "").replace(" ", "")
                want = {"job": "a"}
                *inner, last = path.split(".")
                for at in (want,):
                    for name in inner:
                        at = at.setdefault(name, {})
                    at[last] = value
                self.assertEqual(self.sent("--" + path, *(() if kind in MESSAGES else (text,))), want)
                checked += 1
        self.assertGreater(checked, 100)

    def test_shadows_are_json(self):
        one, two, three = ({"name": "p", "plateau": {"factor": 0.5, "patience": 1}}, {"name": "q", "cosine_annealing": {"t_max": 5}}, {"name": "r"})
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "shadows.json")
            with open(path, "w", encoding="utf-8") as f:
                json.dump([two, three], f)
            for flags in ((json.dumps(one), json.dumps([two, three])), (json.dumps([one, two, three]),), (json.dumps(one), "@" + path)):
                self.assertEqual(self.sent(*(word for flag in flags for word in ("--shadow", flag)))["shadow"], [one, two, three])
        for order in (1, -1):
            flags = (("--spec", json.dumps({"shadow": [one], "strict": True})), ("--shadow", json.dumps(two)))[::order]
            self.assertEqual(self.sent(*flags[0], *flags[1]), {"job": "a", "strict": True, "shadow": [two]})
        for bad, says in (("7", "an object, or a list of them"), ("{", "an object, or a list of them"), ("p", "an object"), ("@/nonexistent", "/nonexistent")):
            r = run("create", "a", "--shadow", bad, "--url", self.url)
            self.assertEqual((r.returncode, r.stdout), (2, ""))
            self.assertIn(says, r.stderr)
        r = run("create", "a", "--url", self.url, "--shadow")
        self.assertEqual(r.returncode, 2)
        self.assertIn("needs a value", r.stderr)

    def test_shadows_are_shown(self):
        rows = list(csv.DictReader(io.StringIO(self.cli("list", "-o", "csv"))))
        self.assertEqual((rows[0]["state.lrs"], rows[0]["state.shadow"]), ("0;0.5", "p=1;0.1 q=0;5e-324"))
        self.assertFalse([name for name in rows[0] if name.startswith("state.shadow.")])
        rows = list(csv.DictReader(io.StringIO(self.cli("simulate", "--lr", "1", "--losses", "1", "-o", "csv"))))
        self.assertEqual((rows[-1]["lrs"], rows[-1]["shadow"]), ("0", "p=0.1"))
        self.assertRegex(self.cli("simulate", "--lr", "1", "--losses", "1"), "(?m); shadow p=0.1$")
        text = self.cli("get", "a")
        self.assertRegex(text, r"(?m)^shadow +p=1;0.1 q=0;4.94066e-324$")
        self.assertRegex(text, r'(?m)^shadow +{"name":"p","plateau":{"factor":0.8}}$')


if __name__ == "__main__":
    unittest.main()
