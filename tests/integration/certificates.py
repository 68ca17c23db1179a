"""A certificate authority of a test's own, made by openssl when it is needed."""
import os
import ssl
import subprocess


def openssl(*args):
    r = subprocess.run(("openssl",) + args, capture_output=True, text=True)
    assert r.returncode == 0, (args, r.stderr)
    return r.stdout


class Authority:
    """Files in a directory: the authority's certificate is `file`; issue() makes others of it."""

    def __init__(self, directory, name="Test CA"):
        self.directory, self.name = directory, name
        self.file, self.key = self._path("crt"), self._path("key")
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", self.key,
                "-out", self.file, "-days", "30", "-subj", "/CN=" + name)

    def _path(self, kind, name=None):
        return os.path.join(self.directory, (name or self.name).replace(" ", "-") + "." + kind)

    def issue(self, name, hosts=("DNS:localhost", "IP:127.0.0.1"), days=30, key="ec"):
        """(certificate file with the authority's behind it, key file)."""
        cert, secret, request, extensions = (self._path(kind, name) for kind in ("crt", "key", "csr", "ext"))
        with open(extensions, "w") as f:
            f.write("subjectAltName=" + ",".join(hosts))
        kind = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256") if key == "ec" else ("-newkey", key)
        openssl("req", *kind, "-nodes", "-keyout", secret, "-out", request, "-subj", "/CN=" + name)
        openssl("x509", "-req", "-in", request, "-CA", self.file, "-CAkey", self.key, "-CAcreateserial",
                "-days", str(days), "-extfile", extensions, "-out", cert)
        with open(cert, "a") as out, open(self.file) as own:
            out.write(own.read())
        os.chmod(secret, 0o600)
        return cert, secret

    def context(self):
        """What trusts this authority and nobody else."""
        return ssl.create_default_context(cafile=self.file)
