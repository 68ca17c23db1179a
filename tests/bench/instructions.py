"""Instructions that each part of a report takes, counted by callgrind in tests/bench/cost.c: `make instructions`, a part of
`make check`, since a count does not depend on what else the machine does.

Limits are what it is with gcc -O2 on x86-64, and a sixth on top for other libraries and processors' variants of memcpy.
Whoever makes a part dearer finds out here, and either mends it or raises its limit and says why.  Parts that are mostly
SQLite are shown and not limited."""
import os
import platform
import re
import subprocess
import sys
import tempfile

#: part, most instructions a report, what it is
PARTS = [("decode", 12000, "JSON to a message, path and headers included"), ("step", 6300, "job_step of GreedyLR, its reason included"),
         ("state", 2200, "the state as bytes"), ("encode", 12200, "the decision to JSON"),
         ("commit", None, "a row of the log, 32 a transaction"), ("fold", None, "from the log to the history")]
REPORTS, JOBS = 3200, 100


def count(cost, part, folder):
    out = os.path.join(folder, part)
    subprocess.run(["valgrind", "--tool=callgrind", "--callgrind-out-file=" + out, "--toggle-collect=part_" + part, cost,
                    part, str(REPORTS), str(JOBS)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                   env=dict(os.environ, TMPDIR=folder))
    with open(out) as f:
        return int(re.search(r"^(?:totals|summary): (\d+)", f.read(), re.M).group(1)) / REPORTS


def main():
    cost = os.path.abspath(os.path.join(os.environ.get("BUILD", "build"), "cost"))
    limited = platform.machine() == "x86_64"
    failed = 0
    print("instructions a report, %d reports of %d jobs%s" % (REPORTS, JOBS, "" if limited else " (limits are x86-64's: not judged)"))
    with tempfile.TemporaryDirectory() as folder:
        for part, limit, what in PARTS:
            n = count(cost, part, folder)
            bad = limited and limit is not None and not 0 < n <= limit
            failed += bad
            print("%-8s %7.0f  %-10s %s%s" % (part, n, "of %d" % limit if limit else "", what, "  TOO MANY" if bad else ""))
    judged = sum(limit is not None for _, limit, _ in PARTS)
    print("%d passed, %d failed" % (judged - failed, failed))
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
