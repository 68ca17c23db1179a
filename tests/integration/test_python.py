"""The Python package against a real daemon, against servers that misbehave, and without any."""
import contextlib
import importlib.util
import json
import logging
import math
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
import typing
import unittest

from harness import ROOT, Daemon, DaemonTest, num, vectors

PACKAGE = os.path.join(ROOT, "client", "python")
sys.path.insert(0, PACKAGE)

import greedylr  # noqa: E402
from greedylr import Client, GreedyLRError, Session  # noqa: E402
from greedylr import distributed, errors, local, messages, outage  # noqa: E402


def have(name):
    return importlib.util.find_spec(name) is not None


def needs(name):
    return unittest.skipUnless(have(name), name + " is not installed")


class Clock:
    """Seconds that pass when the code sleeps or the test says so; real: on top of the real ones."""

    def __init__(self, real=False):
        self.now, self.real, self.sleeps = 0.0, real, []

    def __call__(self):
        return self.now + (time.monotonic() if self.real else 0.0)

    def sleep(self, seconds):
        self.sleeps.append(seconds)
        self.now += seconds


def patient(budget=5.0, **more):
    """An Outage on a clock of its own: waits cost nothing and are written down."""
    clock = Clock(**more)
    return clock, outage.Outage(budget, clock=clock, sleep=clock.sleep, jitter=lambda: 0.0)


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
            body = re.search(r"message %s \{(.*?)\n\}" % message.__name__, contract, re.S).group(1)
            fields = re.findall(r"(repeated|optional)?\s*([\w.]+) (\w+) = \d+[ ;\[]", body)
            want = {}
            for label, kind, name in fields:
                one = kinds.get(kind) or getattr(messages, kind)
                want[name] = typing.List[one] if label == "repeated" else one
            self.assertEqual(typing.get_type_hints(message), want, message.__name__)
            checked += len(want)
        self.assertGreater(checked, 100)

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
            done = subprocess.run(["mypy", "--cache-dir", cache, "greedylr"], cwd=PACKAGE, capture_output=True, text=True)
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
                            ({"patience": 1.5}, "patience"), ({"mode": "up"}, "mode"), ({"window_size": 0}, "window_size"),
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
        import random
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
        from greedylr import session
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
        self.assertEqual((decision["lrs"], decision["action"], type(decision["value"])), ([0.125, 0.01 / 0.8], "raise", float))
        self.assertTrue(math.isnan(self.c.report("a", math.nan, step=2)["value"]))
        self.assertEqual(self.c.report("a", metric=2.0)["step"], 3)
        results = self.c.batch_report([{"job": "a", "step": 4, "loss": 1.0}, {"job": "b", "step": 1, "loss": 1.0}])
        self.assertEqual((results[0]["decision"]["step"], results[1]["error"]["reason"]), (4, "JOB_NOT_FOUND"))
        self.assertEqual(self.c.get_lr("a")["step"], 4)
        self.assertEqual(self.c.update_job("a", {"greedy": {"patience": 3}})["effective"]["greedy"]["patience"], 3)
        self.assertEqual([d["step"] for d in self.c.list_decisions("a", page_size=2)][:4], [1, 2, 3, 4])
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


class Sessions(DaemonTest):
    """A run without a framework."""

    def setUp(self):
        super().setUp()
        self.url = "http://127.0.0.1:%d" % self.d.port

    def values(self, job="a"):
        return [(d["step"], d["value"]) for d in self.d.decisions(job) if "value" in d and not d.get("superseded")]

    def want(self, losses, spec=None):
        answer = self.d.ok("POST", "/v1/simulate", {"spec": {"lr": 0.1, **(spec or {})}, "losses": losses})
        return [d["lrs"] for d in answer["decisions"]]

    LOSSES = [3, 2.5, 2, 1.7, 1.5, 1.6, 1.8, 1.9, 1.9, 2.0, 2.1, 1.0, 0.9, 0.8, 0.7]

    def test_decides_as_the_daemon_simulates(self):
        session = Session("a", [0.1], self.url, patience=1)
        got = [list(session.step(x, applied=session.lrs)) for x in self.LOSSES]
        self.assertEqual(got, self.want(self.LOSSES, {"greedy": {"patience": 1}}))
        self.assertEqual(self.values(), list(enumerate(self.LOSSES, 1)))
        self.assertFalse(any(d["applied_mismatch"] for d in self.d.decisions("a")))

    def test_steps_of_the_caller(self):
        session = Session("a", [0.1], self.url)
        for step in (0, 1000, 2000):
            session.step(1.0, step)
        self.assertEqual([s for s, _ in self.values()], [0, 1000, 2000])
        session.step(5.0, 2000)  # stepped again by a wrapper: the recorded decision
        self.assertTrue(session.decision["duplicate"])
        session.step(1.0)
        self.assertEqual(session.last_step, 2001)
        for bad in (-1, 1.5, 2**32, "x"):
            with self.assertRaises(ValueError):
                session.step(1.0, bad)
        with self.assertRaises(TypeError):
            session.step([1.0])
        self.assertEqual((session.last_step, len(self.values())), (2001, 4))

    def test_nonfinite(self):
        session = Session("a", [0.1], self.url, on_nonfinite="cut")
        self.assertEqual(session.step(math.nan), [0.08000000000000002])
        with self.assertRaises(GreedyLRError) as caught:
            refusing = Session("b", [0.1], self.url, on_nonfinite="reject")
            refusing.step(math.nan)
        self.assertEqual(caught.exception.reason, "NONFINITE_REJECTED")

    def test_dead_at_construction(self):
        self.d.kill()
        clock, out = patient(0.3, real=True)
        with self.assertLogs("greedylr", "WARNING") as logged:
            session = Session("a", [0.1], self.url, outage=out, patience=1)
            for x in self.LOSSES[:5]:
                self.assertEqual(session.step(x), [0.1])
        self.assertEqual(len(logged.output), 1)
        self.d.start()
        clock.now += outage.PROBE_EVERY
        with self.assertLogs("greedylr", "INFO") as logged:
            lrs = session.step(self.LOSSES[5])
        self.assertIn("again", logged.output[0])
        self.assertEqual(self.values(), list(enumerate(self.LOSSES[:6], 1)))
        self.assertEqual(lrs, self.want(self.LOSSES[:6], {"greedy": {"patience": 1}})[-1])

    def outage_in_the_middle(self, on_error):
        clock, out = patient(0.3, real=True)
        session = Session("a", [0.1], self.url, outage=out, patience=1, on_error=on_error)
        got = [list(session.step(x, applied=session.lrs)) for x in self.LOSSES[:4]]
        self.d.kill()
        with self.assertLogs("greedylr", "WARNING") as logged:
            got += [list(session.step(x, applied=session.lrs)) for x in self.LOSSES[4:9]]
        self.assertEqual(len(logged.output), 1)
        self.assertEqual(len(session.missed.items), 5)
        self.d.start()
        clock.now += outage.PROBE_EVERY
        got += [list(session.step(x, applied=session.lrs)) for x in self.LOSSES[9:]]
        self.assertEqual(self.values(), list(enumerate(self.LOSSES, 1)))
        decisions = self.d.decisions("a")
        want = self.want(self.LOSSES, {"greedy": {"patience": 1}})
        self.assertEqual([d["lrs"] for d in decisions], want)
        self.assertFalse(any(d["applied_mismatch"] for d in decisions))
        return got, want

    def test_hold(self):
        got, want = self.outage_in_the_middle("hold")
        self.assertEqual(got[:4] + got[9:], want[:4] + want[9:])
        self.assertEqual(got[4:9], [want[3]] * 5)

    def test_local(self):
        got, want = self.outage_in_the_middle("local")
        self.assertEqual(got, want)

    def test_raise(self):
        session = Session("a", [0.1], self.url, budget=0.1, on_error="raise")
        session.step(3.0)
        self.d.kill()
        for _ in range(2):
            with self.assertRaises(GreedyLRError) as caught:
                session.step(2.0)
            self.assertTrue(caught.exception.outage)
        self.assertEqual(session.last_step, 1)  # not counted
        self.d.start()
        session.step(2.0)
        self.assertEqual(self.values(), [(1, 3.0), (2, 2.0)])

    def test_the_same_missed_losses_twice(self):
        """The answer to what was handed in gets lost: handed in again, decided once."""
        session = Session("a", [0.1], self.url)
        session.missed.add(outage.Missed(1, (3.0,), (1.0,)))
        session.missed.add(outage.Missed(2, (2.0,), (1.0,)))
        session.client.batch_report([session._late_report(item, None) for item in session.missed.items])
        session.last_step = 2
        session.step(1.0)
        self.assertEqual(self.values(), [(1, 3.0), (2, 2.0), (3, 1.0)])

    def test_many_missed_losses(self):
        session = Session("a", [0.1], self.url)
        for step in range(1, 251):
            session.missed.add(outage.Missed(step, (float(step),), (1.0,)))
        session.last_step = 250
        session.step(251)
        self.assertEqual(self.values(), [(s, float(s)) for s in range(1, 252)])

    def test_refusals_are_raised_in_every_mode(self):
        for i, on_error in enumerate(("hold", "local", "raise")):
            job = "a%d" % i
            session = Session(job, [0.1], self.url, on_error=on_error, strict=None, spec={"strict": True})
            session.step(1.0)
            with self.assertRaises(GreedyLRError) as caught:
                session.step(2.0, 1)
            self.assertEqual(caught.exception.reason, "STEP_CONFLICT")
            with self.assertRaises(GreedyLRError) as caught:
                Session(job, [0.2], self.url, on_error=on_error)
            self.assertEqual(caught.exception.reason, "JOB_EXISTS")
            with self.assertRaises(GreedyLRError) as caught:
                Session("not an id", [0.2], self.url, on_error=on_error)
            self.assertEqual(caught.exception.reason, "FIELD_INVALID")

    def test_bad_arguments_without_a_daemon(self):
        self.d.kill()
        for more, word in (({"on_error": "ignore"}, "on_error"), ({"budget": 0}, "budget"), ({"factor": 3}, "factor"),
                           ({"reduce": "sum"}, "reduce"), ({"attempt": -1}, "attempt"), ({"pace": 1}, "pace"),
                           ({"on_error": "local", "dialect": "transformers"}, "dialect"),
                           ({"on_error": "local", "spec": {"plateau": {}}}, "plateau")):
            with self.assertRaisesRegex(ValueError, word):
                Session("a", [0.1], self.url, **more)
        self.d.start()

    def test_another_run_on_the_same_job_is_noticed(self):
        one, two = Session("a", [0.1], self.url), Session("a", [0.1], self.url)
        one.step(1.0)
        with self.assertLogs("greedylr", "WARNING") as logged:
            two.step(2.0)
        self.assertIn("another run", logged.output[0])
        self.assertEqual(two.lrs, one.lrs)

    def test_rates_that_are_not_used_are_noticed(self):
        session = Session("a", [0.1], self.url)
        session.step(1.0, applied=[0.1])
        with self.assertLogs("greedylr", "WARNING") as logged:
            session.step(1.0, applied=[0.05])
            session.step(1.0, applied=[0.05])
        self.assertEqual(len(logged.output), 1)

    def test_groups_in_another_order(self):
        first = Session("a", [0.1, 0.01], self.url, group_names=["body", "head"], min_lr=[0.001, 0.0001], patience=0,
                        smooth=False)
        self.assertEqual(first.step(1.0), [0.125, 0.01 / 0.8])
        again = Session("a", [0.01, 0.1], self.url, group_names=["head", "body"], min_lr=[0.0001, 0.001], patience=0,
                        smooth=False)
        self.assertEqual(again.step(0.5, 2), [0.01 / 0.8 / 0.8, 0.15625])
        self.assertEqual(again.decision["applied_mismatch"], False)
        with self.assertRaises(GreedyLRError):
            Session("a", [0.1, 0.01], self.url, group_names=["head", "body"], patience=0, smooth=False)


    # ---- restarts ----

    def check_history(self, losses, spec=None, job="a", start=1):
        """Each evaluation has one decision that counts, and they are those of a run without failures."""
        self.assertEqual(self.values(job), list(enumerate(losses, start)))
        decisions = [d for d in self.d.decisions(job) if "value" in d and not d.get("superseded")]
        self.assertEqual([d["lrs"] for d in decisions], self.want(losses, spec))

    def test_a_restart_that_reports_decided_steps_again(self):
        old = Session("a", [0.1], self.url, patience=0)
        for step, loss in enumerate(self.LOSSES[:6], 1):
            old.step(loss, step)
        new = Session("a", [0.1], self.url, patience=0, current=old.lrs)
        for step, loss in enumerate([9.0, 8.0, 7.0], 4):
            new.step(loss, step)
        self.check_history(self.LOSSES[:3] + [9.0, 8.0, 7.0], {"greedy": {"patience": 0}})
        with self.assertRaises(GreedyLRError) as caught:
            old.step(1.0, 7)
        self.assertEqual(caught.exception.reason, "STALE_ATTEMPT")

    def test_a_restart_from_nothing(self):
        for _ in range(3):
            session = Session("a", [0.1], self.url, patience=0)
            for loss in self.LOSSES[:5]:
                session.step(loss)
        self.check_history(self.LOSSES[:5], {"greedy": {"patience": 0}})
        self.assertEqual(self.d.ok("GET", "/v1/jobs/a")["attempt"], 2)

    def test_attempts_of_a_launcher(self):
        session = Session("a", [0.1], self.url, attempt=7)
        session.step(1.0)
        self.assertEqual(session.decision["attempt"], 7)
        state = session.state_dict()
        session.step(1.0)
        session.load_state_dict(state)
        session.step(2.0)
        self.assertEqual(session.decision["attempt"], 8)
        with self.assertRaises(GreedyLRError) as caught:
            Session("a", [0.1], self.url, attempt=3).step(1.0)
        self.assertEqual(caught.exception.reason, "STALE_ATTEMPT")

    def test_loading_goes_back(self):
        session = Session("a", [0.1, 0.02], self.url, patience=0)
        spec = {"lr": [0.1, 0.02], "greedy": {"patience": 0}}
        beginning = json.loads(json.dumps(session.state_dict()))
        for loss in self.LOSSES[:4]:
            session.step(loss)
        state, lrs = json.loads(json.dumps(session.state_dict())), list(session.lrs)
        for _ in range(3):  # on a live run, as often as wanted
            for loss in (0.5, 0.4, 0.3):
                session.step(loss)
            session.load_state_dict(state)
            self.assertEqual((session.lrs, session.last_step), (lrs, 4))
        for loss in self.LOSSES[4:8]:
            session.step(loss)
        self.check_history(self.LOSSES[:8], spec)
        again = Session("a", [0.1, 0.02], self.url, patience=0)  # another process
        again.load_state_dict(state)
        self.assertEqual(again.lrs, lrs)
        for loss in self.LOSSES[4:]:
            again.step(loss, applied=again.lrs)
        self.check_history(self.LOSSES, spec)
        self.assertFalse(any(d.get("applied_mismatch") for d in self.d.decisions("a")))
        again.load_state_dict(beginning)
        self.assertEqual(again.lrs, [0.1, 0.02])
        again.step(5.0)
        self.check_history([5.0], spec)

    def test_loading_with_missed_losses(self):
        clock, out = patient(0.3, real=True)
        session = Session("a", [0.1], self.url, patience=0, outage=out)
        for loss in self.LOSSES[:3]:
            session.step(loss)
        self.d.kill()
        with self.assertLogs("greedylr", "WARNING"):
            for loss in self.LOSSES[3:6]:
                session.step(loss)
        state = json.loads(json.dumps(session.state_dict()))
        self.d.start()
        clock.now += outage.PROBE_EVERY
        for loss in (9.0, 9.5, 8.0):  # handed in, and three more; then the run is killed
            session.step(loss)
        again = Session("a", [0.1], self.url, patience=0)
        again.load_state_dict(state)
        self.assertEqual((again.last_step, len(again.missed.items)), (6, 3))
        for loss in self.LOSSES[6:]:
            again.step(loss)
        self.check_history(self.LOSSES, {"greedy": {"patience": 0}})

    def test_loading_while_the_daemon_is_away(self):
        clock, out = patient(0.3, real=True)
        session = Session("a", [0.1], self.url, patience=0, outage=out)
        for loss in self.LOSSES[:4]:
            session.step(loss)
        state, lrs = session.state_dict(), list(session.lrs)
        for loss in (0.1, 0.2, 0.3):
            session.step(loss)
        self.d.kill()
        with self.assertLogs("greedylr", "WARNING"):
            session.load_state_dict(state)
            for loss in self.LOSSES[4:6]:
                self.assertEqual(session.step(loss), lrs)
        self.d.start()
        clock.now += outage.PROBE_EVERY
        for loss in self.LOSSES[6:]:
            session.step(loss)
        self.check_history(self.LOSSES, {"greedy": {"patience": 0}})

    def test_loading_what_is_not_ours(self):
        session = Session("a", [0.1], self.url)
        for state in ({}, {"last_epoch": 3, "best": 1.0}, dict(session.state_dict(), version=2),
                      dict(session.state_dict(), job="b"), dict(session.state_dict(), lrs=[0.1, 0.2])):
            with self.assertRaisesRegex(ValueError, "state_dict"):
                session.load_state_dict(state)
        session.step(1.0)

    def lost(self, on_error):
        session = Session("a", [0.1], self.url, patience=0, on_error=on_error)
        for loss in self.LOSSES[:4]:
            session.step(loss)
        state, lrs = session.state_dict(), list(session.lrs)
        self.assertNotEqual(lrs, [0.1])
        self.d.ok("DELETE", "/v1/jobs/a")
        return session, state, lrs

    def test_a_job_that_is_gone(self):
        session, _, lrs = self.lost("hold")
        with self.assertLogs("greedylr", "WARNING") as logged:
            after = session.step(9.0)
        self.assertIn("created again", logged.output[0])
        self.assertEqual(after, lrs[:1] if session.decision["action"] == "hold" else [lrs[0] / 0.8])
        self.assertEqual(self.values(), [(5, 9.0)])

    def test_loading_into_a_job_that_is_gone(self):
        _, state, lrs = self.lost("hold")
        other = Session("a", [0.1], self.url, patience=0)
        other.step(1.0)
        session = Session("a", [0.1], self.url, patience=0)
        with self.assertLogs("greedylr", "WARNING") as logged:
            session.load_state_dict(state)
        self.assertIn("loaded rates", logged.output[0])
        self.assertEqual((session.lrs, self.d.ok("GET", "/v1/jobs/a")["state"]["lrs"]), (lrs, lrs))
        session.step(1.0)
        self.assertEqual(self.values(), [(5, 1.0)])

    def test_loading_what_a_rewind_left_behind(self):
        session = Session("a", [0.1], self.url, patience=0)
        session.step(3.0)
        early = session.state_dict()
        session.step(2.0)
        left, lrs = session.state_dict(), list(session.lrs)
        session.load_state_dict(early)
        session.step(9.0)  # step 2 as well, of another branch
        with self.assertLogs("greedylr", "WARNING") as logged:
            session.load_state_dict(left)
        self.assertIn("went back", logged.output[0])
        self.assertEqual((session.lrs, self.d.ok("GET", "/v1/jobs/a")["state"]["lrs"]), (lrs, lrs))

    def test_local_decisions_survive_a_restart(self):
        session = Session("a", [0.1], self.url, patience=1, on_error="local")
        for loss in self.LOSSES[:5]:
            session.step(loss)
        state = json.loads(json.dumps(session.state_dict()))
        again = Session("a", [0.1], self.url, patience=1, on_error="local", budget=0.2)
        again.load_state_dict(state)
        self.d.kill()
        with self.assertLogs("greedylr", "WARNING"):
            got = [list(again.step(loss)) for loss in self.LOSSES[5:]]
        self.d.start()
        self.assertEqual(got, self.want(self.LOSSES, {"greedy": {"patience": 1}})[5:])

    def test_operators_in_the_middle(self):
        """Local decisions go on from what operators did."""
        session = Session("a", [0.1], self.url, patience=0, smooth=False, on_error="local", budget=0.2)
        session.step(3.0)
        session.client.set_lr("a", [0.5])
        self.assertEqual(session.step(9.0), [0.4])
        session.client.pause_job("a")
        self.assertEqual(session.step(1.0), [0.4])
        session.client.resume_job("a")
        self.d.kill()
        with self.assertLogs("greedylr", "WARNING"):
            self.assertEqual(session.step(2.0), [0.5])  # better than 3: the paused value was not seen
        self.d.start()

    def test_random_lives(self):
        """Steps, saves, loads and outages in any order: what counts in the history is one run without failures."""
        import random
        seeds = [int(os.environ["SEED"])] if "SEED" in os.environ else range(6)
        for seed in seeds:
            with self.subTest(seed=seed):
                self.random_life(random.Random(seed), "life%d" % seed, ("hold", "local")[seed % 2])

    def random_life(self, rng, job, on_error):
        clock, out = patient(0.2, real=True)

        def start():
            return Session(job, [0.1, 0.03], self.url, patience=1, on_error=on_error, outage=out)
        session, losses, up, lrs = start(), [], True, [0.1, 0.03]
        saved = [(session.state_dict(), [])]
        logging.disable(logging.CRITICAL)
        self.addCleanup(logging.disable, logging.NOTSET)
        for _ in range(60):
            what = rng.choices(("step", "save", "load", "restart", "down", "up", "wait"), (30, 5, 3, 3, 2, 4, 3))[0]
            if what == "step":
                losses.append(rng.choice([rng.uniform(0.5, 3), 1.0, math.nan]))
                lrs = list(session.step(losses[-1]))
                if on_error == "local":
                    self.assertEqual(lrs, self.expected(losses)[-1])
            elif what == "save":
                saved.append((json.loads(json.dumps(session.state_dict())), list(losses)))
            elif what in ("load", "restart"):
                if what == "restart":
                    session = start()
                state, kept = rng.choice(saved)
                session.load_state_dict(state)
                losses = list(kept)
                saved = [(s, k) for s, k in saved if s is state or (s["last_step"] or 0) <= (state["decided"] or 0)]
            elif what == "down" and up:
                self.d.kill()
                up = False
            elif what == "up" and not up:
                self.d.start()
                up = True
            elif what == "wait":
                clock.now += outage.PROBE_EVERY
        if not up:
            self.d.start()
        clock.now += outage.PROBE_EVERY
        losses.append(1.5)
        self.assertEqual(session.step(losses[-1]), self.expected(losses)[-1])
        got = self.values(job)
        self.assertEqual([step for step, _ in got], list(range(1, len(losses) + 1)))
        self.assertEqual([repr(num(value)) for _, value in got], [repr(float(x)) for x in losses])
        decisions = [d for d in self.d.decisions(job) if "value" in d and not d.get("superseded")]
        self.assertEqual([d["lrs"] for d in decisions], self.expected(losses))

    @staticmethod
    def expected(losses):
        greedy = local.LocalGreedy(local.settings([0.1, 0.03], {"patience": 1}))
        return [list(greedy.step(x)) for x in losses]


class Meeting:
    """Ranks that are threads of the test."""

    def __init__(self, size):
        self.size, self.records = size, [None] * size
        self.barrier = threading.Barrier(size, timeout=60)
        self.collectives = 0

    def rank(self, number):
        meeting = self

        class Rank:
            rank, size = number, meeting.size

            def gather(self, record, room):
                meeting.records[number] = distributed.encode(record, room)
                meeting.barrier.wait()
                out = [json.loads(r) for r in meeting.records]
                if meeting.barrier.wait() == 0:
                    meeting.collectives += 1
                return out

            def broadcast(self, record, room):
                return self.gather(record if number == 0 else None, room)[0]
        return Rank()

    def run(self, work):
        """work(rank) in every rank; its results or the exceptions it raised."""
        results = [None] * self.size

        def one(number):
            try:
                results[number] = work(self.rank(number))
            except Exception as error:
                results[number] = error
        threads = [threading.Thread(target=one, args=(number,)) for number in range(self.size)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return results


class Ranks(DaemonTest):
    """Several ranks in one process, each with a Session."""

    flags = ("--log-level", "warning")

    def setUp(self):
        super().setUp()
        self.url = "http://127.0.0.1:%d" % self.d.port
        self.meeting = Meeting(3)

    def sessions(self, urls=None, **more):
        def make(rank):
            url = (urls or {}).get(rank.rank, self.url)
            return Session("a", [0.1], url, ranks=lambda: rank, patience=0, smooth=False, **more)
        made = self.meeting.run(make)
        for one in made:
            if isinstance(one, Exception):
                raise one
        return made

    def step(self, sessions, values, weights=(1, 1, 1), steps=(None, None, None)):
        before = self.meeting.collectives
        out = self.meeting.run(lambda r: list(sessions[r.rank].step(values[r.rank], steps[r.rank],
                                                                     weight=weights[r.rank])))
        self.spent = self.meeting.collectives - before
        return out

    def history(self):
        return [(d["step"], num(d["value"])) for d in self.d.decisions("a") if "value" in d and not d.get("superseded")]

    def test_rank_0_reports_what_they_combine(self):
        sessions = self.sessions()
        self.assertEqual(self.step(sessions, (1.0, 2.0, 3.0), (1, 1, 2)), [[0.125]] * 3)
        self.assertEqual(self.spent, 2)  # one to combine, one for the outcome
        self.assertEqual(self.history(), [(1, 9 / 4)])
        self.step(sessions, (1.0, math.nan, 2.0), (1, 0, 1))  # a rank without samples does not count
        self.assertEqual(self.history()[1], (2, 1.5))
        self.step(sessions, (1.0, math.nan, 2.0))
        self.assertTrue(math.isnan(self.history()[2][1]))
        for reduce, want in (("min", 1.0), ("max", 3.0), ("median", 2.0), ("first", 1.0)):
            for one in sessions:
                one.reduce = reduce
            self.step(sessions, (1.0, 3.0, 2.0))
            self.assertEqual(self.history()[-1][1], want)

    def test_rounds(self):
        sessions = self.sessions(rounds=True)
        for i, values in enumerate([(1.0, 2.0, 3.0), (1.0, 1.0, 2.5), (4.0, math.inf, 1.0)], 1):
            rates = self.step(sessions, values, (1, 1, 2))
            self.assertEqual(self.spent, 1)
            self.assertEqual(rates, [self.d.decisions("a")[-1]["lrs"]] * 3)
            self.assertEqual(self.d.decisions("a")[-1]["ranks"], 3)
        self.assertEqual(self.history()[:2], [(1, 9 / 4), (2, 7 / 4)])
        self.assertTrue(math.isnan(self.history()[2][1]))

    def both(self, check):
        for rounds in (False, True):
            with self.subTest(rounds=rounds):
                sessions = self.sessions(rounds=rounds)
                self.step(sessions, (1.0, 2.0, 3.0))
                check(sessions)
                self.assertEqual(len({tuple(s.lrs) for s in sessions}), 1)
                self.step(sessions, (1.0, 1.0, 1.0), steps=(50, 50, 50))  # they go on together
                self.assertEqual(self.history()[-1], (50, 1.0))
                self.d.ok("DELETE", "/v1/jobs/a")

    def raised(self, results, kind, word):
        for result in results:
            self.assertIsInstance(result, kind)
            self.assertIn(word, str(result))

    def test_what_is_bad_on_one_rank_is_raised_on_all(self):
        def check(sessions):
            self.raised(self.step(sessions, (1.0, "x", 3.0)), ValueError, "rank 1")
            self.raised(self.step(sessions, (1.0, 2.0, 3.0), (1, 1, -1)), ValueError, "weight")
        self.both(check)

    def test_ranks_out_of_step_are_told(self):
        sessions = self.sessions()
        self.raised(self.step(sessions, (1.0, 2.0, 3.0), steps=(1, 1, 2)), ValueError, "rank 2 reports 2")
        self.step(sessions, (1.0, 2.0, 3.0))
        self.assertEqual([step for step, _ in self.history()], [1])

    def test_refusals_are_raised_on_all(self):
        def check(sessions):
            sessions[0].client.finish_job("a")
            self.raised(self.step(sessions, (1.0, 2.0, 3.0)), GreedyLRError, "JOB_FINISHED")
            self.assertEqual([s.last_step for s in sessions], [1, 1, 1])
            sessions[0].client.resume_job("a")
        self.both(check)

    def test_a_failure_of_rank_0_is_known_to_all(self):
        sessions = self.sessions()
        sessions[0].client.report = None
        results = self.step(sessions, (1.0, 2.0, 3.0))
        self.assertIsInstance(results[0], TypeError)
        self.raised(results[1:], RuntimeError, "rank 0")

    def test_an_outage_and_back(self):
        def check(sessions):
            clock, out = patient(0.2, real=True)
            for one in sessions:
                one._outage = outage.Outage(0.3, clock=clock)
            lrs = sessions[0].lrs
            self.d.kill()
            with self.assertLogs("greedylr", "WARNING") as logged:
                for i in range(12):  # more than a job lets wait behind an open round
                    self.assertEqual(self.step(sessions, (1.0 + i, 2.0, 3.0)), [lrs] * 3)
            self.assertEqual(len(logged.output), 1)
            self.d.start()
            for one in sessions:
                one._outage.budget = 10.0
            clock.now += outage.PROBE_EVERY
            while not self.step(sessions, (1.0, 1.0, 1.0)) or sessions[0].missed.items:
                pass
            got = self.history()
            self.assertEqual([step for step, _ in got], list(range(1, len(got) + 1)))
            self.assertEqual([value for _, value in got[1:13]], [(6.0 + i) / 3 for i in range(12)])
        self.both(check)

    def test_one_rank_is_cut_off(self):
        """The others have the decision, once the cut-off rank's value is not needed; all ranks use the same."""
        sessions = self.sessions({2: "http://127.0.0.1:1"}, rounds=True, budget=0.3, spec={"ranks": {"quorum": 2,
                                                                                               "deadline": "100ms"}})
        with self.assertLogs("greedylr", "WARNING") as logged:
            for values in ((3.0, 2.0, 9.0), (2.0, 1.5, 9.0), (1.0, 1.0, 9.0)):
                rates = self.step(sessions, values)
                self.assertEqual(rates, [self.d.decisions("a")[-1]["lrs"]] * 3)
        self.assertEqual(len(logged.output), 1)
        self.assertIn("rank 2", logged.output[0])
        self.assertEqual(self.history(), [(1, 2.5), (2, 1.75), (3, 1.0)])
        self.assertEqual([len(s.missed.items) for s in sessions], [0, 0, 0])

    def test_a_round_that_does_not_complete(self):
        """Without a quorum nobody has a decision: all hold, nothing is lost, and it is decided later."""
        sessions = self.sessions({2: "http://127.0.0.1:1"}, rounds=True, budget=0.3)
        with self.assertLogs("greedylr", "WARNING"):
            for values in ((3.0, 2.0, 4.0), (2.0, 1.5, 1.0)):
                self.assertEqual(self.step(sessions, values), [[0.1]] * 3)
        self.assertEqual(self.history(), [])
        sessions[2].client = sessions[0].client
        sessions[2]._outage = outage.Outage(5.0)
        rates = self.step(sessions, (1.0, 1.0, 1.0))
        self.assertEqual(self.history(), [(1, 3.0), (2, 1.5), (3, 1.0)])
        self.assertEqual(rates, [self.d.decisions("a")[-1]["lrs"]] * 3)

    def test_loading(self):
        def check(sessions):
            state = sessions[0].state_dict()
            self.assertEqual([s.state_dict() for s in sessions], [state] * 3)
            for values in ((9.0, 9.0, 9.0), (8.0, 8.0, 8.0)):
                self.step(sessions, values)
            self.meeting.run(lambda r: sessions[r.rank].load_state_dict(state))
            self.step(sessions, (0.5, 0.5, 0.5))
            self.assertEqual(self.history(), [(1, 2.0), (2, 0.5)])
            self.assertEqual({d["attempt"] for d in self.d.decisions("a")[-1:]}, {1})
            other = sessions[0].state_dict()
            results = self.meeting.run(lambda r: sessions[r.rank].load_state_dict(other if r.rank == 1 else state))
            self.raised(results, ValueError, "rank 1 loads step 2")
        self.both(check)

    def test_another_number_of_ranks(self):
        """Elastic training: the same job goes on with fewer ranks, values that wait for a decision included."""
        sessions = self.sessions(rounds=True, budget=0.3)
        self.step(sessions, (3.0, 2.0, 4.0))
        self.d.kill()
        with self.assertLogs("greedylr", "WARNING"):
            self.step(sessions, (1.0, 2.0, 3.0))
        state = json.loads(json.dumps(sessions[1].state_dict()))
        self.d.start()
        self.meeting = Meeting(2)
        fewer = self.sessions(rounds=True)
        self.meeting.run(lambda r: fewer[r.rank].load_state_dict(state))
        self.step(fewer, (1.0, 0.5))
        self.assertEqual(self.history(), [(1, 3.0), (2, 2.0), (3, 0.75)])
        self.assertEqual([d.get("ranks") for d in self.d.decisions("a") if "value" in d], [3, 2, 2])

    def test_local_decisions(self):
        for rounds in (False, True):
            sessions = self.sessions(rounds=rounds, on_error="local", budget=0.3)
            values = [(1.0, 2.0, 3.0), (1.0, 1.0, 1.0), (5.0, 6.0, 7.0), (0.1, 0.1, 0.2), (0.1, 0.0, 0.1)]
            got = [self.step(sessions, values[0])]
            self.d.kill()
            with self.assertLogs("greedylr", "WARNING"):
                got += [self.step(sessions, v) for v in values[1:]]
            self.d.start()
            means = [local.combine(v, (1, 1, 1), "mean") for v in values]
            want = self.d.ok("POST", "/v1/simulate", {"spec": {"lr": 0.1, "greedy": {"patience": 0, "smooth": False}},
                                                      "losses": means})
            self.assertEqual(got, [[d["lrs"]] * 3 for d in want["decisions"]])
            self.d.ok("DELETE", "/v1/jobs/a")


@needs("torch")
class Torch(DaemonTest):
    """GreedyLR as a scheduler of PyTorch."""

    def setUp(self):
        super().setUp()
        import torch
        self.torch = torch
        self.url = "http://127.0.0.1:%d" % self.d.port

    def optimizer(self, **more):
        body, head = self.torch.nn.Linear(2, 2), self.torch.nn.Linear(2, 1)
        return self.torch.optim.SGD([{"params": body.parameters(), "name": "body"},
                                     {"params": head.parameters(), "name": "head", "lr": 0.01}], lr=0.1, **more)

    def test_it_is_a_plateau(self):
        optimizer = self.optimizer()
        scheduler = greedylr.GreedyLR(optimizer, "a", self.url)
        plateau = self.torch.optim.lr_scheduler.ReduceLROnPlateau
        self.assertIsInstance(scheduler, plateau)
        base = getattr(self.torch.optim.lr_scheduler, "LRScheduler", None)
        if base is not None and issubclass(plateau, base):
            self.assertIsInstance(scheduler, base)
        self.assertLessEqual(vars(plateau(optimizer)).keys(), vars(scheduler).keys())
        self.assertFalse(scheduler.in_cooldown)

    def test_a_run(self):
        optimizer = self.optimizer()
        scheduler = greedylr.GreedyLR(optimizer, "a", self.url, patience=0, smooth=False,
                                      min_lr={"head": 0.001, "body": 0.02})
        self.assertEqual(scheduler.get_last_lr(), [0.1, 0.01])
        for loss in (self.torch.tensor(3.0), self.torch.tensor([2.0], dtype=self.torch.float64), 1.0):
            scheduler.step(loss)
        rates = [0.1, 0.01]
        for i in range(3):
            rates = [rate / 0.8 for rate in rates]
        self.assertEqual(scheduler.get_last_lr(), rates)
        self.assertEqual([group["lr"] for group in optimizer.param_groups], rates)
        self.assertEqual((scheduler.last_epoch, scheduler.best, scheduler.num_bad_epochs), (3, 1.0, 0))
        self.assertEqual(scheduler.last_decision["action"], "raise")
        job = self.d.ok("GET", "/v1/jobs/a")
        self.assertEqual((job["spec"]["group_names"], job["spec"]["greedy"]["min_lr"]), (["body", "head"], [0.02, 0.001]))
        scheduler.step(5.0, epoch=10)
        self.assertEqual(scheduler.last_epoch, 10)
        with self.assertRaises((ValueError, RuntimeError)):
            scheduler.step(self.torch.ones(2))
        with self.assertRaisesRegex(ValueError, "min_lr"):
            greedylr.GreedyLR(optimizer, "b", self.url, min_lr={"tail": 1})
        with self.assertRaisesRegex(TypeError, "optimizer"):
            greedylr.GreedyLR(object(), "b", self.url)
        optimizer.add_param_group({"params": [self.torch.nn.Parameter(self.torch.zeros(1))], "lr": 1.0})
        with self.assertRaisesRegex(ValueError, "groups"):
            scheduler.step(1.0)

    def test_a_checkpoint(self):
        losses = Sessions.LOSSES
        optimizer = self.optimizer(momentum=0.9)
        scheduler = greedylr.GreedyLR(optimizer, "a", self.url, patience=0)
        for loss in losses[:5]:
            scheduler.step(loss)
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "checkpoint.pt")
            self.torch.save({"optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}, path)
            for loss in (9.0, 8.0, 7.0):
                scheduler.step(loss)
            checkpoint = self.torch.load(path)
        for order in (("optimizer", "scheduler"), ("scheduler", "optimizer")):
            new = self.optimizer(momentum=0.9)
            again = greedylr.GreedyLR(new, "a", self.url, patience=0)
            for part in order:
                {"optimizer": new, "scheduler": again}[part].load_state_dict(checkpoint[part])
            self.assertEqual((again.get_last_lr(), again.last_epoch), ([g["lr"] for g in new.param_groups], 5))
            for loss in losses[5:]:
                again.step(loss)
            history = [d for d in self.d.decisions("a") if "value" in d and not d.get("superseded")]
            self.assertEqual([d["value"] for d in history], losses)
            self.assertFalse(any(d.get("applied_mismatch") for d in history))
            self.assertEqual(again.get_last_lr(), history[-1]["lrs"])
        late = self.optimizer(momentum=0.9)  # the optimizer is loaded before the scheduler is made
        late.load_state_dict(checkpoint["optimizer"])
        greedylr.GreedyLR(late, "a", self.url, patience=0).load_state_dict(checkpoint["scheduler"])

    def test_rates_that_are_tensors(self):
        optimizer = self.optimizer()
        rate = optimizer.param_groups[0]["lr"] = self.torch.tensor(0.1)
        scheduler = greedylr.GreedyLR(optimizer, "a", self.url, patience=0, smooth=False)
        scheduler.step(1.0)
        scheduler.step(0.5)
        self.assertIs(optimizer.param_groups[0]["lr"], rate)
        self.assertAlmostEqual(float(rate), 0.1 / 0.8 / 0.8, places=6)
        self.assertFalse(scheduler.last_decision["applied_mismatch"])

    def test_a_dead_daemon(self):
        self.d.kill()
        with self.assertLogs("greedylr", "WARNING"):
            scheduler = greedylr.GreedyLR(self.optimizer(), "a", self.url, budget=0.2)
            scheduler.step(1.0)
        self.assertEqual((scheduler.get_last_lr(), scheduler.missed, scheduler.last_decision), ([0.1, 0.01], 1, None))
        self.d.start()


if __name__ == "__main__":
    logging.disable(logging.NOTSET)
    unittest.main()
