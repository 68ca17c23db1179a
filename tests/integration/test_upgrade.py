"""Databases of every released schema version, made by the daemons of then (tests/conformance/schema/record.py)."""
import glob
import json
import os
import re
import shutil
import sqlite3
import tarfile
import tempfile
import unittest

from harness import ROOT, Daemon

RECORDS = sorted(glob.glob(os.path.join(ROOT, "tests", "conformance", "schema", "v*.tar.gz")))


def newest():
    with open(os.path.join(ROOT, "daemon", "store", "sqlite_schema.h")) as f:
        return int(re.search(r"^#define SCHEMA_VERSION (\d+)", f.read(), re.M)[1])


class Upgrade(unittest.TestCase):
    def unpack(self, record):
        """(data directory, what the daemon of then answered)"""
        data = tempfile.mkdtemp(prefix="greedylrd-upgrade-")
        self.addCleanup(shutil.rmtree, data, True)
        with tarfile.open(record) as tar:
            for name in ("greedylr.db", "greedylr.db-wal"):
                with open(os.path.join(data, name), "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as f:
                    shutil.copyfileobj(tar.extractfile(name), f)
            return data, json.load(tar.extractfile("expected.json"))

    def includes(self, found, recorded, where):
        """Everything that was answered then is answered now; fields may have come."""
        if isinstance(recorded, dict):
            for key, value in recorded.items():
                self.assertIn(key, found, where)
                self.includes(found[key], value, "%s.%s" % (where, key))
        elif isinstance(recorded, list):
            self.assertEqual(len(found), len(recorded), where)
            for i, value in enumerate(recorded):
                self.includes(found[i], value, "%s[%d]" % (where, i))
        else:
            self.assertEqual(found, recorded, where)

    def compare(self, d, jobs):
        self.assertEqual(sorted(x["job"] for x in d.ok("GET", "/v1/jobs")["jobs"]), sorted(jobs))
        for name, then in jobs.items():
            self.includes(d.ok("GET", "/v1/jobs/" + name), then["job"], name)
            self.includes(d.decisions(name), then["decisions"], name + " decisions")
            self.includes(d.ok("GET", "/v1/jobs/%s/lr?format=json" % name), then["lr"], name + " lr")

    def report(self, d, name, step):
        """The next report, as record.py made it."""
        body = {"step": step, "loss": 1.25}
        return d.call("POST", "/v1/jobs/%s:report" % name, dict(body, rank=0) if name == "ranks" else body)

    def open_one(self, record):
        data, recorded = self.unpack(record)
        d = Daemon("--log-level", "warning", data=data)
        self.addCleanup(d.close)
        d.start()
        self.compare(d, recorded["jobs"])
        d.restart()
        self.compare(d, recorded["jobs"])
        for name, then in recorded["jobs"].items():
            status, now = self.report(d, name, then["decisions"][-1].get("step", 0) + 1)
            self.assertEqual(status, 200, now)
            for field in ("lrs", "action", "revision", "step", "value"):
                self.assertEqual(now.get(field), recorded["next"][name].get(field), (name, field))
        d.restart()
        for name, then in recorded["jobs"].items():
            self.includes(d.decisions(name)[:-1], then["decisions"], name)
        if "rewound" in recorded["jobs"]:
            d.ok("POST", "/v1/jobs/rewound:rewind", {"step": 2})
            self.assertEqual(self.report(d, "rewound", 3)[0], 200)

    def test_every_version_has_a_record(self):
        whole = [os.path.basename(r) for r in RECORDS if "-" not in os.path.basename(r)]
        self.assertEqual(whole, ["v%d.tar.gz" % (v + 1) for v in range(newest())])

    def test_opens_and_goes_on(self):
        for record in RECORDS:
            with self.subTest(record=os.path.basename(record)):
                self.open_one(record)

    def test_a_newer_one_is_refused_by_name(self):
        data, _ = self.unpack(RECORDS[-1])
        db = sqlite3.connect(os.path.join(data, "greedylr.db"))
        db.execute("PRAGMA user_version=%d" % (newest() + 1))
        db.close()
        with self.assertRaisesRegex(RuntimeError, "exit 4: .*schema version %d" % (newest() + 1)):
            Daemon(data=data).start()


if __name__ == "__main__":
    unittest.main()
