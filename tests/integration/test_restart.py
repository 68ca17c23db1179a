"""Restarts with a listening socket that somebody else holds, as systemd does: no connection is refused."""
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import unittest

from harness import BINARY, check, wait_until
from load import Load


def start(data, listener):
    """The daemon as systemd starts it: the listening socket as descriptor 3."""
    script = 'exec 3<&%d; LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"' % listener.fileno()
    return subprocess.Popen(["bash", "-c", script, "sh", BINARY, "--data-dir", data], pass_fds=(listener.fileno(),),
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


class Restart(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.data = folder.name
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.addCleanup(self.listener.close)
        self.port = self.listener.getsockname()[1]
        self.process = None
        self.addCleanup(self.end, signal.SIGKILL)

    def begin(self):
        self.process = start(self.data, self.listener)

    def end(self, how):
        if self.process is None:
            return
        self.process.send_signal(how)
        _, log = self.process.communicate(timeout=60)
        code, self.process = self.process.returncode, None
        self.assertNotIn("Sanitizer", log)
        self.assertIn(code, (0, -signal.SIGKILL), log[-2000:])

    def restarts(self, how, times):
        self.begin()
        load = Load(self.port).start()
        for _ in range(times):
            before = load.count()
            wait_until(lambda: load.count() >= before + 10 or load.unexpected)
            self.end(how)
            self.begin()
        load.stop()
        self.assertEqual(load.unexpected, [])
        self.assertEqual(load.wrong(), [])
        self.assertGreaterEqual(load.count(), 10 * times)
        self.end(signal.SIGTERM)
        r = check(self.data)
        self.assertEqual(r.returncode, 0, r.stdout)
        return load

    def test_stopped_and_started_under_load(self):
        load = self.restarts(signal.SIGTERM, 8)
        self.assertEqual((load.refused, load.unanswered), (0, 0), load.counts())

    def test_a_request_that_is_on_its_way_is_answered(self):
        """Its connection was accepted before the daemon was told to stop; it comes a little later."""
        self.begin()
        load = Load(self.port)
        kept = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        self.addCleanup(kept.close)
        kept.connect()
        self.assertEqual(load.report("other", {"step": 1, "loss": 1, "lr": 0.1})[0], 200)  # by now it was accepted
        self.process.send_signal(signal.SIGTERM)
        for line in self.process.stderr:
            if "draining" in line:
                break
        kept.request("POST", "/v1/jobs/kept:report", '{"step":1,"loss":1,"lr":0.1}')
        self.assertEqual(json.loads(kept.getresponse().read())["revision"], 1)
        self.assertEqual(self.process.wait(30), 0)

    def test_a_silent_connection_does_not_hold_up_the_end(self):
        self.begin()
        with socket.create_connection(("127.0.0.1", self.port)):
            self.assertEqual(Load(self.port).report("other", {"step": 1, "loss": 1, "lr": 0.1})[0], 200)
            self.process.send_signal(signal.SIGTERM)
            self.assertEqual(self.process.wait(15), 0)

    def test_killed_and_started_under_load(self):
        """What was being answered may be lost with its connection, never what waits for one."""
        load = self.restarts(signal.SIGKILL, 8)
        self.assertEqual(load.refused, 0, load.counts())


@unittest.skipUnless(shutil.which("systemd-socket-activate"), "systemd-socket-activate is not installed")
class SocketActivate(unittest.TestCase):
    """Started at the first connection by systemd's own tool."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.data = folder.name

    def activated(self, *addresses):
        args = ["systemd-socket-activate", "-E", "PATH", *(a for address in addresses for a in ("-l", address))]
        process = subprocess.Popen([*args, "--fdname=" + ":".join("web%d" % n for n, _ in enumerate(addresses)), BINARY,
                                    "--data-dir", self.data], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        return process

    def report(self, family, where):
        c = http.client.HTTPConnection("localhost", timeout=30)
        self.addCleanup(c.close)

        def connected():
            c.close()
            c.sock = socket.socket(family)
            c.sock.settimeout(30)
            return c.sock.connect_ex(where) == 0
        wait_until(connected)
        c.request("POST", "/v1/jobs/a:report", '{"step":1,"loss":1,"lr":0.1}')
        return json.loads(c.getresponse().read())

    def test_first_connection_starts_it(self):
        with socket.create_server(("127.0.0.1", 0)) as s:
            port = s.getsockname()[1]
        process = self.activated("127.0.0.1:%d" % port)
        self.assertEqual(self.report(socket.AF_INET, ("127.0.0.1", port))["revision"], 1)
        self.assertEqual(process.stdout.readline(), "greedylrd listening on http://127.0.0.1:%d\n" % port)

    def test_unix_socket(self):
        path = os.path.join(self.data, "s")
        process = self.activated(path)
        self.assertEqual(self.report(socket.AF_UNIX, path)["revision"], 1)
        self.assertEqual(process.stdout.readline(), "greedylrd listening on unix:%s\n" % path)

    def test_several_sockets_are_refused(self):
        paths = [os.path.join(self.data, name) for name in "st"]
        process = self.activated(*paths)

        def connect():
            with socket.socket(socket.AF_UNIX) as s:
                return s.connect_ex(paths[0]) == 0
        wait_until(connect)
        _, log = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 2, log)
        self.assertIn("the service manager passed 2 sockets; one is served", log)


if __name__ == "__main__":
    unittest.main()
