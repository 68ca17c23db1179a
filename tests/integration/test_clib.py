"""libgreedylr against a real daemon: driven by clib_driver, one command a line, and by the example trainer."""
import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import threading
import unittest

from harness import BINARY, ROOT, ZERO, DaemonTest, num, wait_until

BUILD = os.path.dirname(BINARY)
DRIVER = os.path.join(BUILD, "clib_driver")
EXAMPLE = os.path.join(BUILD, "examples", "train_c")
LIBRARY = os.path.join(BUILD, "libgreedylr.so.0")
HEADER = os.path.join(ROOT, "client", "lib", "greedylr.h")
MAN = os.path.join(ROOT, "client", "lib", "libgreedylr.3")
SANITIZER = ("Sanitizer", "runtime error:", "Assertion")


def clean(text):
    assert not any(sign in text for sign in SANITIZER), text[-6000:]


class Driver:
    """One process that uses the library."""

    def __init__(self, url, *args, env=None):
        env = dict({k: v for k, v in os.environ.items() if not k.startswith("GREEDYLR_")}, GREEDYLR_URL=url, **(env or {}))
        self.process = subprocess.Popen([DRIVER, *map(str, args)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True, env=env)
        self.opened = self.line()

    def line(self):
        too_long = threading.Timer(120, self.process.kill)
        too_long.start()
        line = self.process.stdout.readline()
        too_long.cancel()
        assert line, (self.process.wait(), self.process.stderr.read())
        return json.loads(line)

    def send(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()

    def do(self, *words):
        self.send(*words)
        return self.line()

    def ok(self, *words):
        answer = self.do(*words)
        assert answer.get("code", "ok") == "ok", (words, answer)
        return answer

    def report(self, step, value, *more):
        return self.ok("report", "step=%d" % step, "value=%r" % value, *more)["decision"]

    def end(self):
        """Leaves as a program does, so that a leak is found."""
        if self.process.poll() is None:
            stderr = self.process.communicate(timeout=60)[1]
            clean(stderr)
            assert self.process.returncode == 0, (self.process.returncode, stderr)
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            pipe.close()

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


class ClibTest(DaemonTest):
    def setUp(self):
        super().setUp()
        self.url = "http://127.0.0.1:%d" % self.d.port
        self.c = self.driver(20000)

    def driver(self, *args, url=None, env=None):
        driver = Driver(url or self.url, *args, env=env)
        self.addCleanup(driver.end)
        return driver

    def refused(self, words, code, why, *says, driver=None):
        answer = (driver or self.c).do(*words)
        self.assertEqual((answer["code"], answer["reason"]), (code, why), answer)
        for text in says:
            self.assertIn(text, answer["message"])
        return answer


class Reports(ClibTest):
    def test_decisions_are_the_daemons_to_the_last_bit(self):
        losses = [2.5, 2.1, 1.7000000000000002, 1.5, 1.9, 2.2, 2.4, 1 / 3, 5e-324, 1e300]
        settings = {"greedy": {"patience": 1, "factor": 0.7}, "labels": ["team=c, and more"]}
        self.c.ok("create", "a", "0.1,0.30000000000000004", json.dumps(settings))
        decisions = [self.c.report(i, x, "weight=2.5") for i, x in enumerate(losses)]
        want = self.d.ok("POST", "/v1/simulate", {"spec": dict(settings, lr=[0.1, 0.30000000000000004]), "losses": losses})
        self.assertEqual([d["lrs"] for d in decisions], [d["lrs"] for d in want["decisions"]])
        recorded = self.d.decisions("a")
        self.assertEqual([r["value"] for r in recorded], losses)
        for d, r in zip(decisions, recorded):
            for name, value in r.items():
                if name == "job":
                    continue
                got = float(d[name]) if isinstance(d[name], str) and not isinstance(value, str) else d[name]
                self.assertEqual(got, num(value) if name in ("value", "smoothed", "best") else value, name)
        rates = self.c.ok("get")
        self.assertEqual((rates["lrs"], rates["lr"], rates["step"], rates["revision"]),
                         (recorded[-1]["lrs"], recorded[-1]["lr"], 9, 10))

    def test_nonfinite_values(self):
        self.c.ok("create", "n", "0.1")
        self.assertEqual(self.c.report(1, 1.0)["action"], "hold")
        for step, value in ((2, "nan"), (3, "inf"), (4, "-inf")):
            got = self.c.ok("report", "step=%d" % step, "value=" + value)["decision"]["value"]
            self.assertEqual(got.lstrip("-+"), value.lstrip("-"))
        self.assertEqual([r["value"] for r in self.d.decisions("n")], [1, "NaN", "Infinity", "-Infinity"])

    def test_what_a_report_may_say(self):
        self.c.ok("create", "f", "0.1")
        self.assertTrue(self.c.report(0, 1.0)["has_step"])
        self.assertTrue(self.c.report(1, 1.0, "applied_lr=0.05")["applied_mismatch"])
        self.assertFalse(self.c.report(2, 1.0, "applied_lr=0.1")["applied_mismatch"])
        self.assertEqual(self.c.report(3, 1.0, "lr_cap=0.01")["lr"], 0.01)
        self.assertEqual(self.c.report(4, 1.0, "dry_run=1")["step"], 4)
        self.assertEqual(self.c.ok("get")["step"], 3)
        again = self.c.report(3, 1.0)
        self.assertEqual((again["duplicate"], again["conflict"]), (True, False))
        self.assertTrue(self.c.report(3, 7.0)["conflict"])
        self.refused(["report", "step=4", "value=1", "rank=1"], "invalid_argument", "FIELD_INVALID", "rank")
        self.refused(["report", "step=4", "value=1", "weight=-1"], "invalid_argument", "FIELD_INVALID", "weight")

    def test_a_rate_of_zero_is_a_rate(self):
        self.c.ok("create", "z", "1e-300", json.dumps({"greedy": ZERO["greedy"]}))
        self.assertEqual([self.c.report(step, 1.0)["lrs"] for step in (1, 2, 3)], [[1e-100], [1e-300], [0]])
        self.assertEqual([self.c.ok(*words)["lrs"] for words in (("get",), ("wait", 3), ("begin", 3), ("rewind", 3, 2))], [[0]] * 4)
        decision = self.c.report(4, 1.0, "applied_lr=0")
        self.assertEqual((decision["lrs"], decision["applied_mismatch"]), ([0], False))
        self.c.ok("close")
        self.c.ok("create", "f", "0.1")
        self.assertTrue(self.c.report(1, 1.0, "applied_lr=0")["applied_mismatch"])

    def test_without_steps(self):
        self.c.ok("create", "s", "0.1")
        steps = [self.c.ok("report", "value=1")["decision"]["step"] for _ in range(3)]
        self.assertEqual(steps, [1, 2, 3])
        first = self.c.ok("report", "value=1", "request_id=mine")["decision"]
        again = self.c.ok("report", "value=1", "request_id=mine")["decision"]
        self.assertEqual((first["step"], again["step"], again["duplicate"]), (4, 4, True))

    def test_a_failure_leaves_the_decision_alone(self):
        self.c.ok("create", "k", "0.1")
        before = self.c.report(5, 1.0)
        answer = self.refused(["report", "step=1", "value=1"], "failed_precondition", "STEP_IN_PAST", ":rewind")
        self.assertEqual(answer["decision"], before)
        self.assertEqual(self.c.do("held"), {"held": 0, "lost": 0})

    def test_created_again(self):
        self.c.ok("create", "again", "0.1", '{"greedy": {"patience": 5}}')
        self.c.report(1, 1.0)
        self.c.ok("close")
        self.c.ok("create", "again", "0.1", '{"greedy": {"patience": 5}}')
        self.assertEqual(self.c.ok("get")["step"], 1)
        self.c.ok("close")
        self.refused(["create", "again", "0.1"], "already_exists", "JOB_EXISTS", "greedy.patience")

    def test_bad_arguments(self):
        for words, says in ((["create", "-x", "0.1"], '"-x"'), (["create", "a/b", "0.1"], "a/b"), (["open", "x" * 129], "128"),
                            (["create", "a", "0.1,-1"], "lrs[1]"), (["create", "a", "nan"], "lrs[0]"),
                            (["create", "a", ",".join(["1"] * 257)], "257"), (["create", "a", "0.1", "{"], "settings: line 1"),
                            (["create", "a", "0.1", "[1]"], "JSON object"), (["create", "a", "0.1", '{"lr": 1}'], "lr"),
                            (["watch", "", "-", "1"], "id")):
            self.refused(words, "invalid_argument", "ARGUMENT_INVALID", says)
        self.refused(["create", "a", "0.1", '{"greedy": {"patienc": 1}}'], "invalid_argument", "FIELD_UNKNOWN", "greedy.patienc")
        self.assertEqual(self.d.ok("GET", "/v1/jobs")["jobs"], [])
        self.c.ok("open", "nobody")
        self.refused(["get"], "not_found", "JOB_NOT_FOUND", "nobody")
        self.refused(["report", "step=1", "value=1"], "not_found", "JOB_NOT_FOUND")
        for url in ("ftp://x", "127.0.0.1:1", "http://", "http://u:p@x", "http://x/?q=1", "http://x/#f", "unix:relative"):
            opened = self.driver_that_fails(url)
            self.assertEqual((opened["code"], opened["reason"]), ("invalid_argument", "ARGUMENT_INVALID"), url)
            self.assertIn("url", opened["message"])
        self.assertIn("token", self.driver_that_fails(self.url, 1000, "a\rb")["message"])

    def driver_that_fails(self, url, *args, env=None):
        driver = Driver(url, *args, env=env)
        clean(driver.process.communicate()[1])
        self.assertEqual(driver.process.returncode, 1)
        return driver.opened

    def test_structs_of_other_versions(self):
        self.c.ok("create", "v", "0.1")
        got = self.c.do("sizes")
        self.assertEqual((got["newer"]["code"], got["lr"], got["size_kept"], got["later"], got["behind"]),
                         ("ok", 0.1, True, 0.0, 8.0))
        for name in ("unknown_field", "no_size", "short_decision", "long_decision"):
            self.assertEqual((got[name]["code"], got[name]["reason"]), ("invalid_argument", "ARGUMENT_INVALID"), name)
        self.assertIn("later version", got["unknown_field"]["message"])
        self.assertEqual(len(self.d.decisions("v")), 1)

    def test_many_threads(self):
        self.assertEqual(self.c.do("threads", 8, 50)["good"], 400)
        for i in range(8):
            self.assertEqual([r["step"] for r in self.d.decisions("thread-%d" % i)], list(range(1, 51)))


class Addresses(unittest.TestCase):
    def test_unix_socket(self):
        with tempfile.TemporaryDirectory() as folder:
            url = "unix:" + os.path.join(folder, "s")
            process = subprocess.Popen([BINARY, "--listen", url, "--data-dir", os.path.join(folder, "data")],
                                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            try:
                self.assertIn(url, process.stdout.readline())
                c = Driver(url, 20000)
                self.addCleanup(c.end)
                c.ok("create", "u", "0.1")
                self.assertEqual(c.report(1, 1.0)["lr"], 0.1)
            finally:
                process.terminate()
                clean(process.communicate(timeout=60)[1])


class Answers(threading.Thread):
    """A server that answers every request with the same bytes, or (None) never; keeps what it was sent."""

    def __init__(self, answer, body=b"", port=0):
        super().__init__(daemon=True)
        self.answer, self.requests, self.open = answer, [], []
        self.listener = socket.create_server(("127.0.0.1", port))
        self.url = "http://127.0.0.1:%d" % self.listener.getsockname()[1]
        self.start()

    def run(self):
        try:
            while True:
                s = self.listener.accept()[0]
                self.open.append(s)
                self.requests.append(s.recv(65536))
                if self.answer is not None:
                    s.sendall(self.answer)
                    s.close()
        except OSError:
            pass

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.join()
        for s in self.open:
            s.close()


def http_answer(status, body, *headers):
    lines = ["HTTP/1.1 " + status, "Content-Length: %d" % len(body), "Connection: close", *headers, "", body]
    return "\r\n".join(lines).encode()


class Strangers(unittest.TestCase):
    """What the daemon never does, and what stands in its place may."""

    def served(self, answer, *args, env=None):
        server = Answers(answer)
        self.addCleanup(server.close)
        c = Driver(server.url, *(args or (400,)), env=env)
        self.addCleanup(c.end)
        c.ok("open", "x")
        return server, c

    def test_never_an_answer(self):
        server, c = self.served(None)
        answer = c.do("report", "step=1", "value=1")
        self.assertEqual((answer["code"], answer["reason"]), ("unavailable", "NO_ANSWER"))
        self.assertIn(server.url, answer["message"])
        self.assertIn("held", answer["message"])
        sent = len(server.requests)
        self.assertIn("not asked", c.do("report", "step=2", "value=1")["message"])
        self.assertEqual(len(server.requests), sent)
        self.assertEqual(c.do("held"), {"held": 2, "lost": 0})

    def test_no_greedylrd(self):
        for status, body in (("200 OK", "<html>hello</html>"), ("404 Not Found", "<html>"), ("502 Bad Gateway", ""),
                             ("302 Found", "")):
            _, c = self.served(http_answer(status, body))
            answer = c.do("report", "step=1", "value=1")
            self.assertEqual((answer["code"], answer["reason"]), ("unavailable", "ANSWER_INVALID"), status)
            self.assertIn(status[:3], answer["message"])
            self.assertEqual(c.do("held")["held"], 1)
        for body in ('{"lr": 0.1}', '{"lr": 0.1, "lrs": []}', '{"lr": 0.1, "lrs": ["x"]}', '{"lrs": [-1]}', '{"lrs": 1}'):
            _, c = self.served(http_answer("200 OK", body))
            self.assertEqual(c.do("report", "step=1", "value=1")["reason"], "ANSWER_INVALID", body)
        _, c = self.served(b"SSH-2.0-OpenSSH_9.2\r\n")
        self.assertEqual(c.do("get")["reason"], "NO_ANSWER")

    def test_refusals_are_not_repeated_and_passing_ones_are(self):
        def error(code, why):
            return json.dumps({"code": code, "message": "m", "details": [{"type": "t", "debug": {"reason": why}}]})
        server, c = self.served(http_answer("403 Forbidden", error("permission_denied", "ROLE_TOO_LOW")))
        answer = c.do("report", "step=1", "value=1")
        self.assertEqual((answer["code"], answer["reason"], answer["message"]), ("permission_denied", "ROLE_TOO_LOW",
                                                                                   "m; the value is held and goes out before the next one"))
        self.assertEqual((len(server.requests), c.do("held")["held"]), (1, 1))  # not about the value
        server, c = self.served(http_answer("409 X", error("aborted", "STEP_CONFLICT")))
        self.assertEqual((c.do("report", "step=1", "value=1")["message"], c.do("held")["held"]), ("m", 0))
        for status, code, why in (("503 X", "unavailable", "DRAINING"), ("503 X", "resource_exhausted", "OUT_OF_MEMORY"),
                                  ("409 X", "aborted", "JOB_BEING_DELETED")):
            server, c = self.served(http_answer(status, error(code, why)))
            answer = c.do("report", "step=1", "value=1")
            self.assertEqual((answer["code"], answer["reason"]), ("unavailable", why))
            self.assertGreater(len(server.requests), 1)
            self.assertEqual(len({json.loads(r.split(b"\r\n\r\n")[1])["step"] for r in server.requests}), 1)
        # Retry-After goes beyond the budget: one try.
        server, c = self.served(http_answer("503 X", error("unavailable", "STORE_FULL"), "Retry-After: 5"))
        c.do("report", "step=1", "value=1")
        self.assertEqual(len(server.requests), 1)

    def test_tokens(self):
        def sent(server):
            return re.findall(rb"(?mi)^authorization: (.*?)\r$", server.requests[0])
        server, c = self.served(http_answer("404 X", ""), 100, "id.secret")
        c.do("get")
        self.assertEqual(sent(server), [b"Bearer id.secret"])
        with tempfile.NamedTemporaryFile("w") as f:
            f.write("other.secret\nsecond line\n")
            f.flush()
            server, c = self.served(http_answer("404 X", ""), 100, env={"GREEDYLR_TOKEN_FILE": f.name})
            c.do("get")
            self.assertEqual(sent(server), [b"Bearer other.secret"])
            server, c = self.served(http_answer("404 X", ""), 100)
            c.do("get")
            self.assertEqual(sent(server), [])
            with tempfile.NamedTemporaryFile("w") as long:
                long.write("x" * 1024 + "\n")
                long.flush()
                failed = Driver(server.url, 100, env={"GREEDYLR_TOKEN_FILE": long.name})
                failed.process.communicate()
                self.assertEqual(failed.opened["code"], "invalid_argument")
                self.assertIn(long.name, failed.opened["message"])
                self.assertIn("longer than any token", failed.opened["message"])
            os.chmod(f.name, 0o644)
            for path, says in ((f.name, "chmod"), ("/nonexistent", "/nonexistent")):
                failed = Driver(server.url, 100, env={"GREEDYLR_TOKEN_FILE": path})
                failed.process.communicate()
                self.assertEqual(failed.opened["code"], "invalid_argument")
                self.assertIn(says, failed.opened["message"])

    def test_streams_in_pieces_and_line_ends(self):
        events = ["id: 1\r\nevent: decision\r\ndata: {\"lr\": 0.5,\r\ndata: \"lrs\": [0.5], \"revision\": 1}\r\n\r\n",
                  ": a comment\r\r", "retry: 5\nid: 2\rdata:{\"lrs\":[0.25],\"revision\":2}\revent:decision\r\r",
                  "event: news\ndata: of a later version\n\n", "id: 3\nevent: decision\ndata: {\"lrs\": [1], \"revision\": 3}\n\n",
                  "event: end\ndata: {\"code\": \"aborted\", \"message\": \"gone\", \"reason\": \"JOB_DELETED\"}\n\n"]
        stream = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n" + "".join(events)
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)

        def serve():
            s = listener.accept()[0]
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            s.recv(65536)
            for byte in stream.encode():
                s.sendall(bytes([byte]))
            s.close()
        threading.Thread(target=serve, daemon=True).start()
        c = Driver("http://127.0.0.1:%d" % listener.getsockname()[1], 400)
        self.addCleanup(c.end)
        c.send("watch x 0 100")
        self.assertEqual([c.line()["lrs"] for _ in range(3)], [[0.5], [0.25], [1.0]])
        end = c.line()
        self.assertEqual((end["code"], end["reason"], end["message"]), ("aborted", "JOB_DELETED", "gone"))


class Forgetful(threading.Thread):
    """Passes requests on to the daemon and drops the first answers: the work is done, nobody hears of it."""

    def __init__(self, port, drops):
        super().__init__(daemon=True)
        self.port, self.drops, self.passed = port, drops, 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = "http://127.0.0.1:%d" % self.listener.getsockname()[1]
        self.start()

    def run(self):
        try:
            while True:
                s = self.listener.accept()[0]
                with s:
                    while request := self.request(s):
                        with socket.create_connection(("127.0.0.1", self.port)) as up:
                            up.sendall(request.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
                            answer = b"".join(iter(lambda: up.recv(65536), b""))
                        self.passed += 1
                        if self.passed <= self.drops:
                            break
                        s.sendall(answer)
        except OSError:
            pass

    @staticmethod
    def request(s):
        data = b""
        while b"\r\n\r\n" not in data:
            more = s.recv(65536)
            if not more:
                return b""
            data += more
        length = re.search(rb"(?i)content-length: (\d+)", data)
        while length and len(data.split(b"\r\n\r\n", 1)[1]) < int(length[1]):
            data += s.recv(65536)
        return data

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


class Outages(ClibTest):
    def test_lost_answers_count_once(self):
        self.d.ok("POST", "/v1/jobs", {"job": "once", "lr": 0.1})
        for step, words in enumerate((["value=1"], ["value=2", "step=2"], ["value=3"]), 1):
            proxy = Forgetful(self.d.port, 2)
            self.addCleanup(proxy.close)
            c = self.driver(20000, url=proxy.url)
            c.ok("open", "once")
            d = c.ok("report", *words)["decision"]
            self.assertEqual((proxy.passed, d["step"], d["duplicate"]), (3, step, True))
        self.assertEqual([r["value"] for r in self.d.decisions("once")], [1, 2, 3])

    def test_held_and_handed_in_in_order(self):
        c = self.driver(300)
        c.ok("create", "held", "0.1")
        kept = c.report(1, 1.0)
        self.d.kill()
        for step in range(2, 6):
            answer = c.do("report", "step=%d" % step, "value=%d" % step)
            self.assertEqual((answer["code"], answer["reason"], answer["decision"]), ("unavailable", "NO_ANSWER", kept))
        self.assertEqual(c.do("get")["code"], "unavailable")
        self.assertEqual(c.do("report", "step=6", "value=1", "dry_run=1")["code"], "unavailable")
        self.assertEqual(c.do("held"), {"held": 4, "lost": 0})
        self.assertEqual(c.do("flush")["code"], "unavailable")
        self.d.start()
        c.ok("budget", 20000)
        c.ok("flush")
        self.assertEqual(c.do("held"), {"held": 0, "lost": 0})
        self.assertEqual(c.report(6, 6.0)["step"], 6)
        self.assertEqual([r["value"] for r in self.d.decisions("held")], [1, 2, 3, 4, 5, 6])

    def test_comes_back_by_itself(self):
        c = self.driver(300)
        c.ok("create", "back", "0.1")
        self.d.kill()
        self.assertEqual(c.do("report", "step=1", "value=1")["code"], "unavailable")
        self.d.start()
        step = [1]

        def answered():
            step[0] += 1
            return c.do("report", "step=%d" % step[0], "value=1")["code"] == "ok"
        wait_until(answered, 60)
        self.assertEqual([r["step"] for r in self.d.decisions("back")], list(range(1, step[0] + 1)))

    def test_a_restart_within_the_budget_is_not_noticed(self):
        self.c.ok("create", "r", "0.1")
        self.c.report(1, 1.0)
        self.d.kill()
        self.c.send("report step=2 value=2")
        self.d.start()
        self.assertEqual(self.c.line()["decision"]["step"], 2)
        self.assertEqual(self.c.do("held"), {"held": 0, "lost": 0})

    def test_created_without_a_daemon(self):
        self.d.kill()
        c = self.driver(200)
        answer = c.do("create", "late", "0.1,0.2", '{"greedy": {"patience": 1}}')
        self.assertEqual((answer["code"], answer["reason"]), ("unavailable", "NO_ANSWER"))
        self.assertIn("created before its first report", answer["message"])
        self.assertEqual(c.do("report", "step=1", "value=1")["code"], "unavailable")
        self.d.start()
        c.ok("budget", 20000)
        c.ok("flush")
        self.assertEqual(self.d.ok("GET", "/v1/jobs/late")["spec"]["greedy"], {"patience": 1})
        self.assertEqual([r["lrs"] for r in self.d.decisions("late")], [[0.1, 0.2]])

    def test_held_values_that_are_refused(self):
        c = self.driver(300)
        c.ok("create", "lost", "0.1")
        self.d.kill()
        c.do("report", "step=5", "value=1")
        self.d.start()
        self.d.ok("POST", "/v1/jobs/lost:report", {"step": 9, "loss": 1})
        c.ok("budget", 20000)
        c.ok("flush")
        self.assertEqual(c.do("held"), {"held": 0, "lost": 1})

    def test_draining(self):
        self.c.ok("create", "dr", "0.1")
        self.c.report(1, 1.0)
        self.d.process.send_signal(signal.SIGTERM)
        self.c.send("report step=2 value=2")
        self.assertEqual(self.d._ended(), 0)
        self.d.start()
        self.assertEqual(self.c.line()["decision"]["step"], 2)


class Ranks(ClibTest):
    RANKS = '{"ranks": {"world_size": %d}}'

    def ranks(self, n, name="ranks"):
        ranks = [self.driver(20000) for _ in range(n)]
        for c in ranks:
            c.ok("create", name, "0.1", self.RANKS % n)
        return ranks

    def test_a_round(self):
        ranks = self.ranks(3)
        for step in (1, 2):
            for rank, c in enumerate(ranks):
                c.send("report step=%d rank=%d value=%d weight=%d" % (step, rank, step * rank, rank + 1))
            decisions = [c.line()["decision"] for c in ranks]
            self.assertEqual(decisions, [decisions[0]] * 3)
            self.assertEqual((decisions[0]["ranks"], float(decisions[0]["value"])), (3, step * 8 / 6))
        self.assertEqual(len(self.d.decisions("ranks")), 2)

    def test_the_budget_ends_the_wait_and_the_value_counts(self):
        a, b = self.ranks(2)
        a.ok("budget", 300)
        self.refused(["report", "step=1", "rank=0", "value=1"], "deadline_exceeded", "WAIT_EXPIRED", driver=a)
        self.assertEqual(a.do("held"), {"held": 0, "lost": 0})
        a.ok("budget", 20000)
        a.send("report step=1 rank=0 value=1")
        self.assertEqual(b.report(1, 3.0, "rank=1")["value"], "2")
        self.assertEqual(a.line()["decision"]["value"], "2")

    def test_wait_for_a_step(self):
        self.c.ok("create", "w", "0.1")
        other = self.driver(20000)
        other.ok("open", "w")
        other.send("wait 1")
        self.c.report(1, 1.0, "lr_cap=0.01")
        got = other.line()
        self.assertEqual((got["code"], got["lrs"], got["step"]), ("ok", [0.01], 1))
        self.c.report(2, 1.0)
        self.assertEqual(other.ok("wait", 1)["lrs"], [0.01])
        other.ok("budget", 200)
        self.refused(["wait", 7], "deadline_exceeded", "STEP_NOT_DECIDED", driver=other)


class Restarts(ClibTest):
    LOSSES = [3.0, 2.5, 2.0, 1.5, 1.8, 2.2, 2.6]

    def setUp(self):
        super().setUp()
        self.c.ok("create", "again", "0.1", '{"greedy": {"patience": 1}}')
        self.first = [self.c.report(i, x) for i, x in enumerate(self.LOSSES, 1)]

    def rates(self, decisions):
        return [(d["step"], d["lrs"], d["action"]) for d in decisions]

    def test_begin_from_a_checkpoint(self):
        began = self.c.ok("begin", 3)
        self.assertEqual((began["attempt"], began["step"], began["lrs"]), (1, 3, self.first[2]["lrs"]))
        again = [self.c.report(i, x) for i, x in enumerate(self.LOSSES[3:], 4)]
        self.assertEqual(self.rates(again), self.rates(self.first[3:]))
        self.assertEqual({d["attempt"] for d in again}, {1})
        self.assertFalse(any(d["duplicate"] for d in again))

    def test_begin_where_it_is(self):
        self.assertEqual((self.c.ok("begin")["attempt"], self.c.ok("begin")["attempt"]), (1, 2))
        self.assertEqual(self.c.report(8, 1.0)["attempt"], 2)

    def test_an_earlier_attempt_is_refused(self):
        zombie = self.driver(20000)
        zombie.ok("open", "again")
        zombie.ok("begin")
        self.c.ok("begin", 5)
        self.refused(["report", "step=6", "value=1"], "failed_precondition", "STALE_ATTEMPT", driver=zombie)
        self.refused(["report", "step=6", "value=1", "attempt=0"], "failed_precondition", "STALE_ATTEMPT")
        self.assertEqual(self.c.report(6, 1.0, "attempt=2")["attempt"], 2)

    def test_every_rank_may_rewind(self):
        other = self.driver(20000)
        other.ok("open", "again")
        self.assertEqual(self.c.ok("rewind", 4, 1)["lrs"], self.first[3]["lrs"])
        self.c.report(5, 9.0)
        self.assertEqual(other.ok("rewind", 4, 1)["step"], 5)  # too late to do anything
        self.refused(["rewind", 4, 0], "failed_precondition", "STALE_ATTEMPT", driver=other)
        self.refused(["rewind", 77, 2], "not_found", "STEP_NOT_FOUND", "77", driver=other)
        start = self.c.ok("initial", 2)
        self.assertEqual((start["lrs"], "step" in start), ([0.1], False))
        again = [self.c.report(i, x) for i, x in enumerate(self.LOSSES, 1)]
        self.assertEqual(self.rates(again), self.rates(self.first))

    def test_rewinding_forgets_what_is_held(self):
        self.c.ok("budget", 300)
        self.d.kill()
        self.c.do("report", "step=8", "value=1")
        self.d.start()
        self.assertEqual(self.c.do("begin", 3)["code"], "unavailable")  # not asked so soon
        self.c.ok("budget", 20000)
        wait_until(lambda: self.c.do("begin", 3)["code"] == "ok", 60)
        self.assertEqual(self.c.do("held"), {"held": 0, "lost": 1})
        self.assertEqual(self.c.report(4, 1.5)["step"], 4)


class Watching(ClibTest):
    def test_from_the_beginning_and_from_a_revision(self):
        self.c.ok("create", "w", "0.1")
        told = [self.c.report(i, 1.0) for i in range(1, 5)]
        for after in (0, 2):
            self.c.send("watch w %d %d" % (after, 4 - after))
            seen = [self.c.line() for _ in range(4 - after)]
            self.assertEqual(self.c.line()["code"], "ok")
            self.assertEqual(seen, told[after:])

    def test_from_now_on_and_through_a_restart(self):
        self.c.ok("create", "w", "0.1")
        self.c.report(1, 1.0)
        watcher = self.driver()
        watcher.send("watch w - 4")
        wait_until(lambda: self.watchers() == 1)
        self.c.report(2, 2.0)
        self.assertEqual(watcher.line()["step"], 2)
        self.d.kill()
        self.d.start()
        for step in (3, 4, 5):
            self.c.report(step, float(step))
        self.assertEqual([watcher.line()["step"] for _ in range(3)], [3, 4, 5])
        self.assertEqual(watcher.line()["code"], "ok")

    def watchers(self):
        text = self.d.request("GET", "/metrics")[2].decode()
        return float(re.search(r"^greedylrd_watchers(?:\{[^}]*\})? (\S+)", text, re.M)[1])

    def test_a_quiet_watch_can_be_ended(self):
        self.c.ok("create", "w", "0.1")
        self.assertEqual(self.c.do("watch", "w", 0, 1, 2), {"code": "ok"})
        self.d.kill()
        self.assertEqual(self.c.do("watch", "w", 0, 1, 2), {"code": "ok"})
        self.assertEqual(self.c.do("watch", "w", "-", 1, 2), {"code": "ok"})
        self.d.start()

    def test_the_end_of_the_job_ends_it(self):
        self.refused(["watch", "nobody", "-", "1"], "not_found", "JOB_NOT_FOUND")
        self.refused(["watch", "nobody", "0", "1"], "not_found", "JOB_NOT_FOUND")
        self.c.ok("create", "w", "0.1")
        self.c.report(1, 1.0)
        self.c.send("watch w 0 9")
        self.assertEqual(self.c.line()["step"], 1)
        self.d.ok("DELETE", "/v1/jobs/w")
        end = self.c.line()
        self.assertEqual((end["code"], end["reason"]), ("aborted", "JOB_DELETED"))


class Example(ClibTest):
    def train(self, *args):
        return subprocess.Popen([EXAMPLE, "--url", self.url, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def result(self, process):
        """Rows (epoch, loss, printed rate, action) and the final loss."""
        out, err = process.communicate(timeout=300)
        clean(err)
        self.assertEqual(process.returncode, 0, err)
        rows = [(int(r[0]), float(r[1]), float(r[2]), r[3])
                for r in re.findall(r"^ *(\d+) +([\d.]+) +(\S+) +(\w+) ", out, re.M)]
        final = re.search(r"^loss (\S+) of the trained model, (\S+) from", out, re.M)
        return rows, float(final[1]), float(final[2])

    def recorded(self):
        status, _ = self.d.call("GET", "/v1/jobs/train-c")
        return self.d.decisions("train-c") if status == 200 else []

    def test_trains_through_a_kill(self):
        process = self.train("--epochs", "20", "--budget", "60000")
        wait_until(lambda: len(self.recorded()) >= 3, 60)
        self.d.restart()
        rows, loss, frequencies = self.result(process)
        recorded = self.recorded()
        self.assertEqual([r[0] for r in rows], list(range(1, 21)))
        self.assertEqual([(d["step"], "%.4g" % d["lr"], d["action"]) for d in recorded],
                         [(r[0], "%.4g" % r[2], r[3]) for r in rows])
        self.assertFalse(any(d["applied_mismatch"] for d in recorded))
        self.assertEqual(recorded[-1]["value"], loss)
        want = self.d.ok("POST", "/v1/simulate", {"spec": {"lr": 0.002}, "losses": [d["value"] for d in recorded]})
        self.assertEqual([d["lrs"] for d in recorded], [d["lrs"] for d in want["decisions"]])
        self.assertGreater(rows[-1][2], 0.002)  # it was too small, and was raised
        self.assertLess(loss, frequencies - 0.3)
        self.assertEqual(self.result(self.train("--epochs", "20")), (rows, loss, frequencies))
        self.assertEqual(len(self.recorded()), 20)

    def test_trains_without_a_daemon_and_delivers_at_the_end(self):
        self.d.kill()
        process = self.train("--epochs", "3", "--budget", "200")
        out, err = process.communicate(timeout=300)
        clean(err)
        self.assertEqual(process.returncode, 1)
        self.assertEqual(len(re.findall(r" kept ", out)), 3)
        self.assertIn("3 values were not delivered", err)
        self.d.start()
        self.result(self.train("--epochs", "3"))
        self.assertEqual(len(self.recorded()), 3)


def functions():
    with open(HEADER, encoding="utf-8") as f:
        return set(re.findall(r"^GLR_API [^;(]*?(glr_\w+)\(", f.read(), re.M))


class Package(unittest.TestCase):
    def test_only_the_headers_functions_are_exported(self):
        self.assertGreater(len(functions()), 15)
        for flags, path in (("-D", LIBRARY), ("-g", os.path.join(BUILD, "libgreedylr.a"))):
            out = subprocess.run(["nm", flags, "--defined-only", path], capture_output=True, text=True, check=True).stdout
            names = {n.split("@")[0] for n in re.findall(r" [TDBRVW] (\S+)$", out, re.M)}
            self.assertEqual({n for n in names if not re.match(r"_*(asan|ubsan|odr_asan|tsan|start_|stop_)", n)}, functions(), path)
        out = subprocess.run(["objdump", "-p", LIBRARY], capture_output=True, text=True, check=True).stdout
        self.assertRegex(out, r"SONAME +libgreedylr\.so\.0\n")

    def test_man_page(self):
        with open(MAN, encoding="utf-8") as f:
            page = f.read()
        synopsis, rest = page.split(".Sh DESCRIPTION")
        self.assertEqual(set(re.findall(r"^\.F[no] (glr_\w+)", synopsis, re.M)), functions())
        self.assertEqual(set(re.findall(r"^\.Fn (glr_\w+)", rest, re.M)), functions())

    def test_installed_and_used_by_its_pkg_config_file(self):
        with tempfile.TemporaryDirectory() as folder:
            build = os.path.relpath(BUILD, ROOT)
            make = ["make", "-C", ROOT, "BUILD=" + build, "DESTDIR=" + folder, "PREFIX=/usr", "--no-print-directory"]
            for built in os.listdir(BUILD):  # where things go is tested, not how they are built
                make += ["-o", build + "/" + built]
            env = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS", "BUILD"))}
            subprocess.run(make + ["install"], check=True, capture_output=True, env=env)
            for path in ("include/greedylr.h", "lib/libgreedylr.a", "lib/libgreedylr.so", "lib/libgreedylr.so.0",
                         "lib/pkgconfig/libgreedylr.pc", "share/man/man3/libgreedylr.3", "share/man/man3/greedylr.3"):
                self.assertTrue(os.path.exists(os.path.join(folder, "usr", path)), path)
            env.update(PKG_CONFIG_PATH=folder + "/usr/lib/pkgconfig", PKG_CONFIG_SYSROOT_DIR=folder)
            flags = subprocess.run(["pkg-config", "--cflags", "--libs", "libgreedylr"], capture_output=True, text=True,
                                   check=True, env=env).stdout.split()
            program = os.path.join(folder, "program")
            with open(program + ".c", "w", encoding="utf-8") as f:
                f.write("#include <greedylr.h>\n#include <stdio.h>\nint main(void) { puts(glr_version()); return 0; }\n")
            sanitized = b"__asan_init" in contents(LIBRARY)
            subprocess.run(["gcc", "-o", program, program + ".c", *flags] + ["-fsanitize=address"] * sanitized, check=True)
            env["LD_LIBRARY_PATH"] = folder + "/usr/lib"
            said = subprocess.run([program], capture_output=True, text=True, env=env)
            self.assertEqual((said.returncode, said.stderr), (0, ""))
            self.assertIn('GLR_VERSION "%s"' % said.stdout.strip(), contents(HEADER).decode())
            subprocess.run(make + ["uninstall"], check=True, capture_output=True, env=env)
            left = [f for _, _, names in os.walk(os.path.join(folder, "usr")) for f in names]
            self.assertEqual(left, [])


def contents(path):
    with open(path, "rb") as f:
        return f.read()


if __name__ == "__main__":
    unittest.main()
