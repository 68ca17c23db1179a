"""Who is measured by `make bench`: how each is started, loaded, asked whether its answers are right, and counted.

Each listens on a free port of 127.0.0.1, keeps its files in a directory of its own, and is a process group that ends
with the bench whatever happens.
"""
import atexit
import base64
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "integration"))
from harness import ROOT, free_port, wait_until  # noqa: E402

BUILD = os.path.join(ROOT, os.environ.get("BUILD", "build"))
JOBS = 1000

_groups = set()


@atexit.register
def end_all():
    for pid in list(_groups):
        try:
            os.killpg(pid, signal.SIGKILL)
        except OSError:
            pass


class Contender:
    name = what = ""
    needs = ()  # programs
    load = "report"  # what load.lua asks for
    stores = True
    slow = False  # measured once at most connections

    def __init__(self, folder):
        self.folder = os.path.join(folder, self.name.replace(" ", "-"))
        os.makedirs(self.folder, exist_ok=True)
        self.process, self.port, self.answers = None, 0, 0

    def path(self, name):
        return os.path.join(self.folder, name)

    def missing(self):
        return [n for n in self.needs if not shutil.which(n)]

    def command(self):
        raise NotImplementedError

    def start(self):
        """Started and listening; those that print no address get a port."""
        with open(self.path("stderr"), "ab") as stderr:
            self.process = subprocess.Popen(self.command(), stdout=subprocess.PIPE, stderr=stderr, text=True,
                                            cwd=self.folder, start_new_session=True)
        _groups.add(self.process.pid)
        if not self.port:
            line = self.process.stdout.readline()
            found = re.search(r":(\d+)\s*$", line)
            if not found:
                with open(self.path("stderr")) as f:
                    raise RuntimeError("%s does not start: %s%s" % (self.name, line, f.read()[-2000:]))
            self.port = int(found[1])
        wait_until(self.is_up, 30)
        return self

    def is_up(self):
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return True
        except OSError:
            return False

    def kill(self):
        if self.process and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(20)
        if self.process:
            self.process.stdout.close()
            _groups.discard(self.process.pid)

    def cpu(self):
        """Seconds of CPU used so far by all its threads."""
        total = 0
        tasks = "/proc/%d/task" % self.process.pid
        for task in os.listdir(tasks):
            try:
                with open("%s/%s/schedstat" % (tasks, task)) as f:
                    total += int(f.read().split()[0])
            except OSError:
                pass
        return total / 1e9

    def run(self, connections, seconds):
        """One measurement: answers, seconds, p50_us, p99_us, cpu_us (of the server, per answer), wrong."""
        before = self.cpu()
        r = self.generate(connections, seconds)
        r["cpu_us"] = 1e6 * (self.cpu() - before) / max(1, r["answers"])
        self.answers += r["answers"]
        return r

    def generate(self, connections, seconds):
        out = subprocess.run(["wrk", "-t1", "-c%d" % connections, "-d%ds" % seconds, "--timeout", "20s", "-s",
                              os.path.join(HERE, "load.lua"), "http://127.0.0.1:%d" % self.port, "--", self.load,
                              str(JOBS)], capture_output=True, text=True, timeout=120)
        found = re.search(r"^\{.*\}$", out.stdout, re.M)
        if not found:
            raise RuntimeError("wrk said nothing of %s: %s%s" % (self.name, out.stdout, out.stderr))
        r = json.loads(found[0])
        r["wrong"] = r.pop("refused") + r.pop("broken")
        return r

    # ---- whether its answers are right ----

    def ask(self, connection, n):
        """The n-th report (from 1) of the checker's own job, beside the load; (step, lr) as answered."""
        connection.request("POST", "/v1/jobs/check:report", '{"loss":1.5}', {"Content-Type": "application/json"})
        answer = connection.getresponse()
        body = json.loads(answer.read())
        return body.get("step"), body.get("lr")

    def expected(self, n):
        """Ten in eleven reports change nothing: the first is the best, none is better."""
        return n, 0.1 * 0.9 ** ((n - 1) // 11)

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)

    def stored(self):
        """How many decisions there are after it was killed; None if it keeps none."""
        return None


class Greedylrd(Contender):
    name, what = "greedylrd", "this daemon, a report"

    def command(self):
        return [os.path.join(BUILD, "greedylrd"), "--listen", "127.0.0.1:%d" % self.port, "--data-dir",
                self.path("data"), "--log-decisions", "none"]

    def start(self):
        super().start()
        c = self.connect()
        self.send(c, "/v1/jobs", {"job": "check", "lr": 0.1, "step": {"step_size": 10, "gamma": 0.5}})
        entries = [{"job": "bench-%06d" % n, "lr": 0.1, "loss": 3} for n in range(JOBS)]
        answer = self.send(c, "/v1/jobs:batchReport", {"reports": entries})
        assert all("decision" in r for r in answer["results"])
        self.answers += len(entries)
        return self

    @staticmethod
    def send(connection, path, body):
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise RuntimeError("POST %s: %d %s" % (path, answer.status, text[:300]))
        return json.loads(text)

    def ask(self, connection, n):
        """Every report twice: the repeat gets the recorded answer."""
        first, again = (self.send(connection, "/v1/jobs/check:report", {"loss": 1.5, "step": n}) for _ in range(2))
        same = all(first[k] == again[k] for k in ("revision", "lrs", "action", "reason", "time"))
        if not (again["duplicate"] and not first["duplicate"] and same):
            return None, None
        return first["step"], first["lr"]

    def expected(self, n):
        return n, 0.1 * 0.5 ** (n // 10)

    def stored(self):
        out = subprocess.run([self.command()[0], "--check", self.path("data")], capture_output=True, text=True,
                             timeout=600)
        if out.returncode:
            raise RuntimeError("greedylrd --check: " + out.stdout + out.stderr)
        return int(re.search(r"(\d+) decisions in all", out.stdout)[1])


class Reads(Contender):
    """GET /lr of the same daemon."""
    name, what, load, stores = "greedylrd GET", "this daemon, GET /v1/jobs/JOB/lr", "lr", False

    def __init__(self, folder, daemon):
        super().__init__(folder)
        self.daemon = daemon

    def start(self):
        self.process, self.port = self.daemon.process, self.daemon.port
        return self

    def kill(self):
        pass

    def ask(self, connection, n):
        connection.request("GET", "/v1/jobs/bench-000001/lr")
        answer = connection.getresponse()
        return (n if answer.status == 200 else None), float(answer.read())

    def expected(self, n):
        return n, None  # the load changes it


class Canned(Contender):
    name, what, load, stores = "canned", "the same libraries, answering a constant", "lr", False

    def command(self):
        return [os.path.join(BUILD, "bench", "peer_log"), "canned"]

    def ask(self, connection, n):
        step, lr = super().ask(connection, n)
        return n if step == 1 else None, lr

    def expected(self, n):
        return n, 0.1


class PlainLog(Contender):
    name, what = "plain log", "the same libraries, group commit to a plain log"

    def command(self):
        return [os.path.join(BUILD, "bench", "peer_log"), "log", self.path("log")]

    def stored(self):
        with open(self.path("log"), "rb") as f:
            return sum(block.count(b"\n") for block in iter(lambda: f.read(1 << 20), b""))


class Node(PlainLog):
    name, what, needs = "node", "Node, one fdatasync for all that wait", ("node",)

    def command(self):
        return ["node", os.path.join(HERE, "peer_node.mjs"), self.path("log")]


class Sqlite(Contender):
    name, what, slow = "python sqlite", "Python http.server + SQLite FULL, a commit each", True

    def command(self):
        return ["/usr/bin/python3", os.path.join(HERE, "peer_sqlite.py"), self.path("db")]

    def stored(self):
        import sqlite3
        with sqlite3.connect(self.path("db")) as db:
            return db.execute("SELECT COUNT(*) FROM decisions").fetchone()[0]


class Redis(Contender):
    name, what = "redis", "Redis, appendfsync always, the update as a script"
    needs = ("redis-server", "redis-benchmark")

    def command(self):
        return ["redis-server", "--bind", "127.0.0.1", "--port", str(self.port), "--dir", self.folder, "--appendonly",
                "yes", "--appendfsync", "always", "--save", "", "--auto-aof-rewrite-percentage", "0", "--logfile",
                self.path("log")]

    def start(self):
        self.port = self.port or free_port()
        super().start()
        with open(os.path.join(HERE, "report.lua")) as f:
            self.sha = self.call(self.connect(), "SCRIPT", "LOAD", f.read())
        self.rate = {}
        return self

    def generate(self, connections, seconds):
        """redis-benchmark takes a number of requests, so as many as took so long before."""
        n = int(self.rate.get(connections, 2000 * min(connections, 8)) * seconds)
        start = time.monotonic()
        out = subprocess.run(["redis-benchmark", "-h", "127.0.0.1", "-p", str(self.port), "-c", str(connections), "-n",
                              str(n), "-r", str(JOBS), "--csv", "--precision", "3", "EVALSHA", self.sha, "1",
                              "bench-__rand_int__", "2.31"], capture_output=True, text=True, timeout=120)
        took = time.monotonic() - start
        rows = [line.strip('"').split('","') for line in out.stdout.splitlines() if line.startswith('"EVALSHA')]
        if out.returncode or not rows:
            raise RuntimeError("redis-benchmark: " + out.stdout + out.stderr)
        rps, _, _, p50, _, p99, _ = map(float, rows[0][1:])
        again = connections not in self.rate and took < seconds / 2
        self.rate[connections] = rps
        if again:
            self.answers += n
            return self.generate(connections, seconds)
        return {"answers": n, "seconds": n / rps, "p50_us": 1e3 * p50, "p99_us": 1e3 * p99, "wrong": 0}

    def run(self, connections, seconds):
        if connections not in self.rate:
            self.generate(connections, 0.2)  # how many it can do; the next call is the measurement
        return super().run(connections, seconds)

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), 30).makefile("rwb")

    def call(self, connection, *words):
        words = [w.encode() for w in words]
        connection.write(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words))
        connection.flush()
        return self.reply(connection)

    def reply(self, connection):
        line = connection.readline().rstrip(b"\r\n")
        kind, rest = line[:1], line[1:].decode()
        if kind == b"*":
            return [self.reply(connection) for _ in range(int(rest))]
        if kind == b"$":
            return connection.read(int(rest) + 2)[:-2].decode()
        if kind == b":":
            return int(rest)
        if kind == b"-":
            raise RuntimeError("redis: " + rest)
        return rest

    def ask(self, connection, n):
        step, lr = self.call(connection, "EVALSHA", self.sha, "1", "check", "1.5")
        return step, float(lr)

    def stored(self):
        """Started again on what it left."""
        count = ("local n = 0 for _, k in ipairs(redis.call('KEYS', '*')) do "
                 "n = n + redis.call('HGET', k, 'step') end return n")
        self.process = None
        super().start()
        connection = self.connect()
        wait_until(lambda: self.loaded(connection), 120)
        n = self.call(connection, "EVAL", count, "0")
        self.kill()
        return n

    def loaded(self, connection):
        try:
            return self.call(connection, "PING") == "PONG"
        except RuntimeError:
            return False


class Etcd(Contender):
    name, what, load, slow = "etcd", "etcd, one node, a put as JSON", "etcd", True
    needs = ("etcd",)

    def command(self):
        peer = "http://127.0.0.1:%d" % self.peer_port
        client = "http://127.0.0.1:%d" % self.port
        return ["etcd", "--name", "bench", "--data-dir", self.path("data"), "--listen-client-urls", client,
                "--advertise-client-urls", client, "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
                "--initial-cluster", "bench=" + peer, "--log-level", "error", "--quota-backend-bytes", "2147483648"]

    def start(self):
        self.port = self.port or free_port()
        self.peer_port = free_port()
        super().start()
        wait_until(lambda: self.post(self.connect(), "/v3/maintenance/status", {}).get("leader", "0") != "0", 30)
        return self

    @staticmethod
    def post(connection, path, body):
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        return json.loads(connection.getresponse().read())

    def ask(self, connection, n):
        key, value = (base64.b64encode(t.encode()).decode() for t in ("check", str(n)))
        self.post(connection, "/v3/kv/put", {"key": key, "value": value})
        pair = self.post(connection, "/v3/kv/range", {"key": key})["kvs"][0]
        return int(pair["version"]), float(base64.b64decode(pair["value"]))

    def expected(self, n):
        return n, float(n)

    def stored(self):
        self.process = None
        self.start()
        found = self.post(self.connect(), "/v3/kv/range", {"key": "AA==", "range_end": "AA=="})
        self.kill()
        return int(found["header"]["revision"]) - 1


def contenders(folder):
    daemon = Greedylrd(folder)
    return [daemon, Reads(folder, daemon), PlainLog(folder), Canned(folder), Redis(folder), Node(folder),
            Sqlite(folder), Etcd(folder)]
