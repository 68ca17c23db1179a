"""A server that is not greedylrd, or answers by halves, never stops a run, nor leaves a rank waiting."""
import copy
import http.server
import json
import pickle
import threading
import unittest

from python_help import needs, patient

from greedylr import Client, GreedyLRError, Session
from greedylr.outage import Outage

JOB = {"job": "a", "uid": "00", "attempt": 0, "revision": 0, "spec": {"job": "a", "lr": [0.1]}, "state": {"lrs": [0.1]}}
DECISION = {"job": "a", "step": 1, "attempt": 0, "revision": 1, "lr": 0.05, "lrs": [0.05], "action": "cut", "reason": "it says so"}


class Liar(http.server.BaseHTTPRequestHandler):
    answers = {}

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        status, body = self.answers[self.path.rsplit("/", 1)[1]]
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


class Liars(unittest.TestCase):
    def setUp(self):
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Liar)
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = "http://127.0.0.1:%d" % self.server.server_port

    def run_against(self, **answers):
        Liar.answers = dict({"CreateJob": (200, JOB), "GetJob": (200, JOB), "Report": (200, DECISION),
                             "BatchReport": (200, {"results": [{"decision": DECISION}]})}, **answers)
        _, out = patient(0.3)
        session = Session("a", [0.1], self.url, outage=out)
        return [list(session.step(1.0)) for _ in range(2)], session

    def test_the_server_is_believed_where_it_is_right(self):
        self.assertEqual(self.run_against()[0][0], [0.05])

    def test_half_answers_cost_nothing_but_the_decision(self):
        deep = b"[" * 100000
        proxy = {"code": "not_found", "message": "no route"}
        for answer in ((200, {}), (200, []), (200, deep), (500, deep), (404, proxy), (401, {"code": "Unauthorized"}),
                       (503, {"code": "unavailable", "details": [{"debug": {"domain": "greedylrd", "metadata": []}}]}),
                       (503, {"code": "unavailable", "details": 7}), (200, dict(DECISION, lrs=["NaN"])),
                       (200, dict(DECISION, lrs=[0.1, 0.2])), (200, dict(DECISION, lrs=[])), (200, dict(DECISION, lrs=[-0.1])),
                       (200, dict(DECISION, lrs="0.1")), (200, dict(DECISION, best="x")), (200, dict(DECISION, num_bad="x")),
                       (200, dict(DECISION, reason=7))):
            for method in ("CreateJob", "Report"):
                with self.subTest(answer=str(answer)[:60], method=method), self.assertLogs("greedylr", "WARNING"):
                    rates, session = self.run_against(**{method: answer})
                    self.assertEqual(rates, [[0.1], [0.1]])
                    self.assertEqual(len(session.missed.items), 2)

    def test_every_rank_goes_on_whatever_rank_0_hears(self):
        class Pair:
            """Rank 0 of two; the other one gets what is broadcast."""
            rank, size, sent = 0, 2, []

            def gather(self, record, room):
                return [record, record]

            def broadcast(self, record, room):
                self.sent.append(len(json.dumps(record)) <= room)
                return record
        newer = dict({"later%d" % i: "x" * 5000 for i in range(100)}, laters=["x" * 5000] * 3, reason="y" * 9000)
        Liar.answers = {"CreateJob": (200, JOB), "Report": (200, dict(DECISION, **newer))}
        _, out = patient(0.3)
        session = Session("a", [0.1], self.url, outage=out, ranks=Pair)
        self.assertEqual(list(session.step(1.0)), [0.05])
        self.assertTrue(Pair.sent and all(Pair.sent))

    def test_half_batches_leave_the_values_waiting(self):
        for results in ([], [{}], [{"decision": 7, "pending": True}], [{"decision": DECISION, "error": 7}],
                        [{"decision": dict(DECISION, revision=None)}], [{"pending": True}] * 2):
            with self.subTest(results=str(results)[:60]), self.assertLogs("greedylr", "WARNING"):
                Liar.answers = {"CreateJob": (200, JOB), "Report": (503, {}), "BatchReport": (200, {"results": results})}
                clock, out = patient(0.3, real=True)
                session = Session("a", [0.1], self.url, outage=out)
                session.step(1.0)
                clock.now += 60
                session.step(2.0)
                self.assertEqual(len(session.missed.items), 2)
                self.assertTrue(session._outage.error.reason == "NOT_GREEDYLRD", session._outage.error)

    def test_pages_that_never_end_and_other_listings(self):
        client = Client(self.url)
        for answer in ({"decisions": [], "next_page_token": "x"}, {"decisions": [7]}, {"decisions": [{}]}):
            with self.subTest(answer=answer):
                Liar.answers = {"ListDecisions": (200, answer)}
                with self.assertRaises(GreedyLRError) as caught:
                    list(client.list_decisions("a"))
                self.assertEqual(caught.exception.reason, "NOT_GREEDYLRD")

    def test_a_stream_of_something_else(self):
        class Stream(Client):
            def __init__(self, url, data):
                super().__init__(url)
                self._transport.lines = lambda *_: iter(["event: decision", "data: " + data, ""])
        for data in ("[" * 100000, "{", "[]"):
            with self.subTest(data=data[:3]), self.assertRaises(GreedyLRError) as caught:
                list(Stream(self.url, data).watch_job("a"))
            self.assertEqual(caught.exception.reason, "NOT_GREEDYLRD")

    def test_a_broken_state_is_every_rank_s_error(self):
        session = self.run_against()[1]
        for state in (None, {}, {"version": 1, "job": "a", "lrs": [0.1]}, dict(session.state_dict(), missed=[["x"]]),
                      *(dict(session.state_dict(), **{name: bad}) for name, bad in (
                          ("lrs", ["x"]), ("lrs", [float("nan")]), ("last_step", "1"), ("decided", -1), ("revision", {}),
                          ("uid", 7), ("local", {})))):
            with self.assertRaisesRegex(ValueError, "state_dict"):
                session.load_state_dict(state)

    def test_a_rank_with_a_broken_state_still_meets_the_others(self):
        class Two:
            """Rank 0 of two, alike in all."""
            rank, size, met = 0, 2, []

            def gather(self, record, room):
                self.met.append(record)
                return [record, record]

            def broadcast(self, record, room):
                return record
        Liar.answers = {"CreateJob": (200, JOB)}
        session = Session("a", [0.1], self.url, outage=patient(0.3)[1], ranks=Two)
        for bad in ({}, dict(session.state_dict(), lrs=["x"]), dict(session.state_dict(), local={"best": 1.0})):
            Two.met.clear()
            with self.assertRaisesRegex(ValueError, "state_dict"):
                session.load_state_dict(bad)
            self.assertIn("error", Two.met[0])

    def test_bad_budgets(self):
        for budget in (0, -1, 1e300, float("inf"), float("nan")):
            with self.assertRaisesRegex(ValueError, "budget"):
                Outage(budget)

    def test_bad_timeouts(self):
        for timeout in (1e300, float("inf"), float("nan")):
            with self.assertRaisesRegex(ValueError, "timeout"):
                Client(self.url, timeout=timeout).get_job("a")

    def test_bad_urls(self):
        for url in ("http://a..b:1", "http://" + "a" * 70 + ".x:1", "http://[::1", "http://h:99999", "http://a\0b:1", "unix:/\0"):
            with self.subTest(url=url), self.assertRaisesRegex(ValueError, "url"):
                Client(url)

    def test_an_outage_can_be_copied(self):
        copy.deepcopy(Outage(1.0))
        pickle.dumps(Outage(1.0))

    @needs("torch")
    def test_a_scheduler_can_be_copied_and_pickled(self):
        import torch
        from greedylr.scheduler import GreedyLR
        Liar.answers = {"CreateJob": (200, JOB), "Report": (200, DECISION)}
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
        scheduler = GreedyLR(optimizer, job="a", url=self.url)
        for again in (copy.deepcopy(scheduler), pickle.loads(pickle.dumps(scheduler))):
            again.step(1.0)
            self.assertEqual((again.get_last_lr(), again.optimizer.param_groups[0]["lr"]), ([0.05], 0.05))
        self.assertEqual(scheduler.get_last_lr(), [0.1])


if __name__ == "__main__":
    unittest.main()
