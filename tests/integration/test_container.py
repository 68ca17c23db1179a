"""The Kubernetes manifest and the Containerfile: what they say of the daemon is so."""
import os
import re
import shutil
import socket
import ssl
import subprocess
import tempfile
import unittest

import test_operations
import yaml
from certificates import Authority
from harness import BINARY, ROOT, wait_until

CLI = os.path.join(os.path.dirname(BINARY), "greedylr")


def manifest():
    with open(os.path.join(ROOT, "systemd", "kubernetes.yaml"), encoding="utf-8") as f:
        return {each["kind"]: each for each in yaml.safe_load_all(f)}


def containerfile():
    with open(os.path.join(ROOT, "systemd", "Containerfile"), encoding="utf-8") as f:
        return f.read()


class Manifest(unittest.TestCase):
    def setUp(self):
        both = manifest()
        self.service, self.set = both["Service"]["spec"], both["StatefulSet"]["spec"]
        self.pod = self.set["template"]["spec"]
        self.container = self.pod["containers"][0]
        self.env = {e["name"]: e["value"] for e in self.container["env"]}

    def test_its_parts_fit_together(self):
        labels = self.set["template"]["metadata"]["labels"]
        self.assertEqual(self.service["selector"], labels)
        self.assertEqual(self.set["selector"]["matchLabels"], labels)
        self.assertEqual(self.set["replicas"], 1)
        volumes = {v["name"] for v in self.pod["volumes"]} | {v["metadata"]["name"] for v in self.set["volumeClaimTemplates"]}
        self.assertEqual({m["name"] for m in self.container["volumeMounts"]}, volumes)
        paths = {m["mountPath"] for m in self.container["volumeMounts"]}
        self.assertEqual(paths, {self.env["GREEDYLRD_DATA_DIR"], self.env["CREDENTIALS_DIRECTORY"]})
        port = self.container["ports"][0]
        self.assertEqual(self.service["ports"][0]["targetPort"], port["name"])
        self.assertTrue(self.env["GREEDYLRD_LISTEN"].endswith(":%d" % port["containerPort"]))
        for probe in ("readinessProbe", "livenessProbe", "startupProbe"):
            self.assertEqual(self.container[probe]["httpGet"]["port"], port["name"])

    def test_its_variables_are_options(self):
        flags = {"GREEDYLRD_" + f.upper().replace("-", "_") for f in test_operations.Options().flags()} | {"CREDENTIALS_DIRECTORY"}
        self.assertLessEqual(set(self.env), flags)
        self.assertLessEqual(set(re.findall(r"GREEDYLRD_[A-Z_]+\b", containerfile())) - {"GREEDYLRD_"}, flags)

    def test_memory_is_three_quarters_of_the_limit(self):
        limit = self.container["resources"]["limits"]["memory"]
        self.assertEqual((limit[-2:], self.env["GREEDYLRD_MAX_MEMORY"][-1]), ("Mi", "M"))
        self.assertEqual(int(self.env["GREEDYLRD_MAX_MEMORY"][:-1]), int(limit[:-2]) * 3 // 4)

    def test_the_user_is_the_image_s(self):
        context = self.pod["securityContext"]
        user = "%d:%d" % (context["runAsUser"], context["runAsGroup"])
        self.assertIn("\nUSER %s\n" % user, containerfile())
        self.assertIn("install -d -o %s -g %s -m 700 %s\n" % (*user.split(":"), self.env["GREEDYLRD_DATA_DIR"]),
                      containerfile())

    def test_the_daemon_starts_and_its_probes_are_answered(self):
        """With the manifest's variables, secrets as Kubernetes shows them, and probes as its kubelet sends them."""
        with tempfile.TemporaryDirectory() as folder:
            authority, secrets = Authority(folder), os.path.join(folder, "secrets")
            name = self.env["GREEDYLRD_ALLOW_HOST"].split(",")[0]
            cert, key = authority.issue("server", hosts=("DNS:" + name,))
            os.mkdir(secrets)
            shutil.copy(cert, os.path.join(secrets, "tls.crt"))
            shutil.copy(key, os.path.join(secrets, "tls.key"))
            subprocess.run([CLI, "token", "create", "--file", os.path.join(secrets, "tokens"), "--role", "report",
                            "--prefix="], check=True, capture_output=True)
            for file in os.listdir(secrets):
                os.chmod(os.path.join(secrets, file), self.pod["volumes"][0]["projected"]["defaultMode"])
            env = {**os.environ, **self.env, "GREEDYLRD_LISTEN": "0.0.0.0:0", "CREDENTIALS_DIRECTORY": secrets,
                   "GREEDYLRD_DATA_DIR": os.path.join(folder, "data")}
            process = subprocess.Popen([BINARY], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            self.addCleanup(process.communicate)
            self.addCleanup(process.kill)
            line = process.stdout.readline()
            self.assertRegex(line, r"https://0\.0\.0\.0:\d+", line)
            port = int(line.rsplit(":", 1)[1])
            unchecked = ssl.create_default_context()
            unchecked.check_hostname, unchecked.verify_mode = False, ssl.CERT_NONE  # as probes are

            def ask(path, host):
                with unchecked.wrap_socket(socket.create_connection(("127.0.0.1", port), 30)) as s:
                    s.sendall(("GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n" % (path, host)).encode())
                    return int(s.recv(100).split()[1])
            for probe in ("readinessProbe", "livenessProbe", "startupProbe"):
                path = self.container[probe]["httpGet"]["path"]
                wait_until(lambda: ask(path, "127.0.0.1:%d" % port) == 200)  # the address that the probe connects to
            self.assertEqual(ask("/v1/jobs", "%s:%d" % (name, port)), 401)
            self.assertEqual(ask("/v1/jobs", "elsewhere:%d" % port), 403)


class Image(unittest.TestCase):
    def test_what_it_copies_is_there(self):
        for line in re.findall(r"^COPY (?!--from)(.*)$", containerfile(), re.M):
            for source in line.split()[:-1]:
                if "*" not in source:
                    self.assertTrue(os.path.exists(os.path.join(ROOT, source)), source)

    def test_its_health_check_is_a_command(self):
        command = re.search(r'HEALTHCHECK .* CMD \["greedylr", "(\w+)"', containerfile())[1]
        r = subprocess.run([CLI, "help", command], capture_output=True, text=True)
        self.assertEqual(r.returncode, 0, r.stderr)

    def test_it_does_not_start_before_it_is_told_who_may_come(self):
        settings = dict(re.findall(r"([A-Z_]+)=(\S+)", re.search(r"^ENV (.*)$", containerfile(), re.M)[1]))
        with tempfile.TemporaryDirectory() as folder:
            env = dict(os.environ, **settings, GREEDYLRD_DATA_DIR=folder)
            r = subprocess.run([BINARY, "--check-config"], env=env, capture_output=True, text=True)
            self.assertEqual(r.returncode, 2, r.stdout)
            r = subprocess.run([BINARY, "--check-config", "--insecure", "no-tokens,no-tls"], env=env, capture_output=True,
                               text=True)
            self.assertEqual(r.returncode, 0, r.stderr)


if __name__ == "__main__":
    unittest.main()
