"""Who asks and whom it trusts: the token that requests carry, and the certificates that vouch for the daemon."""
from __future__ import annotations

import ipaddress
import os
import ssl
import stat
from typing import Optional


def _environment(name: str) -> Optional[str]:
    return os.environ.get(name) or None


class Token:
    """A token, and the file it is from, if any.

    token       the token itself; "" sends none.
    token_file  a file whose first line it is, which not everybody may read.  Neither: GREEDYLR_TOKEN, or the file that
                GREEDYLR_TOKEN_FILE names, or none.
    Raises ValueError for a file that cannot be used and for both at once.
    """

    def __init__(self, token: Optional[str] = None, token_file: Optional[str] = None) -> None:
        if token is not None and token_file is not None:
            raise ValueError("token and token_file: give one of the two")
        self._name = "token_file"
        if token is None and token_file is None:
            token = _environment("GREEDYLR_TOKEN")
            if token is None:
                token_file, self._name = _environment("GREEDYLR_TOKEN_FILE"), "GREEDYLR_TOKEN_FILE"
        self._file = token_file
        self.text = _clean(token or "") if token_file is None else self._read(token_file)

    def _read(self, path: str) -> str:
        try:
            with open(path, encoding="ascii") as file:
                open_to_all = os.fstat(file.fileno()).st_mode & stat.S_IROTH
                token = file.readline().strip()
        except (OSError, ValueError) as error:
            raise ValueError(f"{self._name}: cannot read {path}: {error}") from None
        if open_to_all:
            raise ValueError(f"{self._name}: everybody may read {path}; chmod o-r it")
        if not token:
            raise ValueError(f"{self._name}: {path} is empty; its first line has to be a token")
        return _clean(token)

    def renewed(self) -> bool:
        """The daemon refuses the token: whether its file has another one by now, which is then in use."""
        if self._file is None:
            return False
        try:
            text = self._read(self._file)
        except ValueError:
            return False
        changed, self.text = text != self.text, text
        return changed


def _clean(token: str) -> str:
    for i, c in enumerate(token):  # it becomes a header, and must not begin another
        if not "!" <= c <= "~":
            raise ValueError(f"token: has a character that is not printable ASCII at position {i}; use it as greedylr "
                             "token create printed it")
    return token


def context(tls: Optional[ssl.SSLContext], ca_file: Optional[str]) -> ssl.SSLContext:
    """What checks a daemon's certificate: what is given, or one that trusts the certificates of ca_file, of
    GREEDYLR_CA_FILE, or the system's.  Raises ValueError for a file that has none."""
    name = "ca_file"
    if tls is not None:
        if ca_file is not None:
            raise ValueError("tls and ca_file: give one of the two")
        return tls
    if ca_file is None:
        ca_file, name = _environment("GREEDYLR_CA_FILE"), "GREEDYLR_CA_FILE"
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # ssl.SSLError is one
        raise ValueError(f"{name}: {ca_file} has no certificates in PEM form that can be read: {error}") from None


def check_way(url: str, host: str, token: Token) -> None:
    """Plain http: a token goes to this machine only, unless GREEDYLR_INSECURE accepts by name that others read it."""
    accepted = _environment("GREEDYLR_INSECURE")
    if accepted not in (None, "no-tls"):
        raise ValueError(f"GREEDYLR_INSECURE: can only be no-tls, got {accepted!r}")
    if token.text and not accepted and not _is_loopback(host):
        raise ValueError(f"url: {url!r} would carry the token for everybody on the network to read; use https://, or "
                         "accept that by name with GREEDYLR_INSECURE=no-tls")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def refusal(error: ssl.SSLCertVerificationError, ca_file: Optional[str]) -> str:
    """What is wrong with a certificate and what to do."""
    trusted = ca_file or _environment("GREEDYLR_CA_FILE")
    if error.verify_code in (9, 10):
        remedy = "the daemon needs a new one (and SIGHUP), unless the clock here is wrong"
    elif error.verify_code in (62, 64):
        remedy = "use a name that the certificate is made for, or have one made for this name"
    elif trusted:
        remedy = f"the CA file {trusted} does not vouch for it: give the certificate of the authority that signed it"
    else:
        remedy = "give the certificate of the authority that signed it as ca_file= or GREEDYLR_CA_FILE"
    return f"{error.verify_message}; {remedy}"
