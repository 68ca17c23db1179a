"""TLS: what clients get over https, what is refused, certificates that change on a running daemon, peers that do not shake
hands, and that it costs nothing to be rude."""
import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import tempfile
import threading
import time
import unittest

from certificates import Authority
from harness import BINARY, Daemon, reason, wait_until

NEVER = os.path.join(tempfile.gettempdir(), "greedylrd-tls-never-made")


class SecureDaemon(Daemon):
    """A daemon that speaks TLS, and how to talk to it."""

    def __init__(self, authority, pair, *flags, **more):
        super().__init__("--tls-cert", pair[0], "--tls-key", pair[1], *flags, **more)
        self.context = authority.context()

    def connection(self):
        return http.client.HTTPSConnection("localhost", self.port, timeout=60, context=self.context)

    def plain(self, seconds=20.0):
        """A TCP connection and nothing more."""
        return socket.create_connection(("127.0.0.1", self.port), seconds)

    def secure(self, **more):
        return self.context.wrap_socket(self.plain(), server_hostname="localhost", **more)

    def metric(self, name):
        text = self.request("GET", "/metrics")[2].decode()
        return sum(float(line.split()[-1]) for line in text.splitlines() if line.split(" ")[0] == "greedylrd_" + name)


def setUpModule():
    global PLACE, CA, PAIR
    PLACE = tempfile.mkdtemp(prefix="greedylrd-tls-")
    CA = Authority(PLACE)
    PAIR = CA.issue("localhost")


def tearDownModule():
    shutil.rmtree(PLACE)


class TlsTest(unittest.TestCase):
    flags = ()

    def setUp(self):
        self.d = SecureDaemon(CA, PAIR, *self.flags)
        self.addCleanup(self.d.close)
        self.d.start()

    def until_closed(self, sock, seconds=10.0):
        """What comes until the peer closes."""
        sock.settimeout(seconds)
        got = b""
        try:
            while more := sock.recv(4096):
                got += more
        except (ConnectionResetError, ssl.SSLError):
            pass
        return got


class Served(TlsTest):
    def test_rest_keep_alive_and_announcement(self):
        c = self.d.connection()
        self.d.ok("POST", "/v1/jobs/j:report", {"step": 1, "loss": 1, "lr": 0.1}, connection=c)
        first = c.sock
        for step in range(2, 200):
            self.d.ok("POST", "/v1/jobs/j:report", {"step": step, "loss": 1 / step}, connection=c)
        self.assertIs(c.sock, first)
        self.assertEqual(self.d.request("GET", "/v1/jobs/j/lr", connection=c)[0], 200)
        self.assertEqual(self.d.request("HEAD", "/v1/jobs/j", connection=c)[2], b"")
        self.assertEqual(c.sock.version(), "TLSv1.3")
        c.close()
        self.assertEqual(self.d.rpc("GetJob", {"job": "j"})[0], 200)
        self.d.close()
        self.assertIn("tls=true", self.d.stderr)

    def test_large_bodies_and_answers(self):
        losses = [1 / (i + 1) for i in range(10000)]
        status, answer = self.d.call("POST", "/v1/simulate", {"spec": {"lr": 0.1}, "losses": losses})
        self.assertEqual((status, len(answer["decisions"])), (200, 10000))
        status, answer = self.d.call("POST", "/v1/jobs/j:report", b"x" * 70000)
        self.assertEqual((status, reason(answer)), (413, "BODY_TOO_LARGE"))

    def test_pipelined_and_split(self):
        """Requests that share a record, and a request in records of one byte."""
        self.d.ok("POST", "/v1/jobs/j:report", {"step": 1, "loss": 1, "lr": 0.1})
        one = b"GET /v1/jobs/j/lr HTTP/1.1\r\nHost: localhost\r\n\r\n"
        last = one.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        with self.d.secure() as s:
            s.sendall(one * 50 + last)
            self.assertEqual(self.until_closed(s).count(b"HTTP/1.1 200"), 51)
        with self.d.secure() as s:
            for i in range(len(last)):
                s.sendall(last[i:i + 1])
            self.assertEqual(self.until_closed(s).count(b"HTTP/1.1 200"), 1)

    def test_expect_continue(self):
        body = json.dumps({"step": 1, "loss": 1, "lr": 0.1}).encode()
        with self.d.secure() as s:
            s.sendall(b"POST /v1/jobs/e:report HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nExpect: 100-continue\r\n"
                      b"Content-Length: %d\r\n\r\n" % len(body))
            s.settimeout(10)
            self.assertIn(b"100 Continue", s.recv(4096))
            s.sendall(body)
            self.assertIn(b"HTTP/1.1 200", self.until_closed(s))

    def test_round_waits_and_a_rank_that_leaves(self):
        self.d.ok("POST", "/v1/jobs", {"job": "r", "lr": 0.1, "ranks": {"world_size": 3}})
        answers = []

        def report(rank):
            answers.append(self.d.ok("POST", "/v1/jobs/r:report", {"step": 1, "rank": rank, "loss": rank, "wait": "30s"}))

        threads = [threading.Thread(target=report, args=(rank,)) for rank in (0, 1)]
        for t in threads:
            t.start()
        body = json.dumps({"step": 1, "rank": 1, "loss": 1, "wait": "30s"}).encode()
        gone = self.d.secure()
        gone.sendall(b"POST /v1/jobs/r:report HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        wait_until(lambda: self.d.metric("requests_in_flight") >= 4)
        gone.close()
        wait_until(lambda: self.d.metric("peers_gone_total") == 1)
        report(2)
        for t in threads:
            t.join(30)
        self.assertEqual(len({a["revision"] for a in answers}), 1)
        self.assertEqual(len(answers), 3)

    def test_watch_and_connect_stream(self):
        self.d.ok("POST", "/v1/jobs/w:report", {"step": 1, "loss": 1, "lr": 0.1})
        watch, stream = self.d.connection(), self.d.connection()
        watch.request("GET", "/v1/jobs/w:watch?after_revision=0")
        message = json.dumps({"job": "w", "after_revision": 0}).encode()
        stream.request("POST", "/greedylr.v1.SchedulerService/WatchJob", struct.pack(">BI", 0, len(message)) + message,
                       {"Content-Type": "application/connect+json"})
        events, frames = watch.getresponse(), stream.getresponse()
        c = self.d.connection()
        for step in range(2, 302):
            self.d.ok("POST", "/v1/jobs/w:report", {"step": step, "loss": 1 / step}, connection=c)
        c.close()
        seen, framed = 0, 0
        while seen < 301:
            line = events.readline()
            self.assertNotEqual(line, b"", "the stream broke off")
            seen += line.startswith(b"event: decision")
        while framed < 301:
            flag, size = struct.unpack(">BI", frames.read(5))
            self.assertEqual(flag, 0)
            framed += "decision" in json.loads(frames.read(size))
        watch.close()
        stream.close()
        wait_until(lambda: self.d.metric("watchers") == 0)

    def test_a_stream_ends_with_the_daemon(self):
        self.d.ok("POST", "/v1/jobs/w:report", {"step": 1, "loss": 1, "lr": 0.1})
        c = self.d.connection()
        c.request("GET", "/v1/jobs/w:watch")
        answer = c.getresponse()
        self.d.process.send_signal(signal.SIGTERM)
        self.assertIn(b"event: end", answer.read())
        c.close()

    def test_kill_and_restart(self):
        for step in range(1, 20):
            self.d.ok("POST", "/v1/jobs/k:report", {"step": step, "loss": 1, "lr": 0.1})
        before = self.d.ok("GET", "/v1/jobs/k")
        self.d.restart()
        self.assertEqual(self.d.ok("GET", "/v1/jobs/k")["state"], before["state"])

    def test_origin_has_to_be_https(self):
        for scheme, status in (("https", 200), ("http", 403)):
            origin = "%s://localhost:%d" % (scheme, self.d.port)
            self.assertEqual(self.d.request("POST", "/v1/jobs/j:report", {"step": 1, "loss": 1, "lr": 0.1},
                                            {"Origin": origin})[0], status)


class Rude(TlsTest):
    flags = ("--header-timeout", "2s")

    def test_plain_http_ends_quickly(self):
        late = 'limit_refusals_total{limit="header-timeout"}'
        before = self.d.metric(late)
        for text in (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\0" * 50, b"x" * 20000):
            with self.d.plain() as s:
                try:
                    s.sendall(text)
                except OSError:
                    pass
                self.assertNotIn(b"HTTP/1.1 2", self.until_closed(s))
        self.assertEqual(self.d.metric(late), before)  # none of them waited for its deadline

    def test_old_versions_and_weak_ciphers(self):
        for settings in ("-tls1_1", "-tls1", "-tls1_2 -cipher AES128-SHA:AES256-GCM-SHA384:@SECLEVEL=0",
                         "-tls1_2 -cipher ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0"):
            r = subprocess.run(["openssl", "s_client", "-connect", "localhost:%d" % self.d.port] + settings.split(),
                               stdin=subprocess.DEVNULL, capture_output=True, text=True)
            self.assertNotEqual(r.returncode, 0, settings)
        for settings in ("-tls1_3", "-tls1_2"):
            r = subprocess.run(["openssl", "s_client", "-CAfile", CA.file, "-verify_return_error",
                                "-connect", "localhost:%d" % self.d.port, settings], stdin=subprocess.DEVNULL,
                               capture_output=True, text=True)
            self.assertEqual(r.returncode, 0, r.stderr)

    def busy(self):
        """Seconds that the loop's thread ran or waited for a processor: all of them where it spins, however many others
        do."""
        with open("/proc/%d/task/%d/schedstat" % (self.d.process.pid, self.d.process.pid)) as f:
            running, waiting = map(int, f.read().split()[:2])
        return (running + waiting) / 1e9

    def test_handshakes_that_stop_are_closed_and_cost_nothing(self):
        """Silent ones, ones that send a few bytes, ones that stop in the middle; others are served meanwhile."""
        half = []
        for i in range(100):
            s = self.d.plain()
            half.append(s)
            if i % 3 == 1:
                s.sendall(b"\x16\x03\x01")
            if i % 3 == 2:  # a whole client hello, and then nothing
                out = ssl.MemoryBIO()
                tls = self.d.context.wrap_bio(ssl.MemoryBIO(), out, server_hostname="localhost")
                try:
                    tls.do_handshake()
                except ssl.SSLWantReadError:
                    s.sendall(out.read())
        time.sleep(0.1)  # for the bytes to arrive
        start, busy = time.monotonic(), self.busy()
        time.sleep(0.6)
        share = (self.busy() - busy) / (time.monotonic() - start)
        c = self.d.connection()
        for _ in range(5):
            self.d.ok("POST", "/v1/jobs/j:report", {"loss": 1, "lr": 0.1}, connection=c)
        self.assertLess(share, 0.5)
        for s in half:
            self.until_closed(s)
            s.close()
        c.close()
        self.assertEqual(self.d.metric("connection_deadlines_total"), 100)
        self.assertEqual(self.d.metric("tls_handshakes_failed_total"), 100)

    def test_a_slow_handshake_is_served(self):
        out, inn = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = self.d.context.wrap_bio(inn, out, server_hostname="localhost")
        with self.d.plain() as s:
            while True:
                try:
                    tls.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    for byte in out.read():
                        s.sendall(bytes([byte]))
                    more = s.recv(65536)
                    self.assertNotEqual(more, b"")
                    inn.write(more)
            tls.write(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            s.sendall(out.read())
            got = b""
            while more := s.recv(65536):
                inn.write(more)
            while True:
                try:
                    more = tls.read(65536)
                except ssl.SSLError:
                    break
                if not more:
                    break
                got += more
            self.assertIn(b"HTTP/1.1 200", got)

    def test_a_thousand_handshakes_leave_nothing(self):
        def descriptors():
            return len(os.listdir("/proc/%d/fd" % self.d.process.pid))
        self.d.request("GET", "/livez")
        before = descriptors()
        for i in range(1000):
            if i % 4 == 0:
                s = self.d.plain()
                s.sendall(b"\x16\x03\x01\x00")
                s.close()
            else:
                with self.d.secure() as s:
                    if i % 4 == 1:
                        s.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        wait_until(lambda: descriptors() <= before + 1)

    def test_they_end_with_the_daemon(self):
        held = [self.d.plain() for _ in range(10)]
        for s in held:
            s.sendall(b"\x16\x03\x01")
        self.d.request("GET", "/livez")
        self.d.close()
        for s in held:
            s.close()


class Certificates(unittest.TestCase):
    def check(self, *args, **env):
        return subprocess.run([BINARY, "--check-config", "--data-dir", NEVER, *args], capture_output=True, text=True,
                              env=dict(os.environ, **env))

    def pair(self, cert, key):
        return self.check("--tls-cert", cert, "--tls-key", key)

    def file(self, name, text, mode=0o600):
        path = os.path.join(PLACE, name)
        with open(path, "w") as f:
            f.write(text)
        os.chmod(path, mode)
        return path

    def test_refused_with_file_and_remedy(self):
        other = CA.issue("other")
        with open(PAIR[0]) as f:
            own, chain = f.read().split("-----END CERTIFICATE-----\n", 1)
        own += "-----END CERTIFICATE-----\n"
        with open(PAIR[1]) as f:
            key = f.read()
        backwards = self.file("backwards.crt", chain + own)
        encrypted = os.path.join(PLACE, "encrypted.key")
        subprocess.run(["openssl", "pkey", "-in", PAIR[1], "-aes256", "-passout", "pass:x", "-out", encrypted], check=True)
        for cert, secret, words in (
                (PAIR[0], other[1], ("--tls-key " + other[1], "not the key of", PAIR[0])),
                (PAIR[0] + ".none", PAIR[1], ("--tls-cert " + PAIR[0] + ".none", "No such file")),
                (PAIR[0], PLACE, ("--tls-key " + PLACE, "not a file")),
                (PAIR[1], PAIR[1], ("--tls-cert", "PEM")), (PAIR[0], PAIR[0], ("--tls-key", "PEM", "not readable")),
                (self.file("empty.crt", ""), PAIR[1], ("--tls-cert", "empty.crt", "PEM")),
                (backwards, PAIR[1], ("--tls-cert", "number 2", "first")),
                (PAIR[0], encrypted, ("--tls-key", "encrypted", "openssl pkey")),
                (self.file("long.crt", own * 17), PAIR[1], ("--tls-cert", "17", "16")),
                (PAIR[0], self.file("open.key", key, 0o644), ("--tls-key", "open.key", "everybody may read it", "chmod 600")),
                (PAIR[0], self.file("shared.key", key, 0o660), ("--tls-key", "shared.key", "chmod"))):
            r = self.pair(cert, secret)
            if words[-1] == "not readable":
                words = words[:-1] if "everybody" not in r.stderr else ("--tls-key", "everybody")
            self.assertEqual(r.returncode, 2, (cert, secret, r.stderr))
            for word in words:
                self.assertIn(word, r.stderr)
        self.assertEqual(self.pair(PAIR[0], self.file("group.key", key, 0o640)).returncode, 0)
        for args in (("--tls-cert", PAIR[0]), ("--tls-key", PAIR[1])):
            r = self.check(*args)
            self.assertEqual(r.returncode, 2)
            self.assertIn("as well", r.stderr)
        self.assertFalse(os.path.exists(NEVER))

    def test_expiry_is_a_warning(self):
        for days, word in ((-1, "has expired"), (5, "expires soon"), (30, "")):
            r = self.pair(*CA.issue("days%d" % days, days=days))
            self.assertEqual(r.returncode, 0)
            self.assertIn("level=warning" if word else "level=info", r.stderr)
            self.assertIn(word, r.stderr)

    def test_credentials_directory(self):
        place = os.path.join(PLACE, "credentials")
        os.mkdir(place)
        self.assertNotIn("tls-cert = /", self.check(CREDENTIALS_DIRECTORY=place).stdout)
        shutil.copy(PAIR[0], os.path.join(place, "tls.crt"))
        r = self.check(CREDENTIALS_DIRECTORY=place)
        self.assertEqual(r.returncode, 2)
        self.assertIn("--tls-key as well", r.stderr)
        shutil.copy(PAIR[1], os.path.join(place, "tls.key"))
        os.chmod(os.path.join(place, "tls.key"), 0o444)  # who may enter is the service manager's business
        r = self.check(CREDENTIALS_DIRECTORY=place)
        self.assertEqual(r.returncode, 0, r.stderr)
        self.assertIn("tls-cert = %s/tls.crt\ntls-key = %s/tls.key\n" % (place, place), r.stdout)
        other = CA.issue("flags")
        r = self.check("--tls-cert", other[0], "--tls-key", other[1], CREDENTIALS_DIRECTORY=place)
        self.assertIn("tls-cert = %s\n" % other[0], r.stdout)

    def test_exposure(self):
        r = self.check("--listen", "0.0.0.0:0", "--tls-cert", PAIR[0], "--tls-key", PAIR[1])
        self.assertEqual(r.returncode, 2)
        self.assertIn("--insecure no-tokens\n", r.stderr)
        r = self.check("--listen", "0.0.0.0:0", "--tls-cert", PAIR[0], "--tls-key", PAIR[1], "--insecure", "no-tokens")
        self.assertEqual(r.returncode, 0, r.stderr)
        self.assertIn("accepted=no-tokens ", r.stderr)

    def test_a_unix_socket_stays_plain(self):
        data = tempfile.mkdtemp(dir=PLACE)
        path = os.path.join(data, "plain.sock")
        with subprocess.Popen([BINARY, "--listen", "unix:" + path, "--data-dir", data, "--tls-cert", PAIR[0], "--tls-key",
                               PAIR[1]], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as p:
            self.assertEqual(p.stdout.readline(), "greedylrd listening on unix:%s\n" % path)
            with socket.socket(socket.AF_UNIX) as s:
                s.connect(path)
                s.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                self.assertIn(b"HTTP/1.1 200", s.recv(4096))
            p.terminate()
            self.assertIn("event=tls_unused", p.communicate()[1])


class Reload(unittest.TestCase):
    def setUp(self):
        self.cert, self.key = os.path.join(PLACE, "live.crt"), os.path.join(PLACE, "live.key")
        self.place("first")
        self.d = SecureDaemon(CA, (self.cert, self.key))
        self.addCleanup(self.d.close)
        self.d.start()

    def place(self, name, days=30):
        cert, key = CA.issue(name, days=days)
        shutil.copy(cert, self.cert + ".new")
        os.replace(self.cert + ".new", self.cert)
        shutil.copy(key, self.key + ".new")
        os.replace(self.key + ".new", self.key)

    def shown(self):
        with self.d.secure() as s:
            return dict(x[0] for x in s.getpeercert()["subject"])["commonName"]

    def hangup(self, event):
        before = sum(event in line for line in self.d._lines)
        self.d.process.send_signal(signal.SIGHUP)
        wait_until(lambda: sum(event in line for line in self.d._lines) > before)

    def test_under_load_no_request_fails(self):
        end, failed, done = threading.Event(), [], [0] * 4

        def load(i):
            c = self.d.connection() if i % 2 else None  # with and without keep-alive
            while not end.is_set():
                try:
                    self.d.ok("POST", "/v1/jobs/l%d:report" % i, {"loss": 1, "lr": 0.1}, connection=c)
                    done[i] += 1
                except Exception as error:
                    failed.append(repr(error))
            if c:
                c.close()

        watch = self.d.connection()
        self.d.ok("POST", "/v1/jobs/w:report", {"loss": 1, "lr": 0.1})
        watch.request("GET", "/v1/jobs/w:watch")
        events = watch.getresponse()
        threads = [threading.Thread(target=load, args=(i,)) for i in range(4)]
        for t in threads:
            t.start()
        for i in range(5):
            self.place("reload%d" % i)
            self.hangup("tls_reloaded")
            self.assertEqual(self.shown(), "reload%d" % i)
            self.d.ok("POST", "/v1/jobs/w:report", {"loss": 1})
        end.set()
        for t in threads:
            t.join(30)
        self.assertEqual(failed, [])
        self.assertGreater(min(done), 0)
        seen = 0
        while seen < 5:
            line = events.readline()
            self.assertNotEqual(line, b"", "the stream broke off")
            seen += line.startswith(b"event: decision")
        watch.close()

    def test_a_handshake_goes_on_with_what_it_began_with(self):
        out, inn = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = self.d.context.wrap_bio(inn, out, server_hostname="localhost")
        with self.d.plain() as s:
            with self.assertRaises(ssl.SSLWantReadError):
                tls.do_handshake()
            s.sendall(out.read())
            inn.write(s.recv(65536))
            for i in range(3):
                self.place("later%d" % i)
                self.hangup("tls_reloaded")
            while True:
                try:
                    tls.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    more = s.recv(65536)
                    self.assertNotEqual(more, b"")
                    inn.write(more)
            s.sendall(out.read())
            self.assertEqual(dict(x[0] for x in tls.getpeercert()["subject"])["commonName"], "first")

    def test_bad_files_keep_the_old_ones(self):
        first = self.d.metric("tls_certificate_expiry_timestamp_seconds")
        self.assertAlmostEqual(first, time.time() + 30 * 86400, delta=300)
        key = CA.issue("not-its-key")[1]
        with open(self.key) as f:
            good = f.read()
        with open(key) as f:
            another = f.read()
        for path, text in ((self.key, "nonsense"), (self.cert, ""), (self.key, another)):
            with open(path) as f:
                kept = f.read()
            with open(path, "w") as f:
                f.write(text)
            self.hangup("tls_reload_failed")
            self.assertEqual(self.shown(), "first")
            self.assertEqual(self.d.metric('reload_successful{file="certificate"}'), 0)
            with open(path, "w") as f:
                f.write(kept)
        os.chmod(self.key, 0o644)
        self.hangup("tls_reload_failed")
        os.unlink(self.key)
        self.hangup("tls_reload_failed")
        with open(self.key, "w") as f:
            f.write(good)
        os.chmod(self.key, 0o600)
        self.assertEqual(self.d.metric("tls_certificate_expiry_timestamp_seconds"), first)
        self.place("short", days=3)
        self.hangup("tls_reloaded")
        self.assertEqual(self.d.metric('reload_successful{file="certificate"}'), 1)
        self.assertEqual(self.shown(), "short")
        self.assertAlmostEqual(self.d.metric("tls_certificate_expiry_timestamp_seconds"), time.time() + 3 * 86400, delta=300)
        self.assertIn("expires soon", "".join(self.d._lines))


if __name__ == "__main__":
    unittest.main()
