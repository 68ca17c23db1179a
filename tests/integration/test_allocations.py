"""Every allocation of the daemon failing, one after the other, and all of them for a while.

Each operation is done again and again, with the 1st, 2nd, 3rd ... allocation of the whole process failing, until
it ends without one that failed.  What is answered then is right, or 503 OUT_OF_MEMORY, or the connection is closed.
A twin without faults gets what took effect; in the end both daemons know the same, and so they do after a kill.
"""
import http.client
import json
import os
import random
import re
import socket
import time
import unittest
from concurrent.futures import ThreadPoolExecutor

from faults import FaultyDaemon
from harness import Daemon, wait_until

#: Differ between two daemons.
OWN = {"time", "uid", "create_time", "update_time", "actor"}
CONNECT = "/greedylr.v1.SchedulerService/"
#: How many allocations apart the failing ones are; 1, which takes two minutes, is every one.
STRIDE = int(os.environ.get("STRIDE", "8"))
SEED = os.environ.get("SEED", "1")


def common(answer):
    """What is the same on both daemons."""
    if isinstance(answer, dict):
        return {name: common(value) for name, value in answer.items() if name not in OWN}
    if isinstance(answer, list):
        return [common(value) for value in answer]
    return answer


class Operation:
    """One request that a test repeats: request(i) is method, path, body, headers; before(i) are requests made without faults.

    read: it changes nothing; repeat: it is two changes, and the same request makes the other; fresh: on a connection of its
    own."""

    def __init__(self, name, request, before=None, read=False, job=None, status=200, repeat=False, fresh=False):
        self.name, self.request, self.before = name, request, before
        self.read, self.job, self.status, self.repeat, self.fresh = read, job, status, repeat, fresh


def report(job, step, **more):
    return "POST", "/v1/jobs/%s:report" % job, dict({"step": step, "loss": 1 + 1 / step}, **more), {}


def post(path, body):
    return "POST", path, body, {}


def get(path, **headers):
    return "GET", path, None, {name.replace("_", "-"): value for name, value in headers.items()}


SPEC = {"lr": [0.1, 0.2], "group_names": ["a", "b"], "greedy": {"patience": 1, "smooth": True, "window_size": 3, "min_lr": [0.01, 0.02]},
        "labels": ["team=nlp", "x=y"], "shadow": [{"name": "other", "plateau": {"patience": 2}}]}
STATE = {"lr": 0.1, "plateau": {"mode": "min", "factor": 0.5, "patience": 3}}
#: An empty WatchJob or Report in binary: fields 1 (job) and 2 (step).
BINARY = {"Content-Type": "application/proto"}

OPERATIONS = [
    Operation("create", lambda i: post("/v1/jobs", dict(SPEC, job="create-%d" % i)), job="create-%d"),
    Operation("create-by-report", lambda i: report("made-%d" % i, 1, lr=[0.1, 0.3]), job="made-%d"),
    Operation("report", lambda i: report("full", i + 100), job="full"),
    Operation("report-request-id", lambda i: ("POST", "/v1/jobs/asked:report", {"loss": 1, "request_id": "r%d" % i}, {}), job="asked"),
    Operation("duplicate", lambda i: report("full", i % 5 + 1), read=True),
    Operation("dry", lambda i: report("full", 10 ** 6, dry_run=True), read=True),
    Operation("batch", lambda i: post("/v1/jobs:batchReport", {"reports": [
        {"job": "b%d" % k, "step": i + 100, "loss": 1} for k in range(3)]}), job="b0"),
    Operation("update", lambda i: ("PATCH", "/v1/jobs/full", {"spec": {"greedy": {"patience": i % 50 + 1}}}, {}), job="full"),
    Operation("rewind", lambda i: post("/v1/jobs/back:rewind", {"step": 2}), before=lambda i: [report("back", 3)], job="back"),
    Operation("attempt", lambda i: report("again", 2, attempt=i + 1), job="again", repeat=True),
    Operation("fork", lambda i: post("/v1/jobs/full:fork", {"step": 3, "spec": {"job": "fork-%d" % i, "greedy": {"patience": 7}}}),
              job="fork-%d"),
    Operation("set-lr", lambda i: post("/v1/jobs/full:setLr", {"lr": [0.1, 0.05 + i / 1e6]}), job="full"),
    Operation("pause", lambda i: post("/v1/jobs/held:" + ("pause", "resume")[i % 2], {}), job="held"),
    Operation("begin", lambda i: post("/v1/jobs/begun:begin", {}), job="begun"),
    Operation("delete", lambda i: ("DELETE", "/v1/jobs/gone-%d" % i, None, {}), job="gone-%d",
              before=lambda i: [post("/v1/jobs", {"job": "gone-%d" % i, "lr": 0.1}), report("gone-%d" % i, 1)]),
    Operation("export", lambda i: get("/v1/jobs/state/state"), read=True),
    Operation("import", lambda i: ("PUT", "/v1/jobs/state/state", {
        "factor": 0.5, "min_lrs": [0], "patience": 3, "cooldown": 0, "eps": 1e-8, "mode": "min", "threshold": 1e-4, "threshold_mode": "rel",
        "best": 1.5 - i / 1000, "num_bad_epochs": 1, "last_epoch": i + 5, "cooldown_counter": 0, "_last_lr": [0.05], "mode_worse": float("inf")},
        {}), job="state"),
    Operation("simulate", lambda i: post("/v1/simulate", {"spec": SPEC, "losses": [3, 2, 2, 2, 1, 1, 1]}), read=True),
    Operation("get", lambda i: get("/v1/jobs/full"), read=True),
    Operation("lr", lambda i: get("/v1/jobs/full/lr"), read=True),
    Operation("connect", lambda i: get("/v1/jobs/full/lr"), read=True, fresh=True),
    Operation("lr-step", lambda i: get("/v1/jobs/full/lr?format=json&step=2"), read=True),
    Operation("list-jobs", lambda i: get("/v1/jobs?page_size=20&label=team%3Dnlp"), read=True),
    Operation("decisions", lambda i: get("/v1/jobs/full/decisions?page_size=20"), read=True),
    Operation("decisions-thin", lambda i: get("/v1/jobs/full/decisions?max_points=5"), read=True),
    Operation("decisions-csv", lambda i: get("/v1/jobs/full/decisions?page_size=20&format=csv"), read=True),
    Operation("decisions-ndjson", lambda i: get("/v1/jobs/full/decisions?page_size=20&format=ndjson"), read=True),
    Operation("connect-json", lambda i: ("POST", CONNECT + "GetJob", {"job": "full"}, {"Content-Type": "application/json"}), read=True),
    Operation("connect-binary", lambda i: ("POST", CONNECT + "GetJob", b"\x0a\x04full", BINARY), read=True),
    Operation("connect-get", lambda i: get(CONNECT + "GetLr?encoding=json&message=%7B%22job%22:%22full%22%7D"), read=True),
    Operation("unknown-job", lambda i: get("/v1/jobs/none"), read=True, status=404),
    Operation("unknown-field", lambda i: post("/v1/jobs", {"job": "x", "lr": 0.1, "gredy": {}}), read=True, status=400),
    Operation("bad-number", lambda i: ("POST", "/v1/jobs/full:report", '{"step":1,"loss":1e400}', {}), read=True, status=400),
    Operation("nan", lambda i: ("POST", "/v1/jobs/nans:report", '{"step":%d,"loss":NaN,"lr":0.1}' % (i + 1), {}), job="nans"),
    Operation("metrics", lambda i: get("/metrics"), read=True),
    Operation("ready", lambda i: get("/readyz?verbose"), read=True),
]


def setup(d):
    """What the operations need, on a fresh daemon."""
    for job in ("full", "asked", "back", "again", "held", "begun", "b0", "b1", "b2"):
        d.ok("POST", "/v1/jobs", dict(SPEC, job=job))
    d.ok("POST", "/v1/jobs", dict(STATE, job="state"))
    for step in range(1, 6):
        for job in ("full", "back", "again"):
            if job == "full" or step < 3:
                d.ok(*report(job, step)[:3])
    d.ok(*report("state", 1)[:3])


class Allocations(unittest.TestCase):
    flags = ("--log-level", "error", "--resident-jobs", "8")

    def setUp(self):
        self.d = FaultyDaemon(*self.flags)
        self.addCleanup(self.d.close)
        self.d.start()
        if not self.d.allocations_can_fail:
            self.skipTest("a sanitizer's allocator cannot be replaced")
        self.twin = Daemon(*self.flags)
        self.addCleanup(self.twin.close)
        self.twin.start()
        for d in (self.d, self.twin):
            d.headers = {"X-Request-Id": "same"}
            setup(d)
        self.connections = {d: d.connection() for d in (self.d, self.twin)}
        for d, connection in self.connections.items():
            self.addCleanup(connection.close)
            self.connect(d)
        self.cached = None, None, None
        self.closed = self.refused = self.tried = self.barriers = 0

    def send(self, d, request, fresh=False):
        """(status, headers, body), or None where the connection was closed."""
        try:
            answer = d.request(*request, connection=None if fresh else self.connections[d])
        except (OSError, http.client.HTTPException):
            answer = None
        if not answer or answer[1].get("connection") == "close":
            self.connections[d].close()
        return answer

    def connect(self, d):
        """Again, if it was closed."""
        if self.connections[d].sock is None and d.process.poll() is None:
            d.request("GET", "/livez", connection=self.connections[d])

    def expected(self, op, request):
        """What the twin answers; once where nothing changes."""
        if not op.read:
            return self.send(self.twin, request)
        if self.cached[0] is not op or self.cached[1] != request:
            self.cached = op, request, self.send(self.twin, request)
        return self.cached[2]

    def revision(self, d, job):
        status, answer = d.call("GET", "/v1/jobs/" + job, connection=self.connections[d])
        return answer["revision"] if status == 200 else None

    def check_refusal(self, answer, op, at):
        """503 OUT_OF_MEMORY with Retry-After, on both faces."""
        if answer is None:
            self.closed += 1
            return
        status, headers, text = answer
        where = (op.name, at, status, text)
        self.assertIn(status, (503, 429), where)
        self.assertEqual(headers.get("retry-after"), "1", where)
        self.assertIn(b"OUT_OF_MEMORY", text, where)
        json.loads(text)
        self.refused += 1

    def same(self, answer, other, op, at):
        if op.name == "metrics":
            names = [[line.split(b" ")[0] for line in text.split(b"\n") if line[:1] != b"#" and b"refusals" not in line and
                      b"greedylrd_http_" not in line] for text in (answer[2], other[2])]
            self.assertLessEqual(*map(set, names), (op.name, at))
            self.assertIn(b'greedylrd_jobs{state="active"}', names[0])
            return
        where = (op.name, at, answer, other)
        self.assertEqual((answer[0], answer[1]["content-type"]), (other[0], other[1]["content-type"]), where)
        if answer[1]["content-type"].startswith("application/json"):
            texts = [common(json.loads(text)) for text in (answer[2], other[2])]
            if answer[0] >= 400 and "x-request-id" not in answer[1]:  # there was no memory to tell it
                for text in texts:
                    del text["details"]
            self.assertEqual(*texts, where)
        elif op.name == "connect-binary":
            self.assertAlmostEqual(len(answer[2]), len(other[2]), delta=4, msg=where)   # the nanoseconds of its time: 1 to 5 bytes
        elif op.name == "decisions-ndjson":
            self.assertEqual(*[[common(json.loads(line)) for line in text.splitlines()] for text in (answer[2], other[2])], where)
        elif op.name == "decisions-csv":
            self.assertEqual(*[re.sub(rb"\d{4}-\d\d-\d\dT[0-9:.]+Z|(?<=127.0.0.1:)\d+", b"-", text) for text in (answer[2], other[2])], where)
        else:
            self.assertEqual(answer[2], other[2], where)

    def one(self, op, i, at, forever):
        """Whether allocation `at` of operation i was made, and failed."""
        d, twin = self.d, self.twin
        for request in op.before(i) if op.before else ():
            for each in (d, twin):
                each.ok(*request[:3])
        request, job = op.request(i), op.job and (op.job % i if "%" in op.job else op.job)
        before = self.revision(d, job) if job else None
        with d.failing("memory", at=at, forever=forever):
            answer = self.send(d, request, op.fresh)
        self.connect(d)
        hit = d.hits("memory") > 0
        self.tried += 1
        self.assertIsNone(d.process.poll(), (op.name, at, "the daemon ended", "".join(d._lines)[-2000:]))
        if op.name == "batch" and hit:
            self.after_batch(request, answer, at)
        elif answer and answer[0] == op.status:
            self.same(answer, self.expected(op, request), op, at)
        else:
            self.assertTrue(hit, (op.name, at, answer))
            self.check_refusal(answer, op, at)
            if not op.read:
                self.settle()
                if self.revision(d, job) != before:  # decided, and could not be told
                    if op.repeat:
                        self.send(d, request)
                    self.send(twin, request)
                    self.assertEqual(self.revision(d, job), self.revision(twin, job), (op.name, at))
        return hit

    def settle(self):
        """What was queued before is durable, or has failed."""
        self.barriers += 1
        for d in (self.d, self.twin):
            d.ok("POST", "/v1/jobs/barrier:report", {"step": self.barriers, "loss": 1, "lr": 0.1}, connection=self.connections[d])

    def after_batch(self, request, answer, at):
        """Items are independent: each is decided, or was out of memory."""
        if answer is None or answer[0] != 200:
            self.check_refusal(answer, OPERATIONS[6], at)
            results = [None] * 3
        else:
            results = json.loads(answer[2])["results"]
        self.settle()
        for item, result in zip(request[2]["reports"], results):
            job = item["job"]
            moved = self.revision(self.d, job) != self.revision(self.twin, job)
            if result and "error" in result:
                self.assertEqual(result["error"]["reason"], "OUT_OF_MEMORY", (at, result))
            decided = self.twin.ok("POST", "/v1/jobs/%s:report" % job, item) if moved else None
            self.assertEqual(self.revision(self.d, job), self.revision(self.twin, job), (at, job))
            if result and "decision" in result:
                self.assertEqual(common(result["decision"]), common(decided), (at, job))

    def through(self, op, forever):
        stride = STRIDE * (3 if forever else 1)
        at, i = random.Random("%s %s" % (SEED, op.name)).randint(1, stride), 5000 if forever else 0
        while self.one(op, i, at, forever):
            at, i = at + stride, i + 1
            self.assertLess(at, 20000)

    def all(self, forever):
        for op in OPERATIONS:
            with self.subTest(op=op.name):
                self.through(op, forever)
            if self.d.process.poll() is not None:
                return
        self.check_end()

    def known(self, d):
        """All that a daemon knows."""
        jobs, token = [], ""
        while token is not None:
            page = d.ok("GET", "/v1/jobs?page_size=1000" + token)
            jobs += page["jobs"]
            token = "&page_token=" + page["next_page_token"] if "next_page_token" in page else None
        return {job["job"]: (common(job), common(d.decisions(job["job"]))) for job in jobs}

    def check_end(self):
        expected = self.known(self.twin)
        self.maxDiff = 2000
        self.assertEqual(self.known(self.d), expected)
        self.d.put("memory", "mode", 0)
        self.d.restart()
        self.assertEqual(self.known(self.d), expected)
        print("seed %s: %d operations, %d refused, %d connections closed" % (SEED, self.tried, self.refused, self.closed), end=" ", flush=True)

    def test_rounds(self):
        """Reports of two ranks, with an allocation of the second one's failing while the first waits."""
        d = self.d
        for each in (d, self.twin):
            each.ok("POST", "/v1/jobs", {"job": "ranks", "lr": 0.1, "ranks": {"world_size": 2}})
        at, step, hit = 1, 0, True
        while hit:
            step += 1
            first = http.client.HTTPConnection("127.0.0.1", d.port, timeout=60)
            bodies = [json.dumps({"step": step, "rank": rank, "loss": rank + 1 / step}) for rank in (0, 1)]
            first.request("POST", "/v1/jobs/ranks:report", bodies[0])
            wait_until(lambda: d.ok("GET", "/v1/jobs/ranks", connection=self.connections[d])["state"].get("open_round", {}).get("reported") == 1)
            with d.failing("memory", at=at):
                second = self.send(d, ("POST", "/v1/jobs/ranks:report", bodies[1], {}))
                hit = d.hits("memory") > 0
                if second and second[0] == 200:
                    waited = first.getresponse()
                    waited = waited.status, dict((k.lower(), v) for k, v in waited.getheaders()), waited.read()
                else:
                    waited = None
            self.connect(d)
            self.assertIsNone(d.process.poll(), ("".join(d._lines)[-2000:], at))
            for answer in (second, waited):
                if answer and answer[0] != 200:
                    self.check_refusal(answer, Operation("rounds", None), at)
            with ThreadPoolExecutor(2) as pool:  # the same reports again: all agree, and so does the twin
                decided = [pool.submit(each.ok, "POST", "/v1/jobs/ranks:report", body) for each in (d, self.twin) for body in bodies]
                decided = [common(x.result()) for x in decided[:2]] + [common(x.result()) for x in decided[2:]]
            first.close()
            for x in decided:
                x.pop("duplicate")
            self.assertEqual([decided[0]] * 4, decided, at)
            self.tried, at = self.tried + 1, at + max(1, STRIDE // 2)
        self.check_end()

    def test_watch(self):
        """A watcher gets every decision, or is told that it is over; it is never left waiting."""
        d = self.d
        at, step, hit = 1, 100, True
        while hit:
            watch = socket.create_connection(("127.0.0.1", d.port), 30)
            with d.failing("memory", at=at):
                try:
                    watch.sendall(b"GET /v1/jobs/full:watch?after_revision=0 HTTP/1.0\r\nHost: localhost\r\n\r\n")
                    text = watch.recv(65536)
                    step += 1
                    self.send(d, report("full", step))
                    self.connect(d)
                except ConnectionError:
                    text = b""
                hit = d.hits("memory") > 0
            self.assertIsNone(d.process.poll(), ("".join(d._lines)[-2000:], at))
            step += 1
            last = d.ok(*report("full", step)[:3])["revision"]
            ids = []
            if text.startswith(b"HTTP/1.1 200"):
                while last not in ids and b"event: end" not in text:
                    try:
                        more = watch.recv(65536)
                    except ConnectionError:
                        more = b""
                    if not more:
                        break
                    text += more
                    ids = [int(x) for x in re.findall(rb"id: (\d+)\nevent: decision", text)]
                self.assertEqual(ids, list(range(1, len(ids) + 1)), (at, text[-500:]))
                self.assertTrue(hit or ids[-1] == last)
            elif text:
                self.assertIn(b"OUT_OF_MEMORY", text)
                self.assertTrue(hit)
            watch.close()
            self.tried, at = self.tried + 1, at + max(1, STRIDE // 2)
        print("%d watchers" % self.tried, end=" ", flush=True)

    def test_none_for_a_while(self):
        """Without any memory nothing is acknowledged; with it all goes on, without a restart."""
        d, answered, step = self.d, [], 0
        for _ in range(5):
            for at in (1, 30, 100):
                with d.failing("memory", at=at, forever=True):
                    end = time.monotonic() + 0.4
                    while time.monotonic() < end:
                        step += 1
                        answer = self.send(d, report("while", step, lr=0.1))
                        if answer and answer[0] == 200:
                            answered.append(json.loads(answer[2]))
                        else:
                            self.check_refusal(answer, Operation("while", None), at)
            self.connect(d)
            step += 1
            answered.append(d.ok(*report("while", step, lr=0.1)[:3]))
        # The writer's idle work, too.
        wait_until(lambda: re.search(rb"\ngreedylrd_unfolded_bytes 0\n", d.request("GET", "/metrics")[2]))
        for _ in range(2):
            kept = {x["step"]: x for x in d.decisions("while")}
            for x in answered:
                self.assertEqual(kept[x["step"]]["lrs"], x["lrs"])
            d.restart()
        print("%d answered, %d refused, %d connections closed" % (len(answered), self.refused, self.closed), end=" ", flush=True)

    def test_each_once(self):
        self.all(False)

    def test_each_and_all_behind_it(self):
        self.all(True)


if __name__ == "__main__":
    unittest.main()
