"""The command line tool against what is not greedylrd: it says so and ends with 3."""
import http.server
import os
import tempfile
import threading
import unittest

from cli_help import run

COMMANDS = (("report", "a", "--step", "1", "--loss", "1"), ("lr", "a"), ("lr", "a", "-o", "json"), ("get", "a"), ("list",), ("history", "a"),
            ("export", "a"), ("delete", "a", "--yes"), ("fork", "a", "b"), ("simulate", "--lr", "0.1", "--losses", "1,2"),
            ("replay", "a"), ("sweep", "--job", "a"), ("sweep", "--lr", "0.1", "--losses", "1,2"), ("history", "a", "--plot"))
BODIES = (b"[]", b"null", b"", b'{"x":1}', b'{"decisions":5,"jobs":7,"lrs":"x","state":3}', b'{"decisions":[null],"jobs":[{}],"state":[]}', b"\xff\xfe", b"[" * 200000)


class Liar(http.server.BaseHTTPRequestHandler):
    body = b""

    def answer(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    do_GET = do_POST = do_DELETE = answer

    def log_message(self, *args):
        pass


class Liars(unittest.TestCase):
    def setUp(self):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Liar)
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.url = "http://127.0.0.1:%d" % server.server_port

    def told(self, command, body):
        with self.subTest(body=body[:40], command=command):
            Liar.body = body
            r = run(*command, "--url", self.url)
            self.assertEqual((r.returncode, r.stdout), (3, ""))
            self.assertIn("greedylrd", r.stderr)

    def test_what_is_not_greedylrd_is_told(self):
        for body in BODIES:
            for command in COMMANDS:
                self.told(command, body)

    def test_what_is_nearly_greedylrd_is_told(self):
        report, lr, get, history = ("report", "a", "--loss", "1"), ("lr", "a"), ("get", "a"), ("history", "a")
        simulate = ("simulate", "--lr", "0.1", "--losses", "1,2")
        for command, bodies in (
                (report, (b'{"lrs":[]}', b'{"lrs":["x"]}', b'{"lrs":[0.1,-1]}', b'{"lrs":[null]}')),
                (lr, (b"0x10\n", b"\n0.1\n", b" 0.1\n", b"-1\n", b"nan\n", b"inf\n", b"0.1")), (lr + ("-o", "json"), (b'{"lrs":[-1]}',)),
                (get, (b'{"state":{}}', b'{"uid":"0","state":{}}', b'{"uid":5,"state":{"lrs":[1]}}', b'{"state":{"lrs":[1]}}')),
                (("list",), (b'{"jobs":[{"uid":5}]}', b'{"jobs":[{"uid":"0","state":{"lrs":5}}]}', b'{"jobs":[7]}')),
                (history, (b'{"decisions":[{"lrs":5}]}', b'{"decisions":[{"lrs":[0.1]},{"lrs":[]}]}')),
                (simulate, (b'{"decisions":[{"lrs":5}]}', b'{"decisions":{}}'))):
            for body in bodies:
                self.told(command, body)

    def with_token(self, text):
        with tempfile.NamedTemporaryFile("w", newline="") as f:
            f.write(text)
            f.flush()
            os.chmod(f.name, 0o600)
            return run("list", "--token-file", f.name, "--url", self.url)

    def test_a_token_that_is_none(self):
        for text in ("x" * 3000, "x" * 1024, "x" * 1024 + "\n", "x" * 1023 + "\rx"):
            r = self.with_token(text)
            self.assertEqual(r.returncode, 2)
            self.assertIn("longer than any token", r.stderr)

    def test_the_longest_token(self):
        Liar.body = b'{"jobs":[]}'
        for end in ("", "\n", "\r\n", "\r", "\nsecond line"):
            self.assertEqual(self.with_token("x" * 1023 + end).returncode, 0, end)


if __name__ == "__main__":
    unittest.main()
