"""Clients off this machine: tokens and certificates of the C library, the command line tool and the Python package, against a
daemon that asks for both at an address that other machines could reach, where there is one."""
import http.client
import http.server
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import unittest

from auth_help import Token
from certificates import Authority
from harness import BINARY, ROOT, Daemon, wait_until
from test_clib import Driver
from test_tls import SecureDaemon

sys.path.insert(0, os.path.join(ROOT, "client", "python"))
import greedylr
from greedylr.session import Session

CLI = os.path.join(os.path.dirname(BINARY), "greedylr")


def own_address():
    """An address of this machine that is not loopback, or 127.0.0.1."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        try:
            s.connect(("192.0.2.77", 9))  # sends nothing
            return s.getsockname()[0]
        except OSError:
            return "127.0.0.1"


HOST = own_address()


class Guarded(SecureDaemon):
    """TLS, tokens, and no --insecure."""

    def __init__(self, authority, pair, tokens, token):
        super().__init__(authority, pair, "--token-file", tokens, "--listen", HOST + ":0")
        self.token = token

    def connection(self):
        return http.client.HTTPSConnection(HOST, self.port, timeout=60, context=self.context)

    def request(self, method, path, body=None, headers=None, connection=None):
        return super().request(method, path, body, {**self.token.header, **(headers or {})}, connection)


def setUpModule():
    global PLACE, CA, OTHER, PAIR
    PLACE = tempfile.mkdtemp(prefix="greedylrd-credentials-")
    CA, OTHER = Authority(PLACE), Authority(PLACE, "Other CA")
    PAIR = CA.issue("daemon", ["IP:" + HOST])


def tearDownModule():
    shutil.rmtree(PLACE)


class ClientTest(unittest.TestCase):
    budget = 20000  # milliseconds, of the C library

    def setUp(self):
        self.root, self.worker = Token("root"), Token("worker", "report")
        self.tokens, self.mine = os.path.join(PLACE, "tokens"), os.path.join(PLACE, "mine")
        self.place(self.tokens, self.root.line + self.worker.line)
        self.place(self.mine, self.worker.text + "\n")

    def place(self, path, text):
        with open(path + ".new", "w", opener=lambda p, f: os.open(p, f, 0o600)) as f:
            f.write(text)
        os.replace(path + ".new", path)

    def guarded(self):
        d = Guarded(CA, PAIR, self.tokens, self.root)
        self.addCleanup(d.close)
        d.start()
        self.url = "https://%s:%d" % (HOST, d.port)
        return d

    def env(self, url=None, **more):
        env = {k: v for k, v in os.environ.items() if not k.startswith("GREEDYLR_")}
        env.update(GREEDYLR_URL=url or self.url, GREEDYLR_CA_FILE=CA.file, GREEDYLR_TOKEN_FILE=self.mine)
        env.update(more)
        return {k: v for k, v in env.items() if v is not None}

    def driver(self, url=None, **more):
        env = {k: v for k, v in self.env(url, **more).items() if k.startswith("GREEDYLR_")}
        d = Driver(env.pop("GREEDYLR_URL"), self.budget, env=env)
        self.addCleanup(d.kill)
        return d

    def cli(self, *args, url=None, **more):
        return subprocess.run([CLI, *args], capture_output=True, text=True, env=self.env(url, **more), timeout=60)

    def python(self, url=None, **more):
        given = dict(token_file=self.mine, ca_file=CA.file, timeout=self.budget / 1000)
        given.update(more)
        return greedylr.Client(url or self.url, **given)


class Both(ClientTest):
    """A daemon with TLS and tokens, and nothing accepted by name."""

    def test_every_client_gets_in(self):
        d = self.guarded()
        c = self.driver()
        c.ok("create", "c", "0.1")
        self.assertEqual(c.report(1, 2.5)["lr"], 0.1)
        r = self.cli("report", "j", "--step", "1", "--loss", "2", "--lr", "0.1")
        self.assertEqual(r.returncode, 0, r.stderr)
        client = self.python()
        self.assertEqual(client.report("p", 2.0, step=1, lr=[0.1])["lr"], 0.1)
        out = subprocess.run(["curl", "-s", "--cacert", CA.file, "-H", self.worker.header["Authorization"].join(
            ["Authorization: ", ""]), self.url + "/v1/jobs/p/lr"], capture_output=True, text=True)
        self.assertEqual(out.stdout, "0.1\n")
        d.close()
        self.assertNotIn("event=insecure", d.stderr)
        self.assertNotIn(self.worker.text.split(".")[1], d.stderr)

    def test_a_round_and_a_watch(self):
        self.guarded()
        self.python().create_job({"job": "r", "lr": [0.1], "ranks": {"world_size": 2}})
        watch = subprocess.Popen([CLI, "watch", "r", "--after-revision", "0", "-o", "json"], stdout=subprocess.PIPE, env=self.env(), text=True)
        self.addCleanup(watch.stdout.close)
        self.addCleanup(watch.wait)
        self.addCleanup(watch.kill)
        c, got = self.driver(), []
        c.ok("open", "r")
        t = threading.Thread(target=lambda: got.append(self.python().report("r", 2.0, step=1, rank=0, wait=30.0, timeout=30)))
        t.start()
        decision = c.ok("report", "step=1", "rank=1", "value=1")["decision"]
        t.join(30)
        self.assertIn('"value":1.5', watch.stdout.readline().replace(" ", ""))
        self.assertEqual((float(decision["value"]), decision["revision"]), (1.5, got[0]["revision"]))

    def test_without_a_token_and_with_a_wrong_one(self):
        self.guarded()
        stranger = Token("stranger").text
        for env, why in ((dict(GREEDYLR_TOKEN_FILE=None), "TOKEN_REQUIRED"),
                         (dict(GREEDYLR_TOKEN_FILE=None, GREEDYLR_TOKEN=stranger), "TOKEN_INVALID")):
            r = self.cli("list", **env)
            self.assertEqual((r.returncode, why in r.stderr), (1, True), r.stderr)
            self.assertIn("greedylr token", r.stderr)
            self.assertNotIn(stranger, r.stderr)
            answer = self.driver(**env).do("create", "c", "0.1")
            self.assertEqual((answer["code"], answer["reason"]), ("unauthenticated", why))
            with self.assertRaises(greedylr.GreedyLRError) as caught:
                self.python(token=env.get("GREEDYLR_TOKEN") or "", token_file=None).get_lr("c")
            self.assertEqual((caught.exception.reason, caught.exception.transient), (why, False))
        r = self.cli("delete", "j", "--yes")
        self.assertIn("ROLE_INSUFFICIENT", r.stderr)
        r = self.cli("list", "--token", stranger)
        self.assertEqual(r.returncode, 2)
        self.assertIn("--token-file", r.stderr)
        self.assertNotIn(stranger, r.stderr)

    def test_rotation_on_a_live_run(self):
        """The daemon's file and the client's change; nobody reads of a token that was refused."""
        d = self.guarded()
        c, client = self.driver(), self.python()
        c.ok("create", "c", "0.1")
        client.report("p", 2.0, step=1, lr=[0.1])
        for step in (2, 3):
            fresh = Token("worker%d" % step, "report")
            self.place(self.tokens, self.root.line + fresh.line)
            seen = sum("tokens_reloaded" in line for line in d._lines)
            d.process.send_signal(signal.SIGHUP)
            wait_until(lambda: sum("tokens_reloaded" in line for line in d._lines) > seen)
            self.assertEqual(c.do("report", "step=%d" % step, "value=1")["code"], "unauthenticated")
            self.assertEqual(c.do("held")["held"], 1)
            self.place(self.mine, fresh.text + "\n")
            c.report(step, 1)
            self.assertEqual(c.do("held")["held"], 0)
            self.assertEqual(client.report("p", 1.0, step=step)["step"], step)
            self.assertEqual([x["step"] for x in client.list_decisions("c")][-1], step)

    def test_a_run_outlives_its_token(self):
        d = self.guarded()
        with self.assertRaises(greedylr.GreedyLRError):  # from the start: loud
            Session("s", [0.1], greedylr.Client(self.url, token=Token("none").text, ca_file=CA.file))
        session = Session("s", [0.1], self.python())
        session.step(2.0)
        fresh = Token("fresh", "report")
        self.place(self.tokens, self.root.line + fresh.line)
        d.process.send_signal(signal.SIGHUP)
        wait_until(lambda: any("tokens_reloaded" in line for line in d._lines))
        with self.assertLogs("greedylr", logging.WARNING) as logs:
            for loss in (1.9, 1.8, 1.7):
                self.assertEqual(session.step(loss), [0.1])
        self.assertEqual([r.levelname for r in logs.records], ["ERROR"])
        self.assertIn("TOKEN_INVALID", logs.output[0])
        self.assertEqual(len(session.missed.items), 3)
        self.place(self.mine, fresh.text + "\n")
        session.step(1.6)
        self.assertEqual((len(session.missed.items), session.last_step), (0, 5))
        self.assertEqual([x["step"] for x in d.decisions("s")], [1, 2, 3, 4, 5])


class Trust(ClientTest):
    budget = 1500

    def tell(self, url, words, refused=True, **env):
        """What each client says; none of them gets through."""
        r = self.cli("list", "--timeout", "%dms" % self.budget, url=url, **env)
        self.assertEqual(r.returncode, 3, r.stderr)
        answer = self.driver(url, **env).do("create", "c", "0.1")
        self.assertEqual(answer["reason"], "CERTIFICATE_REFUSED" if refused else "NO_ANSWER", answer)
        said = [r.stderr, answer["message"]]
        if url.startswith("https"):
            with self.assertRaises(greedylr.GreedyLRError) as caught:
                self.python(url, ca_file=env.get("GREEDYLR_CA_FILE", CA.file)).get_lr("c")
            self.assertEqual(caught.exception.reason, "CERTIFICATE_REFUSED" if refused else "UNREACHABLE")
            said.append(str(caught.exception))
            if refused:
                with self.assertRaises(greedylr.GreedyLRError):
                    Session("c", [0.1], self.python(url, ca_file=env.get("GREEDYLR_CA_FILE", CA.file)))
        for text in said:
            for word in words:
                self.assertIn(word, text)

    def daemon(self, pair):
        d = SecureDaemon(CA, pair)
        d.context.check_hostname = False
        d.context.verify_mode = 0
        self.addCleanup(d.close)
        d.start()
        return d

    def test_certificates_that_do_not_hold(self):
        expired = self.daemon(CA.issue("expired", days=-1))
        self.tell("https://localhost:%d" % expired.port, ["expired"])
        good = self.daemon(CA.issue("good", ["DNS:localhost"]))
        self.tell("https://localhost:%d" % good.port, [OTHER.file, "CA file"], GREEDYLR_CA_FILE=OTHER.file)
        self.tell("https://127.0.0.1:%d" % good.port, ["name"])
        self.tell("http://127.0.0.1:%d" % good.port, ["https://"], refused=False)
        plain = Daemon()
        self.addCleanup(plain.close)
        plain.start()
        self.tell("https://localhost:%d" % plain.port, ["does it speak TLS"], refused=False)
        for d in (expired, good):
            self.assertEqual(d.metric("jobs"), 0)

    def test_ca_files_that_are_none(self):
        empty = os.path.join(PLACE, "empty.pem")
        open(empty, "w").close()
        for path in (empty, PLACE + "/none"):
            r = self.cli("list", url="https://localhost:1", GREEDYLR_CA_FILE=path)
            self.assertEqual((r.returncode, path in r.stderr), (2, True), r.stderr)
            r = self.cli("list", "--ca-file", path, url="https://localhost:1")
            self.assertEqual((r.returncode, path in r.stderr), (2, True), r.stderr)
            opened = self.driver("https://localhost:1", GREEDYLR_CA_FILE=path).opened
            self.assertEqual((opened["code"], path in opened["message"]), ("invalid_argument", True))
            with self.assertRaisesRegex(ValueError, "ca_file"):
                self.python("https://localhost:1", ca_file=path)

    def test_a_token_never_goes_out_in_the_clear(self):
        for url in ("http://192.0.2.1:1", "http://127.evil.invalid:1", "http://daemon.invalid"):
            r = self.cli("list", "--timeout", "300ms", url=url)
            self.assertEqual(r.returncode, 2, r.stderr)
            self.assertIn("GREEDYLR_INSECURE=no-tls", r.stderr)
            opened = self.driver(url).opened
            self.assertEqual(opened["code"], "invalid_argument")
            self.assertIn("https://", opened["message"])
            with self.assertRaisesRegex(ValueError, "GREEDYLR_INSECURE=no-tls"):
                self.python(url, ca_file=None)
        # Accepted by name, or without a token: tried.
        for env in (dict(GREEDYLR_INSECURE="no-tls"), dict(GREEDYLR_TOKEN_FILE=None)):
            self.assertEqual(self.cli("list", "--timeout", "300ms", url="http://127.evil.invalid:1", **env).returncode, 3)
        r = self.cli("list", url="http://localhost:1", GREEDYLR_INSECURE="yes")
        self.assertEqual((r.returncode, "no-tls" in r.stderr), (2, True), r.stderr)
        for url in ("http://localhost:1", "http://127.0.0.9:1", "http://[::1]:1", "unix:/nonexistent/socket"):
            self.assertEqual(self.cli("list", url=url).returncode, 3, url)
            self.python(url, ca_file=None)

    def test_redirects_are_not_followed(self):
        asked = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                asked.append(self.path)
                self.send_response(307)
                self.send_header("Location", "http://127.0.0.1:%d/stolen" % self.server.server_port)
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_POST = do_GET

            def log_message(self, *args):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = "http://127.0.0.1:%d" % server.server_port
        self.assertEqual(self.cli("list", url=url).returncode, 3)
        self.driver(url).do("create", "c", "0.1")
        with self.assertRaises(greedylr.GreedyLRError):
            self.python(url, ca_file=None).get_lr("c")
        self.assertGreaterEqual(len(asked), 3)
        self.assertNotIn("/stolen", asked)


if __name__ == "__main__":
    unittest.main()
