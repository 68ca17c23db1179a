"""--backup: a copy of one moment while a daemon runs, restored by starting on it; and what others may do to the database meanwhile."""
import contextlib
import os
import random
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import unittest

from harness import BINARY, Daemon, check, reason, wait_until
from test_check import contents, fill
from test_faults import can_mount

CLIENTS = 4
#: What a decision says of the reports before it, and not of the time or what came after it.
SAID = ("step", "revision", "lrs", "action", "reason", "value", "best", "num_good", "num_bad", "stage", "attempt", "shadow")


def backup(folder, file, **more):
    return subprocess.run([BINARY, "--backup", folder, file], capture_output=True, text=True, timeout=600, **more)


def said(decision):
    return {key: decision.get(key) for key in SAID}


class Backup(unittest.TestCase):
    def setUp(self):
        self.top = tempfile.mkdtemp(prefix="greedylrd-test-")
        self.addCleanup(shutil.rmtree, self.top, True)
        self.folder, self.file = os.path.join(self.top, "data"), os.path.join(self.top, "copy.db")

    def restored(self, *flags):
        """As the manual says: mkdir, cp, start."""
        folder = os.path.join(self.top, "restored")
        os.mkdir(folder, 0o700)
        shutil.copy(self.file, os.path.join(folder, "greedylr.db"))
        d = Daemon(*flags, data=folder)
        self.addCleanup(d.close)
        return d.start()

    def only(self, *names):
        self.assertEqual(sorted(n for n in os.listdir(self.top) if n != "data"), sorted(names))

    def test_under_load_and_restored(self):
        seed = int(os.environ.get("SEED", random.randrange(10**6)))
        print("seed %d" % seed)
        d = Daemon("--log-level", "error", data=self.folder).start()
        jobs = ["j%d" % i for i in range(CLIENTS)]
        losses = {job: [] for job in jobs}
        acknowledged, ended = dict.fromkeys(jobs, 0), threading.Event()

        def run(job):
            rng = random.Random("%d %s" % (seed, job))
            with contextlib.closing(d.connection()) as c:
                d.ok("POST", "/v1/jobs", {"job": job, "lr": [0.1] * 40, "greedy": {"patience": 1}, "shadow": [{"name": "p", "plateau": {}}]},
                     connection=c)
                while not ended.is_set():
                    some = [rng.uniform(0.5, 2) for _ in range(rng.choice((1, 1, 20)))]
                    losses[job] += some
                    answer = d.ok("POST", "/v1/jobs:batchReport", {"reports": [{"job": job, "loss": x} for x in some]}, connection=c)
                    acknowledged[job] = answer["results"][-1]["decision"]["revision"]

        threads = [threading.Thread(target=run, args=(job,)) for job in jobs]
        for t in threads:
            t.start()
        try:
            wait_until(lambda: min(acknowledged.values()) >= 200, 60)
            before = dict(acknowledged)
            r = backup(self.folder, self.file)
            after = dict(acknowledged)
            wait_until(lambda: all(acknowledged[job] >= after[job] + 20 for job in jobs), 60)
        finally:
            ended.set()
            for t in threads:
                t.join()
        self.assertEqual(r.returncode, 0, r.stderr)
        self.assertRegex(r.stdout, r"copy\.db holds 4 jobs and \d+ decisions \([0-9.]+ [MK]iB\), checked; it took")
        self.assertEqual(os.stat(self.file).st_mode & 0o7777, 0o600)
        self.only("copy.db")
        original = {job: d.decisions(job) for job in jobs}
        d.close()

        d = self.restored("--log-level", "error")
        total = 0
        for job in jobs:
            there = d.decisions(job)
            n = len(there)
            total += n
            self.assertEqual(there, original[job][:n])
            self.assertGreaterEqual(n, before[job])
            self.assertLess(n, len(original[job]))
            self.assertEqual(d.ok("GET", "/v1/jobs/" + job)["revision"], n)
            # The state is the same: it decides the rest as the original did.
            rest = {"reports": [{"job": job, "loss": x} for x in losses[job][n:]]}
            results = d.ok("POST", "/v1/jobs:batchReport", rest)["results"]
            self.assertEqual([said(x["decision"]) for x in results], [said(x) for x in original[job][n:]])
        self.assertIn(" and %d decisions" % total, r.stdout)

    def test_without_a_daemon(self):
        d = Daemon(data=self.folder).start()
        fill(d)
        d.kill()
        before = contents(self.folder)
        r = backup(self.folder, self.file)
        self.assertEqual(r.returncode, 0, r.stderr)
        self.assertIn("holds 2 jobs and 13 decisions", r.stdout)
        self.assertEqual(contents(self.folder), before)
        d = self.restored()
        self.assertEqual(d.ok("GET", "/v1/jobs/a")["revision"], 12)
        self.assertEqual(d.ok("GET", "/v1/jobs/b")["state"]["open_round"]["missing"], [0])
        self.assertEqual(d.ok("POST", "/v1/jobs/b:report", {"step": 2, "rank": 0, "loss": 1})["revision"], 2)

    def test_not_into_the_data_directory(self):
        """Where a daemon that starts may take it for a log of its own."""
        d = Daemon(data=self.folder).start()
        fill(d)
        d.stop()
        before = contents(self.folder)
        for name in ("greedylr.db-wal", "greedylr.db-journal", "copy.db"):
            for file in (os.path.join(self.folder, name), os.path.join(self.top, ".", "data", name)):
                r = backup(self.folder, file)
                self.assertEqual(r.returncode, 2, r)
                self.assertIn("%s is in the data directory; put the backup elsewhere" % file, r.stderr)
        r = backup(".", "greedylr.db-journal", cwd=self.folder)
        self.assertEqual(r.returncode, 2, r)
        self.assertEqual(contents(self.folder), before)

    def test_nothing_is_written_over(self):
        d = Daemon(data=self.folder).start()
        fill(d)
        for make in (lambda: open(self.file, "w").close(), lambda: os.mkdir(self.file), lambda: os.symlink("nowhere", self.file)):
            make()
            r = backup(self.folder, self.file)
            self.assertEqual(r.returncode, 2)
            self.assertIn("copy.db exists already; give another name", r.stderr)
            self.only("copy.db")
            os.rmdir(self.file) if os.path.isdir(self.file) else os.remove(self.file)
        # Except for what an earlier one left that was killed.
        with open(self.file + ".partial", "wb") as f:
            f.write(b"x" * 10**6)
        self.assertEqual(backup(self.folder, self.file).returncode, 0)
        self.only("copy.db")
        self.assertEqual(os.stat(self.file).st_mode & 0o7777, 0o600)
        r = subprocess.run([BINARY, "--backup", self.folder], capture_output=True, text=True)
        self.assertEqual(r.returncode, 2)
        self.assertIn("needs all of: --backup DIR FILE", r.stderr)
        d.close()

    def test_what_cannot_be_copied(self):
        r = backup(self.folder, self.file)
        self.assertEqual(r.returncode, 3)
        self.assertIn("No such file", r.stderr)
        self.only()
        d = Daemon(data=self.folder).start()
        fill(d)
        r = backup(self.folder, os.path.join(self.top, "nowhere", "copy.db"))
        self.assertEqual((r.returncode, "No such file" in r.stderr), (1, True), r.stderr)
        d.close()
        path = os.path.join(self.folder, "greedylr.db")
        for sql, code, says in (("UPDATE decision SET state=x'00' WHERE revision=2", 3, "not kept, because the database is damaged"),
                                ("PRAGMA user_version=99", 4, "schema version 99")):
            with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
                db.execute(sql)
            r = backup(self.folder, self.file)
            self.assertEqual(r.returncode, code, r.stderr)
            self.assertIn(says, r.stderr)
            self.only()

    def filled(self):
        """A database of a few megabytes, without a daemon."""
        d = Daemon("--log-level", "error", data=self.folder).start()
        d.ok("POST", "/v1/jobs", {"job": "a", "lr": [0.1] * 200})
        for _ in range(2):
            d.ok("POST", "/v1/jobs:batchReport", {"reports": [{"job": "a", "loss": 1}] * 400})
        d.close()
        self.assertGreater(os.path.getsize(os.path.join(self.folder, "greedylr.db")), 3 << 20)

    @unittest.skipUnless(can_mount(), "a tmpfs cannot be mounted here")
    def test_disk_full(self):
        self.filled()
        at = os.path.join(self.top, "small")
        os.mkdir(at)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", at], check=True)
        self.addCleanup(subprocess.run, ["umount", "-l", at])
        r = backup(self.folder, os.path.join(at, "copy.db"))
        self.assertEqual(r.returncode, 1, r.stderr)
        self.assertRegex(r.stderr, "copy.db.partial: copying the database: .*full")
        self.assertEqual(os.listdir(at), [])

    def test_a_write_that_fails(self):
        self.filled()
        r = backup(self.folder, self.file, restore_signals=False,  # SIGXFSZ stays ignored
                   preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20)))
        self.assertEqual(r.returncode, 1, r.stderr)
        self.only()

    def test_killed(self):
        self.filled()
        for _ in range(5):
            p = subprocess.Popen([BINARY, "--backup", self.folder, self.file], stdout=subprocess.DEVNULL)
            wait_until(lambda: p.poll() is not None or os.path.exists(self.file + ".partial"))
            p.send_signal(signal.SIGKILL)
            p.wait()
            if os.path.exists(self.file):  # then it is whole
                os.remove(self.file)
        self.assertEqual(backup(self.folder, self.file).returncode, 0)
        self.only("copy.db")

    def test_only_one_at_a_time_writes_a_file(self):
        self.filled()
        results = []
        threads = [threading.Thread(target=lambda: results.append(backup(self.folder, self.file))) for _ in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(sorted(r.returncode for r in results), [0, 2, 2, 2], [r.stderr for r in results])
        self.only("copy.db")


class Readers(unittest.TestCase):
    def test_anybody_may_read_while_it_runs(self):
        d = Daemon()
        self.addCleanup(d.close)
        d.start()
        fill(d)
        db = sqlite3.connect("file:%s/greedylr.db?mode=ro" % d.data, uri=True, isolation_level=None)
        self.addCleanup(db.close)
        db.execute("BEGIN")
        count = "SELECT (SELECT count(*) FROM decision) + (SELECT count(*) FROM log)"
        n = db.execute(count).fetchone()[0]
        self.assertGreaterEqual(n, 13)
        # It sees one moment, however long it looks; the daemon goes on, and folds.
        for step in range(5, 40):
            d.ok("POST", "/v1/jobs/a:report", {"step": step, "loss": 1})

        def folded():
            with contextlib.closing(sqlite3.connect("file:%s/greedylr.db?mode=ro" % d.data, uri=True)) as other:
                return other.execute("SELECT count(*) FROM log").fetchone()[0] == 0

        wait_until(folded)
        self.assertEqual(db.execute(count).fetchone()[0], n)
        with self.assertRaisesRegex(sqlite3.OperationalError, "readonly"):
            db.execute("DELETE FROM decision")
        db.execute("ROLLBACK")
        self.assertEqual(db.execute("SELECT count(*) FROM decision").fetchone()[0], 13 + 35)
        if shutil.which("sqlite3"):
            r = subprocess.run(["sqlite3", "-readonly", os.path.join(d.data, "greedylr.db"), "SELECT max(step) FROM decision"],
                               capture_output=True, text=True)
            self.assertEqual((r.returncode, r.stdout), (0, "39\n"), r.stderr)
        self.assertEqual(check(d.data).returncode, 0)

    def holding(self, folder, sql):
        """A process that has a transaction open, and holds what it takes."""
        script = ("import sqlite3, sys\nc = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
                  "for one in sys.argv[2:]: c.execute(one).fetchall()\nprint(1, flush=True); sys.stdin.read()")
        p = subprocess.Popen([sys.executable, "-c", script, os.path.join(folder, "greedylr.db"), *sql],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.addCleanup(p.stdout.close)
        self.addCleanup(p.communicate)
        self.assertEqual(p.stdout.readline(), b"1\n")
        return p

    def held(self, d, p):
        """The daemon says who holds it up, answers what reads, and goes on by itself."""
        wait_until(lambda: d.request("GET", "/readyz")[0] == 503, 40)
        with open("/proc/%d/comm" % p.pid) as f:
            said = "process %d (%s) has a transaction open" % (p.pid, f.read().strip())
        self.assertIn(said, d.request("GET", "/readyz")[2].decode())
        status, answer = d.call("POST", "/v1/jobs/a:report", {"step": 90, "loss": 1})
        self.assertEqual((status, reason(answer)), (503, "STORE_HELD"))
        self.assertIn(said, answer["message"])
        self.assertEqual(d.request("GET", "/v1/jobs/a")[0], 200)
        p.communicate()
        wait_until(lambda: d.request("GET", "/readyz")[0] == 200, 40)
        self.assertEqual(d.call("POST", "/v1/jobs/a:report", {"step": 90, "loss": 1})[0], 200)
        self.assertEqual(d.stop(), 0)
        self.assertEqual((d.stderr.count("event=database_held"), d.stderr.count("event=database_free")), (1, 1), d.stderr)
        self.assertNotIn("disk", d.stderr)

    def test_a_writer_is_waited_for(self):
        d = Daemon()
        self.addCleanup(d.close)
        d.start()
        fill(d)
        p = self.holding(d.data, ["BEGIN IMMEDIATE"])
        status, _ = d.call("POST", "/v1/jobs/a:report", {"step": 89, "loss": 1})
        self.assertEqual(status, 503)
        self.held(d, p)

    def test_a_reader_at_the_start(self):
        d = Daemon()
        self.addCleanup(d.close)
        d.start()
        fill(d)
        d.kill()
        p = self.holding(d.data, ["BEGIN", "SELECT count(*) FROM decision"])
        d.start(ready=False)
        self.held(d, p)

    def test_locked_at_the_start(self):
        d = Daemon()
        self.addCleanup(d.close)
        d.start()
        d.stop()
        p = self.holding(d.data, ["PRAGMA locking_mode=exclusive", "BEGIN EXCLUSIVE"])
        with self.assertRaisesRegex(RuntimeError, r"exit 3: .*greedylr\.db is locked by process %d \(" % p.pid):
            d.start()
        p.communicate()
        d.start()


if __name__ == "__main__":
    unittest.main()
