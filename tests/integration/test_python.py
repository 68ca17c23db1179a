"""The Python package: its client, its rules, its budget, and servers that misbehave."""
import contextlib
import json
import math
import os
import random
import re
import socket
import subprocess
import sys
import tempfile
import threading
import typing
import unittest
import unittest.mock

from harness import ROOT, DaemonTest, num, vectors
from python_help import PACKAGE, Clock, patient

from greedylr import Client, GreedyLRError, Session, distributed, errors, local, messages, outage, session, transport


def unreachable():
    return errors.no_answer(errors.UNREACHABLE, "nobody there")


class Package(unittest.TestCase):
    def test_importing_it_imports_no_framework(self):
        code = ("import sys, greedylr; greedylr.Client, greedylr.Session; "
                "print(sorted({'torch', 'numpy', 'transformers', 'keras', 'jax'} & set(sys.modules)))")
        out = subprocess.run([sys.executable, "-c", code], env=dict(os.environ, PYTHONPATH=PACKAGE),
                             capture_output=True, text=True, check=True).stdout
        self.assertEqual(out.strip(), "[]")

    def test_the_typed_dicts_are_the_contract(self):
        with open(os.path.join(ROOT, "proto", "greedylr", "v1", "scheduler.proto"), encoding="utf-8") as file:
            contract = re.sub(r"//.*", "", file.read())
        kinds = {"string": str, "double": float, "uint32": int, "int32": int, "bool": bool,
                 "google.protobuf.Duration": str, "google.protobuf.Timestamp": str}
        checked = 0
        for message in messages._MESSAGES:
            body = re.search(r"message %s \{(?:\}|(.*?)\n\})" % message.__name__, contract, re.S).group(1) or ""
            fields = re.findall(r"(repeated|optional)?\s*([\w.]+) (\w+) = \d+[ ;\[]", body)
            want = {}
            for label, kind, name in fields:
                one = kinds.get(kind) or getattr(messages, kind)
                want[name] = typing.List[one] if label == "repeated" else one
            self.assertEqual(typing.get_type_hints(message), want, message.__name__)
            checked += len(want)
        self.assertGreater(checked, 200)
        for holder in ("JobSpec", "Shadow"):
            body = re.search(r"message %s \{(.*?)\n\}" % holder, contract, re.S).group(1)
            oneof = re.search(r"oneof policy \{(.*?)\}", body, re.S).group(1)
            self.assertEqual({name: getattr(messages, kind) for kind, name in re.findall(r"(\w+) (\w+) = \d+;", oneof)},
                             messages.POLICIES)
        known = {message.__name__ for message in messages._MESSAGES}
        self.assertEqual({name for name in re.findall(r"^message (\w+) ", contract, re.M) if name not in known
                          and not re.search(r"(Request|Response)$|^ErrorInfo", name)}, set())

    def test_doubles_are_floats(self):
        given = {"lr": 1, "best": "-Infinity", "spec": {"cosine_with_warmup": {"num_cycles": 1, "min_lr": [0]}, "linear": {"total_iters": 3},
                 "shadow": [{"cosine_with_hard_restarts": {"num_cycles": 2}}, {"warmup_stable_decay": {"num_cycles": 1, "num_decay_steps": 2}}]}}
        want = {"lr": 1.0, "best": -math.inf, "spec": {"cosine_with_warmup": {"num_cycles": 1.0, "min_lr": [0.0]}, "linear": {"total_iters": 3},
                "shadow": [{"cosine_with_hard_restarts": {"num_cycles": 2}}, {"warmup_stable_decay": {"num_cycles": 1.0, "num_decay_steps": 2}}]}}
        self.assertEqual(repr(json.loads(json.dumps(given), object_hook=messages.with_floats)), repr(want))

    def test_every_rpc_is_a_method(self):
        with open(os.path.join(ROOT, "proto", "greedylr", "v1", "scheduler.proto"), encoding="utf-8") as file:
            rpcs = re.findall(r"^  rpc (\w+)\(", file.read(), re.M)
        self.assertGreater(len(rpcs), 15)
        for rpc in rpcs:
            name = re.sub(r"(?<!^)([A-Z])", r"_\1", rpc).lower()
            self.assertTrue(callable(getattr(Client, name, None)), name)

    @unittest.skipUnless(subprocess.run(["which", "mypy"], capture_output=True).returncode == 0,
                         "mypy is not installed")
    def test_types(self):
        with tempfile.TemporaryDirectory() as cache:
            done = subprocess.run(["mypy", "--cache-dir", cache, "greedylr"], cwd=PACKAGE, capture_output=True,
                                  text=True)
        self.assertEqual(done.returncode, 0, done.stdout)


class Rules(unittest.TestCase):
    """greedylr.local against the golden traces."""

    def test_golden_traces(self):
        traces = vectors("greedylr.jsonl")
        self.assertGreater(len(traces), 100)
        for trace in traces:
            greedy = local.LocalGreedy(local.settings(trace["initial_lr"], trace["config"], trace["on_nonfinite"]))
            got = [list(greedy.step(num(x))) for x in trace["metrics"]]
            self.assertEqual(got, trace["lr"], trace["id"])
            final = {k: num(v) if k == "best" else v for k, v in trace["final"].items()}
            self.assertEqual({k: getattr(greedy, k) for k in final}, final, trace["id"])

    def test_state_in_the_middle(self):
        for trace in vectors("greedylr.jsonl")[::10]:
            config = local.settings(trace["initial_lr"], trace["config"], trace["on_nonfinite"])
            first, second = local.LocalGreedy(config), local.LocalGreedy(config)
            half = len(trace["metrics"]) // 2
            for x in trace["metrics"][:half]:
                first.step(num(x))
            second.load_state_dict(json.loads(json.dumps(first.state_dict())))
            got = [list(second.step(num(x))) for x in trace["metrics"][half:]]
            self.assertEqual(got, trace["lr"][half:], trace["id"])

    def test_bad_settings_are_named(self):
        for given, word in [({"factor": 2}, "factor"), ({"factor": "a"}, "factor"), ({"patience": -1}, "patience"),
                            ({"patience": 1.5}, "patience"), ({"mode": "up"}, "mode"),
                            ({"window_size": 0}, "window_size"),
                            ({"min_lr": 1.0}, "min_lr"), ({"min_lr": [0.01, 0.02]}, "min_lr"), ({"eps": -1}, "eps"),
                            ({"max_lr": math.inf}, "max_lr"), ({"pace": 1}, "pace"), ({"dialect": "torch"}, "dialect"),
                            ({"smooth": 1}, "smooth"), ({"threshold": 1.0}, "threshold"), ({"min_lr": "x"}, "min_lr")]:
            with self.assertRaisesRegex(ValueError, word):
                local.settings([0.1], given)
        for rate in (0.0, -1.0, math.nan, math.inf):
            with self.assertRaisesRegex(ValueError, "lr"):
                local.settings([rate], {})

    def test_combine(self):
        values, weights = [3.0, 1.0, 2.0], [1.0, 2.0, 1.0]
        for reduce, want in (("mean", 7 / 4), ("min", 1.0), ("max", 3.0), ("median", 2.0), ("first", 3.0)):
            self.assertEqual(local.combine(values, weights, reduce), want)
        self.assertEqual(local.combine([1.0, 2.0], [1.0, 1.0], "median"), 1.5)
        self.assertTrue(math.isnan(local.combine([1.0, math.inf], [1.0, 1.0], "min")))


class Budget(unittest.TestCase):
    """The budget and the circuit breaker, on a clock of the tests."""

    def test_retries_end_with_the_budget(self):
        clock, out = patient(5.0)
        lefts = []

        def request(left):
            lefts.append(left)
            raise unreachable()
        with self.assertRaises(GreedyLRError):
            out.window().call(request)
        self.assertEqual(clock.sleeps[:5], [0.025, 0.05, 0.1, 0.2, 0.4])
        self.assertEqual(set(clock.sleeps[6:]), {0.5})
        self.assertEqual(len(lefts), len(clock.sleeps) + 1)
        self.assertTrue(all(0 < left <= 5 for left in lefts))
        self.assertLess(clock.now, 5.0)

    def test_jitter_and_the_global_random_state(self):
        random.seed(1)
        want = random.random()
        random.seed(1)
        clock = Clock()
        out = outage.Outage(3.0, clock=clock, sleep=clock.sleep)
        with self.assertRaises(GreedyLRError):
            out.window().call(lambda left: (_ for _ in ()).throw(unreachable()))
        self.assertEqual(random.random(), want)
        for pause, most in zip(clock.sleeps, [0.05, 0.1, 0.2, 0.4]):
            self.assertTrue(most / 2 <= pause <= most, pause)

    def test_a_slow_server_costs_one_budget(self):
        clock, out = patient(5.0)
        tries = []

        def hangs(left):
            tries.append(left)
            clock.now += left
            raise errors.no_answer(errors.NO_ANSWER, "no answer in time")
        with self.assertRaises(GreedyLRError):
            out.window().call(hangs)
        self.assertEqual(tries, [5.0])
        for _ in range(100):
            with self.assertRaises(GreedyLRError) as caught:
                out.window()
            self.assertEqual(caught.exception.reason, errors.NO_ANSWER)
        self.assertEqual((tries, clock.now), ([5.0], 5.0))

    def test_one_probe_every_ten_seconds(self):
        clock, out = patient(5.0)
        tries = []

        def down(left):
            tries.append(left)
            raise unreachable()
        with self.assertRaises(GreedyLRError):
            out.window().call(down)
        tries.clear()
        start = clock.now
        while clock.now < start + 35.5:
            with contextlib.suppress(GreedyLRError):
                out.window().call(down)
            clock.now += 0.25
        self.assertEqual(tries, [0.5, 0.5, 0.5])
        clock.now += 10
        window = out.window()
        self.assertEqual(window.call(lambda left: left), 0.5)
        self.assertGreater(window.call(lambda left: left), 4.0)  # it is back: the whole budget again
        self.assertEqual(out.window().call(lambda left: left), 5.0)

    def test_retry_after(self):
        clock, out = patient(5.0)
        answers = [GreedyLRError("unavailable", "DRAINING", "", 503, retry_after=2.0), None]

        def request(left):
            error = answers.pop(0)
            if error:
                raise error
            return "decided"
        self.assertEqual(out.window().call(request), "decided")
        self.assertEqual(clock.sleeps, [2.0])
        clock.sleeps.clear()
        answers[:] = [GreedyLRError("unavailable", "STORE_FULL", "", 503, retry_after=60.0), None]
        with self.assertRaises(GreedyLRError):  # no use in waiting: at once
            out.window().call(request)
        self.assertEqual((clock.sleeps, len(answers)), ([], 1))

    def test_refusals_are_not_repeated(self):
        for refusal in (GreedyLRError("invalid_argument", "FIELD_INVALID", "", 400),
                        GreedyLRError("failed_precondition", "STALE_ATTEMPT", "", 400),
                        GreedyLRError("unimplemented", "NOT_SERVED", "", 501),
                        GreedyLRError("deadline_exceeded", "WAIT_EXPIRED", "", 504)):
            clock, out = patient()
            tries = []

            def request(left):
                tries.append(left)
                raise refusal
            with self.assertRaises(GreedyLRError):
                out.window().call(request)
            self.assertEqual((len(tries), clock.sleeps, out.error), (1, [], None), refusal.reason)

    def test_missed_values_are_bounded(self):
        queue = outage.MissedQueue()
        for step in range(1, outage.MISSED_MAX + 6):
            queue.add(outage.Missed(step, (1.0,), (1.0,)))
            queue.add(outage.Missed(step, (2.0,), (1.0,)))  # a repetition
        self.assertEqual((len(queue.items), queue.items[0].step, queue.dropped), (outage.MISSED_MAX, 6, 5))
        again = outage.MissedQueue(json.loads(json.dumps(queue.state())))
        self.assertEqual(again.items, queue.items)


class Records(unittest.TestCase):
    def test_numbers_keep_their_bits_and_text_its_room(self):
        record = {"x": [0.1, 1e-308, math.inf, -0.0, 1 / 3], "t": distributed.cut('a"b\\c\nd\u20ac' * 100, 90)}
        text = distributed.encode(record, 300)
        self.assertEqual(len(text), 300)
        self.assertEqual(json.loads(text), record)
        self.assertLessEqual(len(record["t"].encode()), 90)
        with self.assertRaises(ValueError):
            distributed.encode(record, 20)

    def test_the_largest_outcome_fits(self):
        error = GreedyLRError("unavailable", "NOT_GREEDYLRD", '"\\\u20ac' * 4000, 503)
        decision = {"job": "j" * 128, "lrs": [-1.2345678901234567e-123] * 256, "reason": '"\\\u20ac' * 4000,
                    **{name: -1.2345678901234567e-123 for name in ("lr", "value", "smoothed", "best")},
                    **{name: 4294967295 for name in ("step", "attempt", "revision", "num_good", "num_bad", "ranks")},
                    **{name: False for name in ("at_min", "at_max", "plateaued", "duplicate", "conflict",
                                                "applied_mismatch", "superseded")},
                    "action": "override", "stage": "cooldown", "policy": "p" * 60, "actor": "a" * 60, "time": "t" * 40}
        place = {"attached": False, "attempt": 4294967295, "uid": "u" * 16, "order": list(range(256)),
                 "answered": False, "lrs": [-1.2345678901234567e-123] * 256}
        for outcome in ({"error": error.to_dict(), "place": place}, {"decision": decision, "place": place}):
            record = {"step": 4294967295, "value": -1.2345678901234567e-123, "weight": 1.2345678901234567e-123,
                      "outcome": Session._brief(outcome)}
            distributed.encode(record, session.room(256))


class BadServer:
    """Answers each connection with what a function does with the socket, until the test ends."""

    def __init__(self, test, serve):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = "http://127.0.0.1:%d" % self.listener.getsockname()[1]
        self.connections = 0
        self.over = threading.Event()
        self.threads = []
        self.serve = serve
        self.thread = threading.Thread(target=self.accept)
        self.thread.start()
        test.addCleanup(self.close)

    def accept(self):
        while True:
            try:
                sock = self.listener.accept()[0]
            except OSError:
                return
            self.connections += 1
            self.threads.append(threading.Thread(target=self.one, args=(sock,)))
            self.threads[-1].start()

    def one(self, sock):
        with sock, contextlib.suppress(OSError):
            self.serve(sock, self.over)

    def close(self):
        self.over.set()
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join()
        for thread in self.threads:
            thread.join()


def silent(sock, over):
    over.wait()


def trickling(sock, over):
    sock.recv(65536)
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while not over.wait(0.01):
        sock.sendall(b" ")


def half(sock, over):
    sock.recv(65536)
    sock.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"lrs": [0.5')


def cut_off(sock, over):
    sock.recv(65536)


def garbage(sock, over):
    sock.recv(65536)
    sock.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")


def answering(status, body, *headers):
    def serve(sock, over):
        sock.recv(65536)
        lines = ["HTTP/1.1 %s" % status, "Content-Length: %d" % len(body), *headers]
        sock.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
    return serve


class Misbehaving(unittest.TestCase):
    """Servers that are there and no help."""

    KINDS = [(silent, errors.NO_ANSWER), (trickling, errors.NO_ANSWER), (half, errors.NO_ANSWER),
             (cut_off, errors.NO_ANSWER), (garbage, errors.NO_ANSWER),
             (answering("200 OK", b"<html>hello</html>"), errors.NOT_GREEDYLRD),
             (answering("200 OK", b"[1, 2]"), errors.NOT_GREEDYLRD),
             (answering("200 OK", b'{"lrs": ["x"]}'), errors.NOT_GREEDYLRD),
             (answering("404 Not Found", b"<html>nginx</html>"), errors.NOT_GREEDYLRD),
             (answering("502 Bad Gateway", b""), errors.NOT_GREEDYLRD),
             (answering("302 Found", b"", "Location: http://127.0.0.1:1/"), errors.NOT_GREEDYLRD)]

    def test_the_client_says_what_happened(self):
        for serve, reason in self.KINDS:
            server = BadServer(self, serve)
            with self.assertRaises(GreedyLRError) as caught:
                Client(server.url).get_lr("a", timeout=0.3)
            error = caught.exception
            self.assertEqual((error.reason, error.code), (reason, "unavailable"), serve)
            self.assertTrue(error.outage and error.transient)
            self.assertIn("safe to repeat", error.outcome)

    def test_an_answer_without_end(self):
        def endless(sock, over):
            sock.recv(65536)
            sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            while not over.is_set():
                sock.sendall(b" " * 65536)
        with unittest.mock.patch.object(transport, "ANSWER_MAX", 1 << 20), self.assertRaises(GreedyLRError) as caught:
            Client(BadServer(self, endless).url).get_lr("a", timeout=60)
        self.assertIn("more than", caught.exception.message)

    def test_training_goes_on(self):
        for serve, _ in self.KINDS:
            server = BadServer(self, serve)
            with self.assertLogs("greedylr", "WARNING") as logged:
                session = Session("a", [0.1], server.url, budget=0.2)
                for loss in (3.0, 2.0, 1.0):
                    self.assertEqual(session.step(loss), [0.1])
            self.assertEqual(len(logged.output), 1, logged.output)
            self.assertEqual([item.step for item in session.missed.items], [1, 2, 3])

    def test_a_silent_server_is_asked_once(self):
        server = BadServer(self, silent)
        with self.assertLogs("greedylr", "WARNING"):
            session = Session("a", [0.1], server.url, budget=0.2)
            for loss in range(50):
                session.step(loss)
        self.assertEqual(server.connections, 1)

    def test_overloaded_servers_are_retried_within_the_budget(self):
        body = json.dumps({"code": "unavailable", "message": "busy", "details": [
            {"debug": {"reason": "OVERLOADED", "metadata": {"outcome": "nothing was changed"}}}]}).encode()
        server = BadServer(self, answering("503 Service Unavailable", body, "Retry-After: 1"))
        clock, out = patient(3.5, real=True)
        with self.assertLogs("greedylr", "WARNING"):
            Session("a", [0.1], server.url, outage=out)
        self.assertEqual(clock.sleeps, [1.0] * len(clock.sleeps))
        self.assertEqual(server.connections, 1 + len(clock.sleeps))
        self.assertGreaterEqual(len(clock.sleeps), 2)

    def test_addresses(self):
        for url in ("ftp://x", "127.0.0.1:8571", "http://", "unix:", "http://u:p@h", "http://h?x=1"):
            with self.assertRaisesRegex(ValueError, "url"):
                Client(url)
        with self.assertRaises(GreedyLRError) as caught:
            Client("http://no-such-host.invalid:1").get_lr("a", timeout=5)
        self.assertIn(caught.exception.reason, (errors.UNREACHABLE,))
        with self.assertRaises(GreedyLRError) as caught:
            Client("unix:/nowhere/at/all").get_lr("a")
        self.assertEqual((caught.exception.reason, caught.exception.outcome),
                         (errors.UNREACHABLE, "nothing was changed"))


class Rpcs(DaemonTest):
    def setUp(self):
        super().setUp()
        self.c = Client("http://127.0.0.1:%d" % self.d.port)

    def refused(self, reason, call, *args, **more):
        with self.assertRaises(GreedyLRError) as caught:
            call(*args, **more)
        self.assertEqual(caught.exception.reason, reason)
        return caught.exception

    def test_a_life(self):
        spec = {"job": "a", "lr": [0.1, 0.01], "greedy": {"patience": 0, "smooth": False}, "labels": ["team=x"]}
        job = self.c.create_job(spec)
        self.assertEqual((job["state"]["lrs"], job["state"]["best"]), ([0.1, 0.01], math.inf))
        self.assertEqual(self.c.create_job(spec)["uid"], job["uid"])
        decision = self.c.report("a", 3, step=1, applied_lr=0.1)
        self.assertEqual((decision["lrs"], decision["action"], type(decision["value"])),
                         ([0.125, 0.01 / 0.8], "raise", float))
        self.assertTrue(math.isnan(self.c.report("a", math.nan, step=2)["value"]))
        self.assertEqual(self.c.report("a", metric=2.0)["step"], 3)
        results = self.c.batch_report([{"job": "a", "step": 4, "loss": 1.0}, {"job": "b", "step": 1, "loss": 1.0}])
        self.assertEqual((results[0]["decision"]["step"], results[1]["error"]["reason"]), (4, "JOB_NOT_FOUND"))
        self.assertEqual(self.c.get_lr("a")["step"], 4)
        self.assertEqual(self.c.update_job("a", {"greedy": {"patience": 3}})["effective"]["greedy"]["patience"], 3)
        self.assertEqual([d["step"] for d in self.c.list_decisions("a", page_size=2)][:4], [1, 2, 3, 4])
        self.assertEqual([d["step"] for d in self.c.list_decisions("a", max_points=2)][0], 1)
        self.assertEqual([j["job"] for j in self.c.list_jobs(label="team=x", page_size=1)], ["a"])
        want = self.c.simulate({"lr": [0.1, 0.01], "greedy": {"patience": 0, "smooth": False}}, [3, math.nan])
        self.assertEqual(want["decisions"][0]["lrs"], decision["lrs"])
        self.c.delete_job("a")
        error = self.refused("JOB_NOT_FOUND", self.c.get_job, "a")
        self.assertEqual((error.code, error.status, error.outcome, error.outage, error.transient),
                         ("not_found", 404, "nothing was changed", False, False))
        self.assertIn("a", error.message)

    def test_refusals(self):
        self.refused("FIELD_INVALID", self.c.create_job, {"job": "a", "lr": [0.1], "greedy": {"factor": 2}})
        self.refused("FIELD_REQUIRED", self.c.create_job, {"job": "a"})
        self.refused("FIELD_UNKNOWN", self.c.call, "GetJob", {"job": "a", "jbo": 1})

    def test_what_operators_do(self):
        spec = {"job": "a", "lr": [0.1], "greedy": {"patience": 0, "smooth": False}}
        self.c.create_job(spec)
        rates = [self.c.report("a", x, step=i)["lr"] for i, x in enumerate((3, 2, 1))]
        job = self.c.rewind_job("a", step=0, attempt=1)
        self.assertEqual((job["attempt"], job["state"]["lr"]), (1, rates[0]))
        self.assertEqual(self.c.rewind_job("a", step=0, attempt=1)["revision"], job["revision"])
        self.assertEqual(self.c.begin_attempt("a")["attempt"], 2)
        self.assertEqual(self.c.begin_attempt("a", step=0)["attempt"], 3)
        self.refused("STEP_NOT_FOUND", self.c.rewind_job, "a", step=77)
        self.refused("STALE_ATTEMPT", self.c.report, "a", 1, step=1, attempt=2)
        self.assertEqual(self.c.fork_job("a", {"job": "b", "greedy": {"patience": 4}}, step=0)["state"]["lr"], rates[0])
        self.assertEqual(self.c.set_lr("a", [0.05])["action"], "override")
        self.assertEqual(self.c.pause_job("a")["status"], "paused")
        self.assertEqual(self.c.report("a", 1, step=1)["action"], "hold")
        self.assertEqual(self.c.resume_job("a")["status"], "active")
        self.assertEqual(self.c.finish_job("a")["status"], "finished")
        self.refused("JOB_FINISHED", self.c.report, "a", 1, step=2)
        self.c.resume_job("a")
        self.assertEqual(self.c.rewind_job("a", initial=True)["state"]["best"], math.inf)
        everything = list(self.c.list_decisions("a", superseded=True, page_size=3))
        self.assertGreater(len(everything), len(list(self.c.list_decisions("a"))))
        self.assertEqual([d["revision"] for d in everything], list(range(1, len(everything) + 1)))

    def test_waiting(self):
        self.c.create_job({"job": "a", "lr": [0.1], "ranks": {"world_size": 2}})
        error = self.refused("WAIT_EXPIRED", self.c.report, "a", 1, step=1, rank=0, wait=0.05)
        self.assertTrue(error.waiting and error.transient and not error.outage)
        self.assertIn("recorded", error.outcome)
        self.refused("STEP_NOT_DECIDED", self.c.get_lr, "a", step=1, wait=0.05)
        self.assertEqual(self.c.report("a", 2, step=1, rank=1, weight=3)["value"], 1.75)
        self.assertEqual(self.c.get_lr("a", step=1, wait=5)["step"], 1)

    def test_watch(self):
        self.c.create_job({"job": "a", "lr": [0.1]})
        for step in range(3):
            self.c.report("a", 1.0, step=step)
        stream = self.c.watch_job("a", after_revision=1)
        self.assertEqual([next(stream)["step"], next(stream)["step"]], [1, 2])
        self.c.report("a", math.nan, step=3)
        self.assertTrue(math.isnan(next(stream)["value"]))
        self.c.delete_job("a")
        with self.assertRaises(GreedyLRError) as caught:
            next(stream)
        self.assertEqual(caught.exception.reason, "JOB_DELETED")
        self.refused("JOB_NOT_FOUND", next, self.c.watch_job("a"))

    def test_state_dicts(self):
        import_of = {"factor": 0.5, "patience": 1, "mode": "min", "threshold": 1e-4, "threshold_mode": "rel",
                     "cooldown": 0, "cooldown_counter": 0, "min_lrs": [0.0], "eps": 1e-8, "best": math.inf,
                     "num_bad_epochs": 0, "mode_worse": math.inf, "last_epoch": 0, "_last_lr": [0.1]}
        self.c.import_state("p", import_of)
        rates = [self.c.report("p", x)["lr"] for x in (1.0, 2.0, 2.0)]
        self.assertEqual(rates, [0.1, 0.1, 0.05])
        state = self.c.export_state("p")
        self.assertEqual((state["best"], state["_last_lr"], state["last_epoch"]), (1.0, [0.05], 3))

    def test_unix_socket(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "s")
            other = subprocess.Popen([os.path.join(ROOT, os.environ.get("BUILD", "build"), "greedylrd"), "--listen",
                                      "unix:" + path, "--data-dir", os.path.join(folder, "d")],
                                     stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            try:
                other.stdout.readline()
                client = Client("unix:" + path)
                client.create_job({"job": "a", "lr": [0.1]})
                self.assertEqual(client.get_lr("a")["lr"], 0.1)
            finally:
                other.terminate()
                self.assertEqual(other.wait(30), 0)
                other.stdout.close()

    def test_environment(self):
        code = "import greedylr; print(greedylr.Client().get_lr('a')['lr'])"
        self.c.create_job({"job": "a", "lr": [0.1]})
        with tempfile.NamedTemporaryFile("w") as token:
            token.write("id.secret\n")
            token.flush()
            out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                                 env=dict(os.environ, PYTHONPATH=PACKAGE, GREEDYLR_URL=self.c.url,
                                          GREEDYLR_TOKEN_FILE=token.name)).stdout
        self.assertEqual(out.strip(), "0.1")

if __name__ == "__main__":
    unittest.main()
