"""The command line tool against what is not greedylrd: it says so and ends with 3."""
import http.server
import os
import tempfile
import threading
import unittest

from test_cli import run

COMMANDS = (("report", "a", "--step", "1", "--loss", "1"), ("lr", "a"), ("lr", "a", "-o", "json"), ("get", "a"), ("list",), ("history", "a"),
            ("export", "a"), ("delete", "a", "--yes"), ("fork", "a", "b"), ("simulate", "--lr", "0.1", "--losses", "1,2"))
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
    def test_what_is_not_greedylrd_is_told(self):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Liar)
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = "http://127.0.0.1:%d" % server.server_port
        for Liar.body in BODIES:
            for command in COMMANDS:
                with self.subTest(body=Liar.body[:40], command=command):
                    r = run(*command, "--url", url)
                    self.assertEqual((r.returncode, r.stdout), (3, ""))
                    self.assertIn("greedylrd", r.stderr)

    def test_a_token_that_is_none(self):
        with tempfile.NamedTemporaryFile("w") as f:
            f.write("x" * 3000)
            f.flush()
            os.chmod(f.name, 0o600)
            r = run("list", "--token-file", f.name)
        self.assertEqual(r.returncode, 2)
        self.assertIn("longer than any token", r.stderr)


if __name__ == "__main__":
    unittest.main()
