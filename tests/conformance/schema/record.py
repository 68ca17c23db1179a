"""Records what a daemon of a released schema version left: run it when the version is current, and keep what it made.

    tests/conformance/schema/record.py BUILD [JOB]

BUILD is the directory with that daemon (build, or that of a checkout of then).  Real calls make a few jobs, a kill -9
leaves part of them in the log, and vN.tar.gz gets the database and its log (vN-JOB.tar.gz, with JOB alone in them: for
what came after the record of a version), with the daemon's own answers as expected.json: to "jobs", as they were when it was killed, and to "next", reports that a copy of it was sent afterwards.
tests/integration/test_upgrade.py opens them with today's daemon."""
import io
import json
import os
import shutil
import sqlite3
import sys
import tarfile
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "integration"))
os.environ["BUILD"] = os.path.abspath(sys.argv[1])
from harness import Daemon  # noqa: E402

LOSSES = [2.5, 2.25, 2.0, 2.125, 2.25, 2.375, 2.5, 1.75, 1.5, 1.625]
SPECS = [
    {"job": "greedy", "lr": [0.1], "labels": ["team=nlp"], "greedy": {"patience": 1, "smooth": True, "window_size": 3}},
    {"job": "groups", "lr": [0.1, 0.001], "greedy": {"dialect": "transformers", "patience": 0, "factor": 0.5}},
    {"job": "plateau", "lr": [0.1], "plateau": {"patience": 1, "factor": 0.5}},
    {"job": "paused", "lr": [0.01]},
    {"job": "gone", "lr": [0.01]},
    {"job": "cosine", "lr": [0.1], "cosine_annealing": {"t_max": 20}},
    {"job": "ranks", "lr": [0.1], "ranks": {"world_size": 2}},
    {"job": "rewound", "lr": [0.1], "greedy": {"patience": 0}},
    {"job": "learned", "lr": [0.1, 0.001], "learned": {"total_reports": 40}},
    {"job": "shadowed", "lr": [0.1], "shadow": [{"name": "flat", "constant": {}}]},
]


def report(d, job, step, loss, query="", **more):
    return d.call("POST", "/v1/jobs/%s:report%s" % (job, query), dict({"step": step, "loss": loss}, **more))


def train(d, jobs, steps):
    for step in steps:
        for job in jobs:
            loss = LOSSES[(step - 1) % len(LOSSES)]
            if job == "ranks":
                report(d, job, step, loss, "?wait=0s", rank=0)
                report(d, job, step, loss + 0.5, rank=1)
            else:
                status, answer = report(d, job, step, loss, request_id="%s-%d" % (job, step))
                assert status == 200, answer


def answers(d, jobs):
    return {job: {"job": d.ok("GET", "/v1/jobs/" + job), "decisions": d.decisions(job),
                  "lr": d.ok("GET", "/v1/jobs/%s/lr?format=json" % job)} for job in jobs}


def use(d, only):
    """The jobs that this daemon can have, with all that can happen to them; some of it is folded, some is not."""
    specs = [spec for spec in SPECS if not only or spec["job"] == only]
    jobs = [spec["job"] for spec in specs if d.call("POST", "/v1/jobs", spec)[0] == 200]
    train(d, jobs, range(1, 7))
    d.call("PATCH", "/v1/jobs/greedy", {"spec": {"greedy": {"patience": 2}}})
    d.call("POST", "/v1/jobs/rewound:rewind", {"step": 3})
    d.call("POST", "/v1/jobs/groups:setLr", {"lr": [0.05, 0.0005]})
    d.call("POST", "/v1/jobs/cosine:begin", {})
    d.call("DELETE", "/v1/jobs/gone")
    jobs = [job for job in jobs if job != "gone"]
    d.stop()
    d.start()
    train(d, [job for job in jobs if job != "rewound"], range(7, 9))
    if "rewound" in jobs:
        train(d, ["rewound"], range(4, 9))
    d.call("POST", "/v1/jobs/rewound:rewind", {"step": 5})
    d.call("POST", "/v1/jobs/paused:pause", {})
    report(d, "ranks", 9, 1.0, "?wait=0s", rank=1)  # waits for the other rank across the kill
    return jobs


def go_on(d, jobs):
    return {job: d.call("POST", "/v1/jobs/%s:report" % job, next_report(job, found))[1]
            for job, found in jobs.items()}


def next_report(job, found):
    body = {"step": found["decisions"][-1].get("step", 0) + 1, "loss": 1.25}
    return dict(body, rank=0) if job == "ranks" else body


def main():
    only = sys.argv[2] if len(sys.argv) > 2 else ""
    d = Daemon("--log-level", "error")
    d.start()
    found = answers(d, use(d, only))
    d.kill()
    copy = tempfile.mkdtemp()
    for name in ("greedylr.db", "greedylr.db-wal"):
        shutil.copy(os.path.join(d.data, name), copy)
    version = sqlite3.connect(os.path.join(shutil.copytree(copy, copy + "/look"), "greedylr.db")).execute(
        "PRAGMA user_version").fetchone()[0]
    d.start()
    assert answers(d, found) == found  # the old one as well
    expected = {"jobs": found, "next": go_on(d, found)}
    d.stop()
    shutil.rmtree(d.data)
    text = json.dumps(expected, separators=(",", ":"), sort_keys=True).encode()
    with tarfile.open(os.path.join(HERE, "v%d%s.tar.gz" % (version, only and "-" + only)), "w:gz", compresslevel=9) as tar:
        for name in ("greedylr.db", "greedylr.db-wal"):
            tar.add(os.path.join(copy, name), arcname=name, filter=anonymous)
        info = tarfile.TarInfo("expected.json")
        info.size = len(text)
        tar.addfile(info, io.BytesIO(text))
    shutil.rmtree(copy)
    print("v%d: jobs %s" % (version, " ".join(found)))


def anonymous(info):
    info.uid = info.gid = info.mtime = 0
    info.uname = info.gname = ""
    info.mode = 0o600
    return info


if __name__ == "__main__":
    main()
