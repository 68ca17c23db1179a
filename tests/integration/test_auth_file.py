"""The token file: how it is read, and read again under way, and the tool that makes it."""
import hashlib
import json
import os
import re
import signal
import stat
import subprocess
import threading
import unittest

from auth_help import AuthTest, Token
from harness import BINARY, Daemon, reason, wait_until
from test_faces import SERVICE


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

    def reloaded(self):
        text = self.ask(self.root, "GET", "/metrics")[2].decode()
        return {file: int(value) for file, value in re.findall(r'^greedylrd_reload_successful\{file="(\w+)"\} (\d)$', text, re.M)}

    def test_a_bad_file_keeps_the_old_tokens(self):
        self.start()
        self.assertEqual(self.reloaded(), {"tokens": 1, "certificate": 1})
        for text, mode, what in (("x\n", 0o600, "line 1: role"), (self.root.line + self.root.line, 0o600, "line 2"), (self.root.line, 0o644, "chmod 600"),
                                 (self.root.line[:-1], 0o600, "newline"), ("\0", 0o600, "newline")):
            self.write_text(text, mode)
            self.reload("tokens_not_reloaded")
            self.assertIn(what, [line for line in self.d._lines if "tokens_not_reloaded" in line][-1])
            self.assertEqual(self.ask(self.root, "GET", "/v1/jobs")[0], 200)
            self.assertEqual(self.reloaded(), {"tokens": 0, "certificate": 1})
            self.write(self.root)
            self.reload()
            self.assertEqual(self.reloaded(), {"tokens": 1, "certificate": 1})
        os.unlink(self.file)
        self.reload("tokens_not_reloaded")
        self.assertEqual(self.ask(self.root, "GET", "/v1/jobs")[0], 200)
        self.write_text("# nobody\n")
        self.reload()
        self.assertEqual(self.reloaded(), {"tokens": 1, "certificate": 1})
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

    def test_what_the_daemon_refuses(self):
        # The tool looks at a file as the daemon does, so that nobody is told that a token is revoked while it is in force.
        good = Token("good").line
        hash = "sha256=" + "0" * 64
        whole = "role=admin prefix= " + hash
        taken = ["", "\n \t\n# any role\n", "a\t%s\n" % whole, " a  %s  \n" % whole, "a %s note=role=x role=y\n" % whole,
                 "a %s created= jobs=0 requests=4294967295 rounds=007 watchers=1\n" % whole, "a role=observe prefix=%s %s\n" % ("p" * 128, hash),
                 "%s %s\n" % ("a" * 32, whole), "a %s note=%s\n" % (whole, "x" * (1024 - len(whole) - 8)), "a role=report prefix= sha256=%s\n" % ("aF" * 32),
                 "a %s note=caf\xe9\n" % whole, "a %s\nab %s\n" % (whole, whole), "-a %s\n" % whole]
        refused = ["x\n", "A %s\n" % whole, "%s %s\n" % ("a" * 33, whole), "a role=owner prefix= %s\n" % hash, "a role= prefix= %s\n" % hash,
                   "a prefix= %s\n" % hash, "a role=admin %s\n" % hash, "a role=admin prefix=\n", "a role=admin prefix=* %s\n" % hash,
                   "a role=admin prefix=-x %s\n" % hash, "a role=admin prefix=%s %s\n" % ("p" * 129, hash), "a role=admin prefix=%s %s\n" % ("p" * 200, hash),
                   "a %s0\n" % whole, "a %s\n" % whole[:-1], "a %sg\n" % whole[:-1], "a %s jobs=\n" % whole, "a %s jobs=-1\n" % whole, "a %s jobs=1x\n" % whole,
                   "a %s rounds=4294967296\n" % whole, "a %s watchers=18446744073709551617\n" % whole, "a %s jobs=1 jobs=1\n" % whole, "a %s role=admin\n" % whole,
                   "a %s color=red\n" % whole, "a %s note\n" % whole, "a %s =\n" % whole, "a %s\r\n" % whole, "a %s note=\x1b[2J\n" % whole, "a %s note=\x7f\n" % whole,
                   "a %s note=%s\n" % (whole, "x" * 1024), "good %s\n" % whole, "a = %s\n" % whole, "a.b %s\n" % whole]
        daemon = [BINARY, "--check-config", "--data-dir", self.folder.name, "--token-file", self.file]
        for text in taken + refused:
            with self.subTest(text):
                bad = text in refused
                self.write_text(good + text)
                checked = subprocess.run(daemon, capture_output=True, text=True, timeout=60)
                self.assertEqual(checked.returncode, 2 if bad else 0, checked.stderr)
                listed = self.tool("list", code=1 if bad else 0)
                self.assertEqual("line 2: " in listed.stderr, bad, listed.stderr)
                self.assertEqual("line 2: " in checked.stderr, bad, checked.stderr)
                self.assertIn("good", listed.stdout)

    def test_a_bad_line_keeps_a_revoked_token_in_force(self):
        token = self.create("--role", "report", "--prefix", "", "--id", "leaked")
        self.d.start()
        with open(self.file, "a") as f:
            f.write("typo role=obsreve prefix= sha256=%064d\n" % 0)
        r = self.tool("revoke", "--id", "leaked", code=1)
        self.assertRegex(r.stderr, r"line 2: role has to be observe, report or admin.*this one too.*mend the line.*reload")
        self.assertNotIn("it is refused", r.stderr)
        self.reload("tokens_not_reloaded")
        self.assertEqual(self.ask(token, "GET", "/v1/jobs")[0], 200)  # as it was said
        self.assertIn("line 2: ", self.tool("revoke", "--id", "leaked", code=2).stderr)
        r = self.tool("create", "--role", "report", "--prefix", "", code=1)
        self.assertEqual(r.stdout, "")
        self.assertRegex(r.stderr, "line 2: .*no token was made")
        self.assertIn("it is refused", self.tool("revoke", "--id", "typo").stderr)
        self.reload()
        self.assertEqual(self.ask(token, "GET", "/v1/jobs")[0], 401)

    def test_the_owner_and_the_mode_stay(self):
        if os.geteuid():
            self.skipTest("needs root, who changes the file of the daemon's user")
        os.chmod(self.folder.name, 0o755)
        for mode, after in ((0o600, 0o600), (0o400, 0o400), (0o644, 0o600)):
            os.chown(self.file, 65534, 65533)
            os.chmod(self.file, mode)
            for args in (("create", "--role", "admin", "--prefix", "", "--id", "x"), ("revoke", "--id", "x")):
                self.tool(*args)
                info = os.stat(self.file)
                self.assertEqual((info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode)), (65534, 65533, after), (mode, args))
                read = subprocess.run(["setpriv", "--reuid=65534", "--regid=65533", "--clear-groups", "cat", self.file], capture_output=True)
                self.assertIn(b"root role=", read.stdout, read.stderr)

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
