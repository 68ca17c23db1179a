"""The dashboard's files: types, headers, caching, compression, and who may fetch them."""
import gzip
import json
import os
import re
import unittest

from harness import Daemon, DaemonTest, ROOT, reason

WEB = os.path.join(ROOT, "daemon", "web")
DYGRAPHS = "/usr/share/javascript/dygraphs"
TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8",
         ".svg": "image/svg+xml"}


def files():
    """What is served: path -> file."""
    found = {"/": os.path.join(WEB, "index.html")}
    for name in os.listdir(WEB):
        if name.endswith((".css", ".js", ".svg")):
            found["/web/" + name] = os.path.join(WEB, name)
    for name in ("dygraph.min.js", "dygraph.min.css"):
        found["/web/" + name] = os.path.join(DYGRAPHS, name)
    return found


def read(path):
    with open(path, "rb") as f:
        return f.read()


class Files(DaemonTest):
    def test_bytes_and_types(self):
        self.assertGreater(len(files()), 5)
        for path, file in files().items():
            with self.subTest(path):
                status, headers, body = self.d.request("GET", path)
                self.assertEqual((status, headers["content-type"]), (200, TYPES[os.path.splitext(file)[1]]))
                self.assertEqual(body, read(file))
                self.assertNotIn("content-encoding", headers)
                for zipped in ("gzip", "br, GZIP", "deflate, gzip;q=0.5", "*"):
                    status, packed, body = self.d.request("GET", path, headers={"Accept-Encoding": zipped})
                    self.assertEqual((status, packed["content-encoding"]), (200, "gzip"))
                    self.assertEqual(gzip.decompress(body), read(file))
                self.assertNotEqual(packed["etag"], headers["etag"])
                for plain in ("identity", "gzip;q=0", "br", "*;q=0", "gzip;q=0, *", ""):
                    self.assertNotIn("content-encoding",
                                     self.d.request("GET", path, headers={"Accept-Encoding": plain})[1], plain)

    def test_headers(self):
        policy = {"default-src": "'none'", "script-src": "'self'", "style-src": "'self'", "connect-src": "'self'",
                  "img-src": "'self' data:", "base-uri": "'none'", "form-action": "'none'", "frame-ancestors": "'none'"}
        for path in files():
            for method in ("GET", "HEAD"):
                _, headers, _ = self.d.request(method, path)
                got = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
                self.assertEqual(got, policy)
                self.assertEqual(headers["x-content-type-options"], "nosniff")
                self.assertEqual(headers["referrer-policy"], "no-referrer")
                self.assertEqual(headers["cross-origin-opener-policy"], "same-origin")
                self.assertEqual(headers["cross-origin-resource-policy"], "same-origin")
                self.assertEqual(headers["cache-control"], "no-cache")
                self.assertEqual(headers["vary"], "Accept-Encoding")

    def test_head(self):
        for path, file in files().items():
            status, headers, body = self.d.request("HEAD", path)
            self.assertEqual((status, body), (200, b""))
            self.assertEqual(headers["content-length"], str(os.path.getsize(file)))

    def test_not_modified(self):
        for path in files():
            for encoding in ("identity", "gzip"):
                ask = {"Accept-Encoding": encoding}
                etag = self.d.request("GET", path, headers=ask)[1]["etag"]
                self.assertRegex(etag, r'^"[^"]+"$')
                for value in (etag, "W/" + etag, '"x", ' + etag, etag + ' ,"y"', "*"):
                    status, headers, body = self.d.request("GET", path, headers=dict(ask, **{"If-None-Match": value}))
                    self.assertEqual((status, body, headers["etag"]), (304, b"", etag), value)
                    self.assertIn("content-security-policy", headers)
                    self.assertNotIn("content-encoding", headers)
                for value in ('"x"', etag[:-1], etag + "x", ""):
                    self.assertEqual(self.d.request("GET", path, headers=dict(ask, **{"If-None-Match": value}))[0], 200)

    def test_one_connection_serves_all(self):
        c = self.d.connection()
        for path, file in files().items():
            etag = self.d.request("GET", path, connection=c)[1]["etag"]
            self.assertEqual(self.d.request("GET", path, headers={"If-None-Match": etag}, connection=c)[0], 304)
        self.assertEqual(self.d.request("GET", "/livez", connection=c)[0], 200)
        c.close()

    def test_methods(self):
        for path in files():
            for method in ("POST", "PUT", "PATCH", "DELETE"):
                status, headers, text = self.d.request(method, path, "{}" if method != "DELETE" else None)
                self.assertEqual((status, headers["allow"]), (405, "GET, HEAD"))
                self.assertEqual(reason(json.loads(text)), "METHOD_NOT_ALLOWED")

    def test_nothing_else_is_served(self):
        for path in ("/web", "/web/", "/web/index.html", "/index.html", "/web/embed.sh", "/web/../greedylrd.8", "/favicon.ico",
                     "/web/main.js/", "/web//main.js", "/web/%6dain.js", "//", "/dygraph.min.js.map"):
            status, _, text = self.d.request("GET", path)
            self.assertEqual((status, reason(json.loads(text))), (404, "PATH_UNKNOWN"), path)

    def test_a_query_is_passed_over(self):
        self.assertEqual(self.d.request("GET", "/?x=1")[2], self.d.request("GET", "/")[2])


class Guard(DaemonTest):
    def ask(self, path, **headers):
        return self.d.request("GET", path, headers={k.replace("_", "-"): v for k, v in headers.items()})[0]

    def test_who_may_fetch(self):
        own = "http://127.0.0.1:%d" % self.d.port
        for path in files():
            self.assertEqual(self.ask(path, Sec_Fetch_Site="same-origin", Sec_Fetch_Mode="cors", Origin=own), 200)
            self.assertEqual(self.ask(path, Sec_Fetch_Site="none", Sec_Fetch_Mode="navigate"), 200)
            for headers in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Origin": "null"},
                            {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "no-cors"},
                            {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Origin": own}):
                self.assertEqual(self.ask(path, **headers), 403, (path, headers))
            # A link from another site leads to the page, and to nothing else.
            link = self.ask(path, Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate")
            self.assertEqual(link, 200 if path == "/" else 403, path)


class Tokens(unittest.TestCase):
    def test_the_shell_is_open_and_the_jobs_are_not(self):
        d = Daemon()
        self.addCleanup(d.close)
        tokens = os.path.join(d.data, "tokens")
        with open(os.open(tokens, os.O_WRONLY | os.O_CREAT, 0o600), "w"):
            pass
        d.flags += ["--token-file", tokens]
        d.start()
        for path in files():
            self.assertEqual(d.request("GET", path)[0], 200, path)
        self.assertEqual(d.request("GET", "/v1/jobs")[0], 401)


class Page(unittest.TestCase):
    """What the policy would refuse is not there in the first place."""

    def test_nothing_inline_and_nothing_from_elsewhere(self):
        page = read(os.path.join(WEB, "index.html")).decode()
        self.assertNotRegex(page, r"<style|<script(?![^>]*\bsrc=)|\bstyle=|\son\w+=|javascript:")
        for path, file in files().items():
            if file.startswith(WEB):
                text = read(file).decode()
                self.assertEqual(set(re.findall(r"https?://[^\s\"'`<>)]+", text)) - {"http://www.w3.org/2000/svg"}, set(), path)
                self.assertNotRegex(text, r"innerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", path)

    def test_every_policy_has_a_name(self):
        spec = read(os.path.join(ROOT, "proto", "greedylr", "v1", "scheduler.proto")).decode().split("message JobSpec")[1]
        policies = re.findall(r"^    \w+ (\w+) = \d+;", spec.split("oneof policy")[1].split("\n  }")[0], re.M)
        named = re.findall(r"(\w+): \"", read(os.path.join(WEB, "badges.js")).decode().split("const POLICIES")[1].split("};")[0])
        self.assertGreater(len(policies), 15)
        self.assertEqual(set(named), set(policies))

    def test_what_the_page_names_is_served(self):
        served = files()
        for name in re.findall(r'(?:src|href)="(web/[^"]+)"', read(served["/"]).decode()):
            self.assertIn("/" + name, served)
        for path, file in served.items():
            if file.startswith(WEB) and file.endswith(".js"):
                for name in re.findall(r'(?:from|import)\s*\(?"\./([^"]+)"', read(file).decode()):
                    self.assertIn("/web/" + name, served, path)


if __name__ == "__main__":
    unittest.main()
