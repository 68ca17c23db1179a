"""Runs the test files of a directory, some at a time, and says what unittest would say of all of them.

    BUILD=build tests/parallel.py DIRECTORY [PATTERN]...

Each file is a process of its own, the one that took longest before first (or the largest, at first).  The output of a file is
shown when it has ended, of those that failed at the end; the exit status is 0 if nothing failed.  JOBS says how many files run
at once, SKIP (patterns) which are left out.
"""
import concurrent.futures
import fnmatch
import glob
import json
import os
import re
import subprocess
import sys
import time

JOBS = int(os.environ.get("JOBS", (os.cpu_count() or 1) + 1))


def run(path):
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-m", "unittest", "-v", os.path.basename(path)[:-3]], cwd=os.path.dirname(path),
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                          env=dict(os.environ, PYTHONPATH=os.path.dirname(path), OMP_NUM_THREADS="1"))
    return path, done.returncode, done.stdout, time.monotonic() - start


def main():
    directory, patterns = os.path.abspath(sys.argv[1]), sys.argv[2:] or ["test_*.py"]
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    times_file = os.path.join(root, os.environ.get("BUILD", "build"), "test-times-%s.json" % os.path.basename(directory))
    try:
        with open(times_file) as f:
            times = json.load(f)
    except (OSError, ValueError):
        times = {}
    files = sorted({path for pattern in patterns for path in glob.glob(os.path.join(directory, pattern))
                    if not any(fnmatch.fnmatch(os.path.basename(path), skip) for skip in os.environ.get("SKIP", "").split())},
                   key=lambda path: -times.get(os.path.basename(path), os.path.getsize(path)))
    start = time.monotonic()
    ran = skipped = 0
    failed = []
    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        for path, code, output, seconds in pool.map(run, files):
            name = os.path.basename(path)
            times[name] = seconds
            report = "%s\n---- %s: exit %d, %.1f s" % (output.rstrip(), name, code, seconds)
            found = re.search(r"^Ran (\d+) tests? in", output, re.M)
            ran += int(found.group(1)) if found else 0
            found = re.search(r"skipped=(\d+)", output)
            skipped += int(found.group(1)) if found else 0
            if not code:
                print(report, flush=True)
                continue
            print("---- %s: exit %d, %.1f s, shown at the end" % (name, code, seconds), flush=True)
            if not re.search(r"^(FAIL|ERROR): ", output, re.M):
                report += "\nERROR: %s ended with %d" % (name, code)
            failed.append(report)
    try:
        with open(times_file, "w") as f:
            json.dump(times, f)
    except OSError:
        pass
    print("\n".join(failed))
    print("Ran %d tests in %.1fs" % (ran, time.monotonic() - start))
    print("FAILED (files=%d)" % len(failed) if failed else "OK", "(skipped=%d)" % skipped if skipped else "")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
