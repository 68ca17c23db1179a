"""systemd/monitoring: checked by promtool, and used by a real Prometheus that scrapes a daemon under load."""
import glob
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import unittest
import urllib.parse

from harness import ROOT, Daemon, free_port, wait_until
from metrics_help import scrape, table

FOLDER = os.path.join(ROOT, "systemd", "monitoring")
RULES = os.path.join(FOLDER, "greedylrd.rules.yml")


def rules():
    """Of the file, without a parser of YAML: {alert: its lines as one text}."""
    with open(RULES) as f:
        parts = f.read().split("      - alert: ")[1:]
    return {part.split("\n", 1)[0]: part for part in parts}


def dashboard():
    with open(os.path.join(FOLDER, "grafana.json")) as f:
        return json.load(f)


def promtool(*args):
    return subprocess.run(["promtool", *args], cwd=FOLDER, capture_output=True, text=True, timeout=120)


def names_in(expression):
    """Metrics that an expression asks for, as the table knows them."""
    known = {name for name, _, _, _ in table()} | {"up"}
    for found in re.findall(r"\b(?:greedylrd|process)_[a-z_]+\b", expression):
        yield found if found in known else re.sub(r"_(bucket|sum|count)$", "", found)


class Files(unittest.TestCase):
    def test_promtool(self):
        for args in (("check", "config", "prometheus.yml"), ("check", "rules", "greedylrd.rules.yml"),
                     ("test", "rules", "greedylrd.rules.test.yml")):
            done = promtool(*args)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_every_alert_is_explained_and_tried(self):
        with open(os.path.join(FOLDER, "greedylrd.rules.test.yml")) as f:
            tried = f.read()
        help = subprocess.run([os.path.join(ROOT, os.environ.get("BUILD", "build"), "greedylr"), "help"],
                              capture_output=True, text=True).stdout
        commands = set(re.findall(r"^  ([a-z]+) ", help, re.M))
        for name, text in rules().items():
            for what in ("summary", "description", "action"):
                self.assertRegex(text, r"\n +%s: \S.{15,}" % what, name)
            self.assertRegex(text, r"severity: (critical|warning|info)")
            self.assertIn("{{ $labels.instance }}", text)
            self.assertRegex(tried, r'alertname="%s", alertstate="firing".*value: 1\}' % name)
            self.assertRegex(tried, r'alertname="%s", alertstate="firing".*value: 0\}' % name)
            for command in re.findall(r"greedylr ([a-z]+)", text):
                self.assertIn(command, commands, name)

    def test_what_they_ask_for_is_there(self):
        known = {name for name, _, _, _ in table()} | {"up"}
        board = dashboard()
        texts = [t["expr"] for p in board["panels"] for t in p.get("targets", [])]
        texts += [re.search(r"expr: (?:>-\n)?(.*?)\n        [a-z]", text, re.S)[1] for text in rules().values()]
        for text in texts:
            self.assertLessEqual(set(names_in(text)), known, text)
        self.assertLessEqual({"GreedylrdJobSilent", "GreedylrdRateAtFloor", "GreedylrdRoundStuck", "GreedylrdCommitSlow",
                              "GreedylrdNonfiniteLosses", "GreedylrdDiskNearlyFull"}, set(rules()))

    def test_the_dashboard(self):
        board = dashboard()
        self.assertGreaterEqual(board["schemaVersion"], 36)  # Grafana 9
        variables = {v["name"]: v for v in board["templating"]["list"]}
        self.assertEqual((variables["datasource"]["type"], variables["datasource"]["query"]), ("datasource", "prometheus"))
        ids, places = set(), set()
        for panel in board["panels"]:
            self.assertNotIn(panel["id"], ids)
            ids.add(panel["id"])
            at = panel["gridPos"]
            self.assertLessEqual(at["x"] + at["w"], 24)
            cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
            self.assertFalse(cells & places, panel["title"])
            places |= cells
            self.assertTrue(panel["title"])
            for target in panel.get("targets", []):
                self.assertEqual(target["datasource"], {"type": "prometheus", "uid": "${datasource}"})
                for variable in re.findall(r"\$(\w+)", target["expr"]):
                    self.assertIn(variable, set(variables) | {"__rate_interval"})
        self.assertGreaterEqual(sum(p["type"] == "row" for p in board["panels"]), 5)


class Prometheus:
    """A Prometheus of its own: configuration, storage and port."""

    def __init__(self, test, config):
        self.folder = tempfile.mkdtemp(prefix="greedylrd-prometheus-")
        test.addCleanup(shutil.rmtree, self.folder, True)
        shutil.copy(RULES, self.folder)
        with open(os.path.join(self.folder, "prometheus.yml"), "w") as f:
            f.write(config)
        self.port = free_port()
        self.log = open(os.path.join(self.folder, "log"), "w+")
        test.addCleanup(self.log.close)
        self.process = subprocess.Popen(
            ["prometheus", "--config.file=" + os.path.join(self.folder, "prometheus.yml"), "--log.level=warn",
             "--storage.tsdb.path=" + os.path.join(self.folder, "data"), "--web.listen-address=127.0.0.1:%d" % self.port],
            stdout=self.log, stderr=subprocess.STDOUT, start_new_session=True)
        test.addCleanup(self.end)
        wait_until(self.is_ready, 60)

    def end(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(20)

    def get(self, path):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        c.request("GET", path)
        answer = c.getresponse()
        body = answer.read()
        c.close()
        return answer.status, body

    def is_ready(self):
        if self.process.poll() is not None:
            self.log.seek(0)
            raise RuntimeError("prometheus ended: " + self.log.read())
        try:
            return self.get("/-/ready")[0] == 200
        except OSError:
            return False

    def api(self, path):
        status, body = self.get("/api/v1/" + path)
        answer = json.loads(body)
        assert status == 200 and answer["status"] == "success", (path, answer)
        return answer["data"]

    def query(self, expression):
        return self.api("query?query=" + urllib.parse.quote(expression))["result"]

    def targets(self):
        return {t["labels"]["job"]: t for t in self.api("targets?state=active")["activeTargets"]}


CONFIG = """
global: {scrape_interval: 500ms, scrape_timeout: 450ms, evaluation_interval: 500ms}
rule_files: [greedylrd.rules.yml]
scrape_configs:
  - job_name: greedylrd
    static_configs: [{targets: ["127.0.0.1:%d"]}]
  - job_name: token
    authorization: {credentials_file: %s}
    static_configs: [{targets: ["127.0.0.1:%d"]}]
"""

#: Of these there is nothing to see in a short and healthy life.
EMPTY = re.compile(r"tls_certificate|greedylrd_shedding|limit_refusals|predict_linear|changes\(")


class Scraped(unittest.TestCase):
    """One Prometheus, two daemons: one for this machine, one whose tokens are asked for; both under load."""

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="greedylrd-tokens-")
        self.addCleanup(shutil.rmtree, self.folder, True)
        tool = os.path.join(ROOT, os.environ.get("BUILD", "build"), "greedylr")
        tokens, secret = os.path.join(self.folder, "tokens"), os.path.join(self.folder, "secret")
        self.token = {}
        for name, role, prefix in (("prometheus", "observe", "team-"), ("runs", "report", "")):
            made = subprocess.run([tool, "token", "create", "--file", tokens, "--id", name, "--role", role, "--prefix=" + prefix],
                                  capture_output=True, text=True)
            self.assertEqual(made.returncode, 0, made.stderr)
            self.token[name] = re.search(r"%s\.[A-Za-z0-9_-]{43}" % name, made.stdout)[0]
        with open(secret, "w", opener=lambda path, flags: os.open(path, flags, 0o600)) as f:
            f.write(self.token["prometheus"])
        self.open_one = self.daemon("--job-metrics", "3")
        self.closed = self.daemon("--job-metrics", "10", "--token-file", tokens)
        self.ending = threading.Event()
        self.prometheus = Prometheus(self, CONFIG % (self.open_one.port, secret, self.closed.port))

    def daemon(self, *flags):
        d = Daemon("--log-level", "error", *flags)
        self.addCleanup(d.close)
        return d.start()

    def load(self):
        """Everything that the metrics count, until told to end."""
        d, c = self.open_one, self.open_one.connection()
        runs = {"Authorization": "Bearer " + self.token["runs"]}
        d.ok("POST", "/v1/jobs", {"job": "pair", "lr": 0.1, "ranks": {"world_size": 2}})
        d.ok("POST", "/v1/jobs", {"job": "floor", "lr": 0.1, "plateau": {"patience": 0, "min_lr": [0.1]}})
        for job in ("team-a", "other"):
            self.closed.ok("POST", "/v1/jobs", {"job": job, "lr": 0.1}, headers=runs)
        step = 0
        while not self.ending.wait(0.02):
            step += 1
            for i in range(5):
                d.ok("POST", "/v1/jobs/j%d:report" % i, {"step": step, "loss": 1 / step, "lr": 0.1}, connection=c)
            d.call("POST", "/v1/jobs/j0:report", {"step": step, "loss": 7}, connection=c)
            d.call("POST", "/v1/jobs/j0:report", {"loss": "NaN", "applied_lr": 5}, connection=c)
            d.call("GET", "/v1/jobs/none", connection=c)
            d.ok("POST", "/v1/jobs/floor:report", {"step": step, "loss": step}, connection=c)
            first = threading.Thread(target=d.ok, args=("POST", "/v1/jobs/pair:report", {"step": step, "rank": 0, "loss": 1}))
            first.start()
            d.ok("POST", "/v1/jobs/pair:report", {"step": step, "rank": 1, "loss": 1}, connection=c)
            first.join()
            for job in ("team-a", "other"):
                self.closed.ok("POST", "/v1/jobs/%s:report" % job, {"step": step, "loss": 1}, headers=runs)
        c.close()

    def expressions(self):
        """(where from, expression), the dashboard's as it asks for them."""
        values = {"instance": ".*", "job_id": ".*", "__rate_interval": "10s"}
        fill = lambda text: re.sub(r"\$(\w+)", lambda m: values[m[1]], text)
        for panel in dashboard()["panels"]:
            for target in panel.get("targets", []):
                yield panel["title"], fill(target["expr"])
        for note in dashboard()["annotations"]["list"]:
            if "expr" in note:
                yield note["name"], fill(note["expr"])

    def test_scraped_under_load(self):
        p = self.prometheus
        load = threading.Thread(target=self.load)
        load.start()
        self.addCleanup(load.join)
        self.addCleanup(self.ending.set)
        wait_until(lambda: len(p.query("count_over_time(up[1m]) >= 8")) == 2, 60)

        for name, target in p.targets().items():
            self.assertEqual((target["health"], target["lastError"]), ("up", ""), name)
        self.assertEqual(p.query("min_over_time(up[1m]) == 0"), [])
        self.assertEqual(p.query("scrape_samples_scraped != scrape_samples_post_metric_relabeling"), [])
        # Prometheus asks for OpenMetrics and gets it: metadata names a counter without _total, and has units.
        metadata = p.api("metadata")
        self.assertIn("greedylrd_reports", metadata)
        self.assertEqual(metadata["greedylrd_commit_duration_seconds"][0]["unit"], "seconds")

        for where, expression in self.expressions():
            found = p.query(expression)
            if not EMPTY.search(expression):
                self.assertTrue(found, "%s: %s" % (where, expression))
        for group in p.api("rules")["groups"]:
            self.assertEqual({rule["name"] for rule in group["rules"]}, set(rules()))
            for rule in group["rules"]:
                self.assertEqual((rule["health"], rule.get("lastError", "")), ("ok", ""), rule["name"])
                p.query(rule["query"])
        wait_until(lambda: {"GreedylrdNonfiniteLosses", "GreedylrdRanksDisagree"} <=
                   {a["labels"]["alertname"] for a in p.api("alerts")["alerts"] if a["state"] == "firing"})
        # Healthy as it is, nothing critical is told, nor about jobs that report.
        told = {a["labels"]["alertname"] for a in p.api("alerts")["alerts"]}
        self.assertFalse(told & {"GreedylrdDown", "GreedylrdWritesRefused", "GreedylrdJobSilent", "GreedylrdRoundStuck"}, told)

        # Series of single jobs: three and no more here; there those that the token's prefix covers.
        jobs = lambda job: {r["metric"]["job_id"] for r in p.query('greedylrd_job_step{job="%s"}' % job)}
        self.assertLessEqual(len(jobs("greedylrd")), 8)  # whoever was among the three within five minutes
        self.assertEqual(len([k for k in scrape(self.open_one)[1] if k.startswith("greedylrd_job_step")]), 3)
        self.assertEqual(scrape(self.open_one)[1]["greedylrd_job_series_left_out"], 4)
        self.assertEqual(jobs("token"), {"team-a"})


if __name__ == "__main__":
    unittest.main()
