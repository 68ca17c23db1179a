"""Requests that two HTTP parsers may cut at different places: what hides in one is not served as a second.

Each case is a first request and, behind it or in its body, one that would create a job of the case's own.  TOLERATED lists
exactly those whose second request is served: libmicrohttpd takes bare LF and folded lines apart before anybody can see
them, and reads an end of the headers there.  A proxy in front must not let these through; none of the common ones does.
"""
import concurrent.futures
import itertools
import unittest

from harness import DaemonTest
from test_faces import REST, SERVICE
from test_http_guards import METHODS, PLAIN

POST = b"POST /v1/simulate HTTP/1.1\r\nHost: localhost\r\n"
CONNECT = b"POST /greedylr.v1.SchedulerService/ListJobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
GET = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n"
SECOND = (b"POST /v1/jobs/%s:report HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 19\r\n\r\n"
          b'{"loss":1,"lr":0.1}')

TOLERATED = {
    # bare LF ends a line, and the headers
    "eol b'\\n' all", "eol b'\\n' one", "eol b'\\n' last",
    # NUL ends a value, or a line
    "eol b'\\x00\\r\\n' one", "eol b'\\x00\\r\\n' last", "header b'X: a\\x00b'",
    # a header without a name ends the headers; two spaces are one
    "header b': nameless'", "line b'GET  /livez HTTP/1.1'",
}


def coded():
    """Transfer-Encoding in every spelling, alone and against a Content-Length."""
    values = (b"chunked", b"Chunked", b"CHUNKED", b"xchunked", b"chunkedx", b"\tchunked", b"chunked\t", b"chunked ", b'"chunked"',
              b"'chunked'", b"identity", b"gzip, chunked", b"chunked, identity", b"chunked, chunked", b"chunked;q=1", b"",
              b"\x0bchunked", b"chunked\x0c", b"chunk", b",chunked", b"chunked,", b"\xffchunked", b"cow")
    names = (b"Transfer-Encoding", b"transfer-encoding", b"Transfer-Encoding ", b"Transfer_Encoding", b"Transfer-Encoding\t",
             b"\x0bTransfer-Encoding", b"Transfer\xadEncoding", b"TE")
    sizes = (b"", b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"Content-Length: 200\r\n")
    for value, name, size in itertools.product(values, names, sizes):
        if name in (b"Transfer_Encoding", b"Transfer\xadEncoding", b"TE") and not (size == b"Content-Length: 200\r\n"):
            continue  # headers that nobody takes for the coding: with another size the second is plainly a second
        if name == b"TE" and value != b"chunked":
            continue
        head = name + b": " + value + b"\r\n"
        yield "TE %r %r %r" % (name, value, size), POST + head + size + b"\r\n0\r\n\r\n"
        if size and name == names[0]:
            yield "TE last %r %r" % (value, size), POST + size + head + b"\r\n0\r\n\r\n"
            yield "TE connect %r %r" % (value, size), CONNECT + head + size + b"\r\n0\r\n\r\n"
    for first, second in itertools.permutations((b"chunked", b"identity", b"cow"), 2):
        yield "TE twice %r %r" % (first, second), \
            CONNECT + b"Transfer-Encoding: " + first + b"\r\nTransfer-Encoding: " + second + b"\r\n\r\n0\r\n\r\n"


def sized():
    """Content-Length that is none, or two."""
    for value in (b"+0", b"-0", b"-1", b"0x0", b"0,0", b"0, 0", b"0 0", b"0;", b"0.0", b"1e1", b'"0"', b"0_0", b"a", b"",
                  b"18446744073709551616", b"99999999999999999999", b"\xd9\xa0", b"0\x0b", b"\x0b0", b"0b0", b"0o0", b"0\xa0",
                  b"000000000000000000000"):
        for start in (POST, CONNECT, GET):
            yield "CL %r %r" % (value, start[:4]), start + b"Content-Length: " + value + b"\r\n\r\n"
    for name in (b"Content-Length ", b"Content-Length\t", b"Content\x00-Length", b"Content-Length\x0b", b"(Content-Length)",
                 b"Content Length"):
        for value in (b"0", b"9"):
            yield "CL name %r %r" % (name, value), POST + name + b": " + value + b"\r\n\r\n"
    for first, second in itertools.product((b"0", b"5", b"200", b""), repeat=2):
        yield "CL twice %r %r" % (first, second), POST + b"Content-Length: " + first + b"\r\nContent-Length: " + second + b"\r\n\r\n"


def chunked():
    """Chunks that are none, on the face that takes chunks: the connection ends with their answer."""
    head = CONNECT + b"Transfer-Encoding: chunked\r\n\r\n"
    for size in (b"0", b"00", b"0;x", b"0;x=y", b"0 ;x", b"0;\x00", b"0;x\n", b"0\n", b"-0", b"+0", b"0x0", b" 0", b"0 ", b"", b"g",
                 b"ffffffffffffffff", b"10000000000000000", b"8000000000000000"):
        for end in (b"\r\n\r\n", b"\r\n", b"\n\n", b"\r\r", b"\r\nX: y\r\n\r\n", b"\r\nContent-Length: 9\r\n\r\n"):
            yield "chunk %r %r" % (size, end), head + size + end
    for body in (b"2\r\n{}0\r\n\r\n", b"3\r\n{}\r\n0\r\n\r\n", b"2\r\n{}\n0\r\n\r\n", b"2\r\n{}\r\r0\r\n\r\n", b"2;" + b"x" * 9000 + b"\r\n{}\r\n0\r\n\r\n"):
        yield "chunks %r" % body[:20], head + body


def lined():
    """Lines that end, begin or go on as they should not."""
    for eol, name in itertools.product((b"\n", b"\r", b"\r\r\n", b"\n\r", b"\x00\r\n", b"\x0b"), ("all", "one", "last")):
        if name == "all":
            data = eol.join((b"GET /livez HTTP/1.1", b"Host: localhost", b"X: y", b"", b""))
        elif name == "one":
            data = GET + b"X: y" + eol + b"Z: w\r\n\r\n"
        else:
            data = GET + b"X: y\r\n" + eol
        yield "eol %r %s" % (eol, name), data
    for fold in (b" ", b"\t", b"  \t"):
        for coding in (b"Transfer-Encoding: chunked", b"Content-Length: 200", b"Transfer-Encoding:\r\n%schunked" % fold):
            yield "fold %r %r" % (fold, coding), POST + b"X: y\r\n" + fold + coding + b"\r\n\r\n0\r\n\r\n"
    for line in (b"GET /livez", b"GET /livez ", b"GET  /livez HTTP/1.1", b"GET /livez  HTTP/1.1", b"GET\t/livez HTTP/1.1",
                 b"GET /livez HTTP/1.1 ", b" GET /livez HTTP/1.1", b"GET /livez HTTP/0.9", b"GET /livez HTTP/1.2", b"GET /livez HTTP/2.0",
                 b"GET /livez HTTP/11", b"GET /livez http/1.1", b"GET /livez HTTP/1.1\x00", b"GET /livez\x00 HTTP/1.1",
                 b"GET /livez\x7f HTTP/1.1", b"GET /li\tvez HTTP/1.1", b"GET /livez#x HTTP/1.1\x0b", b"get /livez HTTP/1.1",
                 b"BREW /livez HTTP/1.1", b"OPTIONS * HTTP/1.1", b"CONNECT localhost:80 HTTP/1.1", b"TRACE /livez HTTP/1.1",
                 b"PRI * HTTP/2.0", b"GET http://localhost/livez HTTP/1.1", b"GET http://evil.example/livez HTTP/1.1",
                 b"GET livez HTTP/1.1", b"GET \\livez HTTP/1.1", b"GET  HTTP/1.1", b"", b"\x16\x03\x01\x02\x00\x01"):
        yield "line %r" % line, line + b"\r\nHost: localhost\r\n\r\n"
    for header in (b"Host: localhost", b"host: evil.example", b"Host : localhost", b"X y: 1", b"X\x00: 1", b"X: \x01", b"no colon",
                   b": nameless", b"X: a\x00b", b"X\r: y", b"X:\x7f", b"\x80: y", b"Content-Length", b"Transfer-Encoding"):
        yield "header %r" % header, GET + header + b"\r\n\r\n"
    for missing in (b"GET /livez HTTP/1.1\r\n\r\n", b"GET /livez HTTP/1.1\r\nX: y\r\n\r\n"):
        yield "no host %r" % missing, missing
    for close in (b"close", b"Close", b"close, keep-alive", b"keep-alive, close"):
        yield "closing %r" % close, GET + b"Connection: " + close + b"\r\n\r\n"
    yield "HTTP/1.0", b"GET /livez HTTP/1.0\r\n\r\n"
    for expect in (b"100-continue", b"200-ok"):
        yield "expect %r" % expect, POST + b"Expect: " + expect + b"\r\nContent-Length: 200\r\n\r\n"


def controls():
    """Plain pipelining: the second request is one."""
    body = b'{"spec":{"lr":1},"losses":[1]}'
    yield "get", GET + b"\r\n"
    yield "post", POST + b"Content-Length: %d\r\n\r\n" % len(body) + body
    yield "empty", CONNECT + b"Content-Length: 2\r\n\r\n{}"
    yield "upgrade", GET + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
    yield "websocket", GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n"


class Smuggling(DaemonTest):
    def served(self, cases):
        """Names of the cases whose second request was served."""
        def ask(item):
            i, (name, data) = item
            self.d.raw(data + SECOND % (b"v%d" % i), 2)

        with concurrent.futures.ThreadPoolExecutor(48) as pool:
            list(pool.map(ask, enumerate(cases)))
        found = set()
        for i, (name, _) in enumerate(cases):
            if self.d.request("GET", "/v1/jobs/v%d" % i)[0] == 200:
                found.add(name)
                self.d.request("DELETE", "/v1/jobs/v%d" % i)
        return found

    def test_nothing_hides(self):
        cases = list(dict(itertools.chain(coded(), sized(), chunked(), lined())).items())
        self.assertGreater(len({data for _, data in cases}), 500)
        self.assertEqual(sorted(self.served(cases)), sorted(TOLERATED))
        print("\n%d smuggling cases, %d second requests served, all of them listed" % (len(cases), len(TOLERATED)))

    def test_what_is_plain_is_served(self):
        cases = list(controls())
        self.assertEqual(self.served(cases), {name for name, _ in cases})


class Strangers(DaemonTest):
    """Every route, of both faces, with every method: foreign hosts and pages are refused before anything is looked at."""
    HOSTS = ("evil.example", "localhost.evil.example:%d", "0.0.0.0", "")
    ORIGINS = ("http://evil.example", "null", "http://127.0.0.1:1")

    def test_every_route_and_method(self):
        self.d.ok("POST", "/v1/jobs", {"job": "live", "lr": 0.1})
        before = self.d.ok("GET", "/v1/jobs/live")
        routes = sorted({path.replace("{job}", "live") for _, path in REST.values()} | {SERVICE + name for name in REST} | set(PLAIN))
        asked = {}
        c = self.d.connection()
        for path, method in itertools.product(routes, METHODS + ("OPTIONS", "TRACE")):
            body = "{}" if method in ("POST", "PUT", "PATCH") else None
            known = method in METHODS
            for name, values, why in (("Host", self.HOSTS, b"HOST_NOT_ALLOWED"), ("Origin", self.ORIGINS, b"ORIGIN_NOT_ALLOWED")):
                for value in values:
                    value = value % self.d.port if "%d" in value else value
                    status, headers, text = self.d.request(method, path, body, {name: value}, connection=c)
                    self.assertEqual(status, 403 if known else 400, (method, path, name, value))
                    if method != "HEAD" and known:
                        self.assertIn(why, text)
                    asked[status] = asked.get(status, 0) + 1
        c.close()
        self.assertEqual(self.d.ok("GET", "/v1/jobs/live"), before)
        text = self.d.request("GET", "/metrics")[2].decode()
        refused = sum(float(line.split()[-1]) for line in text.splitlines()
                      if line.startswith("greedylrd_refusals_total") and "NOT_ALLOWED" in line)
        self.assertEqual(refused, asked[403])
        served = sum(float(line.split()[-1]) for line in text.splitlines()
                     if line.startswith("greedylrd_http_requests_total") and 'code="200"' in line)
        self.assertLess(served, 10)
        print("\n%d requests to %d routes refused" % (sum(asked.values()), len(routes)))


if __name__ == "__main__":
    unittest.main()
