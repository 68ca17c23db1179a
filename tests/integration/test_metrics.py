"""What /metrics says, in both formats: names and units, the documentation, numbers that stay exact."""
import os
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import unittest

from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from harness import ROOT, DaemonTest, wait_until
from metrics_help import OPENMETRICS, PROMETHEUS_2, PROMETHEUS_3, TEXT, scrape, table

STATES = ("active", "paused", "finished")


class Table(unittest.TestCase):
    """Prometheus' conventions, of every row there is."""

    def test_names_and_units(self):
        seen = set()
        for name, kind, labels, help in table():
            self.assertRegex(name, r"^(greedylrd|process)_[a-z][a-z_]*[a-z]$")
            self.assertNotIn(name, seen)
            seen.add(name)
            self.assertIn(kind, ("counter", "gauge", "histogram", "info"), name)
            self.assertEqual(name.endswith("_total"), kind == "counter", name)
            self.assertEqual(name.endswith("_info"), kind == "info", name)
            self.assertNotRegex(name, r"_(count|sum|bucket|created)$")
            for word in name.split("_"):
                self.assertNotIn(word, ("ms", "us", "millis", "milliseconds", "minutes", "hours", "kb", "mb", "kilobytes",
                                        "megabytes", "percent", "counter", "gauge"), name)
            base = re.sub(r"_total$", "", name)
            for unit in ("seconds", "bytes"):
                if unit in base.split("_"):
                    self.assertTrue(base.endswith("_" + unit), "%s: its unit comes last" % name)
            if "1970" in help and not name.startswith("process_"):
                self.assertTrue(name.endswith("_timestamp_seconds"), name)
            for label in labels:
                self.assertRegex(label, r"^[a-z]+(_[a-z]+)*$")
                self.assertNotIn(label, ("job", "instance", "le", "quantile"), "%s: Prometheus has its own %s" % (name, label))
            self.assertRegex(help, r"^[A-Z0-9][^\\\n\"]*\.$")

    def test_the_documentation_has_the_table(self):
        with open(os.path.join(ROOT, "proto", "PROTOCOL.md")) as f:
            section = f.read().split("\n## Metrics\n")[1].split("\n## ")[0]
        documented = re.findall(r"^\| `([a-z_]+)` \| ([a-z]+) \| (.*?) \| (.*?) \|$", section, re.M)
        self.assertEqual(documented, [(name, kind, ", ".join("`%s`" % x for x in labels), help)
                                      for name, kind, labels, help in table()])


class Formats(DaemonTest):
    def load(self):
        self.d.ok("POST", "/v1/jobs/j:report", {"step": 1, "loss": 1, "lr": 0.1})
        self.d.ok("POST", "/v1/jobs/j:report", {"step": 2, "loss": "NaN"})
        self.d.call("POST", "/v1/jobs/j:report", {"step": 0, "loss": 1})
        self.d.call("GET", "/v1/jobs/none")
        self.d.request("GET", "/v1/nonsense")

    def test_content_types(self):
        exact = "application/openmetrics-text;version=1.0.0"
        for accept, expected in ((None, TEXT), ("", TEXT), ("*/*", TEXT), (PROMETHEUS_2, OPENMETRICS),
                                 (PROMETHEUS_3, OPENMETRICS), (exact, OPENMETRICS), (exact + ";q=0", TEXT),
                                 ("application/openmetrics-text", OPENMETRICS),
                                 ('application/openmetrics-text; Version="1.0.0"; charset=utf-8', OPENMETRICS),
                                 ("application/openmetrics-text; version=0.0.1,text/plain;version=0.0.4;q=0.5,*/*;q=0.1", TEXT),
                                 (exact + ";q=0.3,text/plain;q=0.4", TEXT), (exact + ";q=0.4,text/plain;q=0.3", OPENMETRICS),
                                 ("text/plain;q=0.4," + exact + ";q=0.4", OPENMETRICS), ("text/plain," + exact + ";q=0.9", TEXT),
                                 ("text/*;q=0.5," + exact + ";q=0.2", TEXT), ("application/*,text/plain;q=0.5", OPENMETRICS),
                                 ("text/html", TEXT), ("application/json;q=0.9, */*;q=0.1", TEXT), ("garbage;;;,q=,;", TEXT)):
            content, _, text = scrape(self.d, accept)
            self.assertEqual(content, expected, accept)
            self.assertEqual(text.endswith("\n# EOF\n"), expected == OPENMETRICS, accept)

    def test_prometheus_parsers_take_both(self):
        self.load()
        kinds = {name: kind for name, kind, _, _ in table()}
        text = {m.name: m for m in parse_text(scrape(self.d)[2])}
        opened = {m.name: m for m in parse_openmetrics(scrape(self.d, OPENMETRICS)[2])}
        absent = {"greedylrd_tls_certificate_expiry_timestamp_seconds"}  # there is no TLS here
        for name, kind in kinds.items():
            if name in absent or name.startswith("greedylrd_job_"):
                continue
            base = re.sub(r"_total$", "", name)
            # The parser of the old format knows a counter by its name without _total, too.
            self.assertEqual((text.get(name) or text[base]).type, "gauge" if kind == "info" else kind, name)
            m = opened[re.sub(r"_info$", "", base)]
            self.assertEqual(m.type, kind, name)
            self.assertEqual(m.unit, base.rsplit("_", 1)[1] if base.endswith(("_seconds", "_bytes")) else "", name)
        self.assertFalse(absent & set(text))

    def test_both_say_the_same(self):
        self.load()
        still = re.compile(r"process_|greedylrd_(loop_lag|http_|connections|unfolded|store_bytes|data_dir)")
        le = lambda name: re.sub(r'le="([0-9]+)\.0"', r'le="\1"', name)
        a, b = scrape(self.d)[1], scrape(self.d, OPENMETRICS)[1]
        self.assertEqual({k: v for k, v in a.items() if not still.match(k)},
                         {le(k): v for k, v in b.items() if not still.match(k)})

    def test_promtool_finds_nothing(self):
        self.load()
        done = subprocess.run(["promtool", "check", "metrics"], input=scrape(self.d)[2], capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stdout + done.stderr), (0, ""))

    def test_head_and_others(self):
        status, headers, body = self.d.request("HEAD", "/metrics", headers={"Accept": OPENMETRICS})
        self.assertEqual((status, headers["content-type"], body), (200, OPENMETRICS, b""))
        self.assertEqual(self.d.request("POST", "/metrics", "x")[0], 405)

    def test_buckets_add_up(self):
        self.load()
        wait_until(lambda: scrape(self.d)[1]["greedylrd_loop_lag_seconds_count"] > 0)
        found = scrape(self.d)[1]
        for name, kind, _, _ in table():
            if kind != "histogram":
                continue
            series = {}
            for key, value in found.items():
                m = re.fullmatch(name + r'_bucket\{(.*?),?le="([^"]+)"\}', key)
                if m:
                    series.setdefault(m[1], []).append((float(m[2].replace("+Inf", "inf")), value))
            for labels, buckets in series.items():
                self.assertEqual(buckets, sorted(buckets), name)
                self.assertEqual(buckets[-1][0], float("inf"))
                end = "{%s}" % labels if labels else ""
                self.assertEqual(found[name + "_count" + end], buckets[-1][1], name)
                self.assertGreaterEqual(found[name + "_sum" + end], 0)
        self.assertEqual(found["greedylrd_commit_changes_sum"], 2)

    def test_the_process(self):
        pid = self.d.process.pid
        # A connection of a scrape before may be on its way out.
        wait_until(lambda: scrape(self.d)[1]["process_open_fds"] == len(os.listdir("/proc/%d/fd" % pid)))
        found = scrape(self.d)[1]
        with open("/proc/%d/limits" % pid) as f:
            limit = re.search(r"^Max open files +(\d+)", f.read(), re.M)[1]
        self.assertEqual(found["process_max_fds"], int(limit))
        self.assertEqual(found["process_threads"], len(os.listdir("/proc/%d/task" % pid)))
        self.assertAlmostEqual(found["process_start_time_seconds"], time.time(), delta=60)
        self.assertEqual(scrape(self.d)[1]["process_start_time_seconds"], found["process_start_time_seconds"])
        disk = os.statvfs(self.d.data)
        self.assertEqual(found["greedylrd_data_dir_size_bytes"], disk.f_blocks * disk.f_frsize)
        self.assertGreater(found["greedylrd_data_dir_free_bytes"], 0)


class Counting(DaemonTest):
    flags = ("--resident-jobs", "2")

    def states(self):
        """By /metrics, after making sure that it is what the list of jobs says."""
        found = scrape(self.d)[1]
        told = tuple(int(found['greedylrd_jobs{state="%s"}' % x]) for x in STATES)
        self.assertEqual(told, tuple(len(self.d.ok("GET", "/v1/jobs?state=" + x)["jobs"]) for x in STATES))
        return told

    def test_jobs_by_state(self):
        d = self.d
        self.assertEqual(self.states(), (0, 0, 0))
        for i in range(6):
            d.ok("POST", "/v1/jobs", {"job": "j%d" % i, "lr": 0.1, "greedy": {"dialect": "transformers"}})
            d.ok("POST", "/v1/jobs/j%d:report" % i, {"step": 1, "loss": 1})
        self.assertEqual(self.states(), (6, 0, 0))
        for i, verb in enumerate(("pause", "pause", "finish", "finish", "pause")):
            d.ok("POST", "/v1/jobs/j%d:%s" % (i, verb), {})
        d.ok("POST", "/v1/jobs/j4:finish", {})
        self.assertEqual(self.states(), (1, 2, 3))
        d.restart()
        self.assertEqual(self.states(), (1, 2, 3))
        d.ok("POST", "/v1/jobs/j0:rewind", {"step": 1})  # stays paused
        d.ok("POST", "/v1/jobs/j2:resume", {})
        d.ok("POST", "/v1/jobs/j5:fork", {"step": 1, "spec": {"job": "f"}})
        d.ok("POST", "/v1/jobs/j1:pause", {})  # is already
        self.assertEqual(self.states(), (3, 2, 2))
        state = d.ok("GET", "/v1/jobs/j5/state")
        d.ok("PUT", "/v1/jobs/j0/state", state.get("state_dict", state))
        d.ok("PATCH", "/v1/jobs/j1", {"spec": {"labels": ["a=b"]}})
        d.ok("DELETE", "/v1/jobs/j1")
        d.ok("DELETE", "/v1/jobs/j3")
        self.assertEqual(self.states(), (3, 1, 1))
        self.assertEqual(d.call("POST", "/v1/jobs", {"job": "f", "lr": 0.5})[0], 409)
        self.assertEqual(d.stop(), 0)
        d.start()
        self.assertEqual(self.states(), (3, 1, 1))

    def test_rounds(self):
        d = self.d
        d.ok("POST", "/v1/jobs", {"job": "r", "lr": 0.1, "ranks": {"world_size": 3}})
        waits = [threading.Thread(target=d.ok, args=("POST", "/v1/jobs/r:report", {"step": 1, "rank": rank, "loss": 1}))
                 for rank in range(2)]
        for t in waits:
            t.start()
        wait_until(lambda: scrape(d)[1]["greedylrd_waiting_ranks"] == 2)
        time.sleep(0.05)
        found = scrape(d)[1]
        self.assertEqual(found["greedylrd_open_rounds"], 1)
        self.assertGreater(found["greedylrd_oldest_round_age_seconds"], 0.05)
        self.assertNotIn('greedylrd_http_wait_duration_seconds_count{route="Report"}', found)
        d.ok("POST", "/v1/jobs/r:report", {"step": 1, "rank": 2, "loss": 1})
        for t in waits:
            t.join()
        found = scrape(d)[1]
        for name in ("open_rounds", "waiting_ranks", "oldest_round_age_seconds"):
            self.assertEqual(found["greedylrd_" + name], 0, name)
        # Two waited for others, and that does not spoil the one that did not.
        self.assertEqual(found['greedylrd_http_wait_duration_seconds_count{route="Report"}'], 2)
        self.assertEqual(found['greedylrd_http_request_duration_seconds_count{route="Report",method="POST"}'], 1)
        self.assertEqual(found['greedylrd_reports_total{result="decided"}'], 3)

    def test_streams_count_once_they_end(self):
        d = self.d
        d.ok("POST", "/v1/jobs/w:report", {"step": 1, "loss": 1, "lr": 0.1})
        c = d.connection()
        c.request("GET", "/v1/jobs/w:watch")
        answer = c.getresponse()
        wait_until(lambda: scrape(d)[1]["greedylrd_watchers"] == 1)
        key = 'greedylrd_http_wait_duration_seconds_count{route="WatchJob"}'
        self.assertNotIn(key, scrape(d)[1])
        answer.close()
        c.close()
        wait_until(lambda: scrape(d)[1].get(key) == 1)
        self.assertNotIn("WatchJob", "".join(k for k in scrape(d)[1] if "request_duration" in k))

    def test_values_that_are_not_finite(self):
        d = self.d
        d.ok("POST", "/v1/jobs", {"job": "n", "lr": 0.1})
        d.ok("POST", "/v1/jobs", {"job": "refuses", "lr": 0.1, "on_nonfinite": "reject"})
        for job, body in (("n", {"step": 1, "loss": "NaN"}), ("n", {"step": 2, "loss": "Infinity"}), ("n", {"step": 3, "loss": 1}),
                          ("n", {"step": 4, "loss": "NaN", "dry_run": True}), ("refuses", {"step": 1, "metric": "-Infinity"})):
            d.call("POST", "/v1/jobs/%s:report" % job, body)
        self.assertEqual(scrape(d)[1]["greedylrd_nonfinite_reports_total"], 3)

    def test_what_is_not_there_has_few_names(self):
        """Whatever is asked for, the series stay as few as the routes."""
        for i in range(30):
            self.d.request("GET", "/%d" % i)
            self.d.request("GET", "/v1/jobs/job%d" % i)
            self.d.request("POST", "/greedylr.v1.SchedulerService/Nothing%d" % i, "{}")
        routes = {m[1] for m in re.finditer(r'route="([^"]*)"', scrape(self.d)[2])}
        self.assertEqual(routes, {"other", "GetJob", "/readyz"})


def of_jobs(text):
    return {name: value for name, value in text.items() if name.startswith("greedylrd_job_")}


class SingleJobs(DaemonTest):
    flags = ("--job-metrics", "3", "--resident-jobs", "1")

    def jobs(self, headers=None):
        """Names of those with series; every one has all that belongs to it, in both formats."""
        found = of_jobs(scrape(self.d, headers=headers)[1])
        list(parse_openmetrics(scrape(self.d, OPENMETRICS, headers)[2]))
        names = {re.search(r'job_id="([^"]*)"', name)[1] for name in found if "job_id" in name}
        for name in names:
            for metric in ("rate_at_floor", "paused", "open_round_age_seconds"):
                self.assertIn('greedylrd_job_%s{job_id="%s"}' % (metric, name), found)
            self.assertIn('greedylrd_job_learning_rate{job_id="%s",group="0"}' % name, found)
        return names

    def job(self, name):
        return {re.sub(r'^greedylrd_job_|\{job_id="[^"]*"|\}$', "", k): v for k, v in of_jobs(scrape(self.d)[1]).items()
                if 'job_id="%s"' % name in k}

    def left_out(self):
        return scrape(self.d)[1]["greedylrd_job_series_left_out"]

    def report(self, name, step, loss, **more):
        return self.d.ok("POST", "/v1/jobs/%s:report" % name, dict({"step": step, "loss": loss, "lr": 0.1}, **more))

    def test_what_a_job_has(self):
        d = self.d
        d.ok("POST", "/v1/jobs", {"job": "a.b-C_1", "lr": [0.1, 0.01], "plateau": {"patience": 0, "factor": 0.5, "min_lr": [0.05]}})
        self.assertEqual(self.job("a.b-C_1"), {"learning_rate,group=\"0\"": 0.1, "learning_rate,group=\"1\"": 0.01,
                                               "rate_at_floor": 0, "paused": 0, "open_round_age_seconds": 0}
                         | {k: v for k, v in self.job("a.b-C_1").items() if k == "best"})
        self.report("a.b-C_1", 7, 1)
        self.report("a.b-C_1", 8, 2)
        before = time.time()
        self.report("a.b-C_1", 9, "NaN")
        found = self.job("a.b-C_1")
        self.assertEqual((found["step"], found["best"]), (9, 1))
        self.assertNotEqual(found["loss"], found["loss"])
        self.assertAlmostEqual(found["last_report_timestamp_seconds"], before, delta=20)
        self.assertEqual(found['learning_rate,group="0"'], d.ok("GET", "/v1/jobs/a.b-C_1/lr?format=json")["lrs"][0])
        d.ok("POST", "/v1/jobs/a.b-C_1:rewind", {"step": 7})
        back = self.job("a.b-C_1")
        self.assertEqual((back["step"], back["best"], back.get("loss")), (7, 1, None))
        self.assertEqual(back["last_report_timestamp_seconds"], found["last_report_timestamp_seconds"])
        d.ok("POST", "/v1/jobs/a.b-C_1:pause", {})
        self.assertEqual(self.job("a.b-C_1")["paused"], 1)
        d.ok("POST", "/v1/jobs/a.b-C_1:finish", {})
        self.assertEqual(self.job("a.b-C_1"), {})
        self.assertEqual(self.left_out(), 0)

    def test_the_floor(self):
        self.d.ok("POST", "/v1/jobs", {"job": "f", "lr": 0.1, "plateau": {"patience": 0, "factor": 0.1, "min_lr": [0.05]}})
        for step in range(1, 4):
            self.report("f", step, step)
        self.assertEqual((self.job("f")["rate_at_floor"], self.job("f")['learning_rate,group="0"']), (1, 0.05))

    def test_the_most_recently_active_ones(self):
        d = self.d
        for i in range(5):
            self.report("j%d" % i, 1, i)
        self.assertEqual((self.jobs(), self.left_out()), ({"j2", "j3", "j4"}, 2))
        d.ok("GET", "/v1/jobs/j0")  # to look at a job is no activity
        self.assertEqual(self.jobs(), {"j2", "j3", "j4"})
        self.report("j0", 2, 1)
        self.assertEqual((self.jobs(), self.left_out()), ({"j0", "j3", "j4"}, 2))
        d.ok("DELETE", "/v1/jobs/j0")
        d.ok("POST", "/v1/jobs/j3:finish", {})
        self.assertEqual((self.jobs(), self.left_out()), ({"j4"}, 2))
        d.ok("POST", "/v1/jobs/j3:resume", {})
        self.report("j1", 5, 1.5)
        then = {name: self.job(name) for name in ("j1", "j4")}
        self.assertEqual(self.left_out(), 1)
        for restart in (d.restart, lambda: (d.stop(), d.start())):  # what a crash left in the log, too
            restart()
            self.assertEqual((self.jobs(), self.left_out()), ({"j1", "j3", "j4"}, 1))
            self.assertEqual({name: self.job(name) for name in then}, then)

    def test_an_open_round(self):
        d = self.d
        d.ok("POST", "/v1/jobs", {"job": "r", "lr": 0.1, "ranks": {"world_size": 2}})
        t = threading.Thread(target=d.ok, args=("POST", "/v1/jobs/r:report", {"step": 1, "rank": 0, "loss": 1}))
        t.start()
        wait_until(lambda: self.job("r")["open_round_age_seconds"] > 0.05)
        d.ok("POST", "/v1/jobs/r:report", {"step": 1, "rank": 1, "loss": 3})
        t.join()
        self.assertEqual((self.job("r")["open_round_age_seconds"], self.job("r")["loss"]), (0, 2))


class Flood(DaemonTest):
    """What is large is printed now and then, however often it is asked for, so that the loop has time for others."""
    flags = ("--job-metrics", "1000")

    def test_a_large_text_is_shared(self):
        for i in range(40):
            self.d.ok("POST", "/v1/jobs/j%d:report" % i, {"step": 1, "loss": 1, "lr": [0.1] * 64})
        first = lambda: self.d.request("GET", "/metrics")[2]
        self.assertGreater(len(first()), 65536)
        wait_until(lambda: first() == first())  # they count requests: printed anew they differ
        before = first()
        self.d.ok("POST", "/v1/jobs/j0:report", {"step": 2, "loss": 1})
        wait_until(lambda: first() != before)
        wait_until(lambda: b'greedylrd_job_step{job_id="j0"} 2\n' in first())
        sockets = []
        for _ in range(100):  # nobody reads
            sockets.append(socket.create_connection(("127.0.0.1", self.d.port)))
            sockets[-1].sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        self.assertEqual(self.d.request("GET", "/livez")[0], 200)
        for s in sockets:
            s.close()
        self.assertIn(OPENMETRICS, scrape(self.d, OPENMETRICS)[0])
        wait_until(lambda: self.d.request("GET", "/metrics", headers={"Accept": OPENMETRICS})[2].endswith(b"# EOF\n"))
        self.assertFalse(first().endswith(b"# EOF\n"))


class WhoSeesThem(DaemonTest):
    def setUp(self):
        folder = tempfile.mkdtemp(prefix="greedylrd-tokens-")
        self.addCleanup(shutil.rmtree, folder, True)
        self.file, self.tokens = os.path.join(folder, "tokens"), {}
        for name, role, prefix in (("all", "admin", ""), ("nlp", "observe", "nlp-")):
            made = subprocess.run([os.path.join(ROOT, os.environ.get("BUILD", "build"), "greedylr"), "token", "create", "--file",
                                   self.file, "--id", name, "--role", role, "--prefix=" + prefix], capture_output=True, text=True)
            self.tokens[name] = {"Authorization": "Bearer " + re.search(r"%s\.[A-Za-z0-9_-]{43}" % name, made.stdout)[0]}
        self.flags = ("--job-metrics", "40", "--token-file", self.file)
        super().setUp()

    jobs = SingleJobs.jobs

    def test_by_prefix(self):
        d = self.d
        for job in ("nlp-1", "nlp-2", "secret"):
            d.ok("POST", "/v1/jobs/%s:report" % job, {"step": 1, "loss": 1, "lr": 0.1}, headers=self.tokens["all"])
        self.assertEqual(self.jobs(self.tokens["all"]), {"nlp-1", "nlp-2", "secret"})
        self.assertEqual(self.jobs(self.tokens["nlp"]), {"nlp-1", "nlp-2"})
        # From this machine, without a token: what names nobody.
        self.assertEqual(of_jobs(scrape(d)[1]), {})
        self.assertEqual(scrape(d)[1]['greedylrd_jobs{state="active"}'], 3)
        wrong = {"Authorization": self.tokens["nlp"]["Authorization"][:-1] + "~"}
        self.assertEqual(of_jobs(scrape(d, headers=wrong)[1]), {})

    def test_a_text_that_is_kept_is_of_the_prefix(self):
        for i in range(20):
            for job in ("nlp-%d", "secret-%d"):
                self.d.ok("POST", "/v1/jobs/%s:report" % job % i, {"step": 1, "loss": 1, "lr": [0.1] * 64}, headers=self.tokens["all"])
        for _ in range(5):
            self.assertEqual({name.split("-")[0] for name in self.jobs(self.tokens["all"])}, {"nlp", "secret"})
            self.assertEqual({name.split("-")[0] for name in self.jobs(self.tokens["nlp"])}, {"nlp"})
            self.assertEqual(of_jobs(scrape(self.d)[1]), {})
