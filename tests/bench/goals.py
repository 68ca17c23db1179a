"""The parts of `make bench` that are not a race, and the seven goals as ratios."""
import os
import selectors
import socket
import statistics
import time

import contenders


def daemon(folder, *flags):
    os.makedirs(folder, exist_ok=True)
    d = contenders.Greedylrd(folder)
    command = d.command
    d.command = lambda: command() + list(flags)
    return d


def send(d, path, body, connection=None):
    return d.send(connection or d.connect(), path, body)


def status(d, key):
    with open("/proc/%d/status" % d.process.pid) as f:
        for line in f:
            if line.startswith(key + ":"):
                return 1024 * int(line.split()[1])
    raise KeyError(key)


# ---- a lone client beside a bare sync ----

def bare_sync(folder, seconds):
    """p50 of appending 4 KB and fdatasync, in us."""
    block, times = b"x" * 4096, []
    fd = os.open(os.path.join(folder, "bare"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        t = time.perf_counter()
        os.write(fd, block)
        os.fdatasync(fd)
        times.append(1e6 * (time.perf_counter() - t))
    os.close(fd)
    return statistics.median(times)


def lone(folder, rounds=7):
    d = daemon(folder)
    d.start()
    rows = []
    for _ in range(rounds):
        sync, report = bare_sync(folder, 0.5), d.generate(1, 1)["p50_us"]
        rows.append({"sync_us": sync, "report_us": report, "ratio": report / sync})
    d.kill()
    return {"sync_us": statistics.median(r["sync_us"] for r in rows),
            "report_us": statistics.median(r["report_us"] for r in rows), "rounds": rows,
            "ratio": statistics.median(r["ratio"] for r in rows)}


# ---- memory ----

def connection_bytes(d, n=2000):
    request = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"

    def one():
        s = socket.create_connection(("127.0.0.1", d.port), 30)
        s.sendall(request)
        if not s.recv(4096).startswith(b"HTTP/1.1 200"):
            raise RuntimeError("/livez is not well")
        return s

    held = [one() for _ in range(64)]
    before = status(d, "VmRSS")
    held += [one() for _ in range(n)]
    after = status(d, "VmRSS")
    for s in held:
        s.close()
    return (after - before) / n


def fill(d, first, n, connection):
    for at in range(first, first + n, 1000):
        entries = [{"job": "fill-%07d" % i, "lr": 0.1, "loss": 2.5} for i in range(at, at + 1000)]
        answer = send(d, "/v1/jobs:batchReport", {"reports": entries}, connection)
        if not all("decision" in r for r in answer["results"]):
            raise RuntimeError("a report was refused: %r" % answer["results"][0])


def memory(folder, jobs=200000, before_them=100000):
    """Once there are so many that what is not folded yet, which takes memory up to a limit, has had its most."""
    d = daemon(folder, "--resident-jobs", str(before_them + jobs))
    d.start()
    connection = d.connect()
    fill(d, 0, before_them, connection)
    quiet(d, connection)
    before = status(d, "VmRSS")
    fill(d, before_them, jobs, connection)
    quiet(d, connection)
    per_job = (status(d, "VmRSS") - before) / jobs
    d.kill()
    d = daemon(folder)
    d.start()
    per_connection = connection_bytes(d)
    d.kill()
    return {"connection_bytes": per_connection, "job_bytes": per_job}


def metric(d, name, connection):
    connection.request("GET", "/metrics")
    for line in connection.getresponse().read().decode().splitlines():
        if line.startswith(name + " "):
            return float(line.split()[1])
    raise KeyError(name)


def quiet(d, connection):
    """Until everything has been folded into the history."""
    contenders.wait_until(lambda: metric(d, "greedylrd_unfolded_bytes", connection) == 0, 120)


# ---- a round of many ranks ----

def round_of_ranks(folder, ranks=1000, rounds=7):
    d = daemon(folder)
    d.start()
    send(d, "/v1/jobs", {"job": "ddp", "lr": 0.1, "ranks": {"world_size": ranks}})
    held = [socket.create_connection(("127.0.0.1", d.port), 30) for _ in range(ranks)]
    selector = selectors.DefaultSelector()
    for s in held:
        selector.register(s, selectors.EVENT_READ)
    times = [1e3 * one_round(held, selector, step) for step in range(1, rounds + 1)]
    for s in held:
        s.close()
    d.kill()
    return {"ranks": ranks, "last_answer_ms": statistics.median(times), "rounds": times}


def one_round(held, selector, step):
    """Seconds from the last report to the last answer."""
    def post(rank):
        body = b'{"step":%d,"rank":%d,"loss":2.5}' % (step, rank)
        held[rank].sendall(b"POST /v1/jobs/ddp:report HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                           b"Content-Length: %d\r\n\r\n%s" % (len(body), body))

    for rank in range(len(held) - 1):
        post(rank)
    time.sleep(0.5)  # they are stored and wait
    start = time.perf_counter()
    post(len(held) - 1)
    waiting, answers = set(held), {}
    while waiting:
        ready = selector.select(30)
        if not ready or time.perf_counter() - start > 60:
            raise RuntimeError("%d ranks got no answer" % len(waiting))
        for key, _ in ready:
            got = key.fileobj.recv(4096)
            if not got:
                raise RuntimeError("the daemon closed a rank's connection")
            answers[key.fileobj] = answers.get(key.fileobj, b"") + got
            if answers[key.fileobj].endswith(b"}\n"):
                waiting.discard(key.fileobj)
    took = time.perf_counter() - start
    bodies = {a.split(b"\r\n\r\n", 1)[1] for a in answers.values()}
    if len({b.split(b'"duplicate"')[0] for b in bodies}) != 1 or not all(a.startswith(b"HTTP/1.1 200") for a in answers.values()):
        raise RuntimeError("ranks of one round got different answers: %s" % sorted(bodies)[:3])
    return took


# ---- a start on many jobs, and reports among them ----

def report_cpu(d, rounds=5):
    """CPU of a report, in us, at 16 connections."""
    return statistics.median(d.run(16, 1)["cpu_us"] for _ in range(rounds))


def seconds_to_ready(d):
    began = time.perf_counter()
    contenders.Contender.start(d)  # the jobs are there
    contenders.wait_until(lambda: is_ready(d), 60)
    took = time.perf_counter() - began
    d.kill()
    return took


def is_ready(d):
    connection = d.connect()
    connection.request("GET", "/readyz")
    return connection.getresponse().status == 200


def start(folder, few=10000, many=1000000):
    d = daemon(folder)
    d.start()
    connection = d.connect()
    cpu = []
    for first, n in ((0, few), (few, many)):
        fill(d, first, n - first, connection)
        quiet(d, connection)
        cpu.append(report_cpu(d))
    d.kill()
    ready = [seconds_to_ready(d) for _ in range(3)]
    return {"jobs": [few, many], "cpu_us": cpu, "cpu_ratio": cpu[1] / cpu[0], "rounds": ready,
            "ready_s": statistics.median(ready)}


# ---- the goals ----

def ratios(parts):
    """[(goal, reached, limit, how it is read)]; what was not measured is left out."""
    speed, found = parts.get("speed"), []

    def cell(name, connections, key):
        for c in speed["cells"] if speed else []:
            if c["name"] == name and c["connections"] == connections:
                return c[key]["rounds"]
        return None

    def pairs(goal, mine, other, key, limit, at_least, connections=64):
        a, b = cell(mine, connections, key), cell(other, connections, key)
        if a and b:
            each = [x / y for x, y in zip(a, b)]
            add(goal, statistics.median(each), limit, at_least, [min(each), max(each)])

    def add(goal, reached, limit, at_least, between=None):
        found.append({"goal": goal, "reached": reached, "limit": limit, "at_least": at_least, "between": between,
                      "met": reached >= limit if at_least else reached <= limit})

    pairs("1 reports/s beside redis", "greedylrd", "redis", "rps", 1, True)
    pairs("1 reports/s beside plain log", "greedylrd", "plain log", "rps", 0.8, True)
    pairs("1 reports/s beside python sqlite", "greedylrd", "python sqlite", "rps", 10, True)
    pairs("1 reports/s beside etcd", "greedylrd", "etcd", "rps", 10, True)
    pairs("2 CPU a report beside plain log", "greedylrd", "plain log", "cpu_us", 1.5, False)
    if parts.get("lone"):
        each = [r["ratio"] for r in parts["lone"]["rounds"]]
        add("3 lone p50 beside a bare sync", parts["lone"]["ratio"], 2.5, False, [min(each), max(each)])
    pairs("4 reads/s beside canned", "greedylrd GET", "canned", "rps", 0.8, True)
    if parts.get("memory"):
        add("5 bytes an idle connection", parts["memory"]["connection_bytes"], 9728, False)
        add("5 bytes a resident job", parts["memory"]["job_bytes"], 512, False)
    if parts.get("start"):
        add("6 seconds to ready, 1 M jobs", parts["start"]["ready_s"], 2, False)
        add("6 CPU a report, 1 M jobs beside 10 k", parts["start"]["cpu_ratio"], 1.3, False)
    if parts.get("round"):
        add("7 ms to the last of 1,000 answers", parts["round"]["last_answer_ms"], 50, False,
            [min(parts["round"]["rounds"]), max(parts["round"]["rounds"])])
    return found


def print_ratios(found):
    if not found:
        return
    print("\n%-38s %10s %10s  %s" % ("goal", "reached", "limit", "between"))
    for g in found:
        between = "%.2f to %.2f" % tuple(g["between"]) if g["between"] else ""
        print("%-38s %10.2f %7s %g  %s%s" % (g["goal"], g["reached"], ">=" if g["at_least"] else "<=", g["limit"],
                                             between, "" if g["met"] else "   NOT MET"))
