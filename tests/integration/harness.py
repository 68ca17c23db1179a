"""A real daemon on port 0 in a temporary directory, for tests that talk to it as users do.

Every daemon is a process group of its own, ends with the tests whatever happens, and fails them if a sanitizer or an
assertion spoke.  BUILD says which build is tested.
"""
import atexit
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BINARY = os.path.join(ROOT, os.environ.get("BUILD", "build"), "greedylrd")


_running = set()


def _end_all():
    for process in _running:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except OSError:
            pass


atexit.register(_end_all)


class Daemon:
    """One data directory and the daemon that serves it; start, kill and start again."""

    def __init__(self, *flags, wrap=(), data=None, env=None, **popen):
        self.flags, self.wrap, self.env, self.popen = list(flags), list(wrap), env or {}, popen
        self.own = data is None
        self.data = data or tempfile.mkdtemp(prefix="greedylrd-test-")
        self.process, self.port, self.stderr = None, None, ""
        self.headers = {}  # of every request

    def start(self, ready=True):
        """Returns once the daemon listens, and is ready unless told otherwise."""
        env = dict(os.environ, **self.env)
        env.pop("JOURNAL_STREAM", None)
        args = self.wrap + [BINARY, "--listen", "127.0.0.1:%d" % (self.port or 0), "--data-dir", self.data] + self.flags
        self.process = subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env,
                                        start_new_session=True, **self.popen)
        _running.add(self.process)
        self._lines = []
        self._reader = threading.Thread(target=self._drain, daemon=True)
        self._reader.start()
        line = self.process.stdout.readline()
        found = re.search(r":(\d+)\s*$", line)
        if not found:
            self.process.wait(20)
            self._reader.join(5)
            self.process.stdout.close()
            self.process.stderr.close()
            _running.discard(self.process)
            raise RuntimeError("no listening line; exit %s: %s" % (self.process.returncode, "".join(self._lines)))
        self.port = int(found.group(1))
        if ready:
            wait_until(lambda: self.request("GET", "/readyz")[0] == 200)
        return self

    def _drain(self):
        for line in self.process.stderr:
            self._lines.append(line)

    def _ended(self):
        code = self.process.wait(60)
        _running.discard(self.process)
        self._reader.join(5)
        self.process.stdout.close()
        self.process.stderr.close()
        self.stderr += "".join(self._lines)
        for sign in ("Sanitizer", "runtime error:", "Assertion"):
            assert sign not in self.stderr, self.stderr[-6000:]
        return code

    def kill(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self._ended()

    def stop(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        return self._ended()

    def restart(self):
        self.kill()
        return self.start()

    def close(self):
        if self.process and self.process.poll() is None:
            code = self.stop()
            assert code == 0, "exit %d: %s" % (code, self.stderr[-4000:])
            r = check(self.data)
            assert r.returncode == 0, r.stdout + r.stderr
        if self.own:
            shutil.rmtree(self.data, ignore_errors=True)

    def connection(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def request(self, method, path, body=None, headers=None, connection=None):
        """(status, headers, body as bytes); body may be text, bytes or something for JSON."""
        c = connection or self.connection()
        if body is not None and not isinstance(body, (str, bytes)):
            body = json.dumps(body)
        c.request(method, path, body=body, headers=dict(self.headers, **(headers or {})))
        r = c.getresponse()
        answer = (r.status, dict((k.lower(), v) for k, v in r.getheaders()), r.read())
        if connection is None:
            c.close()
        return answer

    def call(self, method, path, body=None, headers=None, connection=None):
        """(status, parsed JSON)."""
        status, _, text = self.request(method, path, body, headers, connection)
        return status, json.loads(text)

    def ok(self, method, path, body=None, **more):
        status, answer = self.call(method, path, body, **more)
        assert status == 200, (method, path, body, status, answer)
        return answer

    def raw(self, data, seconds=20.0, half_close=False):
        """Sends bytes as they are; returns all that comes until the daemon closes or is silent for so long."""
        with socket.create_connection(("127.0.0.1", self.port), seconds) as s:
            s.sendall(data)
            if half_close:
                s.shutdown(socket.SHUT_WR)
            answer = b""
            try:
                while more := s.recv(65536):
                    answer += more
            except (TimeoutError, ConnectionResetError):
                pass
            return answer

    def decisions(self, job):
        """The whole history of a job."""
        found, token = [], ""
        while True:
            page = self.ok("GET", "/v1/jobs/%s/decisions?page_size=1000%s" % (job, token))
            found += page["decisions"]
            if "next_page_token" not in page:
                return found
            token = "&page_token=" + page["next_page_token"]

    def rpc(self, name, body, headers=None):
        return self.call("POST", "/greedylr.v1.SchedulerService/" + name, body,
                         dict({"Content-Type": "application/json"}, **(headers or {})))


def check(folder, *flags, wrap=()):
    """What greedylrd --check says of a data directory."""
    return subprocess.run([*wrap, BINARY, "--check", folder, *flags], capture_output=True, text=True, timeout=600)


def reason(answer):
    return answer["details"][0]["debug"]["reason"]


class DaemonTest(unittest.TestCase):
    """A test with a fresh daemon, checked for a clean end."""
    flags = ()

    def setUp(self):
        self.d = Daemon(*self.flags)
        self.addCleanup(self.d.close)
        self.d.start()


#: Settings of a job whose second worse report takes the rate to 0.
ZERO = {"lr": [1e-300], "greedy": {"dialect": "transformers", "factor": 1e-200, "patience": 0, "min_lr": [0], "eps": 0}}


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_until(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("it did not happen within %g s" % seconds)
        time.sleep(0.01)


def num(x):
    """A number of a vector or an answer as a float."""
    return float(x.replace("Infinity", "inf")) if isinstance(x, str) else float(x)


def vectors(name):
    with open(os.path.join(ROOT, "tests", "conformance", name)) as f:
        return [json.loads(line) for line in f]
