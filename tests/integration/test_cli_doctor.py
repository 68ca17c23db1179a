"""greedylr doctor: every kind of trouble for real, and what it says to do about it."""
import http.server
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import unittest

from auth_help import Token
from certificates import Authority
from faults import FaultyDaemon
from harness import BINARY, ROOT, Daemon, wait_until
from terminal import Terminal
from cli_help import run
from test_tls import SecureDaemon

CHECKS = ["address", "proxy", "name", "connection", "tls", "daemon", "clock", "versions", "store", "ready", "token", "disk"]


class DoctorTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="greedylr-doctor-")
        self.addCleanup(shutil.rmtree, self.folder)

    def daemon(self, *flags, kind=Daemon, args=(), **more):
        d = kind(*args, *flags, **more)
        self.addCleanup(d.close)
        return d.start()

    def doctor(self, url, *args, code, **env):
        """{check: (status, detail, remedy)}; the table says the same, and every trouble has a remedy."""
        r = run("doctor", "--json", *args, GREEDYLR_URL=url, **env)
        self.assertEqual((r.returncode, r.stderr), (code, ""), r.stdout)
        answer = json.loads(r.stdout)
        self.assertEqual(answer["ok"], code == 0)
        found = {c["check"]: (c["status"], c["detail"], c.get("remedy", "")) for c in answer["checks"]}
        self.assertEqual(len(found), len(answer["checks"]))
        for name, (status, detail, remedy) in found.items():
            self.assertEqual(bool(remedy), status in ("warn", "fail"), name)
            self.assertTrue(not remedy or remedy[-1] in ".?", remedy)
        self.assertEqual(any(c[0] == "fail" for c in found.values()), code == 1)
        return found

    def failed(self, found, *want):
        self.assertEqual(tuple(name for name, c in found.items() if c[0] == "fail"), want, found)


class Reach(DoctorTest):
    def test_all_is_well(self):
        d = self.daemon()
        url = "http://127.0.0.1:%d" % d.port
        found = self.doctor(url, code=0)
        self.assertEqual(list(found), CHECKS)
        self.assertEqual({c[0] for c in found.values()}, {"ok"})
        self.assertIn("GREEDYLR_URL", found["address"][1])
        self.assertRegex(found["versions"][1], r"greedylr (\S+), greedylrd \1, libgreedylr ")
        r = run("doctor", "--url", url)
        self.assertEqual((r.returncode, r.stdout.splitlines()[-1], len(r.stdout.splitlines())), (0, "All is well.", 13))
        found = self.doctor(url, code=0, LD_LIBRARY_PATH=os.path.dirname(BINARY))
        if not any(os.environ.get(name) for name in ("ASAN_OPTIONS", "LD_PRELOAD")):
            self.assertNotIn("libgreedylr not installed", found["versions"][1])
        path = os.path.join(self.folder, "s")
        process = subprocess.Popen([BINARY, "--listen", "unix:" + path, "--data-dir", os.path.join(self.folder, "data")],
                                   stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            process.stdout.readline()
            found = self.doctor("unix:" + path, code=0)
        finally:
            process.terminate()
            process.communicate()
        self.assertEqual(list(found), [c for c in CHECKS if c != "name"])
        with Terminal("doctor", url=url) as t:
            self.assertEqual(t.ended(), 0)
            self.assertIn(b"\x1b[32mok  \x1b[0m", t.raw)
        self.assertIn("csv", run("doctor", "-o", "csv", GREEDYLR_URL=url).stderr)

    def test_variables(self):
        url = "http://127.0.0.1:%d" % self.daemon().port
        for name, remedy in (("GREEDYLR_TOKEN_FIEL", "Did you mean GREEDYLR_TOKEN_FILE?"), ("GREEDYLR_COLOUR", "greedylr(1)")):
            found = self.doctor(url, code=0, **{name: "secret"})
            self.assertEqual(list(found), ["variables"] + CHECKS)
            status, detail, said = found["variables"]
            self.assertEqual((status, detail), ("warn", name + ": nothing reads it"))
            self.assertIn(remedy, said)
        with open(os.path.join(ROOT, "client", "cli", "greedylr.1")) as f:
            known = set(re.findall(r"^\.It Ev (GREEDYLR_\w+)", f.read(), re.M))
        self.assertEqual(len(known), 5)
        for name in known - {"GREEDYLR_URL"}:
            self.assertNotIn("variables", self.doctor(url, code=0, **{name: ""}), name)

    def test_nobody_there(self):
        found = self.doctor("http://127.0.0.1:1", code=1)
        self.failed(found, "connection")
        self.assertIn("refused", found["connection"][1])
        self.assertIn("greedylrd --data-dir", found["connection"][2])
        self.assertEqual(found["token"][0], "skip")
        found = self.doctor("http://no-such-host.invalid:8571", code=1)
        self.failed(found, "name")
        found = self.doctor("unix:/no/such.sock", code=1)
        self.failed(found, "connection")
        self.assertIn("--listen unix:PATH", found["connection"][2])
        for url in ("ftp://x", "http://"):
            self.failed(self.doctor(url, code=1), "address")
        found = self.doctor("http://127.0.0.1:1", "--ca-file", "/no/file", code=1)
        self.failed(found, "authority")
        self.assertIn("GREEDYLR_INSECURE", self.doctor("http://x", code=1, GREEDYLR_INSECURE="yes")["address"][1])

    def test_somebody_else(self):
        for answer in (b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"):
            with socket.create_server(("127.0.0.1", 0)) as listener:
                def serve():
                    for _ in range(2):  # doctor's own connection, then the request
                        c, _ = listener.accept()
                        with c:
                            c.recv(65536)
                            try:
                                c.sendall(answer)
                            except OSError:
                                pass
                thread = threading.Thread(target=serve, daemon=True)
                thread.start()
                found = self.doctor("http://127.0.0.1:%d" % listener.getsockname()[1], code=1)
                thread.join(20)
            self.failed(found, "daemon")

    def test_proxies(self):
        env = {"http_proxy": "http://me:secret@127.0.0.1:1", "no_proxy": ""}
        found = self.doctor("http://greedylr.invalid:8571", code=1, **env)
        self.failed(found, "daemon")
        self.assertEqual(found["proxy"][0], "warn")
        self.assertIn("127.0.0.1:1, says http_proxy", found["proxy"][1])
        self.assertNotIn("secret", json.dumps(found))
        env["no_proxy"] = "example.org,.invalid"
        found = self.doctor("http://greedylr.invalid:8571", code=1, **env)
        self.failed(found, "name")
        self.assertIn("no_proxy", found["proxy"][1])
        self.assertEqual(self.doctor("http://127.0.0.1:1", code=1, http_proxy="http://127.0.0.1:2")["proxy"][0], "ok")


class Certificates(DoctorTest):
    def test_trusted_or_not(self):
        ca, other = Authority(self.folder), Authority(self.folder, "Other CA")
        good, expired, soon = ca.issue("localhost"), ca.issue("expired", days=-1), ca.issue("soon", days=5)
        elsewhere = ca.issue("elsewhere", ("DNS:elsewhere.example",))
        d = self.daemon(kind=SecureDaemon, args=(ca, good))
        url = "https://localhost:%d" % d.port
        found = self.doctor(url, "--ca-file", ca.file, code=0)
        self.assertRegex(found["tls"][1], "Test CA, and expires in (29|30) days")
        self.assertEqual({c[0] for c in found.values()}, {"ok"})
        found = self.doctor(url, code=1, GREEDYLR_CA_FILE=other.file)
        self.failed(found, "tls")
        self.assertIn("not vouched for", found["tls"][2])
        self.failed(self.doctor(url, code=1), "tls")
        found = self.doctor("http://localhost:%d" % d.port, code=1)
        self.failed(found, "daemon")
        self.assertIn("https://", found["daemon"][2])
        for pair, words in ((expired, "expired at"), (elsewhere, "use a name that its certificate is made for")):
            for name, content in zip(good, pair):
                shutil.copyfile(content, name)
            d.process.send_signal(1)
            wait_until(lambda: words in self.doctor_quietly(url, ca.file).lower())
            found = self.doctor(url, "--ca-file", ca.file, code=1)
            self.failed(found, "tls")
            self.assertIn(words, found["tls"][2].lower())
        for name, content in zip(good, soon):
            shutil.copyfile(content, name)
        d.process.send_signal(1)
        wait_until(lambda: "Have a new one made" in self.doctor_quietly(url, ca.file))
        self.assertEqual(self.doctor(url, "--ca-file", ca.file, code=0)["tls"][0], "warn")
        plain = self.daemon()
        found = self.doctor("https://localhost:%d" % plain.port, "--ca-file", ca.file, code=1)
        self.failed(found, "tls")

    def doctor_quietly(self, url, ca):
        return run("doctor", "--ca-file", ca, GREEDYLR_URL=url).stdout


class Tokens(DoctorTest):
    def test_tokens(self):
        tokens = [Token("t-" + role, role) for role in ("observe", "report", "admin")]
        path = os.path.join(self.folder, "tokens")
        with open(path, "w") as f:
            f.writelines(t.line for t in tokens)
        os.chmod(path, 0o600)
        d = self.daemon("--token-file", path)
        url = "http://127.0.0.1:%d" % d.port
        found = self.doctor(url, code=1)
        self.failed(found, "token")
        self.assertIn("TOKEN_REQUIRED", found["token"][1])
        self.assertIn("GREEDYLR_TOKEN_FILE", found["token"][2])
        found = self.doctor(url, code=1, GREEDYLR_TOKEN=Token("t-admin").text)
        self.failed(found, "token")
        self.assertIn("TOKEN_INVALID", found["token"][1])
        for token in tokens:
            found = self.doctor(url, code=0, GREEDYLR_TOKEN=token.text)
            self.assertIn("with the role " + token.id[2:], found["token"][1])
            self.assertNotIn(token.text, json.dumps(found))
        own = os.path.join(self.folder, "own")
        with open(own, "w") as f:
            f.write(tokens[0].text + "\n")
        for mode, code, check in ((0o600, 0, None), (0o640, 0, "token file"), (0o644, 1, "token file")):
            os.chmod(own, mode)
            found = self.doctor(url, "--token-file", own, code=code)
            self.assertEqual(found.get("token file", ("",))[0], "warn" if check else "", mode)
            self.assertEqual(found["ready"][0], "ok")
        self.failed(found, "token")
        self.assertIn("everybody may read", found["token"][1])
        self.failed(self.doctor(url, "--token-file", "/no/file", code=1), "token")
        found = self.doctor("http://host.invalid", code=1, GREEDYLR_TOKEN=tokens[0].text)
        self.failed(found, "name")
        self.assertEqual(d.ok("GET", "/v1/jobs", headers=tokens[2].header)["jobs"], [])


class Health(DoctorTest):
    def test_clocks(self):
        d = self.daemon(kind=FaultyDaemon)
        url = "http://127.0.0.1:%d" % d.port
        self.assertEqual(self.doctor(url, code=0)["clock"][0], "ok")
        for seconds, word in ((3600, "ahead of"), (-120, "behind")):
            d.set_clock(seconds)
            wait_until(lambda: self.doctor(url, code=0)["clock"][0] == "warn")
            found = self.doctor(url, code=0)
            self.assertIn(word, found["clock"][1])
            self.assertIn("NTP", found["clock"][2])
        d.set_clock(0)

    @unittest.skipUnless(shutil.which("strace"), "strace is not installed")
    def test_a_full_store(self):
        d = Daemon(wrap=["strace", "-f", "-o", "/dev/null", "-e", "inject=pwrite64:error=ENOSPC:when=40+"])
        d.start()
        self.addCleanup(shutil.rmtree, d.data, True)
        self.addCleanup(d.kill)
        step = 1
        while d.request("POST", "/v1/jobs/x:report", {"step": step, "loss": 1, "lr": 0.1})[0] == 200:
            step += 1
        found = self.doctor("http://127.0.0.1:%d" % d.port, code=1)
        self.failed(found, "store")
        self.assertIn("Make room", found["store"][2])
        self.assertEqual((found["daemon"][0], found["token"][0]), ("ok", "ok"))

    def test_another_version_and_little_room(self):
        pages = {"/livez": "ok\n", "/version": '{"name":"greedylrd","version":"9.9.9"}', "/v1/jobs": '{"jobs":[]}',
                 "/readyz": "[+] store ok\n[-] serving: the daemon is stopping\nreadyz failed\n",
                 "/metrics": "greedylrd_data_dir_free_bytes 1000\ngreedylrd_data_dir_size_bytes 1e12\ngreedylrd_store_bytes 5\n"}

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                path = self.path.split("?")[0]
                body = pages[path].encode()
                self.send_response(503 if path == "/readyz" else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        found = self.doctor("http://127.0.0.1:%d" % server.server_port, code=1)
        self.failed(found, "ready")
        self.assertEqual({name for name, c in found.items() if c[0] == "warn"}, {"versions", "disk"})
        pages["/version"] = "{}"
        self.failed(self.doctor("http://127.0.0.1:%d" % server.server_port, code=1), "versions")


if __name__ == "__main__":
    unittest.main()
