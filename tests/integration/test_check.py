"""--check: it names what is wrong with a data directory, with the exit code of the table, and never writes into it.

Every other test's directory is checked when its daemon has ended (harness.py), so what it takes for damage is none."""
import os
import shutil
import sqlite3
import subprocess
import tempfile
import unittest

from harness import BINARY, Daemon, check



def fill(d):
    """A job with rewinds, overrides and updates, a job of two ranks with an open round, a deleted one."""
    d.ok("POST", "/v1/jobs", {"job": "a", "lr": [0.1, 0.2], "shadow": [{"name": "s", "greedy": {"patience": 1}}]})
    for step in range(1, 9):
        d.ok("POST", "/v1/jobs/a:report", {"step": step, "loss": 2 / step})
    d.ok("POST", "/v1/jobs/a:rewind", {"step": 3})
    d.ok("PATCH", "/v1/jobs/a", {"spec": {"greedy": {"patience": 5}}})
    d.ok("POST", "/v1/jobs/a:setLr", {"lr": [0.01]})
    d.ok("POST", "/v1/jobs/a:report", {"step": 4, "loss": 1})
    d.ok("POST", "/v1/jobs", {"job": "b", "lr": 0.1, "ranks": {"world_size": 2}})
    pair = {"reports": [{"job": "b", "step": 1, "rank": rank, "loss": 1} for rank in (0, 1)]}
    d.ok("POST", "/v1/jobs:batchReport", pair)
    d.ok("POST", "/v1/jobs:batchReport", {"reports": [{"job": "b", "step": 2, "rank": 1, "loss": 1}]})
    d.ok("POST", "/v1/jobs/c:report", {"lr": 1, "loss": 1})
    d.ok("DELETE", "/v1/jobs/c")


def contents(folder):
    """Names, sizes, times and bytes of a directory, and its own time."""
    found = {".": os.stat(folder).st_mtime_ns}
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, name)
        with open(path, "rb") as f:
            found[name] = (os.stat(path).st_mtime_ns, f.read())
    return found


#: (name, SQL that does the damage, what has to be said)
DAMAGE = [
    ("a decision is missing", "DELETE FROM decision WHERE job=:a AND revision=6", "revisions 6 to 6 are missing"),
    ("the newest is missing", "DELETE FROM decision WHERE job=:a AND revision=12", "its newest decision is of revision 11, it is at 12"),
    ("a state", "UPDATE decision SET state=x'03' WHERE job=:a AND revision=2", "the decision of revision 2: .*state"),
    ("another's state", "UPDATE decision SET state=(SELECT state FROM decision WHERE job=:a AND revision=2) "
     "WHERE job=:a AND revision=3", "revision 3: its state is that of another decision"),
    ("a rate", "UPDATE decision SET lrs=(SELECT lrs FROM decision WHERE job=:a AND revision=11) WHERE job=:a AND revision=1",
     "revision 1: its rates are not those of its state"),
    ("a word", "UPDATE decision SET action='jump' WHERE job=:a AND revision=2", "behind revision 1: action holds something impossible"),
    ("what shadows said", "UPDATE decision SET shadow=x'0102' WHERE job=:a AND revision=2", "shadow holds something impossible"),
    ("who reported", "UPDATE decision SET round=x'0102' WHERE job=:b AND revision=1", "not one of 2 ranks"),
    ("the job's state", "UPDATE job SET state=x'00' WHERE uid=:a", "job a: "),
    ("the job's revision", "UPDATE job SET revision=99 WHERE uid=:a", "job a: its state is of revision 12, it is at 99"),
    ("the job's status", "UPDATE job SET status='paused' WHERE uid=:a", "its state is active, its row paused"),
    ("a spec", "UPDATE job SET spec='{' WHERE uid=:a", "job a: spec"),
    ("the spec it was made with", "UPDATE job SET created='[]' WHERE uid=:a", "job a: created"),
    ("settings in force", "UPDATE job SET effective=replace(effective, '\"patience\":5', '\"patience\":6') WHERE uid=:a",
     "spec.greedy.patience is not what is in force"),
    ("a default", "UPDATE job SET effective=replace(effective, '\"cooldown\":', '\"cooldown\":1') WHERE uid=:a",
     "cooldown is not what is in force"),
    ("others in force", "UPDATE settings SET effective=(SELECT effective FROM job WHERE uid=:b) WHERE job=:a AND revision=10",
     "its newest settings are not those of its row"),
    ("no settings", "DELETE FROM settings WHERE job=:a", "its settings are missing"),
    ("the first settings", "DELETE FROM settings WHERE job=:a AND revision=0", "the settings that it was decided under are missing"),
    ("settings of then", "UPDATE settings SET effective='{}' WHERE job=:a AND revision=0", "settings of revision 0"),
    ("a rewind forgotten", "UPDATE decision SET superseded=0 WHERE job=:a AND revision=7", "went back behind step 7, of which a decision counts"),
    ("superseded by nothing", "UPDATE decision SET superseded=1 WHERE job=:a AND revision=12", "no rewind came after"),
    ("a pause superseded", "UPDATE decision SET superseded=1 WHERE job=:a AND revision=10", "which a update cannot be"),
    ("a rank's report", "UPDATE contribution SET rank=7", "rank holds something impossible"),
    ("a lost job", "DELETE FROM job WHERE uid=:b", "1 jobs are gone while their history is still there"),
    ("settings of nobody", "INSERT INTO settings VALUES(5, 0, '{}')", "1 settings belong to no job"),
    ("reports of nobody", "UPDATE contribution SET job=5", "1 reports of ranks belong to no job"),
    ("half deleted", "INSERT INTO doomed VALUES(:a)", "1 jobs are deleted and there all the same"),
    ("decided twice", "INSERT INTO log SELECT 1, * FROM decision WHERE job=:a AND revision=2; INSERT INTO log SELECT 2, * FROM "
     "decision WHERE job=:a AND revision=2", "1 revisions of a job were decided twice"),
    ("a contradiction", "INSERT INTO log SELECT 1, * FROM decision WHERE job=:a AND revision=2; UPDATE log SET time_us=1",
     "1 decisions that are not folded contradict the history"),
    ("a table", "DROP TABLE contribution", "no such table: contribution"),
    ("an index", "DROP INDEX decision_step", "no such index: decision_step"),
]


class Check(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model = tempfile.mkdtemp(prefix="greedylrd-test-")
        cls.addClassCleanup(shutil.rmtree, cls.model)
        d = Daemon(data=os.path.join(cls.model, "data")).start()
        fill(d)
        cls.killed = os.path.join(cls.model, "killed")
        d.kill()
        shutil.copytree(d.data, cls.killed)
        d.start().close()
        cls.stopped = d.data

    def setUp(self):
        self.top = tempfile.mkdtemp(prefix="greedylrd-test-")
        self.addCleanup(shutil.rmtree, self.top, True)
        self.folder = os.path.join(self.top, "data")

    def copy(self, of):
        shutil.rmtree(self.folder, True)
        shutil.copytree(of, self.folder)
        return os.path.join(self.folder, "greedylr.db")

    def says(self, code, first, *rest):
        before = contents(self.folder) if os.path.isdir(self.folder) else None
        r = check(self.folder)
        self.assertEqual(r.returncode, code, r.stdout + r.stderr)
        self.assertRegex(r.stdout.splitlines()[0], first)
        for text in rest:
            self.assertRegex(r.stdout, text)
        self.assertEqual(r.stderr, "")
        if before:
            self.assertEqual(contents(self.folder), before)
        return r.stdout

    def test_fine(self):
        self.copy(self.stopped)
        text = self.says(0, "data is fine\\.$", "no greedylrd runs on it", "2 jobs, 13 decisions", "5 decisions that rewinds",
                         "0 decisions to be folded", "1 reports of ranks")
        self.assertNotIn("note", text)

    def test_what_a_kill_leaves_is_read_and_left(self):
        self.copy(self.killed)
        self.assertGreater(os.path.getsize(os.path.join(self.folder, "greedylr.db-wal")), 0)
        self.says(0, "is fine", "2 jobs, 13 decisions", "13 decisions to be folded", "1 deleted jobs")
        os.remove(os.path.join(self.folder, "greedylr.db-shm"))
        self.says(0, "is fine", "2 jobs, 13 decisions", "13 decisions to be folded")

    def test_where_nothing_may_be_written(self):
        for of in (self.killed, self.stopped):
            self.copy(of)
            for name in os.listdir(self.folder):
                os.chmod(os.path.join(self.folder, name), 0o400)
            os.chmod(self.folder, 0o500)
            self.says(0, "is fine", "2 jobs, 13 decisions")
            os.chmod(self.folder, 0o700)

    def test_every_damage_is_named(self):
        for name, sql, says in DAMAGE:
            with self.subTest(name):
                db = sqlite3.connect(self.copy(self.stopped))
                uid = dict(db.execute("SELECT name, uid FROM job"))
                for statement in sql.split("; "):
                    db.execute(statement, {k: v for k, v in uid.items() if ":" + k in statement})
                db.commit()
                db.close()
                self.says(3, "data is damaged: [123] finding", "DAMAGE: .*" + says, "what to do: start on a backup")

    def test_damage_in_the_log_is_named(self):
        """The same of rows that are in the log only."""
        db = sqlite3.connect(self.copy(self.killed))
        db.execute("UPDATE log SET state=x'00' WHERE revision=5")
        db.commit()
        db.close()
        self.says(3, "is damaged: 1 finding", "job a: the decision of revision 5")

    def test_every_page(self):
        path = self.copy(self.stopped)
        with open(path, "rb") as f:
            whole = f.read()
        db = sqlite3.connect(path)
        free = db.execute("PRAGMA freelist_count").fetchone()[0]
        db.close()
        fine = 0
        for at in range(4096, len(whole), 4096):  # what is not ours, or no database at all, is below
            with open(path, "wb") as f:
                f.write(whole[:at] + bytes(4096) + whole[at + 4096:])
            r = check(self.folder)
            fine += r.returncode == 0
            if r.returncode:
                self.assertEqual(r.returncode, 3, (at, r.stdout))
                self.assertIn("is damaged", r.stdout.splitlines()[0])
        self.assertLessEqual(fine, free)  # pages that nothing is in

    def test_what_is_no_data_directory(self):
        self.says(3, "cannot be read: .*data: No such file or directory")
        os.mkdir(self.folder)
        self.says(3, "cannot be read: there is no .*greedylr.db: nothing was ever kept here, or it is another directory")
        path = self.copy(self.stopped)
        os.truncate(path, 0)
        self.says(3, "is damaged: .* is empty; restore a backup")
        os.remove(path)
        os.mkdir(path)
        self.assertRegex(check(self.folder).stdout, "is damaged: .* is not a file")
        os.rmdir(path)
        with open(path + "-wal", "wb") as f:
            f.write(b"x")
        self.says(3, "is damaged: .* is missing, but its log")
        with open(path, "wb") as f:
            f.write(b"not a database, but long enough to be one" * 100)
        self.says(3, "is damaged: .*file is not a database")
        os.remove(path), os.remove(path + "-wal")
        db = sqlite3.connect(path)
        db.execute("CREATE TABLE theirs(x)")
        db.close()
        self.says(3, "is damaged: .*is not a database of greedylrd")
        r = check(path)
        self.assertEqual((r.returncode, r.stdout), (3, "%s cannot be read: %s is not a directory.\n" % (path, path)))

    def test_what_lies_beside_is_a_file(self):
        """What would hold up whoever opens it, or what a daemon cannot use, is told and not opened."""
        for name in ("lock", "greedylr.db-wal", "greedylr.db-shm", "greedylr.db-journal"):
            for make in (lambda p: os.mkfifo(p, 0o600), os.mkdir, lambda p: os.symlink("nowhere", p)):
                path = os.path.join(os.path.dirname(self.copy(self.stopped)), name)
                if os.path.exists(path):
                    os.remove(path)
                make(path)
                r = subprocess.run([BINARY, "--check", self.folder], capture_output=True, text=True, timeout=20)
                self.assertEqual(r.returncode, 3, (name, r.stdout))
                self.assertIn(path, r.stdout)
                r = subprocess.run([BINARY, "--data-dir", self.folder, "--listen", "127.0.0.1:0"], capture_output=True, text=True, timeout=20)
                self.assertEqual(r.returncode, 3, (name, r.stderr))
                self.assertIn(path, r.stderr)

    @unittest.skipIf(os.geteuid() == 0 and not shutil.which("setpriv"), "needs setpriv to be somebody else")
    def test_no_permission(self):
        self.copy(self.stopped)
        os.chmod(self.top, 0o755)
        wrap = ["setpriv", "--reuid", "65534", "--clear-groups"] if os.geteuid() == 0 else []
        for path in (self.folder, os.path.join(self.folder, "greedylr.db")):
            os.chmod(self.folder, 0o755)
            os.chmod(path, 0)
            r = check(self.folder, wrap=wrap)
            self.assertEqual(r.returncode, 3)
            self.assertRegex(r.stdout, "cannot be read: .*: Permission denied")
            os.chmod(path, 0o755)

    def test_older_and_newer(self):
        db = sqlite3.connect(self.copy(self.stopped))
        db.execute("PRAGMA user_version=99")
        db.close()
        self.says(4, "is too new: .* has schema version 99, this greedylrd knows up to [0-9]+")

    def test_notes(self):
        path = self.copy(self.stopped)
        os.chmod(path, 0o644)
        with open(path + ".new", "w"):
            pass
        self.says(0, "is fine, with 2 notes", "can be read by others", "chmod 600", "left from a first start")

    def test_history_limit(self):
        d = Daemon("--history-limit", "5", data=self.folder).start()
        for i in range(40):
            d.ok("POST", "/v1/jobs/a:report", {"lr": 0.1, "loss": 1, "request_id": "r"} if i == 7 else {"lr": 0.1, "loss": 1})
            if i == 20:
                d.kill(), d.start()
        d.close()
        self.says(0, "is fine, with 1 note", "the history of 1 jobs has gaps, as --history-limit leaves them")
        db = sqlite3.connect(os.path.join(self.folder, "greedylr.db"))
        db.execute("DELETE FROM decision WHERE revision=37")
        db.commit()
        db.close()
        r = check(self.folder, "--history-limit", "5")
        self.assertEqual(r.returncode, 3)
        self.assertIn("revisions 37 to 37 are missing", r.stdout)

    def test_while_a_daemon_runs(self):
        d = Daemon(data=self.folder).start()
        fill(d)
        r = check(self.folder)
        self.assertEqual(r.returncode, 0, r.stdout)
        self.assertIn("a greedylrd runs on it as process %d: this is how it was at one moment" % d.process.pid, r.stdout)
        self.assertIn("2 jobs, 13 decisions", r.stdout)
        d.close()

    def test_strange_names(self):
        self.folder = os.path.join(self.top, "a?b#c%41 d")
        self.copy(self.stopped)
        self.says(0, "is fine", "2 jobs, 13 decisions")
        self.copy(self.killed)
        self.says(0, "is fine", "2 jobs, 13 decisions")


if __name__ == "__main__":
    unittest.main()
