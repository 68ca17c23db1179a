"""The factorisation of `make nmf`: its table, and that no step of any schedule is above the bound it reports."""
import os
import re
import subprocess
import tempfile
import unittest

from harness import BINARY, DaemonTest

NMF = os.path.join(os.path.dirname(BINARY), "examples", "nmf")


class Nmf(DaemonTest):
    def test_table_and_picture(self):
        with tempfile.TemporaryDirectory() as folder:
            svg = os.path.join(folder, "nmf.svg")
            r = subprocess.run([NMF, "--url", "http://127.0.0.1:%d" % self.d.port, "--seeds", "1", "--svg", svg],
                               capture_output=True, text=True, timeout=300)
            self.assertEqual(r.returncode, 0, r.stderr)
            with open(svg, encoding="utf-8") as file:
                self.assertEqual(file.read().count("<polyline"), 12)
        rows = re.findall(r"^(\S.*?)  +(\d\.\d+) +([-+][\d.]+) %.* (\d+)$", r.stdout, re.M)
        self.assertEqual([row[0] for row in rows][-2:], ["GreedyLR", "learned"], r.stdout)
        self.assertEqual([row[3] for row in rows], ["0"] * 6, r.stdout)

    def test_usage(self):
        for args, code, says in ((["--seeds", "0"], 2, "--seeds"), (["--data", "/nonexistent"], 1, "python3-sklearn")):
            r = subprocess.run([NMF, *args], capture_output=True, text=True, timeout=60)
            self.assertEqual((r.returncode, says in r.stderr), (code, True), r.stderr)


if __name__ == "__main__":
    unittest.main()
