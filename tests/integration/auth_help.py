"""What the tests of tokens share: a token, and a daemon with a file of them."""
import base64
import hashlib
import os
import secrets
import signal
import tempfile
import unittest

from harness import Daemon, wait_until


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
