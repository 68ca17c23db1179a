"""Running it: options, exit codes, signals, readiness, logs, metrics, sockets, systemd, installation, man page."""
import http.client
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import stat
import subprocess
import tempfile
import threading
import time
import unittest

from harness import BINARY, ROOT, Daemon, DaemonTest, wait_until

NEVER = "/nonexistent/greedylrd"


def contents(path):
    with open(path, "rb") as f:
        return f.read()


def run(*args, env=None, **kwargs):
    return subprocess.run([BINARY, *args], capture_output=True, text=True, timeout=60,
                          env=dict(os.environ, **(env or {})), **kwargs)


class Options(unittest.TestCase):
    def flags(self):
        return re.findall(r"^  --([a-z-]+)", run("--help").stdout, re.M)

    def test_help_and_version(self):
        for args in (("--help",), ("-h",), ("--nonsense", "--help")):
            self.assertEqual(run(*args).returncode, 0)
        self.assertGreater(len(self.flags()), 15)
        self.assertRegex(run("--version").stdout, r"^greedylrd \d+\.\d+\.\d+\nschema \d+, state \d+\nlibmicrohttpd \d\S+, "
                         r"jansson \d\S+, libuv \d\S+, sqlite \d\S+, protobuf-c \d\S+, gnutls \d\S+\n$")

    def test_version_is_the_same_everywhere(self):
        want = run("--version").stdout.split()[1]
        for path, pattern in (("Makefile", r"^VERSION := (\S+)$"), ("client/lib/greedylr.h", r'^#define GLR_VERSION "(.*)"$'),
                              ("client/python/pyproject.toml", r'^version = "(.*)"$'),
                              ("client/python/greedylr/__init__.py", r'^__version__ = "(.*)"$'),
                              ("CHANGELOG.md", r"^## \[?(\d[^\] ]*)")):
            with open(os.path.join(ROOT, path), encoding="utf-8") as f:
                self.assertEqual(re.search(pattern, f.read(), re.M)[1], want, path)

    def test_man_page_has_every_option(self):
        with open(os.path.join(ROOT, "daemon", "greedylrd.8"), encoding="utf-8") as f:
            page = f.read()
        documented = re.findall(r"^\.It Fl -([a-z-]+)", page, re.M)
        self.assertEqual(documented, self.flags())
        text = run("--help").stdout
        for flag, default in re.findall(r"^  --([a-z-]+).*\n.*\(default ([^)]*)\)", text, re.M):
            item = page.split(".It Fl -" + flag)[1].split(".It Fl")[0]
            self.assertIn("Default: %s." % default, item, flag)

    def test_refused(self):
        for args, names in ((("--nonsense",), "--nonsense"), (("extra",), "extra"), (("--listen",), "--listen"),
                            (("--max-body", "12Q"), "--max-body"), (("--max-body", "1"), "--max-body"),
                            (("--max-connections", "0"), "--max-connections"), (("--header-timeout", "5"), "--header-timeout"),
                            (("--log-level", "loud"), "--log-level"), (("--log-format", "xml"), "--log-format"),
                            (("--listen", "nowhere"), "--listen"), (("--listen", "127.0.0.1:99999"), "--listen"),
                            (("--insecure", "everything"), "--insecure"), (("--allow-host", "http://x"), "--allow-host"),
                            (("--max-batch-body", "1K"), "--max-batch-body"), (("--data-dir", ""), "--data-dir")):
            r = run(*(args if args[0] == "--data-dir" else ("--data-dir", NEVER) + args))
            self.assertEqual(r.returncode, 2, (args, r.stderr))
            self.assertIn(names, r.stderr)
            self.assertIn("--help", r.stderr)
        self.assertFalse(os.path.exists(NEVER))

    def test_public_addresses_are_refused(self):
        for address in ("0.0.0.0:0", "[::]:0", "192.0.2.1:8571", "[2001:db8::1]:1", "[::ffff:0.0.0.0]:0"):
            for more in ((), ("--insecure", "no-tls"), ("--insecure", "no-tokens")):
                r = run("--listen", address, "--data-dir", NEVER, *more)
                self.assertEqual(r.returncode, 2, (address, r.stderr))
                self.assertIn(address, r.stderr)
                self.assertIn("--insecure no-tokens,no-tls", r.stderr)
        d = Daemon("--insecure", "no-tokens,no-tls")
        self.addCleanup(d.close)
        d.flags += ["--listen", "0.0.0.0:0"]
        d.start()
        d.close()
        self.assertIn("insecure", d.stderr)

    def test_environment(self):
        for env, args, line in (({"GREEDYLRD_MAX_BODY": "32K"}, (), "max-body = 32K"),
                                ({"GREEDYLRD_MAX_BODY": "32K"}, ("--max-body", "16K"), "max-body = 16K"),
                                ({"GREEDYLRD_NO_AUTO_CREATE": "true"}, (), "no-auto-create = true"),
                                ({"GREEDYLRD_DATA_DIR": NEVER + "2"}, (), "data-dir = " + NEVER + "2"),
                                ({"STATE_DIRECTORY": NEVER + "3"}, (), "data-dir = " + NEVER + "3")):
            more = () if "DATA_DIR" in str(env) or "STATE" in str(env) else ("--data-dir", NEVER)
            r = run("--check-config", *more, *args, env=env)
            self.assertEqual(r.returncode, 0, r.stderr)
            self.assertIn(line, r.stdout.splitlines())
        r = run("--check-config", "--data-dir", NEVER, env={"GREEDYLRD_MAX_BODY": "many"})
        self.assertEqual(r.returncode, 2)
        self.assertIn("GREEDYLRD_MAX_BODY", r.stderr)

    def test_mistyped(self):
        for args, meant in (("--listne", "--listen"), ("--datadir=x", "--data-dir"), ("--frobnicate", None), ("--", None)):
            r = run(args, "1", "--data-dir", NEVER)
            self.assertEqual(r.returncode, 2)
            self.assertIn("%s: there is no such option%s\n" % (args, "; did you mean %s?" % meant if meant else ""), r.stderr)
        for name, meant in (("GREEDYLRD_LISTNE", "GREEDYLRD_LISTEN"), ("GREEDYLRD_DATADIR", "GREEDYLRD_DATA_DIR"),
                            ("GREEDYLRD_max_body", "GREEDYLRD_MAX_BODY"), ("GREEDYLRD_CHECK_CONFIG", None),
                            ("GREEDYLRD_", None), ("GREEDYLRD_" + 99 * "X", None)):
            r = run("--check-config", "--data-dir", NEVER, env={name: "secret", "GREEDYLRD_MAX_BODY": "32K"})
            self.assertEqual(r.returncode, 0, r.stderr)
            self.assertEqual(r.stderr.count("\n"), 1, r.stderr)
            self.assertIn('level=warning event=variable_ignored variable=%s note="there is no such option; %s' %
                          (name, "did you mean %s?" % meant if meant else "greedylrd --help lists"), r.stderr)
            self.assertNotIn("secret", r.stderr)
        known = {"GREEDYLRD_" + f.upper().replace("-", "_"): "" for f in self.flags()
                 if f not in ("backup", "check", "check-config", "version", "help")}
        r = run("--check-config", "--data-dir", NEVER, env=known)
        self.assertEqual((r.returncode, r.stderr), (0, ""))

    def test_check_config(self):
        flags = set(self.flags()) - {"backup", "check", "check-config", "version", "help"}
        r = run("--check-config", "--data-dir", NEVER)
        self.assertEqual({line.split(" =")[0] for line in r.stdout.splitlines()}, flags)
        self.assertFalse(os.path.exists(NEVER))
        self.assertEqual(run("--check-config", "--data-dir", NEVER, "--listen", "0.0.0.0:1").returncode, 2)

    def test_port_in_use(self):
        with socket.create_server(("127.0.0.1", 0)) as s, tempfile.TemporaryDirectory() as folder:
            r = run("--listen", "127.0.0.1:%d" % s.getsockname()[1], "--data-dir", folder)
            self.assertIn(r.returncode, (1, 2))
            self.assertIn("in use", r.stderr)


class Data(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="greedylrd-test-")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.d = Daemon(data=self.folder)
        self.path = os.path.join(self.folder, "greedylr.db")

    def refused(self, code, *words):
        r = run("--listen", "127.0.0.1:0", "--data-dir", self.folder)
        self.assertEqual(r.returncode, code, r.stderr)
        self.assertEqual(r.stdout, "")
        for word in words:
            self.assertIn(word, r.stderr)

    def filled(self):
        self.d.start()
        self.d.ok("POST", "/v1/jobs/a:report", {"step": 1, "loss": 1, "lr": 0.1})
        self.assertEqual(self.d.stop(), 0)

    def test_one_daemon_at_a_time(self):
        self.d.start()
        self.addCleanup(self.d.close)
        self.refused(3, self.folder, str(self.d.process.pid))
        self.assertEqual(self.d.request("GET", "/readyz")[0], 200)
        self.d.kill()
        self.d.start()  # a killed holder's lock is no obstacle

    def test_newer_schema(self):
        self.filled()
        with sqlite3.connect(self.path) as db:
            db.execute("PRAGMA user_version=999")
        db.close()
        before = contents(self.path)
        self.refused(4, "999", self.path)
        self.assertEqual(contents(self.path), before)

    def test_damaged(self):
        self.filled()
        for name, data in (("not a database", b"not a database" * 1000), ("empty", b""), ("cut", contents(self.path)[:5000]),
                           ("zeroed", b"\0" * 20480)):
            with self.subTest(name):
                for suffix in ("-wal", "-shm"):
                    if os.path.exists(self.path + suffix):
                        os.unlink(self.path + suffix)
                with open(self.path, "wb") as f:
                    f.write(data)
                self.refused(3, "greedylr.db")
                self.assertEqual(contents(self.path), data)

    def test_foreign_database(self):
        with sqlite3.connect(self.path) as db:
            db.execute("CREATE TABLE mine(x)")
        db.close()
        self.refused(3, "greedylr.db")

    def test_unusable_directories(self):
        with open(self.path + ".file", "w", encoding="utf-8"):
            pass
        r = run("--listen", "127.0.0.1:0", "--data-dir", self.path + ".file")
        self.assertEqual(r.returncode, 3, r.stderr)
        r = run("--listen", "127.0.0.1:0", "--data-dir", "/proc/nothing/here")
        self.assertEqual(r.returncode, 3, r.stderr)

    def test_nobody_else_reads_it(self):
        shutil.rmtree(self.folder)
        self.filled()
        self.assertEqual(stat.S_IMODE(os.stat(self.folder).st_mode) & 0o077, 0)
        for name in os.listdir(self.folder):
            self.assertEqual(stat.S_IMODE(os.stat(os.path.join(self.folder, name)).st_mode) & 0o077, 0, name)

    def test_people_may_look_while_it_runs(self):
        self.d.start()
        self.addCleanup(self.d.close)
        for step in range(50):
            self.d.ok("POST", "/v1/jobs/a:report", {"step": step, "loss": 1, "lr": 0.1})
            with sqlite3.connect("file:%s?mode=ro" % self.path, uri=True) as db:
                self.assertEqual(db.execute("SELECT name FROM job").fetchall(), [("a",)])
            db.close()

    def test_an_idle_daemon_leaves_nothing_in_the_log(self):
        """All of it is folded, step by step, and in the database file itself, so that the log starts over."""
        self.d.start()
        self.addCleanup(self.d.close)
        self.d.ok("POST", "/v1/jobs/a:report", {"step": 0, "loss": 1, "lr": 0.1})
        for first in range(1, 3001, 1000):
            self.d.ok("POST", "/v1/jobs:batchReport",
                      {"reports": [{"job": "a", "step": step, "loss": 1} for step in range(first, first + 1000)]})

        def counts():
            db = sqlite3.connect("file:%s?immutable=1" % self.path, uri=True)  # without the WAL
            try:
                return db.execute("SELECT (SELECT count(*) FROM decision), (SELECT count(*) FROM log)").fetchone()
            except sqlite3.DatabaseError:
                return None  # in the middle of a checkpoint
            finally:
                db.close()
        wait_until(lambda: counts() == (3001, 0))


class Signals(DaemonTest):
    def test_both_stop_cleanly(self):
        for how in (signal.SIGTERM, signal.SIGINT):
            self.d.ok("POST", "/v1/jobs/j:report", {"loss": 1, "lr": 0.1})
            self.assertEqual(self.d.stop(how), 0)
            self.d.start()
        self.assertEqual(len(self.d.decisions("j")), 2)

    def test_hangup_changes_nothing(self):
        self.d.process.send_signal(signal.SIGHUP)
        time.sleep(0.1)
        self.assertEqual(self.d.request("GET", "/readyz")[0], 200)

    def test_drains_under_load(self):
        acknowledged, stop = {}, threading.Event()

        def load(job):
            connection, step = None, 0
            while not stop.is_set():
                try:
                    connection = connection or self.d.connection()
                    status, answer = self.d.call("POST", "/v1/jobs/%s:report" % job,
                                                 {"step": step + 1, "loss": 1.0 / (step + 1), "lr": 0.1}, connection=connection)
                except (OSError, http.client.HTTPException, ValueError):
                    connection = None
                    time.sleep(0.01)
                    continue
                if status == 200:
                    step += 1
                    acknowledged[job] = (step, answer["lrs"])

        threads = [threading.Thread(target=load, args=("j%d" % i,), daemon=True) for i in range(4)]
        for t in threads:
            t.start()
        for _ in range(3):
            time.sleep(0.3)
            self.assertEqual(self.d.stop(signal.SIGTERM), 0)
            self.d.start()
        stop.set()
        for t in threads:
            t.join(20)
        for job, (step, lrs) in acknowledged.items():
            history = self.d.decisions(job)
            self.assertEqual([d["step"] for d in history][:step], list(range(1, step + 1)))
            self.assertEqual(history[step - 1]["lrs"], lrs)

    def test_slow_request_is_answered_before_the_end(self):
        body = b'{"step":1,"loss":1,"lr":0.1}'
        with socket.create_connection(("127.0.0.1", self.d.port), 10) as s:
            s.sendall(b"POST /v1/jobs/slow:report HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body)
                      + body[:5])
            time.sleep(0.2)
            self.d.process.send_signal(signal.SIGTERM)
            time.sleep(0.2)
            self.assertIsNone(self.d.process.poll())
            s.sendall(body[5:])
            answer = b""
            while more := s.recv(65536):
                answer += more
        self.assertRegex(answer, rb"^HTTP/1\.1 (200|503) ")
        self.assertEqual(self.d._ended(), 0)
        self.d.start()
        status, _ = self.d.call("GET", "/v1/jobs/slow")
        self.assertEqual(status, 200 if answer.startswith(b"HTTP/1.1 200") else 404)


class Watching(DaemonTest):
    def test_plain_paths(self):
        for path, text in (("/livez", "ok\n"), ("/readyz", "ok\n"), ("/healthz", "ok\n")):
            status, _, body = self.d.request("GET", path)
            self.assertEqual((status, body.decode()), (200, text))
        lines = self.d.request("GET", "/readyz?verbose")[2].decode().splitlines()
        self.assertGreater(len(lines), 1)
        for line in lines[:-1]:
            self.assertRegex(line, r"^\[\+\] \w+ ok")
        self.assertEqual(self.d.ok("GET", "/version")["name"], "greedylrd")

    def samples(self):
        """Prometheus text, parsed strictly."""
        text, found, types = self.d.request("GET", "/metrics")[2].decode(), {}, {}
        self.assertTrue(text.endswith("\n"))
        for line in text.splitlines():
            if line.startswith("# "):
                kind, name, rest = line[2:].split(" ", 2)
                self.assertIn(kind, ("HELP", "TYPE"))
                if kind == "TYPE":
                    self.assertNotIn(name, types)
                    self.assertIn(rest, ("counter", "gauge", "histogram"))
                    types[name] = rest
                continue
            m = re.fullmatch(r'([a-z_]+)(\{(?:[a-z_]+="(?:[^"\\\n]|\\[\\"n])*",?)*\})? (-?[0-9.e+-]+|[+-]Inf|NaN)', line)
            self.assertIsNotNone(m, line)
            base = re.sub(r"_(bucket|sum|count)$", "", m[1])
            self.assertTrue(m[1] in types or types.get(base) == "histogram", line)
            self.assertNotIn(m[1] + (m[2] or ""), found)
            found[m[1] + (m[2] or "")] = float(m[3])
        for name, kind in types.items():
            self.assertEqual(name.endswith("_total"), kind == "counter", name)
        return found

    def test_metrics(self):
        before = self.samples()
        self.d.ok("POST", "/v1/jobs/j:report", {"step": 1, "loss": 1, "lr": 0.1})
        self.d.ok("POST", "/v1/jobs/j:report", {"step": 1, "loss": 2})
        self.d.ok("POST", "/v1/jobs/j:report", {"step": 2, "loss": 2, "applied_lr": 0.5})
        self.assertEqual(self.d.call("POST", "/v1/jobs/none:report", {"loss": 2})[0], 404)
        after = self.samples()
        grown = lambda name: after.get(name, 0) - before.get(name, 0)
        self.assertEqual(grown('greedylrd_reports_total{result="decided"}'), 2)
        self.assertEqual(grown('greedylrd_reports_total{result="duplicate"}'), 1)
        self.assertEqual(grown('greedylrd_reports_total{result="refused"}'), 1)
        self.assertEqual(grown("greedylrd_step_conflicts_total"), 1)
        self.assertEqual(grown("greedylrd_applied_mismatch_total"), 1)
        self.assertEqual(grown('greedylrd_http_requests_total{method="POST",code="200"}'), 3)
        self.assertEqual(grown('greedylrd_refusals_total{reason="JOB_NOT_FOUND"}'), 1)
        self.assertEqual(after['greedylrd_jobs{state="active"}'], 1)
        self.assertEqual(after["greedylrd_store_writable"], 1)
        self.assertGreater(after["greedylrd_store_bytes"], 0)
        self.assertGreaterEqual(after["greedylrd_commit_changes_count"], 2)
        for name, value in before.items():
            if name.split("{")[0].endswith(("_total", "_count", "_bucket")):
                self.assertGreaterEqual(after[name], value, name)

    def reports(self, *requests):
        """How reports_total grew, in the order decided, waiting, duplicate, refused."""
        before = self.samples()
        for status, path, body in requests:
            self.assertEqual(self.d.call("POST", path, body)[0], status, (path, body))
        after = self.samples()
        return tuple(after[name] - before[name] for name in ('greedylrd_reports_total{result="%s"}' % word for word in
                                                             ("decided", "waiting", "duplicate", "refused")))

    def test_reports_are_counted_by_their_answer(self):
        j, r = "/v1/jobs/j:report", "/v1/jobs/r:report?wait=0s"
        self.d.ok("POST", "/v1/jobs", {"job": "r", "lr": 0.1, "ranks": {"world_size": 2}})
        self.assertEqual(self.reports((200, j, {"step": 1, "loss": 1, "lr": 0.1}), (200, j, {"step": 2, "loss": 1})), (2, 0, 0, 0))
        self.assertEqual(self.reports((200, j, {"step": 3, "loss": 1, "dry_run": True}),
                                      (200, "/v1/jobs/k:report", {"step": 3, "loss": 1, "lr": 1, "dry_run": True})), (0, 0, 0, 0))
        self.assertEqual(self.reports((400, j, {"step": 3}), (400, j, {"step": 3, "loss": 1, "weight": 0}),
                                      (404, "/v1/jobs/k:report", {"loss": 1})), (0, 0, 0, 3))
        self.assertEqual(self.reports((504, r, {"step": 1, "rank": 0, "loss": 1})), (0, 1, 0, 0))
        self.assertEqual(self.reports((504, r, {"step": 1, "rank": 0, "loss": 1}), (200, r, {"step": 1, "rank": 1, "loss": 1}),
                                      (200, r, {"step": 1, "rank": 0, "loss": 1})), (1, 1, 1, 0))
        self.assertEqual(self.reports((200, "/v1/jobs:batchReport", {"reports": [
            {"job": "j", "step": 2, "loss": 1}, {"job": "j", "step": 9, "loss": 1}, {"job": "j"}, {"job": "none", "loss": 1},
            {"job": "r", "step": 2, "loss": 1}]})), (1, 1, 1, 2))

    def test_logs(self):
        for form in ("json", "logfmt"):
            d = Daemon("--log-format", form, "--log-level", "debug")
            self.addCleanup(d.close)
            d.start()
            d.ok("POST", "/v1/jobs/log:report", {"step": 7, "loss": 1, "lr": 0.1})
            d.ok("POST", "/v1/jobs/log:report", {"step": 7, "loss": 2})
            d.call("POST", "/v1/jobs/log:report", '{"x\\u0007\\ny": 1}')
            d.close()
            lines = d.stderr.splitlines()
            self.assertGreater(len(lines), 3)
            if form == "json":
                events = [json.loads(line) for line in lines]
                decision = next(e for e in events if e["event"] == "decision")
                self.assertEqual((decision["job"], decision["step"]), ("log", 7))
                conflict = next(e for e in events if e["event"] == "step_conflict")
                self.assertEqual(conflict["level"], "warning")
            else:
                for line in lines:
                    self.assertRegex(line, r'^(?:[a-z_]+=(?:[^ "]+|"(?:[^"\\]|\\.)*")(?: |$))+$')
                self.assertTrue(any("event=decision" in line and "job=log" in line for line in lines))


class Journal(unittest.TestCase):
    def first_line(self, stream, *flags):
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryDirectory() as data:
            st = os.fstat(out.fileno())
            p = subprocess.Popen([BINARY, "--listen", "127.0.0.1:0", "--data-dir", data, *flags],
                                 stdout=subprocess.PIPE, stderr=out, env=dict(os.environ, JOURNAL_STREAM=stream % (st.st_dev, st.st_ino)))
            p.stdout.readline()
            p.terminate()
            p.communicate()
            out.seek(0)
            return out.readline()

    def test_priorities_are_for_the_journal_only(self):
        self.assertRegex(self.first_line("%d:%d"), "^<6>ts=")
        self.assertRegex(self.first_line("%d:%d", "--log-level", "loud"), "^<3>greedylrd: .*loud")
        # Inherited by a process whose standard error goes elsewhere.
        for other in ("%d:1%d", "1%d:%d", "8", ""):
            self.assertRegex(self.first_line(other + "%.0s" * (2 - other.count("%"))), "^ts=", other)


class UnreadLog(unittest.TestCase):
    def test_serves_on_and_says_how_much_was_lost(self):
        d = Daemon()
        read = threading.Event()
        drain = d._drain
        d._drain = lambda: (read.wait(60), drain())
        self.addCleanup(lambda: d.process.poll() is None and d.kill())
        self.addCleanup(read.set)
        d.start()
        c = http.client.HTTPConnection("127.0.0.1", d.port, timeout=20)
        self.addCleanup(c.close)
        for first in range(1, 9001, 1000):
            reports = [{"job": "x", "step": step, "loss": 1, "lr": 0.1} for step in range(first, first + 1000)]
            self.assertEqual(d.call("POST", "/v1/jobs:batchReport", {"reports": reports}, connection=c)[0], 200)

        def lost():
            text = d.request("GET", "/metrics", connection=c)[2].decode()
            return int(re.search(r"^greedylrd_log_dropped_total (\d+)$", text, re.M).group(1))

        dropped = lost()
        self.assertGreater(dropped, 0)
        read.set()
        wait_until(lambda: len(d._lines) > 10)
        step = 9000

        def told():
            nonlocal step
            step += 1
            d.ok("POST", "/v1/jobs/x:report", {"step": step, "loss": 1})
            return any("event=log_dropped" in line for line in d._lines)

        wait_until(told)
        self.assertEqual(lost(), dropped)
        d.close()
        lines = [int(re.search(r"lines=(\d+)", line).group(1)) for line in d._lines if "event=log_dropped" in line]
        decisions = [line for line in d._lines if "event=decision" in line]
        self.assertEqual(lines, [dropped])
        self.assertIn(len(decisions) + dropped - step, range(20))  # that a request was slow is a line, too


class Descriptors(unittest.TestCase):
    def test_connections_leave_enough_for_the_store(self):
        d = Daemon(wrap=["prlimit", "--nofile=80:80"])
        self.addCleanup(d.close)
        d.start()
        d.ok("POST", "/v1/jobs/x:report", {"step": 1, "loss": 1, "lr": 0.1})
        d.restart()  # nothing is in memory, and the readers have not looked yet
        wait_until(lambda: any("event=few_descriptors" in line and "connections=16" in line for line in d._lines))
        paths = ("/v1/jobs", "/v1/jobs/x", "/v1/jobs/x/lr", "/v1/jobs/x/decisions")
        waiting = []
        for i in range(90):
            s = socket.create_connection(("127.0.0.1", d.port), 20)
            self.addCleanup(s.close)
            s.sendall(b"GET %s HTTP/1.1\r\nHost: localhost\r\n" % paths[i % 4].encode())
            waiting.append(s)
        for s in waiting:
            s.sendall(b"\r\n")
        for i, s in enumerate(waiting):
            self.assertEqual(s.recv(12), b"HTTP/1.1 200", paths[i % 4])
        d.ok("POST", "/v1/jobs/x:report", {"step": 2, "loss": 1})


class Sockets(unittest.TestCase):
    def test_unix_socket(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "s")
            args = [BINARY, "--listen", "unix:" + path, "--data-dir", os.path.join(folder, "data")]
            for _ in range(2):  # the second start finds the first one's socket file
                process = subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
                try:
                    self.assertEqual(process.stdout.readline(), "greedylrd listening on unix:%s\n" % path)
                    self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o660)
                    c = http.client.HTTPConnection("localhost")
                    c.sock = socket.socket(socket.AF_UNIX)
                    c.sock.connect(path)
                    c.request("POST", "/v1/jobs/u:report", '{"loss":1,"lr":0.1}')
                    self.assertEqual(c.getresponse().status, 200)
                    c.close()
                finally:
                    process.kill()
                    process.communicate()

    def inherited(self, data, listener, env=None):
        """The daemon as systemd starts it: the listening socket as descriptor 3."""
        script = 'exec 3<&%d; LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"' % listener.fileno()
        return subprocess.Popen(["bash", "-c", script, "sh", BINARY, "--data-dir", data], pass_fds=(listener.fileno(),),
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                env=dict(os.environ, **(env or {})))

    def test_socket_activation_refuses_no_connection_during_a_restart(self):
        with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
            port, answers = listener.getsockname()[1], []
            process = self.inherited(folder, listener)
            try:
                process.stdout.readline()
                for step in (1, 2):
                    if step == 2:
                        process.terminate()
                        process.communicate(timeout=30)
                        self.assertEqual(process.returncode, 0)
                    c = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
                    c.request("POST", "/v1/jobs/s:report", json.dumps({"step": step, "loss": 1, "lr": 0.1}))
                    if step == 2:  # connected while nobody was there
                        process = self.inherited(folder, listener)
                    answers.append(json.loads(c.getresponse().read())["revision"])
                    c.close()
                self.assertEqual(answers, [1, 2])
            finally:
                process.kill()
                process.communicate()

    def test_notify_and_watchdog(self):
        with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind(os.path.join(folder, "notify"))
            notify.settimeout(20)
            d = Daemon(env={"NOTIFY_SOCKET": os.path.join(folder, "notify"), "WATCHDOG_USEC": "200000"})
            self.addCleanup(d.close)
            d.start()
            seen = []
            end = time.monotonic() + 10
            while time.monotonic() < end and sum("WATCHDOG=1" in s for s in seen) < 3:
                seen.append(notify.recv(4096).decode())
            if not seen or not any("READY=1" in s for s in seen):
                self.skipTest("built without libsystemd") if not seen else self.fail(seen)
            self.assertGreaterEqual(sum("WATCHDOG=1" in s for s in seen), 3)
            d.close()
            notify.settimeout(0.2)
            try:
                while True:
                    seen.append(notify.recv(4096).decode())
            except TimeoutError:
                pass
            self.assertTrue(any("STOPPING=1" in s for s in seen), seen)
            said = [s for s in seen if s.startswith("STATUS=")]
            self.assertEqual(said, ["STATUS=opening " + d.data, "STATUS=serving on 127.0.0.1:%d" % d.port,
                                    "STATUS=stopping: 0 requests are to be answered",
                                    "STATUS=stopping: closing the store", "STATUS=stopped"])
            self.assertLess(seen.index(said[1]), seen.index("READY=1"))


    def test_status_of_trouble(self):
        with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind(os.path.join(folder, "notify"))
            notify.settimeout(20)
            d = Daemon("--max-memory", "1M", env={"NOTIFY_SOCKET": os.path.join(folder, "notify")})
            self.addCleanup(d.close)
            d.start()
            try:
                while not notify.recv(4096).startswith(b"STATUS=refusing new load: more memory in use"):
                    pass
            except TimeoutError:
                self.skipTest("built without libsystemd")


class Systemd(unittest.TestCase):
    unit = os.path.join(ROOT, "systemd", "greedylrd.service")

    @unittest.skipUnless(shutil.which("systemd-analyze"), "systemd-analyze is not installed")
    def test_exposure(self):
        r = subprocess.run(["systemd-analyze", "security", "--offline=true", "--no-pager", self.unit],
                           capture_output=True, text=True, env=dict(os.environ, LC_ALL="C.UTF-8"))
        found = re.search(r"Overall exposure level for greedylrd.service: ([0-9.]+)", r.stdout)
        self.assertIsNotNone(found, r.stderr)
        self.assertLessEqual(float(found[1]), 1.5)

    def test_systemd_goes_on_starting_it(self):
        """A full disk, or whatever else may pass, must not leave the unit failed for good."""
        unit = contents(os.path.join(ROOT, "systemd", "greedylrd.service")).decode()
        head, service = unit.split("[Service]")
        self.assertIn("\nStartLimitIntervalSec=0\n", head)
        self.assertIn("\nRestart=on-failure\n", service)

    def test_flags_of_the_environment_file_exist(self):
        flags = {"GREEDYLRD_" + f.upper().replace("-", "_") for f in Options().flags()}
        with open(os.path.join(ROOT, "systemd", "greedylrd.env"), encoding="utf-8") as f:
            used = set(re.findall(r"^#?(GREEDYLRD_[A-Z_]+)=", f.read(), re.M))
        self.assertTrue(used)
        self.assertLessEqual(used, flags)

    def test_install_and_uninstall(self):
        with tempfile.TemporaryDirectory() as folder:
            build = os.path.relpath(os.path.dirname(BINARY), ROOT)
            # Everything is built already: what is tested is where things go, not how they are built.
            make = ["make", "-C", ROOT, "BUILD=" + build, "DESTDIR=" + folder, "PREFIX=/usr", "--no-print-directory"]
            for built in os.listdir(os.path.join(ROOT, build)):
                make += ["-o", build + "/" + built]
            env = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS", "BUILD"))}
            subprocess.run(make + ["install"], check=True, capture_output=True, env=env)
            files = sorted(os.path.relpath(os.path.join(at, f), folder) for at, _, names in os.walk(folder) for f in names)
            files = [f for f in files if "greedylrd" in f]  # the clients' files are their tests' business
            self.assertEqual(files, ["usr/bin/greedylrd", "usr/lib/systemd/system/greedylrd.service",
                                     "usr/lib/systemd/system/greedylrd.socket", "usr/share/doc/greedylrd/greedylrd.env",
                                     "usr/share/man/man8/greedylrd.8"])
            with open(os.path.join(folder, "usr/lib/systemd/system/greedylrd.service"), encoding="utf-8") as f:
                self.assertIn("\nExecStart=/usr/bin/greedylrd\n", f.read())
            version = subprocess.run([os.path.join(folder, "usr/bin/greedylrd"), "--version"], capture_output=True)
            self.assertEqual(version.returncode, 0)
            if shutil.which("systemd-analyze"):
                shell = os.path.join(folder, "bin", "sh")  # of ExecReload; nothing of ours
                os.mkdir(os.path.dirname(shell))
                shutil.copy("/bin/true", shell)
                r = subprocess.run(["systemd-analyze", "verify", "--man=false", "--root=" + folder,
                                    "greedylrd.service", "greedylrd.socket"], capture_output=True, text=True)
                about = [line for line in r.stderr.splitlines() if "greedylrd" in line and "sysinit.target" not in line]
                self.assertEqual(about, [])
                shutil.rmtree(os.path.dirname(shell))
            subprocess.run(make + ["uninstall"], check=True, capture_output=True, env=env)
            self.assertEqual([f for _, _, names in os.walk(folder) for f in names], [])


if __name__ == "__main__":
    unittest.main()
