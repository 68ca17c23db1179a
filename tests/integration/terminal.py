"""The command line tool on a terminal: a pty whose screen is read as a person would see it.

    with Terminal("plot", "demo", "--follow", url=url, width=80, height=24) as t:
        t.wait_for("step 400")
        t.type("q")
        self.assertEqual(t.ended(), 0)

Only what the tool writes is understood: cursor home, erasing, colours, the other screen.
"""
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time

from cli_help import GREEDYLR, SIGNS, environment

PIECE = re.compile(rb"\x1b\[[?0-9;]*[A-Za-z]|\r|\n|[^\x1b\r\n]+|\x1b")
ENTER, LEAVE = "\x1b[?1049h", "\x1b[?1049l"


class Terminal:
    def __init__(self, *args, url, width=80, height=24, **env):
        self.main, other = pty.openpty()
        self.before = termios.tcgetattr(other)
        self.raw, self.lines, self.at, self.width, self.height = b"", [""] * height, [0, 0], width, height
        self.parsed = 0
        self._size(width, height)
        self.other = other  # kept open, so that its settings can be looked at after the end
        self.process = subprocess.Popen([GREEDYLR, *args], stdin=other, stdout=other, stderr=other, close_fds=True,
                                        env=environment(**dict({"GREEDYLR_URL": url, "TERM": "xterm", "LC_ALL": "C.UTF-8"}, **env)),
                                        start_new_session=True, preexec_fn=lambda: fcntl.ioctl(other, termios.TIOCSCTTY, 0))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.main)
        os.close(self.other)

    def _size(self, width, height):
        fcntl.ioctl(self.main, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    def resize(self, width, height):
        self.lines = (self.lines + [""] * height)[:height]
        self.width, self.height = width, height
        self._size(width, height)  # the kernel sends SIGWINCH

    def read(self, seconds):
        if not select.select([self.main], [], [], seconds)[0]:
            return False
        try:
            more = os.read(self.main, 65536)
        except OSError:
            return False
        self.raw += more
        for sign in SIGNS:
            assert sign.encode() not in self.raw, self.raw[-6000:]
        # What may be the beginning of a sequence or of a character waits for the rest.
        end = len(self.raw)
        tail = re.search(rb"(\x1b\[?[?0-9;]*|[\xc0-\xff][\x80-\xbf]{0,2})$", self.raw)
        if tail:
            end = tail.start()
        for piece in PIECE.findall(self.raw[self.parsed:end]):
            self._take(piece.decode(errors="replace"))
        self.parsed = end
        return bool(more)

    def _take(self, piece):
        row, column = self.at
        if piece == "\r":
            self.at[1] = 0
        elif piece == "\n":
            if row + 1 < self.height:
                self.at[0] += 1
            else:
                self.lines = self.lines[1:] + [""]
        elif piece == "\x1b[H":
            self.at = [0, 0]
        elif piece == "\x1b[K":
            self.lines[row] = self.lines[row][:min(column, self.width - 1)]  # behind the last column the cursor is on it
        elif piece == "\x1b[J":
            self.lines[row + 1:] = [""] * (self.height - row - 1)
            self.lines[row] = self.lines[row][:column]
        elif piece == "\x1b[2J":
            self.lines = [""] * self.height
        elif not piece.startswith("\x1b"):
            line = self.lines[row].ljust(column)
            self.lines[row] = (line[:column] + piece + line[column + len(piece):])[:self.width]
            self.at[1] += len(piece)

    def text(self):
        return "\n".join(line.rstrip() for line in self.lines)

    def _whole(self):
        """Whether what was read ends with the end of a picture: the rest of the screen erased, or the last line written."""
        start = self.raw.rfind(b"\x1b[H")
        if start < 0 or start < self.raw.rfind(LEAVE.encode()):
            return True
        picture = self.raw[start:]
        return picture.endswith(b"\x1b[J") or (picture.endswith(b"\x1b[0m") and picture.count(b"\r\n") == self.height - 1)

    def wait_for(self, what, seconds=20.0):
        """Until the screen shows what (a pattern, or a function of the screen's text); returns the text."""
        found = what if callable(what) else lambda text: re.search(what, text)
        end = time.monotonic() + seconds
        while not (self._whole() and found(self.text())):
            self.read(0.1)
            if time.monotonic() > end or (self.process.poll() is not None and not self.read(0)):
                if found(self.text()):
                    break
                raise AssertionError("not shown: %s\n%s" % (what, self.text()))
        return self.text()

    def type(self, keys):
        os.write(self.main, keys.encode())

    def signal(self, number):
        os.kill(self.process.pid, number)

    def stopped(self):
        with open("/proc/%d/stat" % self.process.pid) as f:
            return f.read().rpartition(")")[2].split()[0] == "T"

    def ended(self, seconds=20.0):
        """The exit status; the terminal must be as it was before."""
        end = time.monotonic() + seconds
        while self.process.poll() is None:
            self.read(0.05)
            assert time.monotonic() < end, "it does not end\n" + self.text()
        while self.read(0):
            pass
        assert termios.tcgetattr(self.other) == self.before, "the terminal is not as it was"
        text = self.raw.decode(errors="replace")
        assert text.count(ENTER) == text.count(LEAVE), "it is still on the other screen"
        assert text.rfind("\x1b[?25h") >= text.rfind("\x1b[?25l"), "there is no cursor"
        return self.process.returncode


#: Signals that end a program and that it can notice.
ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGABRT)
