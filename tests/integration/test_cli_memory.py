"""The command line tool when an allocation fails: it says so and fails, or has done without; it never dies, and what it
prints with status 0 is whole."""
import mmap
import os
import struct
import subprocess
import tempfile
import unittest

import faults
from cli_help import GREEDYLR, CliTest, environment

RUNS = 25


class Memory(CliTest):
    def starved(self, args, at):
        """(status, output, message, allocations, failures) where number `at` fails."""
        with tempfile.NamedTemporaryFile(prefix="greedylr-memory-") as file:
            os.ftruncate(file.fileno(), faults.SIZE)
            with mmap.mmap(file.fileno(), faults.SIZE) as control:
                base = faults.POINTS["memory"]
                for field, value in (("at", at), ("mode", 1)):
                    where, kind = faults.POINT[field]
                    struct.pack_into(kind, control, base + where, value)
                r = subprocess.run([GREEDYLR, *args], capture_output=True, timeout=60,
                                   env=environment(GREEDYLR_URL=self.url, LD_PRELOAD=faults.LIBRARY, FAULTS_CONTROL=file.name))
                calls, hits = (struct.unpack_from(faults.POINT[f][1], control, base + faults.POINT[f][0])[0] for f in ("calls", "hits"))
        return r.returncode, r.stdout, r.stderr, calls, hits

    def test_what_is_printed_is_whole(self):
        self.fill("j", [1 / (i + 1) for i in range(20)])
        if not self.starved(["--version"], 1)[3]:
            self.skipTest("a sanitizer's allocations cannot fail")
        for args in (["history", "j", "-o", "csv"], ["report", "j", "--loss", "1", "--dry-run"]):
            code, want, said, calls, _ = self.starved(args, 1 << 40)
            self.assertEqual((code, said), (0, b""))
            # Behind the libraries' own beginnings, which are not ours to try.
            for at in range(calls - RUNS, calls + 1):
                code, got, said, _, hits = self.starved(args, at)
                self.assertGreaterEqual(code, 0, (args, at))
                if code == 0:
                    self.assertEqual(got, want, (args, at))
                else:
                    self.assertTrue(said, (args, at))


if __name__ == "__main__":
    unittest.main()
