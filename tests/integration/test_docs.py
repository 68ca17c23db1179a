"""What the pages name is there: files, links, make targets, flags, variables, metrics, manual pages."""
import os
import re
import subprocess
import unittest

from harness import BINARY, ROOT

#: Pages, and what else lies beside them.
MAIN = ("README.md", "proto/PROTOCOL.md")
OTHERS = ("tests/bench/README.md", "tests/fuzz/README.md")
#: Made by builds and installations, or an example's.
NOT_OURS = {"tests/node_modules/.bin", "build/greedylrd"}
ROOMS = "client|daemon|proto|systemd|tests|core|rpc|server|store|web"


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


def prose(page):
    """The page without its blocks, which are run or read by other tests, and without comments."""
    return re.sub(r"<!--.*?-->", "", re.sub(r"^```\w*$.*?^```$", "", read(page), flags=re.M | re.S), flags=re.S)


def exists(path, page):
    """From the repository's root, from the page, or within the daemon."""
    return any(os.path.exists(os.path.join(ROOT, base, path)) for base in ("", os.path.dirname(page), "daemon"))


def anchors(page):
    """As GitHub makes them of headings."""
    return {re.sub(r"[^\w\- ]", "", title).lower().replace(" ", "-") for title in re.findall(r"^#+ (.+)$", read(page), re.M)}


def names_of_files():
    found = set()
    for folder, folders, files in os.walk(ROOT):
        folders[:] = [f for f in folders if f not in ("build", "node_modules", ".git", "corpus", "gen")]
        found.update(files)
    return found


def helps():
    """What both programs say of their flags and variables."""
    cli = os.path.join(os.path.dirname(BINARY), "greedylr")
    top = subprocess.run([cli, "help"], capture_output=True, text=True, check=True).stdout
    commands = re.findall(r"^  ([a-z]+) ", top.split("Commands:")[1].split("\n\n")[0], re.M)
    said = [top, subprocess.run([BINARY, "--help"], capture_output=True, text=True, check=True).stdout]
    for command in commands:
        said.append(subprocess.run([cli, "help", command], capture_output=True, text=True, check=True).stdout)
    return "\n".join(said)


class Docs(unittest.TestCase):
    """One test for each kind of name."""

    def check(self, pages, pattern, known, at_least):
        """Every match on the pages is known: known(name, page)."""
        found = {(page, name) for page in pages for name in re.findall(pattern, prose(page), re.M)}
        self.assertGreaterEqual(len(found), at_least)
        self.assertEqual(sorted((page, name) for page, name in found if not known(name, page)), [])

    def test_links(self):
        def known(target, page):
            path, _, anchor = target.partition("#")
            whole = os.path.normpath(os.path.join(os.path.dirname(page), path)) if path else page
            return os.path.exists(os.path.join(ROOT, whole)) and (not anchor or anchor in anchors(whole))
        self.check(MAIN + OTHERS, r"\]\((?!https?:)([^)]+)\)", known, 9)

    def test_paths(self):
        self.check(MAIN + OTHERS, r"(?<![\w/.~:-])((?:%s)/[\w./-]*[\w/])" % ROOMS, lambda path, page: path in NOT_OURS or exists(re.sub("/[A-Z]+$", "", path), page), 45)

    def test_files(self):
        files = names_of_files()
        self.check(MAIN + OTHERS, r"(?<![\w/.*-])([\w-]+\.(?:py|[ch]|sh|md|jsonl|cpp|json))\b(?!/)", lambda name, page: name in files or "NAME" in name, 40)

    def test_make_targets(self):
        makefile = read("Makefile")
        targets = set(re.findall(r"^([a-z-]+)(?: [a-z-]+)*:(?!=)", makefile, re.M)) | set(re.findall(r"^[a-z-]+ ([a-z-]+):(?!=)", makefile, re.M))
        self.check(MAIN + OTHERS, r"`make ([a-z-]+)", lambda name, page: name in targets, 6)
        in_blocks = set(re.findall(r"\bmake ([a-z][a-z-]*)", "".join(re.findall(r"^```sh$(.*?)^```$", read("README.md"), re.M | re.S))))
        self.assertLessEqual(in_blocks, targets)

    def test_flags(self):
        flags = set(re.findall(r"--[a-z][a-z0-9_.-]*", helps()))
        self.check(MAIN, r"(?<![\w-])(--[a-z][a-z0-9_-]*)", lambda flag, page: flag in flags, 12)

    def test_variables(self):
        said = helps() + read("client/lib/libgreedylr.3")
        self.check(MAIN, r"\b(GREEDYLRD?_[A-Z_]+[A-Z])\b", lambda name, page: name in said, 2)

    def test_metrics(self):
        """In the protocol's table, which test_metrics.py compares with the daemon's."""
        table = set(re.findall(r"^\| `(greedylrd_\w+)` \|", read("proto/PROTOCOL.md"), re.M))
        self.check(MAIN, r"\b(greedylrd_[a-z_]+[a-z])\b", lambda name, page: name in table, 10)

    def test_manual_pages(self):
        pages = {"greedylrd(8)": "daemon/greedylrd.8", "greedylr(1)": "client/cli/greedylr.1", "libgreedylr(3)": "client/lib/libgreedylr.3"}
        self.check(MAIN, r"\b(\w+\(\d\))", lambda name, page: name in pages and os.path.exists(os.path.join(ROOT, pages[name])), 3)
        for name, section in re.findall(r"(\w+\(\d\)), ([A-Z][A-Z ]+[A-Z])\b", prose("README.md")):
            self.assertIn("\n.Sh %s\n" % section, read(pages[name]))

    def test_how_many_policies(self):
        policies = re.findall(r"^ +X\((\w+)\)", read("daemon/core/policies.c"), re.M)
        self.assertIn("any of %d other policies" % (len(policies) - 1), prose("README.md").replace("\n", " "))

    def test_what_is_not_there_is_found(self):
        page = "README.md"
        self.assertFalse(exists("daemon/core/nothing.c", page))
        self.assertNotIn("no-such-heading", anchors(page))
        self.assertIn("how-good-is-greedylr", anchors(page))
        self.assertLessEqual(len(read(page).splitlines()), 330)


if __name__ == "__main__":
    unittest.main()
