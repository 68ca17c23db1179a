"""The command line tool on a terminal: colours, lines that fit, and what it asks before it deletes."""
import re
import unittest

from cli_help import CliTest


class OnTerminal(CliTest):
    def test_terminal(self):
        self.fill("t", [1.0, 0.9, 0.8, 0.7])
        code, shown = self.terminal("history", "t", width=120)
        self.assertEqual(code, 0)
        self.assertIn("\x1b[32mraise\x1b[0m", shown)
        plain = re.sub(r"\x1b\[\d*m", "", shown)
        self.assertTrue(any(line.endswith("...") for line in plain.splitlines()))
        for line in plain.splitlines():
            self.assertLessEqual(len(line), 120)
        self.assertEqual(plain, self.terminal("history", "t", width=120, NO_COLOR="1")[1])
        self.assertNotIn("\x1b", self.terminal("get", "t", NO_COLOR="1")[1])
        self.assertIn("\x1b", self.terminal("get", "t", NO_COLOR="")[1])
        self.assertNotIn("\x1b", self.cli("history", "t"))

    def test_lines_fit(self):
        """Tables give up columns, prose breaks between words; no line is longer than the terminal is wide."""
        self.fill("t", [2.3, 2.1, 1.9, 1.7])
        self.cli("update", "t", "--labels", "team=nlp")
        for width in (132, 80, 60, 46):
            for args in (("history", "t"), ("list",), ("doctor",), ("help",), ("help", "create"), ("help", "sweep"),
                         ("sweep", "--job", "t", "--set", "patience=1,2"), ("simulate", "--lr", "0.1", "--losses", "3,2,1")):
                code, shown = self.terminal(*args, width=width, NO_COLOR="1")
                self.assertEqual(code, 0, args)
                for line in shown.splitlines():
                    # A word that is longer than what is left cannot be broken; usages are one line.
                    self.assertTrue(len(line) <= width or line.startswith(("Usage: ", "  --")) or " " not in line.strip(), (args, width, line))
        heads = {width: self.terminal("history", "t", width=width, NO_COLOR="1")[1].splitlines()[0].split()
                 for width in (132, 80, 60, 50)}
        self.assertEqual(heads[132], ["REVISION", "ATTEMPT", "STEP", "ACTION", "LR", "VALUE", "BEST", "REASON"])
        self.assertEqual(heads[80], ["STEP", "ACTION", "LR", "VALUE", "BEST", "REASON"])
        self.assertEqual(heads[60], ["STEP", "ACTION", "LR", "REASON"])
        self.assertEqual(heads[50], ["STEP", "ACTION", "LR", "REASON"])
        # What is not a terminal gets everything.
        self.assertIn("REVISION", self.cli("history", "t"))

    def test_prose_is_whole(self):
        for width in (30, 80, 200):
            for args in (("help",), ("help", "replay")):
                self.assertEqual(self.terminal(*args, width=width, NO_COLOR="1")[1].split(), self.cli(*args).split())

    def test_delete_asks(self):
        self.fill("t", [1.0])
        said = self.cli("delete", "t", code=2)
        self.assertIn("--yes", said)
        for keys in ("no\n", "y\n", "\n", "\x04"):
            code, shown = self.terminal("delete", "t", keys=keys)
            self.assertEqual((code, "nothing was deleted" in shown), (1, True), keys)
        self.d.ok("GET", "/v1/jobs/t")
        code, shown = self.terminal("delete", "t", keys="yes\n")
        self.assertEqual((code, "t is deleted" in shown), (0, True), shown)
        self.assertEqual(self.d.call("GET", "/v1/jobs/t")[0], 404)


if __name__ == "__main__":
    unittest.main()
