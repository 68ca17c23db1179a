"""A daemon with tests/faults/shim.c preloaded: allocations, descriptors and the wall clock fail as the test says.

    d = FaultyDaemon()
    d.start()
    with d.failing("memory", at=7):              # the 7th allocation from now
        d.request(...)
    d.hits("memory")                             # how many failed
    with d.failing("memory", at=1, forever=True): ...
    with d.failing("descriptors", at=1, forever=True, errno=errno.ENFILE, calls=("accept", "open")): ...
    d.set_clock(-3600)                           # the wall clock is an hour slow; the monotonic clock stays
"""
import contextlib
import mmap
import os
import struct
import tempfile
import time

from harness import BINARY, Daemon

LIBRARY = os.path.join(os.path.dirname(BINARY), "faults.so")
#: struct control: able, errnum, which, ppm; two points of mode, thread, at, calls, hits; offset_ns, slew_from_ns.
LAYOUT = {"able": (0, "I"), "errnum": (4, "i"), "which": (8, "i"), "ppm": (12, "i"), "offset_ns": (80, "q"), "slew_from_ns": (88, "q")}
SIZE = 96
POINTS = {"memory": 16, "descriptors": 48}
POINT = {"mode": (0, "i"), "thread": (4, "i"), "at": (8, "q"), "calls": (16, "q"), "hits": (24, "q")}
CALLS = {"accept": 1, "open": 2, "socket": 4}


class FaultyDaemon(Daemon):
    def __init__(self, *flags, env=None, **more):
        fd, self.control = tempfile.mkstemp(prefix="greedylrd-faults-")
        os.ftruncate(fd, SIZE)
        self.map = mmap.mmap(fd, SIZE)
        os.close(fd)
        env = dict(env or {}, FAULTS_CONTROL=self.control, LD_PRELOAD=LIBRARY)
        options = os.environ.get("ASAN_OPTIONS", "")
        env["ASAN_OPTIONS"] = (options + ":" if options else "") + "verify_asan_link_order=0"
        super().__init__(*flags, env=env, **more)

    def start(self, ready=True):
        super().start(ready)
        if not self.get("able"):
            raise RuntimeError("%s was not loaded" % LIBRARY)
        return self

    @property
    def allocations_can_fail(self):
        return bool(self.get("able") & 2)

    def close(self):
        self.put("memory", "mode", 0)
        self.put("descriptors", "mode", 0)
        super().close()
        self.map.close()
        os.unlink(self.control)

    def _at(self, point, field):
        if field is None:
            return LAYOUT[point]
        at, kind = POINT[field]
        return POINTS[point] + at, kind

    def get(self, point, field=None):
        at, kind = self._at(point, field)
        return struct.unpack_from(kind, self.map, at)[0]

    def put(self, point, field, value=None):
        """put(name, value) or put(point, field, value)."""
        at, kind = self._at(point, None) if value is None else self._at(point, field)
        struct.pack_into(kind, self.map, at, field if value is None else value)

    def hits(self, point):
        return self.get(point, "hits")

    def calls(self, point):
        return self.get(point, "calls")

    def arm(self, point, at=1, forever=False, thread=0):
        for field, value in (("mode", 0), ("thread", thread), ("at", at), ("calls", 0), ("hits", 0), ("mode", 2 if forever else 1)):
            self.put(point, field, value)

    @contextlib.contextmanager
    def failing(self, point, at=1, forever=False, thread=0, errno=0, calls=()):
        if point == "descriptors":
            self.put("errnum", errno)
            self.put("which", sum(CALLS[call] for call in calls))
        self.arm(point, at, forever, thread)
        try:
            yield
        finally:
            self.put(point, "mode", 0)

    def set_clock(self, seconds, ppm=0):
        """So many seconds later than it is, and from now on fast by ppm millionths."""
        self.put("slew_from_ns", time.monotonic_ns())
        self.put("ppm", ppm)
        self.put("offset_ns", int(seconds * 1e9))
