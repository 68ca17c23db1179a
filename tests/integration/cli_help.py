"""What tests of the command line tool share: running it, the contract's fields, the commands that help lists."""
import fcntl
import json
import os
import pty
import re
import select
import shutil
import struct
import subprocess
import tempfile
import termios

from harness import BINARY, ROOT, DaemonTest

GREEDYLR = os.path.join(os.path.dirname(BINARY), "greedylr")
PROTO = os.path.join(ROOT, "proto", "greedylr", "v1", "scheduler.proto")
MAN = os.path.join(ROOT, "client", "cli", "greedylr.1")
REQUESTS = {"create": "CreateJob", "report": "Report", "lr": "GetLr", "get": "GetJob", "list": "ListJobs",
            "history": "ListDecisions", "watch": "WatchJob", "begin": "BeginAttempt", "rewind": "RewindJob",
            "fork": "ForkJob", "set": "SetLr", "pause": "PauseJob", "resume": "ResumeJob", "finish": "FinishJob",
            "update": "UpdateJob", "delete": "DeleteJob", "import": "ImportState", "export": "ExportState",
            "simulate": "Simulate"}
SIGNS = ("Sanitizer", "runtime error:")


def environment(**more):
    env = {k: v for k, v in os.environ.items() if not k.startswith("GREEDYLR") and k != "NO_COLOR"}
    return dict(env, **dict({"TERM": "xterm"}, **more))  # whatever terminal the tests are started from


def run(*args, stdin="", text=True, **env):
    """The finished process; text is what stands on its standard input."""
    r = subprocess.run([GREEDYLR, *args], input=stdin if text else stdin.encode(), capture_output=True, text=text,
                       timeout=120, env=environment(**env))
    said = r.stderr if text else r.stderr.decode(errors="replace")
    for sign in SIGNS:
        assert sign not in said, said
    return r


def contract():
    """Fields of every message of the contract: {message: [(name, type, repeated)]}."""
    with open(PROTO, encoding="utf-8") as f:
        text = re.sub(r"//.*", "", f.read())
    found = {}
    for name, body in re.findall(r"^message (\w+) \{\n(.*?)^\}", text, re.M | re.S):
        found[name] = [(field, kind.split(".")[-1], "repeated" in label)
                       for label, kind, field in re.findall(r"(optional|repeated)?\s*([\w.]+) (\w+) = \d+", body)]
    return found


MESSAGES = contract()


def leaves(message, prefix=""):
    """Paths of a request's fields, those of nested messages with a dot, lists of messages as one: [(path, type, repeated)]."""
    for name, kind, repeated in MESSAGES[message]:
        yield prefix + name, kind, repeated
        if kind in MESSAGES and not repeated:
            yield from leaves(kind, prefix + name + ".")


def commands():
    """The table as help prints it: {name: (usage, summary)}."""
    part = run("help").stdout.split("Commands:\n")[1].split("\n\n")[0]
    rows = [re.fullmatch(r"  (\S+(?: \S+)*?) {2,}(\S.*)", line) for line in part.splitlines()]
    return {m[1].split()[0]: (m[1], m[2]) for m in rows}


class CliTest(DaemonTest):
    maxDiff = None

    def setUp(self):
        super().setUp()
        self.url = "http://127.0.0.1:%d" % self.d.port
        self.folder = tempfile.mkdtemp(prefix="greedylr-test-")
        self.addCleanup(shutil.rmtree, self.folder)

    def cli(self, *args, code=0, stdin="", **env):
        """Runs it and checks the exit code; what fails prints nothing, what succeeds complains of nothing."""
        r = run(*args, stdin=stdin, **dict({"GREEDYLR_URL": self.url}, **env))
        self.assertEqual(r.returncode, code, (args, r.stdout, r.stderr))
        self.assertEqual(r.stdout if code else r.stderr, "", args)
        return r.stderr if code else r.stdout

    def json(self, *args, **more):
        return json.loads(self.cli(*args, "-o", "json", **more))

    def file(self, name, text, mode=0o600):
        path = os.path.join(self.folder, name)
        with open(path, "wb") as f:
            f.write(text if isinstance(text, bytes) else text.encode())
        os.chmod(path, mode)
        return path

    def fill(self, job, values, lr=0.1, first=1, **more):
        """A history, by the daemon's own protocol."""
        reports = [dict({"job": job, "step": first + i, "loss": v}, **more) for i, v in enumerate(values)]
        reports[0]["lr"] = lr
        for at in range(0, len(reports), 5000):
            answer = self.d.ok("POST", "/v1/jobs:batchReport", {"reports": reports[at:at + 5000]})
            self.assertTrue(all("decision" in r for r in answer["results"]))

    def terminal(self, *args, width=80, keys="", **env):
        """(exit code, what a terminal shows) of a run on one."""
        main, other = pty.openpty()
        fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
        process = subprocess.Popen([GREEDYLR, *args], stdin=other, stdout=other, stderr=other,
                                   env=environment(GREEDYLR_URL=self.url, **env), start_new_session=True)
        os.close(other)
        shown = b""
        try:
            while True:
                if keys and b"Type yes" in shown:
                    os.write(main, keys.encode())
                    keys = ""
                if not select.select([main], [], [], 30)[0]:
                    self.fail(shown)
                shown += os.read(main, 65536)
        except OSError:
            pass
        os.close(main)
        return process.wait(30), shown.decode().replace("\r\n", "\n")
