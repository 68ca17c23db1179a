"""Tokens: every method, face and role; what a token's prefix hides; the file, its reload, and what is never said."""
import base64
import hashlib
import json
import os
import re
import secrets
import signal
import stat
import subprocess
import tempfile
import threading
import unittest
import urllib.parse

from harness import BINARY, ROOT, Daemon, reason, wait_until
from test_faces import REST, SERVICE, descriptor_pb2, load_contract

ROLES = ["observe", "report", "admin"]
OPEN = ["/livez", "/readyz", "/readyz?verbose", "/healthz", "/version", "/"]


class Token:
    def __init__(self, id, role="admin", prefix="", **more):
        self.id, self.role, self.prefix, self.more = id, role, prefix, more
        self.text = id + "." + base64.urlsafe_b64encode(secrets.token_bytes(32)).decode().rstrip("=")

    @property
    def line(self):
        return "%s role=%s prefix=%s sha256=%s%s\n" % (
            self.id, self.role, self.prefix, hashlib.sha256(self.text.encode()).hexdigest(),
            "".join(" %s=%s" % item for item in self.more.items()))

    @property
    def header(self):
        return {"Authorization": "Bearer " + self.text}


class AuthTest(unittest.TestCase):
    """A daemon with a token file; no secret of a test may be in anything that the daemon ever wrote."""
    flags = ()

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="greedylrd-auth-")
        self.addCleanup(self.folder.cleanup)
        self.file = os.path.join(self.folder.name, "tokens")
        self.root = Token("root")
        self.made = [self.root]
        self.write(self.root)
        self.d = Daemon("--token-file", self.file, "--log-level", "debug", *self.flags)
        self.d.headers = {"X-Request-Id": "same"}  # so that answers can be compared
        self.addCleanup(self.check_log)
        self.addCleanup(self.d.close)

    def check_log(self):
        for token in self.made:
            for text in (token.text, token.text.split(".")[1], hashlib.sha256(token.text.encode()).hexdigest()):
                self.assertNotIn(text, self.d.stderr)

    def token(self, *args, **more):
        self.made.append(Token(*args, **more))
        return self.made[-1]

    def write(self, *tokens):
        self.write_text("".join(t.line for t in tokens))

    def write_text(self, text, mode=0o600):
        with open(self.file + ".new", "w", opener=lambda p, f: os.open(p, f, 0o600)) as f:
            f.write(text)
        os.chmod(self.file + ".new", mode)
        os.replace(self.file + ".new", self.file)

    def start(self, *tokens):
        self.write(self.root, *tokens)
        self.d.start()

    def reload(self, event="tokens_reloaded"):
        seen = self.said(event)
        self.d.process.send_signal(signal.SIGHUP)
        wait_until(lambda: self.said(event) > seen)

    def said(self, event):
        return sum("event=" + event in line for line in list(self.d._lines))

    def ok(self, method, path, body=None, token=None):
        return self.d.ok(method, path, body, headers=(token or self.root).header)

    def ask(self, token, method, path, body=None):
        """(status, headers, bytes)"""
        return self.d.request(method, path, body, token.header if token else None)


JOB_BODY = {"UpdateJob": {"spec": {"labels": ["x=y"]}}, "Report": {"step": 1, "loss": 1.0}, "BeginAttempt": {},
            "RewindJob": {"initial": True}, "ForkJob": {"spec": {"job": "NEW"}}, "SetLr": {"lr": [0.5]}, "PauseJob": {},
            "ResumeJob": {}, "FinishJob": {}}
STATE = {"factor": 0.1, "min_lrs": [0], "patience": 10, "cooldown": 0, "eps": 1e-8, "last_epoch": 3, "_last_lr": [0.1], "mode": "min",
         "threshold": 1e-4, "threshold_mode": "rel", "best": 1.0, "num_bad_epochs": 0, "mode_worse": "Infinity",
         "cooldown_counter": 0}


def message(method, job, new="new"):
    """A Connect message of the method about a job; what it makes is called new."""
    if method == "CreateJob":
        return {"spec": {"job": job, "lr": [0.1]}}
    if method == "ListJobs":
        return {}
    if method == "Simulate":
        return {"spec": {"lr": [0.1]}, "losses": [1.0]}
    if method == "BatchReport":
        return {"reports": [{"job": job, "step": 1, "loss": 1.0}]}
    body = dict(JOB_BODY.get(method, {}), job=job)
    if method == "ForkJob":
        body["spec"] = {"job": new}
    if method == "ImportState":
        body["state_dict"] = json.dumps(STATE)
    return body


class Faces:
    """One call by each face: (status, headers, bytes)."""

    def __init__(self, d):
        self.d, self.names = d, ["rest", "connect", "binary"] if descriptor_pb2 else ["rest", "connect"]
        if descriptor_pb2:
            from google.protobuf import json_format, message_factory
            pool = load_contract()
            factory = message_factory.MessageFactory(pool)
            methods = pool.FindServiceByName("greedylr.v1.SchedulerService").methods
            self.encode = {m.name: lambda body, m=m: json_format.ParseDict(
                body, factory.GetPrototype(m.input_type)()).SerializeToString() for m in methods}

    def call(self, face, method, body, token):
        headers = dict(token.header) if token else {}
        stream = method == "WatchJob"
        if face == "rest":
            verb, path = REST[method]
            body = dict(body)
            path = path.replace("{job}", body.pop("job", ""))
            if method == "CreateJob":
                body = body["spec"]
            if method == "ImportState":
                body = body["state_dict"]
            if verb in ("GET", "DELETE"):
                path, body = path + ("?" + urllib.parse.urlencode(body) if body else ""), None
        else:
            data = json.dumps(body).encode() if face == "connect" else self.encode[method](body)
            kind = "json" if face == "connect" else "proto"
            headers["Content-Type"] = "application/" + ("connect+" if stream else "") + kind
            verb, path = "POST", SERVICE + method
            body = b"\0" + len(data).to_bytes(4, "big") + data if stream else data
        if stream:
            headers["Connect-Timeout-Ms"] = "300"
        if stream and face == "rest":
            return self.begin_stream(path, headers)
        return self.d.request(verb, path, body, headers)

    def begin_stream(self, path, headers):
        """An endless one is left as soon as it has begun."""
        c = self.d.connection()
        c.request("GET", path, headers=headers)
        r = c.getresponse()
        answer = (r.status, dict((k.lower(), v) for k, v in r.getheaders()), b"" if r.status == 200 else r.read())
        r.close()
        c.close()
        return answer


def protocol_roles():
    with open(os.path.join(ROOT, "proto", "PROTOCOL.md"), encoding="utf-8") as f:
        return dict(re.findall(r"^\| (\w+) \| `[A-Z]+ /v1[^`]*` \| (\w+) \|", f.read(), re.M))


class Roles(AuthTest):
    def test_the_protocol_says_every_role(self):
        with open(os.path.join(ROOT, "daemon", "rpc", "methods.c"), encoding="utf-8") as f:
            table = {name: role.lower() for name, role in re.findall(r'\{"(\w+)", ROLE_(\w+)', f.read())}
        self.assertEqual(set(table), set(REST))
        self.assertEqual(protocol_roles(), table)

    def test_every_method_face_and_role(self):
        tokens = [self.token("t-" + role, role) for role in ROLES]
        self.start(*tokens)
        faces, roles, n = Faces(self.d), protocol_roles(), 0
        for method in REST:
            for face in faces.names:
                for token in [None, self.token("stranger"), *tokens]:
                    n += 1
                    job = "j%d" % n
                    if method not in ("CreateJob", "ImportState", "ListJobs", "Simulate"):
                        self.ok("POST", "/v1/jobs", {"job": job, "lr": 0.1, "plateau": {}})
                    with self.subTest(method=method, face=face, token=token and token.id):
                        status, headers, text = faces.call(face, method, message(method, job, job + "n"), token)
                        if token in tokens and ROLES.index(token.role) >= ROLES.index(roles[method]):
                            self.assertEqual(status, 200, text)
                            if method == "WatchJob":
                                self.assertIn(b"WATCH_EXPIRED" if face != "rest" else b"", text)
                            continue
                        want = ("TOKEN_REQUIRED", 401) if not token else \
                            ("ROLE_INSUFFICIENT", 403) if token in tokens else ("TOKEN_INVALID", 401)
                        answer = json.loads(text)
                        self.assertEqual((reason(answer), status), want)
                        self.assertEqual(headers["content-type"], "application/json")
                        self.assertEqual(headers.get("www-authenticate"),
                                         'Bearer realm="greedylrd"' if status == 401 else None)
                        if status == 403:
                            self.assertIn(roles[method], answer["message"])
                            self.assertIn(token.id, answer["message"])

    def test_nothing_happens_without_the_role(self):
        observer = self.token("observer", "observe")
        self.start(observer)
        self.ok("POST", "/v1/jobs/a:report", {"step": 1, "loss": 1, "lr": 0.1})
        before = self.ask(observer, "GET", "/v1/jobs/a")[2]
        faces = Faces(self.d)
        for method, role in protocol_roles().items():
            if role != "observe":
                for face in faces.names:
                    self.assertEqual(faces.call(face, method, message(method, "a"), observer)[0], 403)
                    self.assertEqual(faces.call(face, method, message(method, "new"), None)[0], 401)
        self.assertEqual(self.ask(observer, "GET", "/v1/jobs/a")[2], before)
        self.assertEqual([j["job"] for j in json.loads(self.ask(observer, "GET", "/v1/jobs")[2])["jobs"]], ["a"])

    def test_plain_paths(self):
        self.start()
        for path in OPEN + ["/metrics"]:
            for token in (None, self.token("stranger"), self.root):
                status, headers, text = self.ask(token, "GET", path)
                self.assertEqual(status, 200, (path, text))
                self.assertNotIn("www-authenticate", headers)
        self.assertEqual(self.ask(None, "GET", "/nowhere")[0], 404)
        for method, path in (("PUT", "/v1/jobs"), ("POST", SERVICE + "Nothing")):
            self.assertIn(self.ask(None, method, path)[0], (404, 405))

    def test_no_body_is_read_without_a_token(self):
        self.start()
        answer = self.d.raw(b"POST /v1/jobs/a:report HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
                            b"Content-Length: 60000\r\n\r\n")
        self.assertTrue(answer.startswith(b"HTTP/1.1 401 "), answer)
        self.assertNotIn(b"100 Continue", answer)

    def test_connect_get(self):
        observer = self.token("observer", "observe")
        self.start(observer)
        path = SERVICE + "ListJobs?" + urllib.parse.urlencode({"message": "{}", "encoding": "json"})
        self.assertEqual(self.ask(observer, "GET", path)[0], 200)
        self.assertEqual(self.ask(observer, "HEAD", path)[0], 200)
        self.assertEqual(self.ask(None, "GET", path)[0], 401)
        self.assertEqual(self.ask(None, "HEAD", path)[0], 401)

    def test_unix_sockets_ask_too(self):
        path = os.path.join(self.folder.name, "s")
        process = subprocess.Popen([BINARY, "--listen", "unix:" + path, "--data-dir", os.path.join(self.folder.name, "d"),
                                    "--token-file", self.file], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            process.stdout.readline()

            def curl(*args):
                return subprocess.run(["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--unix-socket", path, *args],
                                      capture_output=True, text=True, timeout=60).stdout
            self.assertEqual(curl("http://localhost/v1/jobs"), "401")
            self.assertEqual(curl("http://localhost/metrics"), "200")
            self.assertEqual(curl("http://localhost/v1/jobs", "-H", "Authorization: Bearer " + self.root.text), "200")
        finally:
            process.terminate()
            self.assertNotIn(self.root.text, process.communicate(timeout=60)[1])


class FromOutside(AuthTest):
    """A peer whose address is not loopback: a network of its own, where that may be made."""

    @unittest.skipUnless(subprocess.run(["unshare", "-n", "true"], capture_output=True).returncode == 0, "unshare -n is not permitted")
    def test_metrics_need_a_token(self):
        script = """ip link set lo up && ip addr add 192.0.2.7/32 dev lo || exit 77
        "$1" --listen 192.0.2.7:8571 --data-dir "$2" --token-file "$3" --insecure no-tls >"$2.out" 2>"$2.log" & pid=$!
        while ! grep -q listening "$2.out"; do kill -0 $pid || exit 1; sleep 0.05; done
        for path in /metrics /livez /readyz /version / /v1/jobs; do
            curl -s -o /dev/null -w '%{http_code} ' http://192.0.2.7:8571$path
            curl -s -o /dev/null -w '%{http_code}\n' -H "Authorization: Bearer $4" http://192.0.2.7:8571$path
        done
        kill $pid; wait $pid"""
        observer = self.token("observer", "observe", "none.")
        self.write(observer)
        data = os.path.join(self.folder.name, "d")
        r = subprocess.run(["unshare", "-n", "bash", "-c", script, "bash", BINARY, data, self.file, observer.text],
                           capture_output=True, text=True, timeout=60)
        if r.returncode == 77:
            self.skipTest("no address can be added")
        self.assertEqual(r.stdout.splitlines(), ["401 200"] + ["200 200"] * 4 + ["401 200"], r.stderr)
        with open(data + ".log", encoding="utf-8") as f:
            log = f.read()
        self.assertIn("accepted=no-tls", log)
        self.assertIn("token_refused", log)
        self.assertNotIn(observer.text.split(".")[1], log)


class Bad(AuthTest):
    def test_every_shape(self):
        self.start()
        good, secret = self.root.text, self.root.text.split(".")[1]
        flipped = good[:-2] + ("A" if good[-2] != "A" else "B") + good[-1]
        shapes = {"": "TOKEN_REQUIRED", good: "TOKEN_INVALID", "Basic " + good: "TOKEN_INVALID", "Bearer": "TOKEN_INVALID",
                  "Bearer ": "TOKEN_INVALID", "Bearer." + good: "TOKEN_INVALID", "Bearer " + secret: "TOKEN_INVALID"}
        for text in (flipped, good + "A", good[:-1], good + "=", good + " x", good + "," + good, "root." + "." * 43,
                     "root." + "A" * 43, "nobody." + secret, "ROOT." + secret, "." + secret, "root", "root.", "root." + secret[:-1] + "é",
                     "root." + secret[:-1] + "+", "root." + secret[:-1] + "/", "root.root." + secret, "r" * 33 + "." + secret,
                     "root.%s%s" % (secret, secret), "a" * 6000, '"%s"' % good, "root:" + secret,
                     hashlib.sha256(good.encode()).hexdigest(), "root." + hashlib.sha256(good.encode()).hexdigest()):
            shapes["Bearer " + text] = "TOKEN_INVALID"
        for value, want in shapes.items():
            with self.subTest(value=value[:60]):
                status, headers, text = self.d.request("GET", "/v1/jobs", headers={"Authorization": value.encode()})
                self.assertEqual((status, reason(json.loads(text))), (401, want))
                self.assertEqual(headers["www-authenticate"], 'Bearer realm="greedylrd"')
                self.assertNotIn(secret[:20].encode(), text)
        for value in ("Bearer " + good, "bearer " + good, "BEARER   " + good, "Bearer %s " % good):
            self.assertEqual(self.d.request("GET", "/v1/jobs", headers={"Authorization": value})[0], 200, value)

    def test_unknown_id_and_wrong_secret_read_the_same(self):
        self.start()
        other = Token("nobody")
        wrong = "root." + other.text.split(".")[1]
        texts = {self.d.request("GET", "/v1/jobs", headers={"Authorization": "Bearer " + t})[2] for t in (other.text, wrong)}
        self.assertEqual(len(texts), 1)

    def test_two_headers(self):
        self.start()
        line = ("Authorization: Bearer %s\r\n" % self.root.text).encode()
        for lines in (line + line, line + b"Authorization: x\r\n", b"authorization: x\r\n" + line):
            answer = self.d.raw(b"GET /v1/jobs HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" + lines + b"\r\n")
            self.assertTrue(answer.startswith(b"HTTP/1.1 401 "), answer[:200])
            self.assertIn(b"TOKEN_INVALID", answer)

    def test_other_places_do_not_count(self):
        self.start()
        text = urllib.parse.quote(self.root.text)
        for path in ("/v1/jobs?token=" + text, "/v1/jobs?access_token=" + text, SERVICE + "ListJobs?message=%7B%7D&encoding=json&token=" + text):
            self.assertEqual(self.d.request("GET", path)[0], 401)
            self.assertEqual(self.d.request("GET", path, headers={"Cookie": "token=" + text, "X-Api-Key": self.root.text})[0], 401)
        status, _, answer = self.ask(self.root, "GET", "/v1/jobs?token=" + text)
        self.assertEqual((status, reason(json.loads(answer))), (400, "QUERY_INVALID"))
        self.assertNotIn(self.root.text.encode(), answer)


class Prefix(AuthTest):
    """Outside its prefix a job is as if it did not exist: the same bytes, but for its name."""
    INSIDE, OUTSIDE = "team-a.", "team-b."
    CREATORS = {"CreateJob", "ImportState"}

    def setUp(self):
        super().setUp()
        self.a = self.token("a", "admin", self.INSIDE)
        self.start(self.a)
        for job in (self.OUTSIDE + "job", self.INSIDE + "job", "zebra", "Team-a.x", "team-a"):
            self.ok("POST", "/v1/jobs", {"job": job, "lr": 0.1, "plateau": {}})
            self.ok("POST", "/v1/jobs/%s:report" % job, {"step": 1, "loss": 1})

    def neutral(self, answer, *names):
        status, headers, text = answer
        headers = {k: v for k, v in headers.items() if k not in ("date", "content-length")}
        names = (*names, headers.pop("x-request-id"))
        for value in re.findall(rb'"value":"([A-Za-z0-9+/=]*)"', text):
            text = text.replace(value, base64.b64decode(value + b"==").hex().encode())
        for name in names:
            text = text.replace(name.encode(), b"JOB").replace(name.encode().hex().encode(), b"4a4f42")
        return status, headers, text

    def test_outside_is_like_missing(self):
        faces = Faces(self.d)
        there, missing, inside_missing = self.OUTSIDE + "job", self.OUTSIDE + "non", self.INSIDE + "non"
        for method in REST:
            if method in ("ListJobs", "Simulate"):
                continue
            for face in faces.names:
                with self.subTest(method=method, face=face):
                    answers = [self.neutral(faces.call(face, method, message(method, job, self.INSIDE + "fork"), self.a), job)
                               for job in (there, missing)]
                    self.assertEqual(*answers)
                    if method in self.CREATORS:
                        self.assertEqual((answers[0][0], reason(json.loads(answers[0][2]))), (403, "JOB_OUTSIDE_PREFIX"))
                        continue
                    third = self.neutral(faces.call(face, method, message(method, inside_missing, self.INSIDE + "fork"), self.a),
                                         inside_missing)
                    self.assertEqual(answers[0], third)
                    self.assertIn(b"JOB_NOT_FOUND", answers[0][2])

    def test_bad_requests_too(self):
        """What is wrong with a request is told as for a job that is not there."""
        there, missing = self.OUTSIDE + "job", self.OUTSIDE + "non"
        cases = [("POST", ":report", {"step": 1, "loss": 1, "weight": -1}), ("POST", ":report", {"step": 1}), ("POST", ":report", {"loss": 1, "lr": -1}),
                 ("POST", ":report", {"loss": 1, "lr": 0.1}), ("POST", ":report", {"loss": 1, "lr": 0.1, "rank": 7}),
                 ("POST", ":report", {"loss": 1, "lr": 0.1, "dry_run": True}), ("POST", ":report", {"step": 1, "loss": 1, "attempt": 9}),
                 ("POST", ":rewind", {"step": 1}), ("POST", ":rewind", {}), ("POST", ":rewind", {"step": 77}), ("POST", ":begin", {"step": 5}),
                 ("POST", ":fork", {}), ("POST", ":fork", {"spec": {"job": "zebra"}}), ("POST", ":setLr", {}), ("POST", ":setLr", {"lr": [1, 2, 3]}),
                 ("PATCH", "", {"spec": {}}), ("PATCH", "", {"spec": {"lr": 1}}), ("PATCH", "", {"spec": {"job": "zebra"}}),
                 ("PUT", "/state", {"x": 1}), ("GET", "/lr?step=1", None), ("GET", "/lr?step=9&wait=1s", None), ("GET", "/lr?wait=1s", None),
                 ("GET", "/decisions?page_token=x", None), ("GET", "/decisions?max_points=3", None), ("GET", ":watch?after_revision=99", None),
                 ("HEAD", "", None), ("HEAD", ":watch", None), ("GET", "/decisions?format=csv", None)]
        for method, rest, body in cases:
            with self.subTest(rest=rest, body=body):
                answers = [self.neutral(self.ask(self.a, method, "/v1/jobs/" + job + rest, body), job) for job in (there, missing)]
                self.assertEqual(*answers)
                self.assertNotEqual(answers[0][0], 200)

    def test_creating_outside(self):
        before = self.ok("GET", "/v1/jobs/zebra")
        for job in ("zebra", "nothing", "team-a", "Team-a.x", "team-", "team-a-"):
            for method, path, body in (("POST", "/v1/jobs", {"job": job, "lr": 0.1, "plateau": {}}),
                                       ("POST", "/v1/jobs/%s:report" % job, {"loss": 1, "lr": 0.1}),
                                       ("POST", "/v1/jobs/team-a.job:fork", {"spec": {"job": job}}),
                                       ("PUT", "/v1/jobs/%s/state" % job, STATE)):
                status, _, text = self.ask(self.a, method, path, body)
                self.assertEqual((status, reason(json.loads(text))), (403, "JOB_OUTSIDE_PREFIX"), (job, path))
                self.assertIn(self.INSIDE, json.loads(text)["message"])
        self.assertEqual(self.ok("GET", "/v1/jobs/zebra"), before)
        self.assertEqual(len(self.ok("GET", "/v1/jobs")["jobs"]), 5)
        self.ok("POST", "/v1/jobs/team-a.job:fork", {"spec": {"job": "team-a."}}, self.a)
        self.ok("POST", "/v1/jobs/team-a.new:report", {"loss": 1, "lr": 0.1}, self.a)

    def test_batch(self):
        reports = [{"job": job, "step": 2, "loss": 1.0, **more} for job in (self.OUTSIDE + "job", self.INSIDE + "job", self.OUTSIDE + "non", "zebra")
                   for more in ({}, {"lr": [0.1]})]
        results = self.ok("POST", "/v1/jobs:batchReport", {"reports": reports}, self.a)["results"]
        said = [r["error"]["reason"] if "error" in r else "decided" for r in results]
        outside = ["JOB_NOT_FOUND", "JOB_OUTSIDE_PREFIX"]
        self.assertEqual(said, outside + ["decided", "decided"] + outside + outside)
        self.assertEqual(json.dumps(results[0]).replace("job", "non"), json.dumps(results[4]).replace("job", "non"))
        self.assertEqual(self.ok("GET", "/v1/jobs/%sjob" % self.OUTSIDE)["state"]["step"], 1)
        many = [{"job": "zebra", "loss": 1.0}] * 250 + [{"job": self.INSIDE + "job", "step": 3, "loss": 1.0}]
        results = self.ok("POST", "/v1/jobs:batchReport", {"reports": many}, self.a)["results"]
        self.assertEqual([r.get("error", {}).get("reason") for r in results], ["JOB_NOT_FOUND"] * 250 + [None])

    def names(self, query, token):
        found, page = [], ""
        while True:
            answer = self.ok("GET", "/v1/jobs?%s%s" % (query, page), None, token)
            found += [j["job"] for j in answer["jobs"]]
            if "next_page_token" not in answer:
                return found
            self.assertTrue(answer["next_page_token"].startswith(token.prefix))
            page = "&page_token=" + answer["next_page_token"]

    def test_lists(self):
        inside = [self.INSIDE + n for n in ("a1", "a2", "job", "z")]
        for job in inside:
            self.ok("POST", "/v1/jobs/%s:report" % job, {"loss": 1, "lr": 0.1})
        for size in (1, 2, 3, 4, 5):
            self.assertEqual(self.names("page_size=%d" % size, self.a), inside)
        for query, want in (("prefix=team-a.a", inside[:2]), ("prefix=t", inside), ("prefix=team-b", []), ("prefix=zebra", []),
                            ("prefix=team-a", inside), ("page_token=A", inside), ("page_token=team-a.a1", inside[1:]),
                            ("page_token=team-b.job", []), ("page_token=zebra", []), ("state=paused", []), ("label=x", [])):
            self.assertEqual(self.names(query, self.a), want, query)
        self.assertEqual(self.names("page_token=" + self.OUTSIDE + "job", self.a), self.names("page_token=" + self.OUTSIDE + "non", self.a))
        self.assertEqual(len(self.names("", self.root)), 8)
        text = self.d.request("POST", SERVICE + "ListJobs", "{}", dict(self.a.header, **{"Content-Type": "application/json"}))[2]
        self.assertEqual([j["job"] for j in json.loads(text)["jobs"]], inside)

    def test_actor_names_the_token(self):
        self.ok("POST", "/v1/jobs/team-a.job:setLr", {"lr": 0.5}, self.a)
        actor = self.ok("GET", "/v1/jobs/team-a.job/decisions", None, self.a)["decisions"][-1]["actor"]
        self.assertRegex(actor, r"^a@127\.0\.0\.1:\d+$")


class Reload(AuthTest):
    def test_added_removed_changed(self):
        b = self.token("b", "observe")
        self.start()
        self.assertEqual(self.ask(b, "GET", "/v1/jobs")[0], 401)
        self.write(self.root, b)
        self.assertEqual(self.ask(b, "GET", "/v1/jobs")[0], 401)  # not before the signal
        self.reload()
        self.assertEqual(self.ask(b, "GET", "/v1/jobs")[0], 200)
        self.assertEqual(self.ask(b, "POST", "/v1/jobs", {"job": "x", "lr": 1})[0], 403)
        b.role = "report"
        self.write(self.root, b)
        self.reload()
        self.assertEqual(self.ask(b, "POST", "/v1/jobs", {"job": "x", "lr": 1})[0], 200)
        b.prefix = "y"
        self.write(self.root, b)
        self.reload()
        self.assertEqual(self.ask(b, "GET", "/v1/jobs/x")[0], 404)
        self.write(self.root)
        self.reload()
        self.assertEqual(self.ask(b, "GET", "/v1/jobs")[0], 401)

    def test_a_bad_file_keeps_the_old_tokens(self):
        self.start()
        for text, mode, what in (("x\n", 0o600, "line 1: role"), (self.root.line + self.root.line, 0o600, "line 2"), (self.root.line, 0o644, "chmod 600"),
                                 (self.root.line[:-1], 0o600, "newline"), ("\0", 0o600, "newline")):
            self.write_text(text, mode)
            self.reload("tokens_not_reloaded")
            self.assertIn(what, [line for line in self.d._lines if "tokens_not_reloaded" in line][-1])
            self.assertEqual(self.ask(self.root, "GET", "/v1/jobs")[0], 200)
        os.unlink(self.file)
        self.reload("tokens_not_reloaded")
        self.assertEqual(self.ask(self.root, "GET", "/v1/jobs")[0], 200)
        self.write_text("# nobody\n")
        self.reload()
        self.assertEqual(self.ask(self.root, "GET", "/v1/jobs")[0], 401)

    def test_revoked_waits_end(self):
        """Watches, waiting reports and waiting readers of a revoked token end at the reload, others go on."""
        gone, stays = self.token("gone", "report"), self.token("stays", "report")
        self.start(gone, stays)
        self.ok("POST", "/v1/jobs", {"job": "r", "lr": 0.1, "ranks": {"world_size": 3}})
        answers = {}

        def ask(name, token, method, path, body=None, headers=None):
            answers[name] = self.d.request(method, path, body, dict(token.header, **(headers or {})))

        envelope = json.dumps({"job": "r"}).encode()
        threads = [threading.Thread(target=ask, args=args) for args in (
            ("report", gone, "POST", "/v1/jobs/r:report", {"step": 1, "loss": 1, "rank": 0}),
            ("reader", gone, "GET", "/v1/jobs/r/lr?step=1&wait=60s"),
            ("watch", gone, "GET", "/v1/jobs/r:watch"),
            ("stream", gone, "POST", SERVICE + "WatchJob", b"\0" + len(envelope).to_bytes(4, "big") + envelope,
             {"Content-Type": "application/connect+json"}),
            ("other", stays, "POST", "/v1/jobs/r:report", {"step": 1, "loss": 1, "rank": 1}))]
        for t in threads:
            t.start()
        wait_until(lambda: self.ok("GET", "/v1/jobs/r")["state"].get("open_round", {}).get("reported") == 2)
        wait_until(lambda: b"greedylrd_watchers 2" in self.d.request("GET", "/metrics")[2])
        wait_until(lambda: self.in_flight() >= 5)
        self.write(self.root, stays)
        self.reload()
        for t in threads[:4]:
            t.join(20)
        for name in ("report", "reader"):
            status, headers, text = answers[name]
            self.assertEqual((status, reason(json.loads(text))), (401, "TOKEN_REVOKED"))
            self.assertIn("www-authenticate", headers)
        for name in ("watch", "stream"):
            self.assertEqual(answers[name][0], 200)
            self.assertIn(b"TOKEN_REVOKED", answers[name][2])
        self.assertNotIn("other", answers)
        # The value of the revoked one counts: what is durable stays.
        self.ok("POST", "/v1/jobs/r:report", {"step": 1, "loss": 1, "rank": 2})
        threads[4].join(20)
        self.assertEqual(answers["other"][0], 200)

    def in_flight(self):
        # This request, and what waits; streams are counted apart.
        text = self.d.request("GET", "/metrics")[2].decode()
        return sum(float(re.search(r"^greedylrd_%s (\S+)$" % n, text, re.M).group(1)) for n in ("requests_in_flight", "watchers"))

    def test_a_body_on_its_way_when_the_token_goes(self):
        b = self.token("b", "report")
        self.start(b)
        import socket
        body = json.dumps({"step": 1, "loss": 1, "lr": 0.1}).encode()
        head = ("POST /v1/jobs/x:report HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n"
                % (b.text, len(body))).encode()
        with socket.create_connection(("127.0.0.1", self.d.port), 20) as s:
            s.sendall(head + body[:5])
            wait_until(lambda: self.in_flight() >= 2)
            self.write(self.root)
            self.reload()
            s.sendall(body[5:])
            answer = b""
            while more := s.recv(65536):
                answer += more
        self.assertIn(b"TOKEN_INVALID", answer)
        self.assertEqual(self.ask(self.root, "GET", "/v1/jobs/x")[0], 404)

    def test_without_a_file_a_signal_changes_nothing(self):
        d = Daemon()
        self.addCleanup(d.close)
        d.start()
        d.process.send_signal(signal.SIGHUP)
        self.assertEqual(d.request("GET", "/v1/jobs")[0], 200)


class Nobody(AuthTest):
    def test_a_file_without_tokens_is_said(self):
        self.write_text("# nobody yet\n")
        self.d.start()
        wait_until(lambda: self.said("no_tokens"))
        self.assertEqual(self.ask(self.root, "GET", "/v1/jobs")[0], 401)
        self.write(self.root)
        self.reload()
        self.assertEqual((self.said("no_tokens"), self.ask(self.root, "GET", "/v1/jobs")[0]), (1, 200))
        self.write_text("")
        self.reload()
        wait_until(lambda: self.said("no_tokens") == 2)


class File(AuthTest):
    def refused(self, *args, env=None):
        r = subprocess.run([BINARY, "--data-dir", "/nonexistent/greedylrd", "--check-config", *args], capture_output=True, text=True,
                           timeout=60, env=dict(os.environ, **(env or {})))
        return r.returncode, r.stdout + r.stderr

    def test_permissions(self):
        for mode in (0o640, 0o604, 0o660, 0o610, 0o601, 0o602):
            os.chmod(self.file, mode)
            code, text = self.refused("--token-file", self.file)
            self.assertEqual(code, 2, oct(mode))
            self.assertIn("chmod 600", text)
            self.assertIn("%03o" % mode, text)
        os.chmod(self.file, 0o400)
        self.assertEqual(self.refused("--token-file", self.file)[0], 0)
        for path in (self.folder.name, "/dev/null", os.path.join(self.folder.name, "none")):
            code, text = self.refused("--token-file", path)
            self.assertEqual(code, 2)
            self.assertIn(path, text)
        fifo = os.path.join(self.folder.name, "fifo")
        os.mkfifo(fifo, 0o600)
        self.assertEqual(self.refused("--token-file", fifo)[0], 2)

    def test_credentials_directory(self):
        env = {"CREDENTIALS_DIRECTORY": self.folder.name}
        os.chmod(self.file, 0o440)  # as systemd's look
        code, text = self.refused(env=env)
        self.assertEqual(code, 0, text)
        self.assertIn("token-file = " + self.file, text)
        self.assertEqual(self.refused("--token-file", self.file)[0], 2)
        os.mkdir(os.path.join(self.folder.name, "sub"))
        os.rename(self.file, os.path.join(self.folder.name, "sub", "tokens"))
        self.assertEqual(self.refused("--token-file", os.path.join(self.folder.name, "sub", "tokens"), env=env)[0], 2)
        self.assertNotIn("token-file = /", self.refused(env=env)[1])

    def test_a_start_with_a_bad_file_is_refused(self):
        self.write_text(self.root.line.replace("admin", "owner"))
        with self.assertRaisesRegex(RuntimeError, "exit 2.*line 1: role"):
            self.d.start()

    def test_exposure(self):
        """Off loopback: tokens and TLS, or the absence of each by name."""
        tokens = ("--token-file", self.file)
        for flags, code, names in (((), 2, ("without tokens", "TLS", "--insecure no-tokens,no-tls")), (tokens, 2, ("TLS", "--insecure no-tls")),
                                   (("--insecure", "no-tls"), 2, ("without tokens", "no-tokens,no-tls")), (tokens + ("--insecure", "no-tls"), 0, ("accepted=no-tls",)),
                                   (tokens + ("--insecure", "no-tokens"), 2, ("TLS",)),
                                   (("--insecure", "no-tokens,no-tls"), 0, ("accepted=no-tls", "accepted=no-tokens"))):
            got, text = self.refused("--listen", "0.0.0.0:1", *flags)
            self.assertEqual(got, code, (flags, text))
            for name in names:
                self.assertIn(name, text)
            if tokens[0] in flags:
                self.assertNotIn("without tokens", text)


class Quotas(AuthTest):
    def refused(self, token, quota, method, path, body=None):
        status, headers, text = self.ask(token, method, path, body)
        self.assertEqual((status, reason(json.loads(text))), (429, "QUOTA_EXCEEDED"), text)
        self.assertGreaterEqual(int(headers["retry-after"]), 1)
        for word in (quota, token.id):
            self.assertIn(word, json.loads(text)["message"])

    def test_jobs(self):
        q, free = self.token("q", "admin", "q.", jobs=3), self.token("free", "admin", "q.")
        self.start(q, free)
        self.ok("POST", "/v1/jobs", {"job": "q.0", "lr": 1})  # whoever creates it
        self.ok("POST", "/v1/jobs", {"job": "r", "lr": 1})
        self.ok("POST", "/v1/jobs", {"job": "q.1", "lr": 1}, q)
        self.ok("POST", "/v1/jobs/q.2:report", {"loss": 1, "lr": 1}, q)

        def full():
            for method, path, body in (("POST", "/v1/jobs", {"job": "q.3", "lr": 1}), ("POST", "/v1/jobs/q.3:report", {"loss": 1, "lr": 1}),
                                       ("POST", "/v1/jobs/q.1:fork", {"spec": {"job": "q.3"}}), ("PUT", "/v1/jobs/q.3/state", STATE)):
                self.refused(q, "jobs=3", method, path, body)
            self.ok("POST", "/v1/jobs", {"job": "q.1", "lr": 1}, q)  # it is there
            self.ok("POST", "/v1/jobs/q.1:report", {"loss": 1}, q)
        full()
        self.reload()
        full()
        self.d.restart()
        full()
        self.ok("DELETE", "/v1/jobs/q.0", None, free)
        results = self.ok("POST", "/v1/jobs:batchReport", {"reports": [{"job": "q.%d" % i, "loss": 1, "lr": [1]} for i in (3, 4, 5)]}, q)["results"]
        self.assertEqual([r.get("error", {}).get("reason") for r in results], [None, "QUOTA_EXCEEDED", "QUOTA_EXCEEDED"])
        self.ok("POST", "/v1/jobs", {"job": "q.6", "lr": 1}, free)
        q.more["jobs"] = 5
        self.write(self.root, q, free)
        self.reload()
        self.ok("POST", "/v1/jobs", {"job": "q.7", "lr": 1}, q)
        self.refused(q, "jobs=5", "POST", "/v1/jobs", {"job": "q.8", "lr": 1})
        free.more["jobs"] = 5  # counted at the reload
        self.write(self.root, q, free)
        self.reload()
        self.refused(free, "jobs=5", "POST", "/v1/jobs", {"job": "q.8", "lr": 1})
        self.assertIn(b'limit_refusals_total{limit="token-jobs"}', self.d.request("GET", "/metrics")[2])
        self.assertIn(b'refusals_total{reason="QUOTA_EXCEEDED"}', self.d.request("GET", "/metrics")[2])

    def test_a_failed_creation_does_not_count(self):
        q = self.token("q", "admin", "q.", jobs=1)
        self.start(q)
        for body in ({"job": "q.1", "lr": -1}, {"job": "q.1", "lr": 1, "greedy": {"patience": -1}}, {"job": "r", "lr": 1}):
            self.assertIn(self.ask(q, "POST", "/v1/jobs", body)[0], (400, 403))
        self.ok("POST", "/v1/jobs/q.1:report", {"loss": 1, "lr": 1, "dry_run": True}, q)
        for _ in range(3):
            self.ok("POST", "/v1/jobs", {"job": "q.1", "lr": 1}, q)
            self.ok("DELETE", "/v1/jobs/q.1", None, q)
        self.ok("POST", "/v1/jobs", {"job": "q.2", "lr": 1}, q)

    def test_requests(self):
        q = self.token("q", "admin", requests=5)
        self.start(q)
        said = [self.ask(q, "GET", "/v1/jobs")[0] for _ in range(40)]
        self.assertEqual(said[:10], [200] * 10)
        self.assertIn(429, said)
        c = self.d.connection()
        while self.d.request("GET", "/v1/jobs", None, q.header, c)[0] == 200:
            pass
        self.refused(q, "requests=5", "GET", "/v1/jobs")
        for path in OPEN + ["/metrics"]:
            self.assertEqual(self.ask(q, "GET", path)[0], 200)
        self.ok("GET", "/v1/jobs")
        wait_until(lambda: self.ask(q, "GET", "/v1/jobs")[0] == 200)
        c.close()

    def test_rounds(self):
        q, other = self.token("q", "report", rounds=2), self.token("other", "report")
        self.start(q, other)
        for i in range(4):
            self.ok("POST", "/v1/jobs", {"job": "r%d" % i, "lr": 0.1, "ranks": {"world_size": 2}})
        threads, said = [], {}

        def report(job, rank, token=q):
            said[job, rank] = self.ask(token, "POST", "/v1/jobs/%s:report" % job, {"step": 1, "loss": 1, "rank": rank})[0]
        for i in range(2):
            threads.append(threading.Thread(target=report, args=("r%d" % i, 0)))
            threads[-1].start()
            wait_until(lambda: "open_round" in self.ok("GET", "/v1/jobs/r%d" % i)["state"])
        self.refused(q, "rounds=2", "POST", "/v1/jobs/r2:report", {"step": 1, "loss": 1, "rank": 0})
        self.refused(q, "rounds=2", "POST", "/v1/jobs/r1:report", {"step": 2, "loss": 1, "rank": 0})
        # The same again, at once: it waits for its round, and is not refused.
        status, _, text = self.ask(q, "POST", "/v1/jobs/r0:report?wait=0s", {"step": 1, "loss": 1, "rank": 0})
        self.assertEqual((status, reason(json.loads(text))), (504, "WAIT_EXPIRED"))
        threads.append(threading.Thread(target=report, args=("r2", 0, other)))
        threads[-1].start()
        wait_until(lambda: "open_round" in self.ok("GET", "/v1/jobs/r2")["state"])
        for i in range(3):
            report("r%d" % i, 1)  # they are open
        for t in threads:
            t.join(20)
        self.assertEqual(set(said.values()), {200})
        for i in range(3, 4):  # both are free again
            status, _, text = self.ask(q, "POST", "/v1/jobs/r%d:report?wait=0s" % i, {"step": 1, "loss": 1, "rank": 0})
            self.assertEqual(reason(json.loads(text)), "WAIT_EXPIRED")

    def test_watchers(self):
        q, other = self.token("q", "observe", watchers=2), self.token("other", "observe")
        self.start(q, other)
        self.ok("POST", "/v1/jobs", {"job": "w", "lr": 1})

        def watch(token):
            c = self.d.connection()
            c.request("GET", "/v1/jobs/w:watch", headers=token.header)
            self.assertEqual(c.getresponse().status, 200)
            return c
        open_ones = [watch(q), watch(q)]
        self.refused(q, "watchers=2", "GET", "/v1/jobs/w:watch")
        self.assertEqual(self.ask(q, "HEAD", "/v1/jobs/w:watch")[0], 429)
        open_ones.append(watch(other))
        open_ones.pop(0).sock.close()
        wait_until(lambda: self.ask(q, "HEAD", "/v1/jobs/w:watch")[0] == 200)
        open_ones.append(watch(q))
        for c in open_ones:
            c.sock.close()

    def test_flags_are_defaults(self):
        self.d.flags += ["--token-jobs", "1", "--token-watchers", "1"]
        q, more = self.token("q", "admin", "q."), self.token("more", "admin", "m.", jobs=0)
        self.root.more["jobs"] = 100
        self.start(q, more)
        self.ok("POST", "/v1/jobs", {"job": "q.1", "lr": 1}, q)
        self.refused(q, "jobs=1", "POST", "/v1/jobs", {"job": "q.2", "lr": 1})
        for i in range(3):
            self.ok("POST", "/v1/jobs", {"job": "m.%d" % i, "lr": 1}, more)


class Tool(AuthTest):
    """greedylr token: what it writes the daemon reads."""

    def tool(self, *args, code=0, file=None):
        r = subprocess.run([os.path.join(os.path.dirname(BINARY), "greedylr"), "token", *args, "--file", file or self.file],
                           capture_output=True, text=True, timeout=60)
        self.assertEqual(r.returncode, code, (args, r.stdout, r.stderr))
        return r

    def create(self, *args, **more):
        r = self.tool("create", *args, **more)
        self.assertRegex(r.stdout, r"^[a-z0-9-]{1,32}\.[A-Za-z0-9_-]{43}\n$")
        self.assertNotIn(r.stdout.split(".")[1].strip(), r.stderr)
        self.assertIn("SIGHUP", r.stderr)
        token = self.token(r.stdout.split(".")[0])
        token.text = r.stdout.strip()
        return token

    def test_round_trip(self):
        file = self.file + "2"
        made = [self.create("--role", role, "--prefix", prefix, *more, file=file) for role, prefix, more in (
            ("admin", "", ("--id", "boss")), ("report", "team-a.", ("--note", "role=admin, of whom?", "--jobs", "5", "--watchers=0")),
            ("observe", "team-a.", ("--requests", "10", "--rounds", "1")))]
        self.assertEqual(stat.S_IMODE(os.stat(file).st_mode), 0o600)
        with open(file, encoding="utf-8") as f:
            text = f.read()
        for token in made:
            self.assertNotIn(token.text.split(".")[1], text)
            self.assertIn(hashlib.sha256(token.text.encode()).hexdigest(), text)
        self.write_text(text)
        self.d.start()
        boss, reporter, observer = made
        self.assertEqual(self.ask(boss, "POST", "/v1/jobs", {"job": "x", "lr": 1})[0], 200)
        self.assertEqual(self.ask(reporter, "POST", "/v1/jobs", {"job": "team-a.x", "lr": 1})[0], 200)
        self.assertEqual(self.ask(reporter, "GET", "/v1/jobs/x")[0], 404)
        self.assertEqual(self.ask(observer, "POST", "/v1/jobs", {"job": "team-a.y", "lr": 1})[0], 403)
        self.tool("revoke", "--id", reporter.id)
        self.reload()
        self.assertEqual([self.ask(t, "GET", "/v1/jobs")[0] for t in made], [200, 401, 200])
        again = self.create("--role", "report", "--prefix", "team-a.", "--id", reporter.id)
        self.reload()
        self.assertEqual([self.ask(t, "GET", "/v1/jobs")[0] for t in (reporter, again)], [401, 200])

    def test_every_line_of_an_id_is_revoked(self):
        # The daemon refuses a file with an id twice and keeps the old tokens: one line left would let the token back in.
        token = self.create("--role", "admin", "--prefix", "", "--id", "twice")
        with open(self.file, encoding="utf-8") as f:
            lines = f.readlines()
        self.write_text("".join(lines + ["# ours\n", " " + lines[-1]]))
        self.tool("revoke", "--id", "twice")
        with open(self.file, encoding="utf-8") as f:
            self.assertEqual(f.read(), "".join(lines[:-1]) + "# ours\n")
        self.d.start()
        self.assertEqual([self.ask(t, "GET", "/v1/jobs")[0] for t in (token, self.root)], [401, 200])

    def test_a_note_is_text(self):
        file = self.file + "2"
        r = self.tool("create", "--role", "admin", "--prefix", "", "--note", b"caf\xe9", code=2, file=file)
        self.assertIn("--note: must be UTF-8", r.stderr)
        token = self.create("--role", "admin", "--prefix", "", "--note", "café", file=file)
        with open(file, "ab") as f:  # by hand
            f.write(b"other role=admin prefix= sha256=%064d note=caf\xe9\n" % 1)
        for output in ("table", "json"):
            text = self.tool("list", "-o", output, file=file).stdout
            for expected in (token.id, "café", "other"):
                self.assertIn(expected, text)

    def test_list(self):
        file = self.file + "2"
        with open(file, "w", encoding="utf-8") as f:
            f.write("# ours\n\n")
        token = self.create("--role", "report", "--prefix", "p", "--note", "two  words", "--jobs", "5", file=file)
        r = self.tool("list", file=file)
        head, row = r.stdout.splitlines()
        self.assertEqual(head.split(), "ID ROLE PREFIX JOBS REQUESTS ROUNDS WATCHERS CREATED NOTE".split())
        self.assertEqual(row.split()[:4], [token.id, "report", "p", "5"])
        self.assertTrue(row.endswith("two  words"))
        for text in (r.stdout, self.tool("list", "-o", "json", file=file).stdout):
            self.assertNotIn(hashlib.sha256(token.text.encode()).hexdigest()[:16], text)
        self.assertEqual(json.loads(self.tool("list", "-o", "json", file=file).stdout)[0]["note"], "two  words")
        self.tool("revoke", "--id", token.id, file=file)
        with open(file, encoding="utf-8") as f:
            self.assertEqual(f.read(), "# ours\n\n")

    def test_refused(self):
        with open(self.file, encoding="utf-8") as f:
            before = f.read()
        good = ("--role", "admin", "--prefix", "x")
        for args in (("create", *good, "--id", "root"), ("create", *good, "--id", "A"), ("create", *good, "--id", "a" * 33), ("create", *good, "--id="),
                     ("create", "--role", "owner", "--prefix", "x"), ("create", "--prefix", "x"), ("create", "--role", "admin"),
                     ("create", "--role", "admin", "--prefix", "*"), ("create", *good, "--jobs", "-1"), ("create", *good, "--jobs", "4294967296"),
                     ("create", *good, "--note", "a\nroot2 role=admin"), ("revoke",), ("revoke", "--id", "nobody"), ("revoke", "--id", "roo"),
                     ("give",), ("list", "more")):
            r = self.tool(*args, code=2)
            self.assertEqual(r.stdout, "")
            self.assertIn("greedylr: ", r.stderr)
        self.tool("list", file=self.file + "none", code=2)
        self.tool("create", *good, file=self.folder.name, code=2)
        self.tool("create", *good, file="/nonexistent/tokens", code=2)
        with open(self.file + "cut", "w", encoding="utf-8") as f:
            f.write(self.root.line[:-1])
        self.tool("create", *good, file=self.file + "cut", code=2)
        with open(self.file, encoding="utf-8") as f:
            self.assertEqual(f.read(), before)
        self.assertEqual(sorted(os.listdir(self.folder.name)), ["tokens", "tokenscut"])

    def test_no_change_is_lost(self):
        file = self.file + "2"
        threads = [threading.Thread(target=self.create, args=("--role", "admin", "--prefix", "", "--id", "t%d" % i), kwargs={"file": file})
                   for i in range(12)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(sorted(row["id"] for row in json.loads(self.tool("list", "-o", "json", file=file).stdout)),
                         sorted("t%d" % i for i in range(12)))


if __name__ == "__main__":
    unittest.main()
