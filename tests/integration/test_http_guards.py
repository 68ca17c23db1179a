"""What a hostile or broken peer may not do: foreign hosts and pages, smuggled requests, large and slow ones."""
import contextlib
import json
import os
import re
import signal
import socket
import threading
import time
import unittest

from harness import DaemonTest, reason, wait_until
from test_faces import REST, SERVICE

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
PLAIN = ("/livez", "/readyz", "/healthz", "/metrics", "/version", "/")
EVERY_PATH = sorted({path.replace("{job}", "live") for _, path in REST.values()}) + list(PLAIN) + [SERVICE + "Report"]
SMUGGLED = (b"POST /v1/jobs/smuggled:report HTTP/1.1\r\nHost: localhost\r\nContent-Length: 19\r\n\r\n"
            b'{"loss":1,"lr":0.1}')


class HostAndOrigin(DaemonTest):
    def refused(self, headers, why):
        for path in EVERY_PATH:
            for method in METHODS:
                body = "{}" if method in ("POST", "PUT", "PATCH") else None
                status, _, text = self.d.request(method, path, body, headers)
                self.assertEqual(status, 403, (method, path, headers))
                if method != "HEAD":
                    self.assertEqual(reason(json.loads(text)), why)

    def test_foreign_hosts(self):
        self.d.ok("POST", "/v1/jobs", {"job": "live", "lr": 0.1})
        before = self.d.ok("GET", "/v1/jobs/live")
        for host in ("evil.example", "evil.example:8571", "localhost.evil.example", "127.0.0.1.evil.example", "0.0.0.0",
                     "0.0.0.0:8571", "[::]", "127.0.0.2", "localhost:port", "user@localhost", "localhost/", "[::1", ""):
            self.refused({"Host": host}, "HOST_NOT_ALLOWED")
        self.assertEqual(self.d.ok("GET", "/v1/jobs/live"), before)

    def test_foreign_pages(self):
        self.d.ok("POST", "/v1/jobs", {"job": "live", "lr": 0.1})
        before = self.d.ok("GET", "/v1/jobs/live")
        own = "http://127.0.0.1:%d" % self.d.port
        for headers in ({"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": ""},
                        {"Origin": "http://127.0.0.1:1"},
                        {"Origin": own + ".evil.example"}, {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"},
                        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
                        {"Origin": own, "Sec-Fetch-Site": "cross-site"}):
            self.refused(headers, "ORIGIN_NOT_ALLOWED")
        self.assertEqual(self.d.ok("GET", "/v1/jobs/live"), before)

    def test_own_hosts_and_pages(self):
        for headers in ({"Host": "localhost"}, {"Host": "LOCALHOST:1"}, {"Host": "127.0.0.1"}, {"Host": "[::1]:8571"},
                        {"Origin": "http://127.0.0.1:%d" % self.d.port, "Sec-Fetch-Site": "same-origin"},
                        {"Sec-Fetch-Site": "none"}):
            self.assertEqual(self.d.request("GET", "/v1/jobs", headers=headers)[0], 200, headers)
        link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
        self.assertEqual(self.d.request("GET", "/", headers=link)[0], 200)
        self.assertEqual(self.d.request("GET", "/v1/jobs", headers=link)[0], 403)

    def test_no_cors(self):
        for headers in ({}, {"Origin": "http://127.0.0.1:%d" % self.d.port}):
            for path in ("/v1/jobs", "/"):
                _, got, _ = self.d.request("GET", path, headers=headers)
                self.assertFalse([h for h in got if h.startswith("access-control")])


class AllowedHost(DaemonTest):
    flags = ("--allow-host", "trainer.example,::2")

    def test_named(self):
        for host, status in (("trainer.example:9", 200), ("TRAINER.example", 200), ("x.trainer.example", 403),
                             ("[0:0:0::2]:80", 200)):
            self.assertEqual(self.d.request("GET", "/livez", headers={"Host": host})[0], status, host)


REST_HEAD = b"POST /v1/simulate HTTP/1.1\r\nHost: localhost\r\n"
CONNECT_HEAD = b"POST /greedylr.v1.SchedulerService/ListJobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


def smuggling_shapes(post=REST_HEAD):
    """(name, bytes): requests that two HTTP parsers may cut at different places, the second one inside."""
    n = len(SMUGGLED)
    for value in (b"chunked", b"Chunked", b"xchunked", b" chunked", b"\tchunked", b"chunked ", b"\"chunked\"", b"identity",
                  b"gzip, chunked", b"chunked, identity", b"chunked, chunked", b"", b"\x0bchunked", b"chunk"):
        for name in (b"Transfer-Encoding", b"transfer-encoding", b"Transfer-Encoding ", b"TE\x00x",
                     b" Transfer-Encoding"):
            if name == b"TE\x00x" and value != b"chunked":
                continue
            if name == b" Transfer-Encoding":
                continue  # a folded line to libmicrohttpd: documented as not seen
            text = post + name + b": " + value + b"\r\n"
            yield "TE %r %r" % (name, value), text + b"\r\n0\r\n\r\n" + SMUGGLED
            yield "TE+CL %r %r" % (name, value), text + b"Content-Length: 5\r\n\r\n0\r\n\r\n" + SMUGGLED
            yield "CL+TE %r %r" % (name, value), post + b"Content-Length: %d\r\n" % (n + 5) + name + b": " + value + \
                b"\r\n\r\n0\r\n\r\n" + SMUGGLED
    for value in (b"+0", b"-0", b"-1", b"0x0", b"0,0", b"0, 0", b"0 0", b"0;", b"0.0", b"1e1", b"\"0\"", b"0_0", b"a", b"",
                  b"18446744073709551616", b"99999999999999999999", b"9223372036854775808", b"\xd9\xa0", b"0\x0b"):
        yield "CL %r" % value, post + b"Content-Length: " + value + b"\r\n\r\n" + SMUGGLED
    for name in (b"Content-Length ", b"Content-Length\t", b"Content\x00-Length", b"Content-Length\x0b", b"(Content-Length)",
                 b"Content Length"):
        yield "CL name %r" % name, post + name + b": 0\r\n\r\n" + SMUGGLED
    for first, second in ((b"0", b"%d" % n), (b"%d" % n, b"0"), (b"0", b"0"), (b"0", b"")):
        yield "CL twice %r %r" % (first, second), post + b"Content-Length: " + first + b"\r\nContent-Length: " + second + \
            b"\r\n\r\n" + SMUGGLED
    for line in (b"GET /livez HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
                 b"GET /livez HTTP/1.1\r\nHost: localhost\r\nhost: evil.example\r\n\r\n",
                 b"GET /livez HTTP/1.1\r\n\r\n", b"GET /livez HTTP/1.2\r\nHost: localhost\r\n\r\n",
                 b"GET /livez HTTP/2.0\r\nHost: localhost\r\n\r\n", b"GET /livez http/1.1\r\nHost: localhost\r\n\r\n",
                 b"GET /livez\x00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
                 b"GET /livez\x7f HTTP/1.1\r\nHost: localhost\r\n\r\n", b"get /livez HTTP/1.1\r\nHost: localhost\r\n\r\n",
                 b"BREW /livez HTTP/1.1\r\nHost: localhost\r\n\r\n", b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
                 b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n",
                 b"TRACE /livez HTTP/1.1\r\nHost: localhost\r\n\r\n",
                 b"GET http://evil.example/livez HTTP/1.1\r\nHost: localhost\r\n\r\n",
                 b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX y: 1\r\n\r\n",
                 b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX\x00: 1\r\n\r\n",
                 b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX: \x01\r\n\r\n",
                 b"GET /livez HTTP/1.1\r\nHost: localhost\r\nno colon\r\n\r\n"):
        yield "head %r" % line[:60], line + SMUGGLED


class Smuggling(DaemonTest):
    def test_no_second_request(self):
        shapes = list(smuggling_shapes())
        self.assertGreater(len(shapes), 150)
        for name, data in shapes:
            with self.subTest(name):
                answer = self.d.raw(data, 10)
                first = answer.split(b"\r\n")[0]
                self.assertRegex(first, rb"^(HTTP/1\.1 (400|501|505|413|431) |$)", answer[:300])
                gone = self.d.request("DELETE", "/v1/jobs/smuggled")[0] == 404
                # libmicrohttpd sends the head of a refusal of its own twice; what counts is that all are refusals.
                served = [c for c in re.findall(rb"HTTP/1\.[01] (\d\d\d) ", answer) if c[:1] != b"4" and c[:1] != b"5"]
                self.assertEqual((served, gone), ([], True), answer[:900])

    def test_chunks_are_the_last_of_their_connection(self):
        """The Connect face takes chunked bodies; whatever follows one, or hides in it, is no request."""
        plain = {"TE %r %r" % (name, value) for name in (b"Transfer-Encoding", b"transfer-encoding")
                 for value in (b"chunked", b"Chunked", b" chunked", b"\tchunked")}
        for name, data in smuggling_shapes(CONNECT_HEAD):
            if name.startswith("TE"):
                with self.subTest(name):
                    answer = self.d.raw(data, 10)
                    self.assertEqual(answer.startswith(b"HTTP/1.1 200 "), name in plain, (name, answer[:300]))
                    self.assertEqual(self.d.request("DELETE", "/v1/jobs/smuggled")[0], 404)
        chunked = CONNECT_HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
        for body in (b"2\r\n{}\r\n0\r\n\r\n", b"2;x=y\r\n{}\r\n0\r\n\r\n", b"02\r\n{}\r\n00\r\nTrailer: x\r\n\r\n",
                     b"0\r\n\r\n", b"0\r\n", b"0\n\n", b"-1\r\n", b"2 \r\n{}\r\n0\r\n\r\n", b"0x2\r\n{}\r\n0\r\n\r\n",
                     b"2\r\n{}0\r\n\r\n", b"3\r\n{}\r\n0\r\n\r\n", b"10000000000000000\r\n", b"ffffffffffffffff\r\n", b"\r\n",
                     b"2\n{}\n0\n\n", b"2\r\n{}\r\n0\r\nTransfer-Encoding: chunked\r\nContent-Length: 9\r\n\r\n"):
            with self.subTest(body=body):
                answer = self.d.raw(chunked + body + SMUGGLED, 10)
                self.assertLessEqual(answer.count(b"HTTP/1.1 200 "), 1, answer[:600])
                if answer.startswith(b"HTTP/1.1 200 "):
                    self.assertIn(b"\r\nConnection: close\r\n", answer)
                self.assertEqual(self.d.request("DELETE", "/v1/jobs/smuggled")[0], 404)
        large = b"10000\r\n" + b" " * 65536 + b"\r\n" + b"1\r\n \r\n0\r\n\r\n"
        head, _, body = self.d.raw(chunked + large + SMUGGLED, 10).partition(b"\r\n\r\n")
        self.assertEqual(reason(json.loads(body)), "BODY_TOO_LARGE")
        unknown = CONNECT_HEAD.replace(b"ListJobs", b"Nothing") + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
        head, _, body = self.d.raw(unknown + SMUGGLED, 10).partition(b"\r\n\r\n")
        self.assertEqual(reason(json.loads(body)), "PATH_UNKNOWN")

    def test_ours_say_so_and_close(self):
        for data in (b"GET /livez HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
                     b"POST /v1/simulate HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"):
            head, _, body = self.d.raw(data, 10).partition(b"\r\n\r\n")
            self.assertIn(b"connection: close", head.lower())
            self.assertEqual(reason(json.loads(body)), "REQUEST_MALFORMED")

    def test_what_the_guard_cannot_see(self):
        """libmicrohttpd 0.9.75 takes these apart before the guard: bare LF, folded lines, an empty header name (which
        ends the headers there), a NUL in a value (which ends it).  A proxy in front must not let them through, and
        none of the common ones does.  They must not do more harm than a client could do without them."""
        end = b"Connection: close\r\n\r\n"
        for data in (b"GET  /livez HTTP/1.1\r\nHost: localhost\r\n" + end,
                     b"GET /livez HTTP/1.1\nHost: localhost\nConnection: close\n\n",
                     b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX: a\r\n b\r\n" + end,
                     b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX: \x00y\r\n" + end,
                     b"GET /livez HTTP/1.1\r\nHost: localhost\r\n: 1\r\n" + end,
                     b"POST /v1/simulate HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\x00\r\n" + end):
            self.assertRegex(self.d.raw(data, 10), rb"^HTTP/1\.1 (200|400) ")
            self.assertEqual(self.d.request("GET", "/livez", headers={"Host": "evil.example"})[0], 403)

    def test_pipelining_is_served_in_order(self):
        one = b"GET /v1/jobs/p%d HTTP/1.1\r\nHost: localhost\r\n\r\n"
        last = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        answer = self.d.raw(b"".join(one % i for i in range(3)) + last, 10)
        self.assertEqual([answer.find(b"p%d" % i) > 0 for i in range(3)], [True] * 3)
        self.assertLess(answer.find(b"p0"), answer.find(b"p2"))
        self.assertEqual(answer.count(b"HTTP/1.1 404"), 3)
        self.assertEqual(answer.count(b"HTTP/1.1 200"), 1)

    def test_bodies_do_not_leak_into_the_next_request(self):
        body = b'{"spec":{"lr":1},"losses":[1]}'
        post = b"POST /v1/simulate HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        last = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        answer = self.d.raw(post * 2 + last, 10)
        self.assertEqual(answer.count(b"HTTP/1.1 200"), 3, answer)


class MethodsAndPaths(DaemonTest):
    def test_allow_lists_what_is_served(self):
        served = {}
        for verb, path in REST.values():
            served.setdefault(path.replace("{job}", "x"), set()).add(verb)
        for path in PLAIN:
            served[path] = {"GET"}
        for path, verbs in served.items():
            verbs = verbs | ({"HEAD"} if "GET" in verbs else set())
            for method in METHODS:
                if method in verbs:
                    continue
                status, headers, text = self.d.request(method, path, "{}" if method in ("POST", "PUT", "PATCH") else None)
                with self.subTest(method=method, path=path):
                    self.assertEqual(status, 405)
                    self.assertEqual(set(headers["allow"].split(", ")), verbs)
                    if method != "HEAD":
                        self.assertEqual(reason(json.loads(text)), "METHOD_NOT_ALLOWED")

    def test_head(self):
        self.d.ok("POST", "/v1/jobs", {"job": "x", "lr": 0.1})
        for path in ("/livez", "/version", "/v1/jobs/x", "/v1/jobs/x/lr", "/v1/jobs", "/v1/jobs/none"):
            status, headers, body = self.d.request("GET", path)
            got, head, empty = self.d.request("HEAD", path)
            self.assertEqual((got, head["content-type"], empty), (status, headers["content-type"], b""), path)
            self.assertEqual(head["content-length"], str(len(body)), path)

    def test_unknown_paths(self):
        for path in ("/nothing", "/v1", "/v1/", "/v1/jobs/", "/v1/jobs/x/", "/v1/jobs/x/y", "/v1/jobs/x:nothing",
                     "/v1/jobs/x%3areport", "/v1//jobs", "//v1/jobs", "/V1/jobs", "/livez/", SERVICE, SERVICE + "report",
                     "/greedylr.v1.Nothing/Report", "/v1/jobs/a/b/lr", "/favicon.ico"):
            status, headers, text = self.d.request("GET", path)
            self.assertIn(status, (400, 404), path)
            self.assertIn(reason(json.loads(text)), ("PATH_UNKNOWN", "FIELD_INVALID"), path)


class Sizes(DaemonTest):
    def test_bodies(self):
        status, _, text = self.d.request("POST", "/v1/jobs", " " * 65536 + "{}")
        self.assertEqual((status, reason(json.loads(text))), (413, "BODY_TOO_LARGE"))
        self.assertIn("--max-body", text.decode())
        status, _, text = self.d.request("POST", "/v1/jobs", " " * 65534 + "{}")
        self.assertEqual(status, 400)  # fits; a job and its lr are missing
        status, _, _ = self.d.request("POST", "/v1/simulate", '{"spec":{"lr":1},"losses":[1]}' + " " * 900000)
        self.assertEqual(status, 200)
        # Far too much is answered before it is read, so a client that only writes may see a closed connection.
        answer = self.d.raw(b"POST /v1/jobs:batchReport HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1048578\r\n\r\n", 10)
        self.assertTrue(answer.startswith(b"HTTP/1.1 413") and b"BODY_TOO_LARGE" in answer, answer)
        status, _, text = self.d.request("POST", SERVICE + "Report", " " * 70000, {"Content-Type": "application/json"})
        self.assertEqual((status, json.loads(text)["code"]), (413, "resource_exhausted"))

    def test_refused_before_the_body_arrives(self):
        for length in (10 ** 7, 10 ** 12):
            head = b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % length
            start = time.monotonic()
            self.assertTrue(self.d.raw(head, 10).startswith(b"HTTP/1.1 413"))
            self.assertLess(time.monotonic() - start, 5)

    def test_expect_continue(self):
        body = b'{"spec":{"lr":1},"losses":[1]}'
        head = b"POST /v1/simulate HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nExpect: 100-continue\r\n" \
               b"Content-Length: %d\r\n\r\n" % len(body)
        with socket.create_connection(("127.0.0.1", self.d.port), 10) as s:
            s.sendall(head)
            self.assertTrue(s.recv(1000).startswith(b"HTTP/1.1 100"))
            s.sendall(body)
            answer = b""
            while more := s.recv(65536):
                answer += more
        self.assertTrue(answer.startswith(b"HTTP/1.1 200"), answer)

    def test_entries(self):
        status, answer = self.d.call("POST", "/v1/simulate", {"spec": {"lr": 1}, "losses": [1] * 10001})
        self.assertEqual((status, reason(answer)), (400, "FIELD_INVALID"))
        self.assertIn("10000", answer["message"])
        self.assertEqual(len(self.d.ok("POST", "/v1/simulate", {"spec": {"lr": 1}, "losses": [1] * 10000})["decisions"]),
                         10000)

    def test_headers(self):
        for head in (b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 9000 + b"\r\n\r\n",
                     b"GET /livez HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 2000 + b"\r\n",
                     b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"):
            self.assertRegex(self.d.raw(head, 10)[:13], rb"^(HTTP/1\.1 (431|414) ?|$)", head[:40])
        self.assertEqual(self.d.request("GET", "/livez", headers={"X": "x" * 6000})[0], 200)


class Slow(DaemonTest):
    flags = ("--header-timeout", "400ms", "--request-timeout", "400ms", "--keepalive-timeout", "400ms")

    def closed_after(self, data, trickle=b""):
        with socket.create_connection(("127.0.0.1", self.d.port), 10) as s:
            s.sendall(data)
            s.settimeout(0.05)
            start = time.monotonic()
            answer = b""
            while time.monotonic() - start < 8:
                try:
                    if trickle:
                        s.sendall(trickle)
                    more = s.recv(4096)
                    if not more:
                        break
                    answer += more
                except TimeoutError:
                    continue
                except OSError:
                    break
            return time.monotonic() - start, answer

    def test_deadlines_are_absolute(self):
        post = b"POST /v1/simulate HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"
        for name, data, trickle in (("nothing", b"", b""), ("half a header", b"GET / HTTP/1.1\r\nHo", b""),
                                    ("trickled header", b"GET / HTTP/1.1\r\nX: ", b"x"), ("no body", post, b""),
                                    ("trickled body", post, b" ")):
            with self.subTest(name):
                seconds, answer = self.closed_after(data, trickle)
                self.assertGreater(seconds, 0.3)
                self.assertLess(seconds, 3.0)
                self.assertFalse(answer.startswith(b"HTTP/1.1 200"))

    def test_idle_connections_close(self):
        seconds, answer = self.closed_after(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        self.assertTrue(answer.startswith(b"HTTP/1.1 200"))
        self.assertGreater(seconds, 0.3)
        self.assertLess(seconds, 3.0)

    def test_others_are_served_meanwhile(self):
        stop = threading.Event()

        def trickle():
            while not stop.is_set():
                try:
                    with socket.create_connection(("127.0.0.1", self.d.port), 5) as s:
                        while not stop.is_set():
                            s.sendall(b"G")
                            time.sleep(0.05)
                except OSError:
                    pass

        threads = [threading.Thread(target=trickle, daemon=True) for _ in range(50)]
        for t in threads:
            t.start()
        try:
            slowest = 0
            for i in range(100):
                start = time.monotonic()
                self.d.ok("POST", "/v1/jobs/j:report", {"step": i, "loss": 1, "lr": 0.1})
                slowest = max(slowest, time.monotonic() - start)
            self.assertLess(slowest, 2.0)
        finally:
            stop.set()
            for t in threads:
                t.join(10)


class FewConnections(DaemonTest):
    flags = ("--max-connections", "8")

    def test_recovers(self):
        held = [socket.create_connection(("127.0.0.1", self.d.port), 5) for _ in range(12)]
        time.sleep(0.1)
        for s in held:
            s.close()
        self.assertEqual(self.d.request("GET", "/livez")[0], 200)

    def test_a_request_on_its_way_is_not_taken_for_idle(self):
        """At the limit an idle connection makes room, and not the one whose request has just come."""
        ask = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
        alone = lambda: b"\ngreedylrd_connections 1\n" in self.d.request("GET", "/metrics")[2]

        def stopped():
            with open("/proc/%d/stat" % self.d.process.pid) as f:
                return f.read().rsplit(")", 1)[1].split()[0] == "T"

        for _ in range(6):
            wait_until(alone)
            with contextlib.ExitStack() as stack:
                connect = lambda: stack.enter_context(socket.create_connection(("127.0.0.1", self.d.port), 5))
                held = []
                for _ in range(7):
                    held.append(connect())
                    held[-1].sendall(ask)
                    self.assertTrue(held[-1].recv(4096).startswith(b"HTTP/1.1 200"))
                    time.sleep(0.01)  # held[0] is the oldest, and the one of /metrics is gone
                os.kill(self.d.process.pid, signal.SIGSTOP)  # both come before it looks
                try:
                    wait_until(stopped)
                    more = connect()
                    held[0].sendall(ask)
                    more.sendall(ask)
                finally:
                    os.kill(self.d.process.pid, signal.SIGCONT)
                for s in (held[0], more):
                    self.assertTrue(s.recv(4096).startswith(b"HTTP/1.1 200"))


if __name__ == "__main__":
    unittest.main()
