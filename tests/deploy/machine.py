"""A small Debian with systemd as its first process, in a container that is thrown away.

The root is made once by debootstrap (build/deploy/root) and never written to: what a machine changes stays in memory.  It
has what the packages depend on, and of the packages themselves nothing.  No network leaves it.
"""
import atexit
import os
import shutil
import subprocess
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(ROOT, os.environ.get("BUILD", "build"))
BASE = os.path.join(ROOT, "build", "deploy", "root")
SYSTEM = "systemd,systemd-sysv,dbus,curl,iproute2,python3,gcc,libc6-dev,pkg-config"
TOOLS = ("systemd-nspawn", "debootstrap", "nsenter")


class Cannot(Exception):
    """This machine cannot run containers, and why."""


def mirror():
    """Where this system's packages come from."""
    r = subprocess.run(["apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages", "Codename: bookworm"],
                       capture_output=True, text=True)
    return r.stdout.split()[0] if r.stdout else "http://deb.debian.org/debian"


def make_base(depends):
    """The root, if it is not there yet; depends are the names of packages."""
    include = ",".join([SYSTEM] + sorted(depends))
    stamp = BASE + ".packages"
    if os.path.exists(stamp):
        with open(stamp, encoding="utf-8") as f:
            if f.read() == include:
                return
    for tool in TOOLS:
        if not shutil.which(tool):
            raise Cannot(tool + " is not installed")
    if os.geteuid() != 0:
        raise Cannot("needs root")
    shutil.rmtree(BASE, ignore_errors=True)
    os.makedirs(os.path.dirname(BASE), exist_ok=True)
    with open(BASE + ".log", "w", encoding="utf-8") as log:
        r = subprocess.run(["debootstrap", "--variant=minbase", "--include=" + include, "bookworm", BASE, mirror()],
                           stdout=log, stderr=log)
    if r.returncode:
        raise Cannot("debootstrap failed; %s.log tells why" % BASE)
    with open(stamp, "w", encoding="utf-8") as f:
        f.write(include)


class Machine:
    def __init__(self, debs):
        """Boots; the folder debs is /debs in it."""
        keep = [] if os.path.isdir("/run/systemd/system") else ["--keep-unit"]
        self.log = open(BASE + ".console", "w", encoding="utf-8")
        self.nspawn = subprocess.Popen(
            ["systemd-nspawn", "--quiet", "--directory", BASE, "--volatile=overlay", "--boot", "--private-network",
             "--register=no", *keep, "--machine=greedylrd-test-%d" % os.getpid(), "--link-journal=no", "--timezone=off",
             "--resolv-conf=off", "--console=pipe", "--bind-ro=%s:/debs" % debs,
             "--system-call-filter=bpf",  # IPAddressDeny is a program of it
             "systemd.show_status=no"],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=subprocess.STDOUT,
            env=dict(os.environ, SYSTEMD_NSPAWN_UNIFIED_HIERARCHY="1"))
        atexit.register(self.close)
        try:
            self._wait_for_boot()
        except Cannot:
            self.close()
            raise

    def _wait_for_boot(self):
        end = time.monotonic() + 90
        while time.monotonic() < end and self.nspawn.poll() is None:
            self.leader = self._first_process()
            if self.leader and self.run("systemctl is-system-running", check=False).stdout.strip() in ("running", "degraded"):
                return
            time.sleep(0.2)
        with open(BASE + ".console", encoding="utf-8", errors="replace") as f:
            raise Cannot("systemd does not start in a container here: " + (f.read()[-300:] or "nothing said"))

    def _first_process(self):
        try:
            with open("/proc/%d/task/%d/children" % (self.nspawn.pid, self.nspawn.pid), encoding="ascii") as f:
                return next((int(pid) for pid in f.read().split() if self._is_init(pid)), None)
        except OSError:
            return None

    @staticmethod
    def _is_init(pid):
        with open("/proc/%s/status" % pid, encoding="utf-8") as f:
            return any(line.startswith("NSpid:") and line.split()[-1] == "1" for line in f)

    def popen(self, *args, namespaces="-a", **more):
        return subprocess.Popen(["nsenter", "-t", str(self.leader), *namespaces.split(), "--", *args], text=True, **more)

    def run(self, script, check=True, timeout=120):
        """A shell's commands in it."""
        process = self.popen("/bin/sh", "-c", "cd /; " + script, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE,
                             env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LC_ALL": "C.UTF-8",
                                  "DEBIAN_FRONTEND": "noninteractive"})
        out, err = process.communicate(timeout=timeout)
        if check and process.returncode:
            raise AssertionError("%s: exit %d\n%s%s" % (script, process.returncode, out[-3000:], err[-3000:]))
        return subprocess.CompletedProcess(script, process.returncode, out, err)

    def outside(self, *args, **more):
        """A program of this system, in the machine's network."""
        return self.popen(*args, namespaces="-n", **more)

    def close(self):
        atexit.unregister(self.close)
        if self.nspawn.poll() is None:
            self.nspawn.terminate()  # systemd-nspawn asks its init to power off
            try:
                self.nspawn.wait(30)
            except subprocess.TimeoutExpired:
                self.nspawn.kill()
                self.nspawn.wait()
        self.log.close()
