"""The README's shell blocks, pasted: as they are but for the port, the host's name and the directory of a trial."""
import os
import re
import subprocess
import tempfile
import unittest

from harness import BINARY, ROOT, DaemonTest, free_port

BUILD = os.path.dirname(BINARY)

#: Section -> the test that runs its block.
RUN_BY = {
    "Thirty seconds": "Pasted.test_thirty_seconds",
    "Recipes": "test_recipes.py, and tests/interop/buf.js",
    "Many ranks, restarts, checkpoints": "WithADaemon.test_many_ranks",
    "Who may do what": "Pasted.test_who_may_do_what",
    "Off this machine": "Pasted.test_off_this_machine",
}

#: curl that fails where the daemon refuses, and that leaves a stream after a second.
CURL = """#!/bin/sh
case "$*" in *-sN*) timeout 1 %s "$@"; [ $? = 124 ];; *) exec %s -f "$@";; esac
"""


def sections():
    """Title -> text."""
    with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as file:
        return dict(re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", file.read(), re.M | re.S))


def block(title):
    """The section's first shell block."""
    return re.search(r"^```sh\n(.*?)^```$", sections()[title], re.M | re.S).group(1)


def replaced(script, **words):
    """Every word has to be there."""
    for old, new in words.items():
        old = {"port": "8571", "trial": "/tmp/greedylrd", "host": "HOST=$(hostname)", "make": "make -j4"}[old]
        assert old in script, old
        script = script.replace(old, new)
    return script


class Place(unittest.TestCase):
    """An empty directory, in which the commands are found."""

    def setUp(self):
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        os.symlink(BUILD, os.path.join(self.folder, "build"))
        os.mkdir(os.path.join(self.folder, "bin"))
        curl = subprocess.run(["sh", "-c", "command -v curl"], capture_output=True, text=True, check=True).stdout.strip()
        path = os.path.join(self.folder, "bin", "curl")
        with open(path, "w", encoding="utf-8") as file:
            file.write(CURL % (curl, curl))
        os.chmod(path, 0o755)

    def paste(self, script, **env):
        """What it says; no command may fail.  What it left running ends."""
        own = {k: v for k, v in os.environ.items() if not k.startswith("GREEDYLR")}
        own.update(env, PATH=":".join((os.path.join(self.folder, "bin"), BUILD, own["PATH"])))
        ends = "\ntrap - EXIT; kill $(jobs -p) 2>/dev/null || true; wait\n"
        r = subprocess.run(["bash", "-e", "-c", "trap 'kill $(jobs -p)' EXIT\n" + script + ends], cwd=self.folder, env=own,
                           capture_output=True, text=True, timeout=120)
        self.assertEqual(r.returncode, 0, r.stdout + r.stderr)
        self.assertNotIn("Sanitizer", r.stderr)
        return r.stdout


class Pasted(Place):
    """Blocks that start the daemon."""

    def test_every_shell_block_is_run(self):
        """One a section, but for the recipes; and no shell outside of a block."""
        blocks = {title: len(re.findall(r"^```sh$", text, re.M)) for title, text in sections().items()}
        self.assertEqual({title for title, count in blocks.items() if count}, set(RUN_BY))
        self.assertEqual([title for title, count in blocks.items() if count > 1 and title != "Recipes"], [])
        for title, text in sections().items():
            outside = re.sub(r"^```\w*$.*?^```$", "", text, flags=re.M | re.S)
            self.assertIsNone(re.search(r"^ {4}(?:curl|make|greedylrd?|build/|buf)\b", outside, re.M), title)

    def test_thirty_seconds(self):
        port = str(free_port())
        script = replaced(block("Thirty seconds"), port=port, trial=os.path.join(self.folder, "trial"), make="true")
        said = self.paste(script + 'echo "rate $LR"', GREEDYLRD_LISTEN="127.0.0.1:" + port)
        promised = re.search(r'# "([^"]+)"', script).group(1)
        self.assertIn('"reason":"%s"' % promised, said)
        self.assertTrue(said.endswith("rate 0.125\n"), said)

    def test_who_may_do_what(self):
        port = str(free_port())
        said = self.paste(replaced(block("Who may do what"), port=port), GREEDYLRD_LISTEN="127.0.0.1:" + port)
        self.assertIn('"jobs":[]', said)

    def test_off_this_machine(self):
        port = str(free_port())
        script = replaced(block("Off this machine"), port=port, host="HOST=localhost")
        here, there = script.split("# On the other machines")
        wait = "for i in $(seq 200); do curl -s --cacert ca.crt https://localhost:%s/livez && break; sleep 0.1; done\n" % port
        self.assertTrue(self.paste(here + wait + "#" + there).endswith("\n0.1\n"))


class WithADaemon(Place, DaemonTest):
    """Blocks for a daemon that is there."""

    def test_many_ranks(self):
        said = self.paste(replaced(block("Many ranks, restarts, checkpoints"), port=str(self.d.port)))
        self.assertEqual(said.count('"action":"hold"'), 2 + said.count("data: "), said)
        self.assertEqual({job["job"] for job in self.d.ok("GET", "/v1/jobs")["jobs"]}, {"ddp", "ddp-b"})
        self.assertEqual(self.d.ok("GET", "/v1/jobs/ddp")["spec"]["shadow"][0]["name"], "cos")


if __name__ == "__main__":
    unittest.main()
