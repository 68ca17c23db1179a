"""WatchJob as people use it: server-sent events and Connect streams, live, resumed, cut off, ended."""
import fcntl
import json
import random
import socket
import struct
import termios
import threading
import time
import unittest

from harness import BINARY, Daemon, DaemonTest, reason, wait_until
from test_faces import descriptor_pb2, load_contract

CONNECT = "/greedylr.v1.SchedulerService/WatchJob"
PATIENCE = 20  # seconds
WIDE = {"lr": [0.1 + i / 7 for i in range(256)]}  # decisions of about 5 KB


class Stream:
    """One streamed answer, read as it comes; `whole` once it ended as HTTP says it should."""

    def __init__(self, d, target, headers=None, method="GET", body=b"", receive=None, version="1.1"):
        self.s = socket.socket()
        if receive:
            self.s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
        self.s.settimeout(PATIENCE)
        self.s.connect(("127.0.0.1", d.port))
        lines = ["%s %s HTTP/%s" % (method, target, version), "Host: localhost"]
        lines += ["%s: %s" % h for h in dict({"Content-Length": len(body)} if body else {}, **(headers or {})).items()]
        self.s.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        self.f = self.s.makefile("rb")
        self.status = int(self.f.readline().split()[1])
        self.headers = {}
        while (line := self.f.readline().strip()):
            name, value = line.decode().split(": ", 1)
            self.headers[name.lower()] = value
        self.chunked = self.headers.get("transfer-encoding") == "chunked"
        self.data, self.whole, self.last_id, self.comments = b"", False, None, []

    def wait(self, end):
        """Takes what comes next, keep-alive comments too, but not for ever; False at the end."""
        if time.monotonic() > end:
            raise AssertionError("nothing came but %r" % self.data)
        return self.more()

    def more(self):
        """Takes what comes next; False at the end, an orderly one or not."""
        try:
            if not self.chunked:
                got = self.f.read1(65536)
                self.whole = not got
            else:
                head = self.f.readline()
                size = int(head, 16) if head.endswith(b"\n") else 0
                got = self.f.read(size)
                if len(got) != size or self.f.read(2) != b"\r\n":
                    return False
                self.whole = bool(head) and size == 0
        except OSError:
            return False
        self.data += got
        return bool(got)

    def read(self, n):
        end = time.monotonic() + PATIENCE
        while len(self.data) < n:
            if not self.wait(end):
                raise EOFError(self.data)
        got, self.data = self.data[:n], self.data[n:]
        return got

    def event(self):
        """The next (event, data); comments and ids are noted on the way.  None at the end."""
        end = time.monotonic() + PATIENCE
        while True:
            while b"\n\n" not in self.data:
                if not self.wait(end):
                    return None
            block, self.data = self.data.split(b"\n\n", 1)
            fields = {}
            for line in block.decode().split("\n"):
                name, value = line.split(":", 1)
                if name:
                    fields[name] = value[1:]
                else:
                    self.comments.append(value)
            self.last_id = int(fields.get("id", self.last_id or 0))
            if "data" in fields:
                return fields["event"], json.loads(fields["data"])

    def events(self, n):
        return [self.event() for _ in range(n)]

    def decisions(self, n):
        got = self.events(n)
        assert all(e and e[0] == "decision" for e in got), got[-1]
        return [e[1] for e in got]

    def frame(self):
        flags, size = struct.unpack(">BI", self.read(5))
        return flags, self.read(size)

    def rest(self):
        while self.more():
            pass
        return self.data

    def close(self):
        self.f.close()
        self.s.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def envelope(message, flags=0):
    return struct.pack(">BI", flags, len(message)) + message


class WatchTest(DaemonTest):
    def create(self, job, **spec):
        return self.d.ok("POST", "/v1/jobs", dict({"job": job, "lr": 0.1}, **spec))

    def report(self, job, n=1, connection=None):
        for _ in range(n):
            answer = self.d.ok("POST", "/v1/jobs/%s:report" % job, {"loss": random.random()}, connection=connection)
        return answer

    def batch(self, job, n):
        reports = [{"job": job, "loss": random.random()} for _ in range(n)]
        for result in self.d.ok("POST", "/v1/jobs:batchReport", {"reports": reports})["results"]:
            self.assertIn("decision", result)

    def history(self, job):
        return self.d.ok("GET", "/v1/jobs/%s/decisions?page_size=1000&superseded=true" % job)["decisions"]

    def watch(self, job, after=None, headers=None, **more):
        stream = Stream(self.d, "/v1/jobs/%s:watch%s" % (job, "" if after is None else "?after_revision=%d" % after),
                        headers, **more)
        self.addCleanup(stream.close)
        return stream

    def connect(self, message, kind="json", headers=None, **more):
        body = message if isinstance(message, bytes) else envelope(json.dumps(message).encode())
        stream = Stream(self.d, CONNECT, dict({"Content-Type": "application/connect+" + kind}, **(headers or {})),
                        "POST", body, **more)
        self.addCleanup(stream.close)
        return stream

    def gauge(self, name):
        for line in self.d.request("GET", "/metrics")[2].decode().splitlines():
            if line.startswith("greedylrd_%s " % name):
                return float(line.split()[1])
        raise AssertionError(name)


class Events(WatchTest):
    def test_live(self):
        self.create("a")
        w = self.watch("a", headers={"Accept": "text/event-stream"})
        self.assertEqual(w.status, 200)
        self.assertEqual(w.headers["content-type"], "text/event-stream")
        self.assertEqual(w.headers["cache-control"], "no-store")
        self.assertEqual(w.headers["x-accel-buffering"], "no")
        first = w.read(1)  # before anything was decided
        w.data = first + w.data
        answers = [self.report("a") for _ in range(3)]
        self.d.ok("PATCH", "/v1/jobs/a", {"spec": {"greedy": {"patience": 7}}})
        got = w.decisions(4)
        self.assertEqual(len(w.comments), 1)
        self.assertEqual([d["revision"] for d in got], [1, 2, 3, 4])
        self.assertEqual(w.last_id, 4)
        self.assertEqual(got, self.history("a"))
        for answer, event in zip(answers, got):
            self.assertEqual({k: v for k, v in answer.items() if k not in ("duplicate", "conflict")}, event)
        self.assertEqual(got[3]["action"], "update")

    def test_resume(self):
        self.create("a")
        self.report("a", 5)
        want = self.history("a")
        for after, headers in ((0, {}), (3, {}), (None, {"Last-Event-ID": "3"}), (0, {"Last-Event-ID": "4"}),
                               (5, {}), (None, {}), (None, {"Last-Event-ID": ""})):
            with self.watch("a", after, headers) as w:
                begin = int(headers.get("Last-Event-ID") or (5 if after is None else after))
                self.assertEqual(w.decisions(5 - begin), want[begin:])
                new = self.report("a")
                self.assertEqual(w.decisions(1)[0]["revision"], new["revision"])
                want = self.history("a")[:5]
                self.d.ok("DELETE", "/v1/jobs/a")
                self.create("a")
                self.report("a", 5)
                want = self.history("a")

    def test_rewind(self):
        """Live, a rewind is one more decision; in the history what it went back behind is marked."""
        self.create("a")
        live = self.watch("a")
        self.report("a", 4)
        self.d.ok("POST", "/v1/jobs/a:rewind", {"step": 2})
        self.d.ok("POST", "/v1/jobs/a:setLr", {"lr": 0.05})
        self.report("a")
        seen = live.decisions(7)
        self.assertEqual([(d["revision"], d["action"]) for d in seen if d["action"] in ("rewind", "override")],
                         [(5, "rewind"), (6, "override")])
        self.assertEqual([d["step"] for d in seen], [1, 2, 3, 4, 2, 2, 3])
        want = self.history("a")
        self.assertEqual([d["revision"] for d in want if d.get("superseded")], [3, 4])
        self.assertEqual(seen, [{k: v for k, v in d.items() if k != "superseded"} for d in want])
        self.assertEqual(self.watch("a", 0).decisions(7), want)

    def test_rounds(self):
        """What is watched is decisions, not what the ranks report."""
        self.create("a", ranks={"world_size": 3})
        w = self.watch("a")
        report = lambda rank: self.d.ok("POST", "/v1/jobs/a:report", {"step": 7, "rank": rank, "loss": rank})
        ranks = [threading.Thread(target=report, args=(rank,)) for rank in range(3)]
        for t in ranks:
            t.start()
        for t in ranks:
            t.join()
        got = w.decisions(1)
        self.assertEqual(got, self.history("a"))
        self.assertEqual((got[0]["ranks"], got[0]["value"]), (3, 1))

    def test_id_before_the_first_event(self):
        """A browser that was cut off before its first event comes back to where it was."""
        self.create("a")
        self.report("a", 2)
        with self.watch("a") as w:
            while w.data.count(b"\n\n") < 1:
                w.more()
            self.assertIn(b"\nid: 2\n", w.data)
            self.assertRegex(w.data, rb"(?m)^retry: \d+$")

    def test_refusals(self):
        self.create("a")
        self.report("a", 2)
        for target, headers, status, why, words in (
                ("/v1/jobs/none:watch", {}, 404, "JOB_NOT_FOUND", "none"),
                ("/v1/jobs/a:watch?after_revision=3", {}, 400, "FIELD_INVALID", "at most the job's revision 2, got 3"),
                ("/v1/jobs/a:watch?after_revision=-1", {}, 400, "FIELD_INVALID", "after_revision"),
                ("/v1/jobs/a:watch?since=1", {}, 400, "QUERY_INVALID", "after_revision"),
                ("/v1/jobs/a:watch", {"Last-Event-ID": "x"}, 400, "FIELD_INVALID", "Last-Event-ID"),
                ("/v1/jobs/a:watch", {"Last-Event-ID": "9"}, 400, "FIELD_INVALID", "got 9")):
            got, answer = self.d.call("GET", target, headers=headers)
            self.assertEqual((got, reason(answer)), (status, why), target)
            self.assertIn(words, answer["message"])
        status, headers, _ = self.d.request("POST", "/v1/jobs/a:watch", "{}")
        self.assertEqual((status, headers["allow"]), (405, "GET, HEAD"))
        self.assertEqual(self.gauge("watchers"), 0)

    def test_head_and_old_http(self):
        self.create("a")
        c = self.d.connection()
        for job, status in (("a", 200), ("none", 404), ("a", 200)):
            got, headers, body = self.d.request("HEAD", "/v1/jobs/%s:watch" % job, connection=c)
            self.assertEqual((got, body), (status, b""))
        self.assertEqual(headers["content-type"], "text/event-stream")
        c.close()
        self.assertEqual(self.gauge("watchers"), 0)
        w = self.watch("a", 0, version="1.0")
        self.assertFalse(w.chunked)
        self.report("a")
        self.assertEqual(w.decisions(1), self.history("a"))
        self.d.ok("DELETE", "/v1/jobs/a")
        self.assertEqual(w.event()[0], "end")
        self.assertIsNone(w.event())
        self.assertTrue(w.whole)

    def test_deletion(self):
        self.create("a")
        self.create("b")
        self.report("a", 3)
        live, behind, other = self.watch("a"), self.watch("a", 0), self.watch("b")
        frames = self.connect({"job": "a"})
        self.assertEqual(len(behind.decisions(3)), 3)
        self.d.ok("DELETE", "/v1/jobs/a")
        self.create("a")
        self.report("a")
        for w in (live, behind):
            event, data = w.event()
            self.assertEqual((event, data["code"], data["reason"]), ("end", "aborted", "JOB_DELETED"))
            self.assertIn("a", data["message"])
            self.assertIsNone(w.event())
            self.assertTrue(w.whole)
        flags, end = frames.frame()
        self.assertEqual((flags, json.loads(end)["error"]["code"]), (2, "aborted"))
        self.assertEqual(reason(json.loads(end)["error"]), "JOB_DELETED")
        self.report("b")
        self.assertEqual(other.decisions(1)[0]["job"], "b")
        self.assertEqual(self.gauge("watchers"), 1)

    def test_leaving(self):
        self.create("a")
        watchers = [self.watch("a", 0) for _ in range(20)] + [self.connect({"job": "a"}) for _ in range(5)]
        self.assertEqual(self.gauge("watchers"), 25)
        self.assertEqual(self.gauge("requests_in_flight"), 1)  # this one
        for w in watchers:
            w.close()
        wait_until(lambda: self.gauge("watchers") == 0)
        self.report("a")

    def test_history_at_the_peers_pace(self):
        """A history far larger than any buffer, for a peer that takes its time, while more is decided."""
        self.create("a", **WIDE)
        self.batch("a", 600)
        slow = self.watch("a", 0, receive=4096)
        self.report("a", 3)
        time.sleep(0.3)
        self.assertEqual(self.gauge("watchers"), 1)
        got = slow.decisions(603)
        self.assertEqual(got, self.history("a"))
        self.report("a", 2)
        self.assertEqual([d["revision"] for d in slow.decisions(2)], [604, 605])

    @unittest.skipIf("tsan" in BINARY, "the peer of a stream that ended has 5 s, too few for ThreadSanitizer's build")
    def test_others_read_meanwhile(self):
        """A list does not wait for a page of each of the watchers that read a history."""
        for _ in range(6):
            self.d.ok("POST", "/v1/jobs:batchReport", {"reports": [{"job": "l", "loss": 1, "lr": 0.1}] * 500})
        c = self.d.connection()
        self.addCleanup(c.close)
        self.d.request("GET", "/v1/jobs", connection=c)
        sockets = []
        for _ in range(150):
            s = socket.socket()
            self.addCleanup(s.close)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            s.connect(("127.0.0.1", self.d.port))
            sockets.append(s)
        for s in sockets:
            s.sendall(b"GET /v1/jobs/l:watch?after_revision=0 HTTP/1.1\r\nHost: localhost\r\n\r\n")

        def came():
            return [struct.unpack("i", fcntl.ioctl(s, termios.FIONREAD, b"    "))[0] for s in sockets]

        wait_until(lambda: min(came()) > 0)
        meanwhile = []
        while sum(before := came()) < 150 * 100000:
            self.d.request("GET", "/v1/jobs", connection=c)
            meanwhile.append(sum(a > b for a, b in zip(came(), before)))
        self.assertTrue(meanwhile)
        self.assertLess(min(meanwhile), 75, meanwhile)  # watchers that got on

    def test_slow_watchers_are_cut(self):
        self.create("a", **WIDE)
        slow, stuck, frames = (self.watch("a", receive=4096), self.watch("a", receive=4096),
                               self.connect({"job": "a"}, receive=4096))
        quick = self.watch("a")
        got = []
        reader = threading.Thread(target=lambda: got.extend(quick.decisions(200)))
        reader.start()
        self.batch("a", 5)
        start = time.monotonic()
        self.report("a", 195)
        reader.join(30)
        want = self.history("a")
        self.assertEqual(got, want)
        self.assertEqual(self.gauge("watchers"), 1)
        seen = []
        while (event := slow.event()) and event[0] == "decision":
            seen.append(event[1])
        if not event and time.monotonic() - start > 5:
            return  # so slow that it had no time to take the end
        self.assertEqual((event[0], event[1]["code"], event[1]["reason"]),
                         ("end", "resource_exhausted", "WATCHER_TOO_SLOW"))
        self.assertIsNone(slow.event())
        self.assertTrue(slow.whole)
        self.assertLess(len(seen), 200)
        self.assertEqual(seen, want[:len(seen)])
        while (frame := frames.frame())[0] == 0:
            pass
        self.assertEqual(reason(json.loads(frame[1])["error"]), "WATCHER_TOO_SLOW")
        # Told to resume, it resumes.
        with self.watch("a", headers={"Last-Event-ID": str(slow.last_id)}) as again:
            self.assertEqual(again.decisions(200 - len(seen)), want[len(seen):])
        # One that never reads is shut out; what was on its way is cut, not ended.
        for w in (slow, frames, quick):
            w.close()
        wait_until(lambda: self.gauge("connections") <= 1)
        stuck.rest()
        self.assertFalse(stuck.whole)

    def test_bursts_of_many_watchers(self):
        """More watchers than events that the kernel hands over at a time, and jobs that do not see each other."""
        for job in "ab":
            self.create(job)
        watchers = {job: [self.watch(job, 0) for _ in range(140)] for job in "ab"}
        for i in range(5):
            self.batch("a", 3)
            self.report("b")
        for job, n in (("a", 15), ("b", 5)):
            want = self.history(job)
            self.assertEqual(len(want), n)
            for w in watchers[job]:
                self.assertEqual(w.decisions(n), want)


class Gapless(WatchTest):
    def test_concurrent_reports_and_resumes(self):
        """Every watcher that always resumes from its last id sees the history, each revision once and in order."""
        seed = random.randrange(1 << 30)
        print("seed", seed, end=" ", flush=True)
        jobs, total, errors = ("a", "b", "c"), 400, []
        for job in jobs:
            self.create(job)

        def reporter(job):
            try:
                c = self.d.connection()
                for i in range(total):
                    if i % 50 == 49 and job == "c":
                        self.d.ok("POST", "/v1/jobs/c:rewind", {"step": step - 2}, connection=c)
                    else:
                        step = self.report(job, connection=c)["step"]
                c.close()
            except Exception as e:
                errors.append(e)

        def watcher(job, rng, out):
            try:
                last = 0
                while len(out) < total:
                    after = {} if rng.random() < 0.5 else {"Last-Event-ID": str(last)}
                    with Stream(self.d, "/v1/jobs/%s:watch%s" % (job, "" if after else "?after_revision=%d" % last),
                                after) as w:
                        for _ in range(min(rng.choice((1, 3, 30, 300)), total - len(out))):
                            out.append(w.decisions(1)[0])
                        last = w.last_id
                    time.sleep(rng.random() * 0.02)
            except Exception as e:
                errors.append(e)

        outs = [(job, []) for job in jobs for _ in range(8)]
        threads = [threading.Thread(target=watcher, args=(job, random.Random(seed + i), out))
                   for i, (job, out) in enumerate(outs)]
        threads += [threading.Thread(target=reporter, args=(job,)) for job in jobs]
        for t in threads:
            t.start()
        for t in threads:
            t.join(60)
        self.assertEqual(errors, [])
        want = {job: self.history(job) for job in jobs}
        for job, out in outs:
            self.assertEqual(len(want[job]), total)
            self.assertEqual([dict(d, superseded=None) for d in out], [dict(d, superseded=None) for d in want[job]])

    def test_kill_and_resume(self):
        self.create("a")
        c = self.d.connection()
        seen, last = [], 0
        for _ in range(4):
            w = self.watch("a", headers={"Last-Event-ID": str(last)})
            answered = self.report("a", 20, c)["revision"]
            seen += w.decisions(10)
            self.d.kill()
            while event := w.event():  # what was on its way still counts
                seen.append(event[1])
            self.assertFalse(w.whole)
            last = w.last_id
            self.d.start()
            self.assertLessEqual(answered, self.history("a")[-1]["revision"])
            c.close()
            c = self.d.connection()
        c.close()
        with self.watch("a", last) as w:
            seen += w.decisions(len(self.history("a")) - last)
        self.assertEqual(seen, self.history("a"))


class Limits(WatchTest):
    flags = ("--max-watchers", "3", "--watch-keepalive", "100ms", "--resident-jobs", "1")

    def test_most_watchers(self):
        self.create("a")
        watchers = [self.watch("a") for _ in range(3)]
        status, headers, text = self.d.request("GET", "/v1/jobs/a:watch")
        answer = json.loads(text)
        self.assertEqual((status, answer["code"], reason(answer)), (429, "resource_exhausted", "TOO_MANY_WAITING"))
        self.assertIn("--max-watchers", answer["message"])
        self.assertIn("retry-after", headers)
        flags, end = self.connect({"job": "a"}).frame()
        self.assertEqual((flags, reason(json.loads(end)["error"])), (2, "TOO_MANY_WAITING"))
        watchers[0].close()
        wait_until(lambda: self.gauge("watchers") == 2)
        self.report("a")
        with self.watch("a", 0) as w:
            self.assertEqual(len(w.decisions(1)), 1)

    def test_silence(self):
        self.create("a")
        w = self.watch("a")
        while len(w.comments) < 3:
            self.assertTrue(w.more())
            while b"\n\n" in w.data:
                block, w.data = w.data.split(b"\n\n", 1)
                w.comments += [line for line in block.split(b"\n") if line.startswith(b":")]
        self.report("a")
        self.assertEqual(w.decisions(1), self.history("a"))

    def test_watched_jobs_may_leave_memory(self):
        for job in "abc":
            self.create(job)
        watchers = {job: self.watch(job) for job in "abc"}
        for _ in range(3):
            for job in "abc":
                self.report(job)
                time.sleep(0.6)  # folded, and pushed out by the next
        self.assertEqual(self.gauge("resident_jobs"), 1)
        for job in "abc":
            self.assertEqual(watchers[job].decisions(3), self.history(job))


class Ends(WatchTest):
    def unread(self, w):
        """Bytes that the kernel holds on the daemon's side of the connection."""
        # By both ports: connections of other tests that are in TIME-WAIT may have had the same one on their side.
        ends = [":%04X" % port for port in (self.d.port, w.s.getsockname()[1])]
        with open("/proc/net/tcp") as f:
            for row in (line.split() for line in f):
                if row[1].endswith(ends[0]) and row[2].endswith(ends[1]):
                    return int(row[4].split(":")[0], 16)
        return 0

    def wait_until_stuck(self, w):
        seen = [0]

        def same():
            time.sleep(0.2)
            seen.append(self.unread(w))
            return seen[-1] and seen[-1] == seen[-2]
        wait_until(same)

    def test_drain(self):
        self.create("a", **WIDE)
        self.batch("a", 200)
        live, frames, behind = self.watch("a"), self.connect({"job": "a"}), self.watch("a", 0, receive=4096)
        behind.decisions(1)
        self.wait_until_stuck(behind)
        self.assertEqual(self.gauge("watchers"), 3)
        self.assertEqual(self.d.stop(), 0)
        event, data = live.event()
        self.assertEqual((event, data["code"], data["reason"]), ("end", "unavailable", "DRAINING"))
        self.assertIsNone(live.event())
        self.assertTrue(live.whole)
        flags, end = frames.frame()
        self.assertEqual((flags, reason(json.loads(end)["error"])), (2, "DRAINING"))
        self.assertEqual(frames.rest(), b"")
        self.assertTrue(frames.whole)
        behind.rest()  # it did not read, and held nobody up for long
        self.assertFalse(behind.whole)
        self.d.start()
        with self.watch("a", headers={"Last-Event-ID": str(live.last_id)}) as again:
            self.report("a")
            self.assertEqual(again.decisions(1)[0]["revision"], 201)


@unittest.skipIf(descriptor_pb2 is None, "python3-protobuf is not installed")
class ConnectStreams(WatchTest):
    @classmethod
    def setUpClass(cls):
        from google.protobuf import json_format, message_factory
        cls.json_format = json_format
        factory, pool = message_factory.MessageFactory(load_contract()), None
        pool = factory.pool
        cls.Request, cls.Response = (factory.GetPrototype(pool.FindMessageTypeByName("greedylr.v1.WatchJob" + name))
                                     for name in ("Request", "Response"))

    def test_both_codecs(self):
        self.create("a", lr=[0.1, 0.2])
        self.report("a", 3)
        request = self.Request(job="a", after_revision=1)
        text, binary = (self.connect({"job": "a", "after_revision": 1}),
                        self.connect(envelope(request.SerializeToString()), "proto"))
        for w, kind in ((text, "json"), (binary, "proto")):
            self.assertEqual((w.status, w.headers["content-type"]), (200, "application/connect+" + kind))
        self.report("a", 2)
        got = {}
        for w, parse in ((text, lambda b: self.json_format.Parse(b, self.Response())),
                         (binary, self.Response.FromString)):
            frames = [w.frame() for _ in range(4)]
            self.assertEqual([flags for flags, _ in frames], [0] * 4)
            got[w] = [parse(b) for _, b in frames]
        self.assertEqual(got[text], got[binary])
        self.assertEqual([m.decision.revision for m in got[text]], [2, 3, 4, 5])
        want = [self.json_format.ParseDict({"decision": d}, self.Response()) for d in self.history("a")[1:]]
        self.assertEqual(got[text], want)
        self.d.ok("DELETE", "/v1/jobs/a")
        for w in (text, binary):  # the end is JSON in either
            flags, end = w.frame()
            self.assertEqual((flags, json.loads(end)["error"]["code"]), (2, "aborted"))
            self.assertEqual(w.rest(), b"")
            self.assertTrue(w.whole)

    def test_headers_come_before_the_first_message(self):
        self.create("a")
        w = self.connect({"job": "a"})  # returns once the headers are there
        self.assertEqual((w.status, w.chunked), (200, True))
        self.report("a")
        self.assertEqual(w.frame()[0], 0)

    def test_timeout(self):
        self.create("a")
        self.report("a", 2)
        for ms, after, messages in ((1, 2, 0), (300, 0, 2)):
            w = self.connect({"job": "a", "after_revision": after}, headers={"Connect-Timeout-Ms": str(ms)})
            frames = [w.frame() for _ in range(messages + 1)]
            self.assertEqual([f[0] for f in frames], [0] * messages + [2])
            error = json.loads(frames[-1][1])["error"]
            self.assertEqual((error["code"], reason(error)), ("deadline_exceeded", "WATCH_EXPIRED"))
            self.assertEqual(w.rest(), b"")
            self.assertTrue(w.whole)
        self.assertEqual(self.gauge("watchers"), 0)

    def test_errors_are_in_the_end(self):
        self.create("a")
        ok = envelope(b'{"job":"a"}')
        for body, headers, code, why in (
                (envelope(b'{"job":"none"}'), {}, "not_found", "JOB_NOT_FOUND"),
                (envelope(b'{}'), {}, "invalid_argument", "FIELD_REQUIRED"),
                (envelope(b'{"job":"a","after_revision":7}'), {}, "invalid_argument", "FIELD_INVALID"),
                (envelope(b'{"jbo":"a"}'), {}, "invalid_argument", "FIELD_UNKNOWN"),
                (envelope(b'{"job":"a"'), {}, "invalid_argument", "BODY_INVALID"),
                (envelope(b'{"job":"a"}', 1), {}, "unimplemented", "ENCODING_UNSUPPORTED"),
                (envelope(b'{"job":"a"}', 2), {}, "invalid_argument", "BODY_INVALID"),
                (envelope(b'{"job":"a"}', 128), {}, "invalid_argument", "BODY_INVALID"),
                (ok + ok, {}, "invalid_argument", "BODY_INVALID"),
                (ok + b"\0", {}, "invalid_argument", "BODY_INVALID"),
                (ok[:-1], {}, "invalid_argument", "BODY_INVALID"),
                (ok[:3], {}, "invalid_argument", "BODY_INVALID"),
                (b"", {"Content-Length": "0"}, "invalid_argument", "BODY_INVALID"),
                (b"\0\xff\xff\xff\xff", {}, "invalid_argument", "BODY_INVALID"),
                (b'{"job":"a"}', {}, "invalid_argument", "BODY_INVALID"),
                (ok, {"Connect-Content-Encoding": "gzip"}, "unimplemented", "ENCODING_UNSUPPORTED"),
                (ok, {"Content-Encoding": "gzip"}, "unimplemented", "ENCODING_UNSUPPORTED"),
                (ok, {"Connect-Timeout-Ms": "soon"}, "invalid_argument", "FIELD_INVALID"),
                (ok, {"Connect-Protocol-Version": "2"}, "invalid_argument", "FIELD_INVALID")):
            with self.subTest(body=body, headers=headers), self.connect(body, headers=headers) as w:
                self.assertEqual((w.status, w.headers["content-type"]), (200, "application/connect+json"))
                flags, end = w.frame()
                error = json.loads(end)["error"]
                self.assertEqual((flags, error["code"], reason(error)), (2, code, why))
                self.assertEqual(w.rest(), b"")
                self.assertTrue(w.whole)
        self.assertEqual(self.gauge("watchers"), 0)

    def test_errors_of_http(self):
        self.create("a")
        for kind in ("application/json", "application/proto", "text/plain", "application/connect+xml"):
            status, headers, text = self.d.request("POST", CONNECT, '{"job":"a"}', {"Content-Type": kind})
            self.assertEqual((status, reason(json.loads(text))), (415, "MEDIA_TYPE_UNSUPPORTED"))
            self.assertEqual(headers["accept-post"], "application/connect+json, application/connect+proto")
        status, headers, text = self.d.request("POST", CONNECT.replace("WatchJob", "GetJob"), envelope(b"{}"),
                                               {"Content-Type": "application/connect+json"})
        self.assertEqual((status, headers["accept-post"]), (415, "application/json, application/proto"))
        status, headers, _ = self.d.request("GET", CONNECT + "?encoding=json&message=%7B%7D")
        self.assertEqual((status, headers["allow"]), (405, "POST"))

    def test_hostile_frames(self):
        self.create("a")
        rng = random.Random(7)
        good = envelope(self.Request(job="a", after_revision=0).SerializeToString())
        for _ in range(300):
            body = bytearray(good[:rng.randrange(len(good) + 1)])
            for _ in range(rng.randrange(3)):
                if body:
                    body[rng.randrange(len(body))] = rng.randrange(256)
            w = self.connect(bytes(body) or b"\0", "proto", {"Connect-Timeout-Ms": "20"})
            while (frame := w.frame())[0] == 0:
                pass
            self.assertIn("error", json.loads(frame[1]))
            w.close()
        self.report("a")


if __name__ == "__main__":
    unittest.main()
