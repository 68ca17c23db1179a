"""The manual pages: clean, and their examples work as they are printed."""
import os
import re
import shutil
import subprocess
import tempfile
import unittest

from harness import BINARY, ROOT, DaemonTest

BUILD = os.path.dirname(BINARY)
PAGES = ("daemon/greedylrd.8", "client/cli/greedylr.1", "client/lib/libgreedylr.3")

#: Around an example in C: its training, and a daemon that tells how it went.
PROGRAM = """
#include <greedylr.h>
#include <err.h>
static double train_and_validate(double lr)
{
    static double loss = 2;
    return loss *= 1 - lr / 2;
}
int main(void)
{
%s
    return 0;
}
"""


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


def examples(page):
    """Its literal blocks, as a reader sees them."""
    section = read(page).split("\n.Sh EXAMPLES\n")[1].split("\n.Sh ")[0]
    return [re.sub(r"\\e|\\\(rs", r"\\", block) for block in re.findall(r"^\.Bd -literal.*\n((?:.*\n)*?)\.Ed$", section, re.M)]


class Clean(unittest.TestCase):
    @unittest.skipUnless(shutil.which("mandoc"), "mandoc is not installed")
    def test_mandoc_has_nothing_to_say(self):
        """Notes on style as well, but for those on manuals that are not installed here."""
        for page in PAGES:
            r = subprocess.run(["mandoc", "-T", "lint", os.path.join(ROOT, page)], capture_output=True, text=True)
            said = [line for line in (r.stdout + r.stderr).splitlines()
                    if "mandoc.db" not in line and "STYLE: referenced manual not found" not in line]
            self.assertEqual(said, [], page)


class Examples(DaemonTest):
    """In a directory of their own, against a fresh daemon."""

    def setUp(self):
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.env = dict(os.environ, GREEDYLR_URL="http://127.0.0.1:%d" % self.d.port, HOME=self.folder, PATH=BUILD + ":" + os.environ["PATH"])

    def sh(self, *command):
        r = subprocess.run(command, cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=120)
        self.assertEqual((r.returncode, r.stderr), (0, ""), r.stdout + r.stderr)
        return r.stdout

    def program(self, code):
        """Compiles and runs it; it trains 100 steps of a job named demo."""
        with open(os.path.join(BUILD, "libgreedylr.so"), "rb") as library:
            sanitized = ["-fsanitize=address"] * (b"__asan_init" in library.read())
        with open(os.path.join(self.folder, "program.c"), "w", encoding="utf-8") as file:
            file.write(PROGRAM % code)
        self.sh("cc", "-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-I" + os.path.join(ROOT, "client/lib"), *sanitized,
                "-c", "program.c")
        # The linker may have something to say of a sanitizer's library.
        subprocess.run(["cc", *sanitized, "program.o", "-o", "program", "-L" + BUILD, "-lgreedylr", "-Wl,-rpath," + BUILD],
                       cwd=self.folder, check=True)
        self.sh("./program")
        decisions = self.d.decisions("demo")
        self.assertEqual([d["step"] for d in decisions], list(range(1, 101)))
        self.assertGreater(decisions[-1]["lr"], 0.1)

    def test_of_the_library(self):
        (code,) = examples("client/lib/libgreedylr.3")
        self.program(code)

    def test_of_the_librarys_header(self):
        comment = read("client/lib/greedylr.h").split("*/")[0]
        self.program("".join(re.findall(r"^ \*     (?![A-Z_]+  )(.*\n)", comment, re.M)))

    def test_of_the_tool(self):
        with open(os.path.join(self.folder, "metrics.jsonl"), "w", encoding="utf-8") as file:
            file.writelines('{"step": %d, "eval_loss": %g}\n' % (i, 2 / i) for i in range(1, 20))
        life, what_if, copy = examples("client/cli/greedylr.1")
        # The other examples want the job that the first one deletes.
        self.sh("bash", "-e", "-c", life.replace("greedylr delete demo --yes\n", "greedylr resume demo\n") + what_if + copy)
        self.assertEqual(self.d.ok("GET", "/v1/jobs/copy")["spec"]["greedy"]["patience"], 5)
        self.assertTrue(os.path.exists(os.path.join(self.folder, "demo.svg")))
        self.sh("greedylr", *life.splitlines()[-1].split()[1:])

    def test_of_the_daemon(self):
        (socket,) = examples("daemon/greedylrd.8")
        start, ask = socket.splitlines()
        self.assertIn("curl -s ", ask)
        said = self.sh("bash", "-e", "-c", "trap 'kill $!; wait' EXIT\n: >log\n%s >>log 2>&1 &\nuntil grep -q listening log; do sleep 0.05; done\n%s" % (start, ask))
        self.assertIn('"jobs":[]', said)


if __name__ == "__main__":
    unittest.main()
