"""Tokens: every method, face and role, and what a token's prefix hides."""
import base64
import hashlib
import json
import os
import re
import subprocess
import unittest
import urllib.parse

from auth_help import AuthTest, Token
from harness import BINARY, ROOT, reason
from test_faces import REST, SERVICE, descriptor_pb2, load_contract

ROLES = ["observe", "report", "admin"]
OPEN = ["/livez", "/readyz", "/readyz?verbose", "/healthz", "/version", "/"]
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


if __name__ == "__main__":
    unittest.main()
