"""HTTP to the daemon with every wait bounded by one deadline.

http.client alone bounds single reads: a server that sends one byte now and then would hold a training run for ever.
Here name lookup, connecting, sending and reading share one deadline.  Each call has a connection of its own, so a
Transport has no state but its token: threads and forked processes may share it.  Environment proxies are not used.
"""
from __future__ import annotations

import http.client
import io
import socket
import ssl
import threading
import time
import urllib.parse
from typing import Any, Callable, Dict, Iterator, List, Mapping, NamedTuple, Optional, Tuple

from .credentials import Token, check_way, context, refusal
from .errors import CERTIFICATE_REFUSED, NO_ANSWER, UNREACHABLE, GreedyLRError, no_answer, of_answer

#: Longest answer, in bytes; a page of 1,000 decisions has about 600 KB.
ANSWER_MAX = 64 << 20
#: A stream that is silent for so long, in seconds, counts as broken: the daemon sends comments every 15 s.
STREAM_IDLE = 60.0
#: Longest wait, in seconds, for anything: sockets take no infinity.
TIMEOUT_MAX = 1e6

Left = Callable[[], float]


class Answer(NamedTuple):
    """status: HTTP status; headers: names in lower case; body: all of it."""

    status: int
    headers: Dict[str, str]
    body: bytes


class _TimedReader(io.RawIOBase):
    def __init__(self, sock: socket.socket, left: Left) -> None:
        self._sock, self._left = sock, left

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._sock.settimeout(self._left())
        return self._sock.recv_into(buffer)


class _TimedSocket:
    """What http.client needs of a socket.  close() does nothing: the answer is read after http.client calls it."""

    def __init__(self, sock: socket.socket, left: Left) -> None:
        self._sock, self._left = sock, left

    def sendall(self, data: Any) -> None:
        self._sock.settimeout(self._left())
        self._sock.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_TimedReader(self._sock, self._left))

    def close(self) -> None:
        pass


def _deadline(timeout: float) -> Left:
    """Seconds left of the timeout, more than 0; TimeoutError once it is over."""
    end = time.monotonic() + timeout

    def left() -> float:
        seconds = end - time.monotonic()
        if seconds <= 0:
            raise socket.timeout("timed out")
        return seconds
    return left


def _resolve(host: str, port: int, left: Left) -> List[Any]:
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        pass
    found: List[Any] = []

    def look() -> None:  # getaddrinfo takes no timeout
        try:
            found.append(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except OSError as error:
            found.append(error)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    thread.join(left())
    if not found:
        raise socket.timeout(f"no address for {host} in time")
    if isinstance(found[0], OSError):
        raise found[0]
    return list(found[0])


def _split(url: str) -> Tuple[urllib.parse.SplitResult, Optional[int]]:
    """The parts of a url and its port.  Raises ValueError where the resolver could not take its host either."""
    try:
        parts = urllib.parse.urlsplit(url)
        (parts.hostname or "").encode("idna")
        return parts, parts.port
    except ValueError as error:  # UnicodeError is one
        raise ValueError(f"url: has no host and port that can be looked up ({error}), got {url!r}; "
                         "it must be http://HOST:PORT, https://HOST or unix:/PATH") from None


class Transport:
    """Where the daemon is and how to talk to it.

    url    "http://host:8571", "https://host/prefix" or "unix:/path/of/socket"; ValueError for anything else.
    token  sent as a bearer token; None sends none.  To another machine only over https, see check_way.
    tls    for https; None means certificates of ca_file, or the system's.
    """

    def __init__(self, url: str, token: Optional[Token] = None, tls: Optional[ssl.SSLContext] = None,
                 ca_file: Optional[str] = None) -> None:
        if "\0" in url:
            raise ValueError(f"url: must not hold a NUL, got {url!r}")
        self.url, self._token, self._tls, self._ca_file = url, token or Token(""), tls, ca_file
        self._path = url[len("unix:"):] if url.startswith("unix:") else None
        if self._path is not None:
            if not self._path:
                raise ValueError(f"url: unix: needs the path of a socket, got {url!r}")
            self._host, self._port, self._prefix = "localhost", 80, ""
            return
        parts, port = _split(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ValueError(f"url: must be http://HOST:PORT, https://HOST or unix:/PATH, got {url!r}")
        if parts.username is not None:
            raise ValueError("url: must not hold a password; give the token as token= or token_file=")
        self._host = parts.hostname
        self._port = port or (443 if parts.scheme == "https" else 80)
        self._prefix = parts.path.rstrip("/")
        if parts.scheme == "https":
            self._tls = context(tls, ca_file)
        elif tls is not None or ca_file is not None:
            raise ValueError(f"{'ca_file' if tls is None else 'tls'}: needs an https url, got {url!r}")
        else:
            check_way(url, self._host, self._token)

    def _connect(self, left: Left) -> socket.socket:
        if self._path is not None:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            return self._connected(sock, self._path, left)
        last: OSError = OSError(f"no address for {self._host}")
        for family, kind, proto, _, address in _resolve(self._host, self._port, left):
            try:
                sock = self._connected(socket.socket(family, kind, proto), address, left)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return self._secured(sock, left)
            except ssl.SSLCertVerificationError:
                raise
            except OSError as error:
                last = error
        raise last

    @staticmethod
    def _connected(sock: socket.socket, address: Any, left: Left) -> socket.socket:
        try:
            sock.settimeout(left())
            sock.connect(address)
        except BaseException:
            sock.close()
            raise
        return sock

    def _secured(self, sock: socket.socket, left: Left) -> socket.socket:
        if self._tls is None:
            return sock
        try:
            sock.settimeout(left())
            return self._tls.wrap_socket(sock, server_hostname=self._host)
        except socket.timeout:
            sock.close()
            raise ssl.SSLError("no handshake in time") from None
        except BaseException:
            sock.close()
            raise

    def _open(self, left: Left) -> socket.socket:
        try:
            return self._connect(left)
        except ssl.SSLCertVerificationError as error:
            raise no_answer(CERTIFICATE_REFUSED, f"{self.url}: its certificate is refused: "
                            f"{refusal(error, self._ca_file)}") from None
        except ssl.SSLError as error:
            raise no_answer(UNREACHABLE, f"no connection to {self.url}: {error}; does it speak TLS?  The url begins with "
                            "https://") from None
        except OSError as error:
            raise no_answer(UNREACHABLE, f"no connection to {self.url}: {error}; is greedylrd running there?") from None

    def _send(self, sock: socket.socket, left: Left, method: str, path: str, body: Optional[bytes],
              headers: Mapping[str, str]) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection(self._host, self._port)
        connection.default_port = 443 if self._tls else 80  # what the Host header leaves out
        connection.sock = _TimedSocket(sock, left)
        token = {"Authorization": f"Bearer {self._token.text}"} if self._token.text else {}
        connection.request(method, self._prefix + path, body, {**headers, **token})
        return connection.getresponse()

    def call(self, method: str, path: str, body: Optional[bytes], headers: Mapping[str, str],
             timeout: float) -> Answer:
        """One request, whatever its status.

        timeout: seconds for all of it, above 0.  Raises GreedyLRError UNREACHABLE, NO_ANSWER or CERTIFICATE_REFUSED.
        A token that is refused is read from its file again, once.
        """
        left = _deadline(timeout)
        answer = self._once(left, method, path, body, headers)
        if answer.status == 401 and self._token.renewed():
            answer = self._once(left, method, path, body, headers)
        return answer

    def _once(self, left: Left, method: str, path: str, body: Optional[bytes], headers: Mapping[str, str]) -> Answer:
        sock = self._open(left)
        try:
            response = self._send(sock, left, method, path, body, headers)
            text = response.read(ANSWER_MAX + 1)
            if len(text) > ANSWER_MAX:
                raise http.client.HTTPException(f"more than {ANSWER_MAX} bytes")
            if response.length:  # read(n) takes a body cut short for a short body
                raise http.client.IncompleteRead(text, response.length)
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, text)
        except (OSError, http.client.HTTPException) as error:
            raise self._broken(error) from None
        finally:
            sock.close()

    def lines(self, path: str, headers: Mapping[str, str], timeout: float) -> Iterator[str]:
        """Lines of a stream, without their ends, until the daemon closes it.

        timeout: seconds until the stream begins, above 0; after that a silence of STREAM_IDLE ends it with NO_ANSWER.
        Raises GreedyLRError, the daemon's own where it refuses.
        """
        begun = False
        beginning = _deadline(timeout)

        def left() -> float:
            return STREAM_IDLE if begun else beginning()

        sock = self._open(left)
        try:
            response = self._send(sock, left, "GET", path, None, headers)
            if response.status == 401 and self._token.renewed():
                sock.close()
                sock = self._open(left)
                response = self._send(sock, left, "GET", path, None, headers)
            if response.status != 200:
                raise of_answer(response.status, {k.lower(): v for k, v in response.getheaders()},
                                response.read(ANSWER_MAX))
            begun = True
            for line in response:
                yield line.decode("utf-8", "replace").rstrip("\r\n")
        except (OSError, http.client.HTTPException) as error:
            raise self._broken(error) from None
        finally:
            sock.close()

    def _broken(self, error: Exception) -> GreedyLRError:
        what = "no answer in time" if isinstance(error, socket.timeout) else f"the answer broke off: {error!r}"
        if isinstance(error, http.client.RemoteDisconnected) and self._tls is None:
            what += "; if it speaks TLS the url begins with https://"
        return no_answer(NO_ANSWER, f"{self.url}: {what}")
