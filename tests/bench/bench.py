"""`make bench`: how fast it is, beside others on the same machine in the same minutes.  README.md says how to read it.

    bench.py [--part speed,lone,memory,round,start] [--connections 1,64] [--rounds N] [--seconds S] [--only WORDS]
             [--minutes M] --out DIR

Prints tables and writes DIR/bench.json.  It measures and asserts no times; the exit status is about wrong answers, lost
decisions and servers that do not start.
"""
import argparse
import json
import os
import platform
import shutil
import signal
import statistics
import sys
import tempfile
import threading
import time

import contenders
import goals

CONNECTIONS = [1, 16, 64, 256, 1024]
PARTS = ["speed", "lone", "memory", "round", "start"]
UNASKED = PARTS[:-1]  # a million jobs take ten minutes to make


class Checker(threading.Thread):
    """Asks a contender twenty times a second, beside the load, and compares what is answered."""

    def __init__(self, contender, first):
        super().__init__(daemon=True)
        self.contender, self.n, self.wrong, self.end = contender, first, [], threading.Event()

    def run(self):
        connection = self.contender.connect()
        while not self.end.wait(0.05):
            self.n += 1
            try:
                step, lr = self.contender.ask(connection, self.n)
            except Exception as e:  # noqa: an answer that cannot be read is a wrong one
                self.wrong.append("%s: %r" % (type(e).__name__, e))
                return
            want_step, want_lr = self.contender.expected(self.n)
            if step != want_step or (want_lr is not None and abs(lr - want_lr) > 1e-9 * want_lr):
                self.wrong.append("report %d: step %r lr %r, not %r %r" % (self.n, step, lr, want_step, want_lr))

    def stop(self):
        self.end.set()
        self.join(40)
        if self.is_alive():
            self.wrong.append("no answer for 40 s")


def spread(values):
    return {"median": statistics.median(values), "low": min(values), "high": max(values), "n": len(values)}


def measure(contender, asked, connections, seconds):
    checker = Checker(contender, asked.get(contender.name, 0))
    checker.start()
    r = contender.run(connections, seconds)
    checker.stop()
    asked[contender.name] = checker.n
    r["rps"] = r["answers"] / r["seconds"]
    r["wrong"] += len(checker.wrong)
    if r["wrong"]:
        print("  wrong answers of %s: %d %s" % (contender.name, r["wrong"], checker.wrong[:3]), flush=True)
    return r


def wanted(contender, connections, n, most):
    """The slow ones are slow enough to be seen in one round; at 64 everybody is measured in all."""
    return n == 0 or not contender.slow or (connections == 64 and n < 3) or most <= 1


def speed(args, folder, deadline):
    """Every contender at every number of connections, in turns: one round after another."""
    running, absent = [], {}
    for c in contenders.contenders(folder):
        if args.only and not any(word in c.name for word in args.only):
            continue
        if c.missing():
            absent[c.name] = c.missing()
            continue
        running.append(c.start())
    cells, asked, rounds, took = {}, {}, 0, 0
    while rounds < args.rounds and (not rounds or time.monotonic() + took < deadline):
        began = time.monotonic()
        for connections in args.connections:
            for i in range(len(running)):
                c = running[(i + rounds) % len(running)]
                if wanted(c, connections, rounds, args.rounds):
                    cells.setdefault((c.name, connections), []).append(measure(c, asked, connections, args.seconds))
        rounds += 1
        took = time.monotonic() - began
        print("  round %d of %d: %.0f s" % (rounds, args.rounds, took), flush=True)
    lost = kept(running, asked)
    return {"rounds": rounds, "absent": absent, "lost": lost, "what": {c.name: c.what for c in running},
            "cells": [summary(name, connections, rows) for (name, connections), rows in cells.items()]}


def kept(running, asked):
    """Kills them; what they answered must be on the disk."""
    lost = {}
    for c in running:
        c.kill()
    for c in running:
        stored = c.stored()
        if stored is None:
            continue
        answered = c.answers + asked.get(c.name, 0)
        print("  %-14s killed: %d answered, %d stored" % (c.name, answered, stored), flush=True)
        if stored < answered:
            lost[c.name] = answered - stored
    return lost


def summary(name, connections, rows):
    cell = {"name": name, "connections": connections, "wrong": sum(r["wrong"] for r in rows)}
    for key in ("rps", "p50_us", "p99_us", "cpu_us"):
        cell[key] = spread([r[key] for r in rows])
        cell[key]["rounds"] = [r[key] for r in rows]
    return cell


def print_speed(result):
    print("\nDurable reports a second, p50 and p99, CPU of the server for each; medians of the rounds (lowest to highest)")
    connections = sorted({c["connections"] for c in result["cells"]})
    for n in connections:
        print("\n%d connection%s\n%-14s %9s %21s %9s %9s %9s %15s" % (
            n, "s" if n > 1 else "", "", "req/s", "", "p50 ms", "p99 ms", "CPU us", ""))
        for c in result["cells"]:
            if c["connections"] != n:
                continue
            rps, cpu = c["rps"], c["cpu_us"]
            print("%-14s %9.0f %21s %9.2f %9.2f %9.1f %15s" % (
                c["name"], rps["median"], "(%.0f to %.0f)" % (rps["low"], rps["high"]), c["p50_us"]["median"] / 1e3,
                c["p99_us"]["median"] / 1e3, cpu["median"], "(%.1f to %.1f)" % (cpu["low"], cpu["high"])))
    print()
    for name, what in result["what"].items():
        print("%-14s %s" % (name, what))
    for name, programs in result["absent"].items():
        print("%-14s not measured: no %s here" % (name, ", ".join(programs)))


def machine():
    model = ""
    with open("/proc/cpuinfo") as f:
        for line in f:
            if line.startswith("model name"):
                model = line.split(":")[1].strip()
    return {"cpu": model, "cores": os.cpu_count(), "kernel": platform.release(), "load": os.getloadavg()[0]}


def arguments():
    def words(text):
        return [w for w in text.split(",") if w]

    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--part", type=words, default=UNASKED)
    p.add_argument("--connections", type=lambda t: [int(w) for w in words(t)], default=CONNECTIONS)
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--seconds", type=int, default=1)
    p.add_argument("--minutes", type=float, default=10)
    p.add_argument("--only", type=words, default=[], help="contenders with one of these words in their name")
    p.add_argument("--out", required=True)
    args = p.parse_args()
    args.out = os.path.abspath(args.out)
    if set(args.part) - set(PARTS):
        p.error("--part knows %s" % ", ".join(PARTS))
    return args


def main():
    args = arguments()
    started, deadline = time.monotonic(), time.monotonic() + 60 * args.minutes
    signal.alarm(int(60 * args.minutes) + 240)  # whatever happens; what was started ends with it
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    os.makedirs(args.out, exist_ok=True)
    # Beside the result, so that the files are on a disk and not in memory, as /tmp may be.
    folder = tempfile.mkdtemp(prefix="run-", dir=args.out)
    result = {"machine": machine(), "parts": {}}
    print("bench: %(cpu)s, %(cores)d cores, Linux %(kernel)s, load %(load).1f" % result["machine"], flush=True)
    measures = {"lone": goals.lone, "memory": goals.memory, "start": goals.start, "round": goals.round_of_ranks}
    others = [p for p in PARTS if p in args.part and p != "speed"]
    try:
        # What the others need comes off the time of the rounds.
        for part in others:
            print("%s ..." % part, flush=True)
            result["parts"][part] = measures[part](os.path.join(folder, part))
            shutil.rmtree(os.path.join(folder, part), ignore_errors=True)
        if "speed" in args.part:
            print("speed ...", flush=True)
            result["parts"]["speed"] = speed(args, os.path.join(folder, "speed"), deadline - 45)
            print_speed(result["parts"]["speed"])
    finally:
        contenders.end_all()
        shutil.rmtree(folder, ignore_errors=True)
    result["goals"] = goals.ratios(result["parts"])
    result["seconds"] = time.monotonic() - started
    goals.print_ratios(result["goals"])
    with open(os.path.join(args.out, "bench.json"), "w") as f:
        json.dump(result, f, indent=1)
    print("\n%s: %.0f s" % (os.path.join(args.out, "bench.json"), result["seconds"]))
    cells = result["parts"].get("speed", {"cells": [], "lost": {}})
    wrong = [c for c in cells["cells"] if c["wrong"]]
    for c in wrong:
        print("wrong answers: %(name)s at %(connections)d connections: %(wrong)d" % c)
    for name, n in cells["lost"].items():
        print("lost: %s answered %d more than it kept" % (name, n))
    return 1 if wrong or cells["lost"] else 0


if __name__ == "__main__":
    sys.exit(main())
