"""The packages of `make deb` on a machine with systemd: installed, used, restarted, configured, upgraded, removed, purged.

Needs root, systemd-nspawn and debootstrap, and is skipped, saying why, where systemd does not start in a container.
"""
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "integration"))

from certificates import Authority
from machine import BUILD, ROOT, Cannot, Machine, make_base

DEBS = os.path.join(BUILD, "deb")
PACKAGES = ("greedylrd", "greedylr", "libgreedylr0", "libgreedylr-dev", "python3-greedylr")
LOAD = os.path.join(ROOT, "tests", "integration", "load.py")
DATA = "/var/lib/private/greedylrd"


def package(name):
    found = glob.glob(os.path.join(DEBS, name + "_*.deb"))
    assert len(found) == 1, (name, found, "run `make deb`")
    return found[0]


def field(deb, name):
    return subprocess.run(["dpkg-deb", "-f", deb, name], capture_output=True, text=True, check=True).stdout.strip()


def dependencies():
    """What the packages need of Debian."""
    names = {re.match(r"\s*([a-z0-9.+-]+)", entry)[1]
             for name in PACKAGES for entry in field(package(name), "Depends").split(",")}
    return sorted(names - set(PACKAGES))


def older(folder):
    """greedylrd as version 0.0.9, with other settings and a first line in its unit: what an upgrade replaces."""
    with tempfile.TemporaryDirectory() as tree:
        subprocess.run(["dpkg-deb", "-R", package("greedylrd"), tree], check=True)
        for path, old, new in (("DEBIAN/control", r"\nVersion: .*", "\nVersion: 0.0.9-1"),
                               ("etc/greedylrd/greedylrd.env", r"\A", "# of 0.0.9\n"),
                               ("lib/systemd/system/greedylrd.service", r"\A", "# of 0.0.9\n")):
            path = os.path.join(tree, path)
            with open(path, encoding="utf-8") as f:
                text = f.read()
            with open(path, "w", encoding="utf-8") as f:
                f.write(re.sub(old, new, text, count=1))
        subprocess.run(["dpkg-deb", "--root-owner-group", "-b", tree, os.path.join(folder, "old.deb")], check=True,
                       stdout=subprocess.DEVNULL)


class OnMachine(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="greedylrd-deploy-")
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        for name in PACKAGES:
            shutil.copy(package(name), os.path.join(cls.folder, name + ".deb"))
        older(cls.folder)
        try:
            make_base(dependencies())
            cls.m = Machine(cls.folder)
        except Cannot as why:
            raise unittest.SkipTest(str(why)) from None
        cls.addClassCleanup(cls.m.close)

    @classmethod
    def install(cls, *names):
        return cls.m.run("apt-get install -y -q -o Dpkg::Options::=--force-confold --no-install-recommends " + " ".join("/debs/%s.deb" % n for n in names))

    def state(self, unit="greedylrd.service"):
        return self.m.run("systemctl is-active " + unit, check=False).stdout.strip()

    def show(self, *properties):
        text = self.m.run("systemctl show greedylrd.service " + " ".join("-p " + p for p in properties)).stdout
        return dict(line.split("=", 1) for line in text.splitlines())

    def call(self, path, body=None, more=""):
        data = "" if body is None else "-d '%s'" % json.dumps(body)
        return json.loads(self.m.run("curl -sS %s http://localhost:8571%s %s" % (data, path, more)).stdout)

    def report(self, job, step):
        return self.call("/v1/jobs/%s:report" % job, {"step": step, "loss": 2.0 / step, "lr": 0.1})

    def under_load(self, what, seconds=4):
        """Does it while clients report; returns what they counted."""
        load = self.m.outside(sys.executable, LOAD, "8571", str(seconds), stdout=subprocess.PIPE)
        time.sleep(0.5)
        what()
        counts = json.loads(load.communicate(timeout=120)[0])
        self.assertEqual((counts["unexpected"], counts["wrong"]), ([], []))
        self.assertGreater(counts["decided"], 20)
        return counts

    def wait_for(self, condition, seconds=30):
        end = time.monotonic() + seconds
        while not condition():
            self.assertLess(time.monotonic(), end, "it did not happen within %d s" % seconds)
            time.sleep(0.1)


class Life(OnMachine):
    """One machine from the first installation to the purge; in the order of the names."""

    def test_1_an_older_one_is_installed_and_starts(self):
        self.install("old")
        self.assertEqual(self.state(), "active")
        self.assertEqual(self.state("greedylrd.socket"), "active")
        for unit in ("greedylrd.service", "greedylrd.socket"):
            self.assertEqual(self.m.run("systemctl is-enabled " + unit).stdout, "enabled\n")
        self.assertEqual(self.report("life", 1)["revision"], 1)
        self.assertEqual(self.m.run("stat -L -c %%a %s && stat -c %%a /var/lib/private" % DATA).stdout, "700\n700\n")

    def test_2_an_upgrade_under_load_refuses_nobody(self):
        self.m.run("echo GREEDYLRD_LOG_LEVEL=debug >>/etc/greedylrd/greedylrd.env")
        before = self.show("MainPID")
        counts = self.under_load(lambda: self.install("greedylrd", "greedylr"), seconds=10)
        self.assertEqual(counts["refused"], 0, counts)
        self.assertNotEqual(self.show("MainPID"), before)
        self.assertNotIn("0.0.9", self.m.run("dpkg-query -W greedylrd; systemctl cat greedylrd").stdout)
        # A conffile that was changed stays as it was.
        self.assertIn("LOG_LEVEL=debug", self.m.run("cat /etc/greedylrd/greedylrd.env").stdout)
        self.assertEqual(self.report("life", 2)["revision"], 2)

    def test_3_the_same_again_changes_nothing(self):
        self.m.run("apt-get install -y -q --reinstall /debs/greedylrd.deb")
        self.assertEqual(self.report("life", 3)["revision"], 3)

    def test_4_removed_the_data_stay(self):
        self.m.run("apt-get remove -y -q greedylrd")
        self.assertEqual(self.state(), "inactive")
        self.assertEqual(self.state("greedylrd.socket"), "inactive")
        self.assertNotEqual(self.m.run("curl -s localhost:8571/livez", check=False).returncode, 0)
        self.m.run("test -s %s/greedylr.db && test -f /etc/greedylrd/greedylrd.env" % DATA)

    def test_5_installed_again_it_goes_on(self):
        self.install("greedylrd")
        self.assertEqual(self.report("life", 4)["revision"], 4)

    def test_6_purged_the_database_is_gone_and_nothing_else(self):
        self.m.run("touch %s/kept.db; install -D -m 600 /dev/null /etc/credstore/greedylrd.tokens" % DATA)
        self.m.run("apt-get purge -y -q greedylrd greedylr")
        self.assertEqual(self.m.run("ls " + DATA).stdout, "kept.db\n")
        self.m.run("test ! -e /etc/greedylrd && test -e /etc/credstore/greedylrd.tokens")
        self.m.run("rm -r /etc/credstore; rm %s/kept.db" % DATA)
        self.install("greedylrd")
        self.assertEqual(self.report("life", 1)["revision"], 1)
        self.m.run("apt-get purge -y -q greedylrd")
        self.m.run("test ! -e %s && test ! -L /var/lib/greedylrd" % DATA)
        left = self.m.run("find / -xdev -name '*greedylr*' -not -path '/proc/*' -not -path '/debs/*' "
                          "-not -path '/var/log/*' -not -path '/sys/*'").stdout
        self.assertEqual(left, "")

    def test_7_a_database_of_the_first_schema_is_taken_over(self):
        with tarfile.open(os.path.join(ROOT, "tests/conformance/schema/v1.tar.gz")) as tar:
            tar.extractall(os.path.join(self.folder, "v1"))
        found = next(os.path.relpath(os.path.join(at, f), self.folder)
                     for at, _, names in os.walk(os.path.join(self.folder, "v1")) for f in names if f == "greedylr.db")
        self.m.run("install -d -m 700 %s && cp -r /debs/%s/. %s/" % (DATA, os.path.dirname(found), DATA))
        self.install("greedylrd")
        self.assertEqual(self.state(), "active", self.m.run("journalctl -u greedylrd -n 20 -o cat").stdout)
        self.assertTrue(self.call("/v1/jobs")["jobs"])


class Runs(OnMachine):
    """The service as it is installed."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.install(*PACKAGES)

    def setUp(self):
        self.addCleanup(self.as_installed)

    def as_installed(self):
        self.m.run("rm -rf /etc/systemd/system/greedylrd.* /etc/credstore; systemctl unmask -q greedylrd.socket; "
                   "sed -i '/^[^#]/d' /etc/greedylrd/greedylrd.env; systemctl daemon-reload; systemctl stop greedylrd.service; "
                   "systemctl restart greedylrd.socket; systemctl restart greedylrd.service")

    def override(self, unit, text):
        self.m.run("mkdir -p /etc/systemd/system/%s.d && printf '%s' >/etc/systemd/system/%s.d/t.conf && "
                   "systemctl daemon-reload" % (unit, text.replace("\n", "\\n"), unit))

    def test_confined(self):
        pid = self.show("MainPID")["MainPID"]
        with open("/proc/%s/status" % self.host_pid(pid), encoding="utf-8") as f:
            status = dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)
        self.assertNotIn("0", status["Uid"].split())
        self.assertEqual(status["NoNewPrivs"], "1")
        self.assertEqual(status["Seccomp"], "2")
        for kind in ("CapEff", "CapPrm", "CapBnd", "CapAmb"):
            self.assertEqual(int(status[kind], 16), 0, kind)
        inside = self.m.run("nsenter -t %s -m -- sh -c 'for d in /usr /etc /var/lib /home /root; do "
                            "touch $d/x 2>/dev/null && echo wrote $d; done; ls /home; touch /tmp/mine'" % pid, check=False)
        self.assertNotIn("wrote", inside.stdout)
        self.m.run("test ! -e /tmp/mine")

    def host_pid(self, pid):
        """What the machine's process pid is here."""
        namespace = os.readlink("/proc/%d/ns/pid" % self.m.leader)
        for found in glob.glob("/proc/[0-9]*/status"):
            try:
                with open(found, encoding="utf-8") as f:
                    numbers = re.search(r"^NSpid:\s+(.*)$", f.read(), re.M)[1].split()
                if numbers[-1] == pid and os.readlink(os.path.join(os.path.dirname(found), "ns/pid")) == namespace:
                    return numbers[0]
            except (OSError, TypeError):
                pass
        raise AssertionError("no process %s" % pid)

    def test_restarts_under_load_refuse_nobody(self):
        def restart():
            for _ in range(10):
                self.m.run("systemctl restart greedylrd.service; sleep 0.1")
        counts = self.under_load(restart, seconds=8)
        self.assertEqual((counts["refused"], counts["unanswered"]), (0, 0), counts)

    def test_killed_it_comes_back_by_itself(self):
        def kill():
            for _ in range(3):
                self.m.run("systemctl kill -s KILL greedylrd.service; sleep 1")
        counts = self.under_load(kill, seconds=6)
        self.assertEqual(counts["refused"], 0, counts)

    def test_started_by_hand_it_has_its_socket(self):
        self.m.run("systemctl stop greedylrd.socket greedylrd.service; systemctl start greedylrd.service")
        self.assertEqual(self.state("greedylrd.socket"), "active")

    def test_a_masked_socket_leaves_the_address_to_listen(self):
        self.m.run("systemctl stop greedylrd.socket greedylrd.service; systemctl mask -q greedylrd.socket; "
                   "echo GREEDYLRD_LISTEN=127.0.0.1:9571 >>/etc/greedylrd/greedylrd.env; systemctl start greedylrd.service; "
                   "curl -sSf localhost:9571/readyz")

    def test_a_refused_configuration_says_so_and_is_put_right(self):
        self.m.run("echo GREEDYLRD_LOG_LEVEL=loud >>/etc/greedylrd/greedylrd.env; systemctl restart greedylrd.service",
                   check=False)
        # Connections would start it again and again; systemd gives up after some.
        self.m.run("for i in 1 2 3; do curl -s -m 1 localhost:8571/livez; done", check=False)
        log = self.m.run("journalctl -u greedylrd.service -o cat -n 50").stdout
        self.assertIn("loud", log)
        self.assertIn("status=2", log)
        self.m.run("sed -i s/loud/info/ /etc/greedylrd/greedylrd.env; systemctl restart greedylrd.service")
        self.assertEqual(self.state("greedylrd.socket"), "active")
        self.m.run("curl -sSf localhost:8571/readyz")

    def test_journal_has_priorities(self):
        self.m.run("printf 'not a token\\n' | install -D -m 600 /dev/stdin /etc/credstore/greedylrd.tokens")
        self.m.run("systemctl restart greedylrd.service", check=False)
        self.m.run("rm -r /etc/credstore; systemctl restart greedylrd.service")
        lines = [json.loads(line) for line in
                 self.m.run("journalctl -u greedylrd.service -o json").stdout.splitlines()]
        ours = {line["PRIORITY"] for line in lines if line.get("_COMM") == "greedylrd" and "ready" in line["MESSAGE"]}
        self.assertEqual(ours, {"6"})
        self.assertTrue(any(line["PRIORITY"] == "3" and "token" in line["MESSAGE"] for line in lines
                            if line.get("_COMM") == "greedylrd"), lines[-5:])

    def test_tokens_and_tls_from_the_credential_store(self):
        authority = Authority(self.folder)
        cert, key = authority.issue("server")
        for path in (cert, key, authority.file):
            shutil.copy(path, os.path.join(self.folder, {cert: "c.crt", key: "c.key"}.get(path, "ca.crt")))
        self.m.run("umask 077; mkdir -p /etc/credstore; cd /etc/credstore; cp /debs/c.crt greedylrd.crt; "
                   "cp /debs/c.key greedylrd.key; "
                   "greedylr token create --file greedylrd.tokens --role admin --prefix= >/root/token; "
                   "systemctl restart greedylrd.service")
        ask = "curl -sS -o /dev/null -w %{http_code} --cacert /debs/ca.crt https://localhost:8571/v1/jobs "
        self.assertEqual(self.m.run(ask).stdout, "401")
        self.assertEqual(self.m.run(ask + "-H \"Authorization: Bearer $(cat /root/token)\"").stdout, "200")
        self.assertNotEqual(self.m.run("curl -sf localhost:8571/livez", check=False).returncode, 0)
        out = self.m.run("GREEDYLR_URL=https://localhost:8571 GREEDYLR_CA_FILE=/debs/ca.crt GREEDYLR_TOKEN_FILE=/root/token "
                         "greedylr report tls --step 1 --loss 2 --lr 0.1 -o json").stdout
        self.assertEqual(json.loads(out)["revision"], 1)

    def test_other_machines_are_shut_out_until_they_are_let_in(self):
        """The daemon does not start on an open address, and systemd drops the packets; greedylrd(8) says what opens."""
        self.m.run("ip address replace 10.77.0.1/32 dev lo")
        listen = "[Socket]\nListenStream=\nListenStream=0.0.0.0:8571\n"
        again = ("systemctl stop greedylrd.service; systemctl restart greedylrd.socket; "
                 "systemctl start greedylrd.service")
        self.override("greedylrd.socket", listen)
        self.m.run(again, check=False)
        self.assertEqual(self.show("ExecMainStatus")["ExecMainStatus"], "2")
        self.m.run("echo GREEDYLRD_INSECURE=no-tokens,no-tls >>/etc/greedylrd/greedylrd.env; " + again +
                   "; curl -sSf localhost:8571/readyz")
        ask = "curl -sf -m 3 http://10.77.0.1:8571/readyz"
        self.assertEqual(self.m.run(ask, check=False).returncode, 28)  # no answer, no refusal
        self.override("greedylrd.socket", listen + "IPAddressAllow=10.0.0.0/8\n")
        self.override("greedylrd.service", "[Service]\nIPAddressAllow=10.0.0.0/8\n")
        self.m.run(again)
        self.m.run(ask)

    def test_the_library_and_the_python_package_are_there(self):
        self.m.run("cd /tmp && cp /usr/share/doc/libgreedylr-dev/examples/train_c.c . && "
                   "cc -o train_c train_c.c $(pkg-config --cflags --libs libgreedylr) -lm && ./train_c >train.log && "
                   "curl -sSf localhost:8571/v1/jobs")
        out = self.m.run("cd /tmp; python3 -c 'import greedylr\n"
                         "from importlib.metadata import version\nprint(version(\"greedylr\"))'").stdout
        self.assertEqual(out.strip(), field(package("greedylrd"), "Version").split("-")[0])
        self.m.run("cd /usr/share/man && zgrep -q greedylrd man8/greedylrd.8.gz && zgrep -q glr_report man3/greedylr.3.gz")

    def test_the_unit_is_what_systemd_says_is_safe(self):
        text = self.m.run("systemctl show greedylrd.service -p NeedDaemonReload -p LoadError; "
                          "systemd-analyze verify --man=false greedylrd.service greedylrd.socket 2>&1").stdout
        self.assertNotIn("greedylrd.s", text)
        text = self.m.run("systemd-analyze security --no-pager greedylrd.service").stdout
        found = re.search(r"Overall exposure level for greedylrd.service: ([0-9.]+)", text)
        self.assertLessEqual(float(found[1]), 1.5)


if __name__ == "__main__":
    unittest.main()
