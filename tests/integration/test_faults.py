"""Injected I/O errors (strace) and a full disk: no 200 that is not durable, and the end where the design says so."""
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import unittest
from concurrent.futures import ThreadPoolExecutor

from harness import Daemon, reason, wait_until

CYCLES = int(os.environ.get("CYCLES", "20"))


def can_trace():
    if not shutil.which("strace"):
        return False
    return subprocess.run(["strace", "-f", "-o", "/dev/null", "-e", "inject=fdatasync:error=EIO:when=9", "true"],
                          capture_output=True).returncode == 0


def can_mount():
    at = tempfile.mkdtemp()
    ok = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", at], capture_output=True).returncode == 0
    if ok:
        subprocess.run(["umount", at], check=True)
    os.rmdir(at)
    return ok


@unittest.skipUnless(can_trace(), "strace cannot inject faults here")
class Injected(unittest.TestCase):
    def report_until_refused(self, inject):
        """(daemon, steps acknowledged, the refusal)"""
        d = Daemon("--log-level", "error", wrap=["strace", "-f", "-o", "/dev/null", "-e", "inject=" + inject],
                   env={"ASAN_OPTIONS": "detect_leaks=0"})
        self.addCleanup(shutil.rmtree, d.data, True)
        d.start()
        for step in range(1, 100):
            status, answer = d.call("POST", "/v1/jobs/x:report", {"step": step, "loss": 1, "lr": 0.1})
            if status != 200:
                return d, step - 1, status, answer
        self.fail("no fault came")

    def check_survivors(self, data, acknowledged):
        d = Daemon(data=data).start()
        try:
            status, job = d.call("GET", "/v1/jobs/x")
            self.assertEqual(status, 200 if acknowledged else 404)
            if acknowledged:  # an unacknowledged one may have survived, none may be lost
                self.assertIn(job["revision"], (acknowledged, acknowledged + 1))
        finally:
            d.close()

    def fatal(self, inject):
        d, acknowledged, status, answer = self.report_until_refused(inject)
        self.assertEqual((status, reason(answer)), (503, "STORE_FAILED"))
        self.assertIn("safe to repeat", answer["details"][0]["debug"]["metadata"]["outcome"])
        self.assertEqual(d._ended(), 1)
        self.check_survivors(d.data, acknowledged)

    def test_failed_sync_ends_the_process(self):
        for errno in ("EIO", "ENOSPC"):
            for when in (6, 9):
                with self.subTest(errno=errno, when=when):
                    self.fatal("fdatasync:error=%s:when=%d+" % (errno, when))

    def test_failed_sync_at_the_start_is_told(self):
        for when in (1, 2, 4, 5):  # of the fresh database, and of its switch to WAL; SQLite ignores the directory's
            with self.subTest(when=when), self.assertRaisesRegex(RuntimeError, "exit 1: .*disk I/O error"):
                self.report_until_refused("fdatasync:error=EIO:when=%d" % when)

    def test_failed_write_ends_the_process(self):
        self.fatal("pwrite64:error=EIO:when=40+")

    def test_no_room_refuses_writes_and_goes_on(self):
        d, acknowledged, status, answer = self.report_until_refused("pwrite64:error=ENOSPC:when=40+")
        self.assertEqual((status, reason(answer)), (503, "STORE_FULL"))
        self.assertEqual(d.request("GET", "/readyz")[0], 503)
        self.assertEqual(d.ok("GET", "/v1/jobs/x")["revision"], acknowledged)
        status, headers, _ = d.request("POST", "/v1/jobs/x:report", {"step": 99, "loss": 1})
        self.assertEqual((status, headers["retry-after"]), (503, "1"))
        d.kill()
        self.check_survivors(d.data, acknowledged)


@unittest.skipUnless(can_trace(), "strace cannot inject faults here")
class OneCommit(unittest.TestCase):
    """Syncs take long, so that what is sent meanwhile becomes one commit."""

    def setUp(self):
        self.d = Daemon("--log-level", "error", env={"ASAN_OPTIONS": "detect_leaks=0"},
                        wrap=["strace", "-D", "-f", "-I2", "-o", os.devnull, "-e", "trace=fdatasync",
                              "-e", "inject=fdatasync:delay_enter=300000"])
        self.addCleanup(shutil.rmtree, self.d.data, True)
        self.addCleanup(lambda: self.d.process.poll() is None and self.d.kill())
        self.d.start()

    def in_flight(self):
        return float(re.search(r"^greedylrd_requests_in_flight (\S+)$", self.d.request("GET", "/metrics")[2].decode(), re.M)[1])

    def together(self, *requests):
        """The answers to requests that arrive in this order behind a report that is being synced."""
        with ThreadPoolExecutor() as pool:
            calls = []
            for request in (("POST", "/v1/jobs/warm:report", {"loss": 1, "lr": 0.1}),) + requests:
                calls.append(pool.submit(self.d.call, *request))
                wait_until(lambda: self.in_flight() == len(calls) + 1 or calls[-1].done())
            return [call.result() for call in calls[1:]]

    def test_deleted_at_once(self):
        spec = {"job": "a", "lr": [0.1], "labels": ["k=v"]}
        made, deleted = self.together(("POST", "/v1/jobs", spec), ("DELETE", "/v1/jobs/a"))
        self.assertEqual((made[0], deleted[0]), (200, 200), made)
        self.assertEqual((made[1]["spec"], made[1]["state"]["lrs"]), (spec, [0.1]))
        self.assertEqual(made[1]["create_time"], made[1]["update_time"])
        self.assertEqual(self.d.call("GET", "/v1/jobs/a")[0], 404)

    def test_changed_and_deleted_at_once(self):
        created = self.d.ok("POST", "/v1/jobs", {"job": "a", "lr": 0.1})
        patched, paused, deleted = self.together(("PATCH", "/v1/jobs/a", {"spec": {"greedy": {"patience": 7}}}),
                                                 ("POST", "/v1/jobs/a:pause", {}), ("DELETE", "/v1/jobs/a"))
        self.assertEqual((patched[0], deleted[0]), (200, 200), patched)
        self.assertEqual(patched[1]["spec"]["greedy"], {"patience": 7})
        self.assertEqual((patched[1]["status"], patched[1]["create_time"]), ("active", created["create_time"]))
        self.assertEqual((paused[0], reason(paused[1])), (409, "JOB_DELETED"))


@unittest.skipUnless(can_trace(), "strace cannot inject faults here")
class InjectedIntoTheDatabaseFile(unittest.TestCase):
    """The database file is written and synced by checkpoints only: when the daemon is idle, and when the log is long."""

    def start(self, inject):
        """A daemon whose calls on the database file fail; self.rates: what it acknowledged, by step."""
        d = Daemon()
        self.addCleanup(shutil.rmtree, d.data, True)
        self.rates = {}
        d.start()  # strace -P wants a file that is there
        self.report(d, 1)
        d.stop()
        d = Daemon("--log-level", "error", data=d.data, env={"ASAN_OPTIONS": "detect_leaks=0"},
                   wrap=["strace", "-D", "-f", "-I2", "-o", os.devnull, "-P", os.path.join(d.data, "greedylr.db"),
                         "-e", "trace=fdatasync,pwrite64", "-e", "inject=" + inject])
        self.addCleanup(lambda: d.process.poll() is None and d.kill())
        return d.start()

    def report(self, d, step):
        answer = d.ok("POST", "/v1/jobs/x:report", {"step": step, "loss": 1.0 / step, "lr": 0.1})
        self.rates[step] = answer["lrs"]

    def report_many(self, d):
        """Batches until the log is folded between two of them and one is refused or unanswered."""
        for first in range(2, 60000, 1000):
            reports = [{"job": "x", "step": step, "loss": 1.0 / step} for step in range(first, first + 1000)]
            try:
                status, answer = d.call("POST", "/v1/jobs:batchReport", {"reports": reports})
            except OSError:
                return
            if status != 200:
                self.assertEqual(status, 503)
                return
            for result in answer["results"]:
                if "error" in result:
                    self.assertIn(result["error"]["reason"], ("STORE_FAILED", "DRAINING"))
                else:
                    self.rates[result["decision"]["step"]] = result["decision"]["lrs"]
            if "error" in answer["results"][-1]:
                return
        self.fail("no fault came")

    def check_survivors(self, data):
        """Every acknowledged step is there, in order, with its rates; behind them may be what was never answered."""
        d = Daemon(data=data).start()
        try:
            kept = [(x["step"], x["lrs"]) for x in d.decisions("x")]
            self.assertEqual(kept[:len(self.rates)], sorted(self.rates.items()))
            step, lrs = kept[-1]
            self.assertEqual(d.ok("GET", "/v1/jobs/x/lr?format=json")["lrs"], lrs)
            self.report(d, step + 1)
        finally:
            d.close()

    def fatal(self, inject, work):
        d = self.start(inject)
        work(d)
        self.assertEqual(d._ended(), 1)
        self.assertIn("event=store_failed", d.stderr)
        self.assertIn("checkpointing", d.stderr)
        self.check_survivors(d.data)

    def fatal_idle_and_busy(self, inject):
        for work in (lambda d: self.report(d, 2), self.report_many):
            with self.subTest(inject=inject):
                self.fatal(inject, work)

    def test_failed_sync_ends_the_process(self):
        for errno in ("EIO", "ENOSPC"):
            self.fatal_idle_and_busy("fdatasync:error=%s:when=1" % errno)  # once: a second try would pass

    def test_failed_write_ends_the_process(self):
        self.fatal_idle_and_busy("pwrite64:error=EIO:when=3")

    def refused(self, d):
        status, headers, text = d.request("POST", "/v1/jobs/x:report", {"step": len(self.rates) + 1, "loss": 1})
        self.assertEqual((status, headers["retry-after"]), (503, "1"))
        self.assertIn(b"STORE_FULL", text)
        self.assertIn(b"checkpointing", text)
        self.assertEqual(d.request("GET", "/readyz")[0], 503)
        kept = [(x["step"], x["lrs"]) for x in d.decisions("x")]
        self.assertEqual(kept, sorted(self.rates.items()))
        self.assertEqual(d.ok("GET", "/v1/jobs/x/lr?format=json")["lrs"], kept[-1][1])

    def full(self):
        d = self.start("pwrite64:error=ENOSPC:when=1+")
        for step in range(2, 20):
            self.report(d, step)
        wait_until(lambda: d.request("GET", "/readyz")[0] == 503)
        self.refused(d)
        return d

    def test_no_room_refuses_writes_until_there_is_some(self):
        d = self.full()
        with open("/proc/%d/status" % d.process.pid) as f:
            tracer = int(re.search(r"TracerPid:\s*(\d+)", f.read()).group(1))
        os.kill(tracer, signal.SIGTERM)  # lets go of the daemon, and calls succeed again
        wait_until(lambda: d.request("GET", "/readyz")[0] == 200)
        for step in range(20, 30):
            self.report(d, step)
        self.assertEqual(d.stop(), 0)
        self.assertIn("event=disk_full", d.stderr)
        self.check_survivors(d.data)

    def test_a_kill_without_room_loses_nothing(self):
        d = self.full()
        d.kill()
        self.check_survivors(d.data)


@unittest.skipUnless(can_mount(), "a tmpfs cannot be mounted here")
class FullDisk(unittest.TestCase):
    def setUp(self):
        self.at = at = tempfile.mkdtemp()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", at], check=True)
        self.addCleanup(os.rmdir, at)
        self.addCleanup(subprocess.run, ["umount", "-l", at], check=True)
        self.d = Daemon("--log-level", "error", data=at)
        self.addCleanup(self.d.close)
        self.d.start()

    def test_the_service_manager_is_told(self):
        with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind(os.path.join(folder, "notify"))
            notify.settimeout(20)
            self.d.stop()
            self.d.env["NOTIFY_SOCKET"] = notify.getsockname()
            self.d.start()
            said = []

            def wait(beginning):
                while not said or not said[-1].startswith("STATUS=" + beginning):
                    said.append(notify.recv(4096).decode())
            try:
                wait("serving on ")
            except TimeoutError:
                self.skipTest("built without libsystemd")
            self.fill(0)
            wait("refusing writes: ")
            os.truncate(os.path.join(self.at, "ballast"), 0)
            wait("serving on ")

    def fill(self, step, rates=None):
        """Until reports of job x are refused; the last step that was taken.  Appends the rates answered to rates."""
        with open(os.path.join(self.at, "ballast"), "wb", buffering=0) as f:
            try:
                while f.write(b"x" * 4096):
                    pass
            except OSError:
                pass
        status = 200
        while status == 200:
            status, answer = self.d.call("POST", "/v1/jobs/x:report", {"step": step + 1, "loss": 1, "lr": 0.1})
            step += status == 200
            if status == 200 and rates is not None:
                rates.append(answer["lrs"])
        self.assertEqual((status, reason(answer)), (503, "STORE_FULL"))
        return step

    def make_room(self):
        os.unlink(os.path.join(self.at, "ballast"))
        wait_until(lambda: self.d.request("GET", "/readyz")[0] == 200)

    def refused(self, status, word, method, path, body=None):
        got, answer = self.d.call(method, path, body)
        self.assertEqual((got, reason(answer)), (status, word), answer)

    def test_what_needs_no_write_is_served(self):
        d, spec = self.d, {"job": "made", "lr": 0.1}
        d.ok("POST", "/v1/jobs", spec)
        d.ok("POST", "/v1/jobs/x:report", {"step": 1, "loss": 1, "lr": 0.1})
        step = self.fill(1)
        metrics = d.request("GET", "/metrics")[2].decode()
        self.assertIn('reports_total{result="decided"} %d\n' % step, metrics)  # what was not stored was not decided
        self.assertIn('reports_total{result="refused"} 1\n', metrics)
        self.assertTrue(d.ok("POST", "/v1/jobs/x:report", {"step": 1, "loss": 1})["duplicate"])
        self.assertEqual(d.ok("POST", "/v1/jobs/x:report", {"step": 10 ** 6, "loss": 1, "dry_run": True})["revision"], step + 1)
        self.assertEqual(d.ok("POST", "/v1/jobs", spec)["job"], "made")
        self.refused(400, "FIELD_INVALID", "POST", "/v1/jobs/x:report", {"step": 1, "loss": 1, "weight": 0})
        self.refused(400, "FIELD_INVALID", "POST", "/v1/jobs", {"job": "bad", "lr": -1})
        self.refused(404, "JOB_NOT_FOUND", "POST", "/v1/jobs/none:pause", {})
        results = d.ok("POST", "/v1/jobs:batchReport", {"reports": [
            {"job": "x", "step": 1, "loss": 1}, {"job": "x", "step": step + 1, "loss": 1}]})["results"]
        self.assertTrue(results[0]["decision"]["duplicate"])
        self.assertEqual(results[1]["error"]["reason"], "STORE_FULL")
        for method, path, body in (("POST", "/v1/jobs", {"job": "new", "lr": 0.1}), ("DELETE", "/v1/jobs/x", None),
                                   ("PATCH", "/v1/jobs/x", {"spec": {"greedy": {"patience": 7}}}),
                                   ("POST", "/v1/jobs/new:report", {"step": 1, "loss": 1, "lr": 0.1}),
                                   ("POST", "/v1/jobs/x:pause", {}), ("POST", "/v1/jobs/x:setLr", {"lr": 0.01}),
                                   ("POST", "/v1/jobs/x:rewind", {"initial": True}), ("POST", "/v1/jobs/x:begin", {}),
                                   ("POST", "/v1/jobs/x:report", {"step": 1, "loss": 1, "attempt": 1}),
                                   ("POST", "/v1/jobs/x:fork", {"step": 1, "spec": {"job": "new"}})):
            self.refused(503, "STORE_FULL", method, path, body)
        self.assertEqual(d.ok("GET", "/v1/jobs/x")["revision"], step)
        self.refused(404, "JOB_NOT_FOUND", "GET", "/v1/jobs/new")
        self.make_room()
        d.ok("POST", "/v1/jobs/x:report", {"step": step + 1, "loss": 1})
        self.assertEqual([x["action"] for x in d.decisions("x")[step - 1:]], ["hold", "hold"])

    def test_rounds_wait_for_room(self):
        d = self.d
        d.ok("POST", "/v1/jobs", {"job": "all", "lr": 0.1, "ranks": {"world_size": 2}})
        d.ok("POST", "/v1/jobs", {"job": "some", "lr": 0.1, "ranks": {"world_size": 2, "quorum": 1, "deadline": "3s"}})
        self.refused(504, "WAIT_EXPIRED", "POST", "/v1/jobs/all:report?wait=0s", {"step": 1, "rank": 0, "loss": 1})
        with ThreadPoolExecutor() as pool:
            some = pool.submit(d.call, "POST", "/v1/jobs/some:report", {"step": 1, "rank": 0, "loss": 1})
            wait_until(lambda: d.ok("GET", "/v1/jobs/some")["state"].get("open_round", {}).get("reported") == 1)
            self.fill(0)
            self.refused(503, "STORE_FULL", "POST", "/v1/jobs/all:report", {"step": 1, "rank": 1, "loss": 3})
            self.refused(504, "WAIT_EXPIRED", "POST", "/v1/jobs/all:report?wait=0s", {"step": 1, "rank": 0, "loss": 1})
            status, answer = some.result()
            self.assertEqual((status, reason(answer)), (503, "WAIT_INTERRUPTED"))
        self.make_room()
        self.assertEqual(d.ok("POST", "/v1/jobs/all:report", {"step": 1, "rank": 1, "loss": 3})["value"], 2)
        self.assertEqual(d.ok("POST", "/v1/jobs/some:report", {"step": 1, "rank": 0, "loss": 1})["ranks"], 1)

    def test_filled_and_freed(self):
        """CYCLES times, on a fresh disk every 20; in some of them a kill comes while it is full, or after."""
        for first in range(0, CYCLES, 20):
            if first:
                self.assertEqual(self.d.stop(), 0)
                for name in os.listdir(self.at):
                    os.unlink(os.path.join(self.at, name))
                self.d.start()
            self.fill_and_free(min(20, CYCLES - first))

    def fill_and_free(self, cycles):
        d, rates = self.d, []
        for cycle in range(cycles):
            step = self.fill(len(rates), rates)
            if cycle % 7 == 3:
                d.kill()
                d.start(ready=False)
            if rates:
                self.assertEqual(d.ok("GET", "/v1/jobs/x")["state"]["lrs"], rates[-1])
            self.make_room()
            for step in range(step + 1, step + 4):
                rates.append(d.ok("POST", "/v1/jobs/x:report", {"step": step, "loss": 1 / step, "lr": 0.1})["lrs"])
            if cycle % 7 == 5:
                d.restart()
            if cycle % 5 == 0:
                self.assertEqual([x["lrs"] for x in d.decisions("x")], rates)
        d.restart()
        self.assertEqual([x["lrs"] for x in d.decisions("x")], rates)
        self.assertEqual(d.ok("GET", "/v1/jobs/x")["revision"], len(rates))


@unittest.skipUnless(can_mount(), "a tmpfs cannot be mounted here")
class FullDiskStart(unittest.TestCase):
    def small_disk(self):
        at = tempfile.mkdtemp()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", at], check=True)
        self.addCleanup(os.rmdir, at)
        self.addCleanup(subprocess.run, ["umount", "-l", at], check=True)
        return at

    def fill(self, at, leave=0):
        with open(os.path.join(at, "ballast"), "wb", buffering=0) as f:
            try:
                while f.write(b"x" * 4096):
                    pass
            except OSError:
                pass
            f.truncate(f.tell() - leave)

    def until_full(self, d, at):
        """Reports of two jobs until the disk has no room for one more; what was answered, by job."""
        answers = {"a": [], "b": []}
        d.ok("POST", "/v1/jobs/a:report", {"step": 1, "loss": 1, "lr": 0.1, "applied_lr": 0.1})
        d.ok("POST", "/v1/jobs/a:rewind", {"initial": True})
        self.fill(at, leave=256 * 1024)
        for step in range(1, 1000):
            for job in answers:
                status, answer = d.call("POST", "/v1/jobs/%s:report" % job, {"step": step, "loss": 1 / step, "lr": 0.1})
                if status != 200:
                    self.assertEqual((status, reason(answer)), (503, "STORE_FULL"))
                    return answers
                answers[job].append(answer)
        self.fail("the disk did not fill")

    def check_reads(self, d, answers):
        listed = {job["job"]: job for job in d.ok("GET", "/v1/jobs")["jobs"]}
        for job, answered in answers.items():
            if not answered:
                continue
            last = answered[-1]
            for found in (d.ok("GET", "/v1/jobs/" + job), listed[job]):
                self.assertEqual((found["revision"], found["state"]["lrs"]), (last["revision"], last["lrs"]))
            self.assertEqual(d.ok("GET", "/v1/jobs/%s/lr?format=json" % job)["lrs"], last["lrs"])
            for one in (answered[0], last):
                found = d.ok("GET", "/v1/jobs/%s/lr?format=json&step=%d" % (job, one["step"]))
                self.assertEqual((found["lrs"], found["revision"]), (one["lrs"], one["revision"]))
            kept = [x["lrs"] for x in d.decisions(job) if x["action"] != "rewind"]
            self.assertEqual(kept, [x["lrs"] for x in answered])

    def check_recovers(self, d, at, answers):
        os.unlink(os.path.join(at, "ballast"))
        wait_until(lambda: d.request("GET", "/readyz")[0] == 200)
        self.check_reads(d, answers)
        for job, answered in answers.items():
            for one in answered:
                again = d.ok("POST", "/v1/jobs/%s:report" % job, {"step": one["step"], "loss": one["value"]})
                self.assertEqual(again, dict(one, duplicate=True))
            last = d.ok("POST", "/v1/jobs/%s:report" % job, {"step": len(answered) + 1, "loss": 1, "lr": 0.1})
            answered.append(last)
        d.restart()
        self.check_reads(d, answers)

    def test_a_kill_and_a_start_without_room(self):
        at = self.small_disk()
        d = Daemon("--log-level", "warning", data=at)
        self.addCleanup(d.close)
        d.start()
        answers = self.until_full(d, at)
        self.assertGreater(len(answers["a"]), 1)
        for _ in range(2):
            d.kill()
            self.fill(at)  # what the end of the process may have freed
            d.start(ready=False)
            status, answer = d.call("POST", "/v1/jobs/a:report", {"step": 5000, "loss": 1})
            self.assertEqual((status, reason(answer)), (503, "STORE_FULL"))
            self.assertEqual(d.request("GET", "/readyz")[0], 503)
            self.check_reads(d, answers)
        self.check_recovers(d, at, answers)

    def test_a_clean_end_without_room(self):
        at = self.small_disk()
        d = Daemon("--log-level", "warning", data=at)
        self.addCleanup(d.close)
        d.start()
        answers = self.until_full(d, at)
        self.assertEqual(d.stop(), 0)
        self.assertIn("nothing is lost", d.stderr)
        self.fill(at)
        d.start(ready=False)
        self.check_reads(d, answers)
        self.check_recovers(d, at, answers)


if __name__ == "__main__":
    unittest.main()
