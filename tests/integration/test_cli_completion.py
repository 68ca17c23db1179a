"""Completion for bash and zsh: what is offered, by the script and to a person who types."""
import os
import pty
import re
import select
import shutil
import socket
import subprocess
import time
import unittest

from cli_help import GREEDYLR, REQUESTS, CliTest, commands, environment, run


class Completion(CliTest):
    def setUp(self):
        super().setUp()
        self.script = self.file("greedylr.bash", run("completion", "bash").stdout)
        for name in ("demo", "dev-1", "dev_2", "other"):
            self.d.ok("POST", "/v1/jobs", {"job": name, "lr": 0.1})

    def bash(self, *words, url=None):
        """What bash would offer for these words, the last one being typed."""
        quoted = " ".join("'%s'" % w for w in (GREEDYLR,) + words)
        script = ("source %s\nCOMP_WORDS=(%s)\nCOMP_CWORD=%d\n_greedylr\nprintf '%%s\\n' \"${COMPREPLY[@]}\"\n"
                  % (self.script, quoted, len(words)))
        r = subprocess.run(["bash", "--norc", "-c", script], capture_output=True, text=True, timeout=60,
                           env=environment(GREEDYLR_URL=url or self.url))
        self.assertEqual((r.returncode, r.stderr), (0, ""))
        return r.stdout.split()

    def test_bash(self):
        self.assertEqual(self.bash(""), list(commands()))
        for words, want in ((("re",), ["report", "rewind", "resume", "replay"]), (("report", "de"), ["demo", "dev-1", "dev_2"]),
                            (("report", "dev_"), ["dev_2"]), (("report", "--job", "o"), ["other"]), (("fork", "demo", "de"), []),
                            (("create", "de"), []), (("report", "demo", "--lo"), ["--loss"]), (("report", "--los"), ["--loss"]),
                            (("create", "x", "--greedy.mo"), ["--greedy.mode"]), (("create", "x", "--greedy.min-"), ["--greedy.min-lr"]),
                            (("create", "x", "--greedy.mode", ""), ["min", "max"]), (("create", "x", "--greedy.mode", "ma"), ["max"]),
                            (("create", "x", "--greedy.mode", "=", "ma"), ["max"]), (("create", "x", "--greedy.mode", "="), ["min", "max"]),
                            (("create", "x", "--greedy.mode=ma"), ["--greedy.mode=max"]), (("list", "--state", ""), ["active", "paused", "finished"]),
                            (("create", "x", "--on-nonfinite", ""), ["bad", "skip", "cut", "reject"]),
                            (("create", "x", "--ranks.reduce", "m"), ["mean", "min", "max", "median"]),
                            (("create", "x", "--strict", "=", ""), ["true", "false"]), (("list", "-o", ""), ["table", "json", "csv"]),
                            (("get", "-o", "c"), []), (("completion", ""), ["bash", "zsh"]), (("help", "fo"), ["fork"]),
                            (("report", "demo", ""), []), (("report", "demo", "--loss", ""), []), (("nonsense", ""), list(commands())),
                            (("import", "demo", ""), []), (("--url", self.url, "get", "oth"), ["other"])):
            found = self.bash(*words)
            for _ in range(20):  # on a busy machine the daemon may need more than the 300 ms it is given
                found = found if found == want else self.bash(*words)
            self.assertEqual(found, want, words)
        for name in commands():
            self.assertIn("--url", self.bash(name, "--"))

    def test_every_flag_is_offered(self):
        for command in REQUESTS:
            listed = re.findall(r"^  --([a-z0-9_.-]+)", run("help", command).stdout, re.M)
            self.assertLessEqual({"--" + f for f in listed}, set(self.bash(command, "--")), command)

    def test_without_a_daemon(self):
        self.assertEqual(self.bash("get", "", url="http://127.0.0.1:1"), [])
        with socket.create_server(("127.0.0.1", 0)) as silent:
            self.assertEqual(self.bash("get", "", url="http://127.0.0.1:%d" % silent.getsockname()[1]), [])
        self.assertEqual(self.bash("get", "", url="nonsense://"), [])

    def test_hostile(self):
        for words in (("get", "$(touch %s/x)" % self.folder), ("get", "`touch %s/x`" % self.folder), ("--", "--"), ("=", "=", "="),
                      ("--url", "="), ("get", "x" * 5000), ("--" + "x" * 5000,), ("get", "--" + "x" * 300 + "=")):
            self.assertEqual(self.bash(*words), [], words)
        self.assertEqual(os.listdir(self.folder), ["greedylr.bash"])
        self.assertEqual(run("__complete").returncode, 0)

    def typed(self, shell, prepare, line, want):
        """Types a line with a tab in it into a shell on a terminal, until it shows what is wanted."""
        main, other = pty.openpty()
        env = environment(GREEDYLR_URL=self.url, TERM="dumb", PS1="ready> ", HISTFILE="/dev/null", HOME=self.folder,
                          PATH=os.path.dirname(GREEDYLR) + ":" + os.environ["PATH"])
        process = subprocess.Popen(shell, stdin=other, stdout=other, stderr=other, env=env, start_new_session=True, cwd=self.folder)
        os.close(other)
        shown = ""

        def until(text):
            nonlocal shown
            end = time.monotonic() + 30
            while text not in shown:
                if time.monotonic() > end:
                    self.fail("%r does not come: %r" % (text, shown))
                if not select.select([main], [], [], 3)[0]:
                    os.write(main, b"\t")  # the daemon was not in time
                    continue
                shown += os.read(main, 65536).decode(errors="replace")

        try:
            os.write(main, (prepare + "; echo pre''pared\n").encode())
            until("prepared")
            shown = ""
            os.write(main, line.encode())
            until(want)
        finally:
            process.kill()
            process.wait()
            os.close(main)

    def test_a_person_in_bash(self):
        self.typed(["bash", "--norc", "--noprofile", "-i"], "source " + self.script, "greedylr lr dem\t", "greedylr lr demo ")
        self.typed(["bash", "--norc", "--noprofile", "-i"], "source " + self.script, "greedylr hist\t", "greedylr history ")
        self.typed(["bash", "--norc", "--noprofile", "-i"], "source " + self.script, "greedylr list -o j\t", "-o json ")
        self.typed(["bash", "--norc", "--noprofile", "-i"], "source " + self.script, "greedylr replay demo --set pati\t3", "patience=3")
        self.file("state-file.json", "{}")
        self.typed(["bash", "--norc", "--noprofile", "-i"], "source " + self.script, "greedylr import x state-f\t", "state-file.json")

    @unittest.skipUnless(shutil.which("zsh"), "zsh is not installed")
    def test_a_person_in_zsh(self):
        script = self.file("_greedylr", run("completion", "zsh").stdout)
        for prepare in ("autoload -Uz compinit && compinit -u -D && source " + script,
                        "fpath=(%s $fpath) && autoload -Uz compinit && compinit -u -D" % self.folder):
            for line, want in (("greedylr lr dem\t", "lr demo"), ("greedylr hist\t", "history"),
                               ("greedylr create x --greedy.mode=ma\t", "mode=max"), ("greedylr report demo --metr\t", "--metric"),
                               ("greedylr replay demo --set pati\t3", "patience=3")):
                self.typed(["zsh", "-f", "-i"], prepare, line, want)


if __name__ == "__main__":
    unittest.main()
