"""HTTP to the daemon with every wait bounded by one deadline.

http.client alone bounds single reads: a server that sends one byte now and then would hold a training run for ever.
Here name lookup, connecting, sending and reading share one deadline.  Each call has a connection of its own, so a
Transport has no state: threads and forked processes may share it.  Environment proxies are not used.
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

from .errors import NO_ANSWER, UNREACHABLE, GreedyLRError, no_answer, of_answer

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
    token  sent as a bearer token; None sends none.
    tls    for https; None means the system's certificates.
    """

    def __init__(self, url: str, token: Optional[str] = None, tls: Optional[ssl.SSLContext] = None) -> None:
        if "\0" in url:
            raise ValueError(f"url: must not hold a NUL, got {url!r}")
        self.url, self._token, self._tls = url, token, tls
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
            raise ValueError("url: must not hold a password; give the token as token= or in GREEDYLR_TOKEN_FILE")
        self._host = parts.hostname
        self._port = port or (443 if parts.scheme == "https" else 80)
        self._prefix = parts.path.rstrip("/")
        if parts.scheme == "https":
            self._tls = tls or ssl.create_default_context()
        elif tls is not None:
            raise ValueError(f"tls: needs an https url, got {url!r}")

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
        except BaseException:
            sock.close()
            raise

    def _open(self, left: Left) -> socket.socket:
        try:
            return self._connect(left)
        except OSError as error:
            raise no_answer(UNREACHABLE, f"no connection to {self.url}: {error}; is greedylrd running there?") from None

    def _send(self, sock: socket.socket, left: Left, method: str, path: str, body: Optional[bytes],
              headers: Mapping[str, str]) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection(self._host, self._port)
        connection.default_port = 443 if self._tls else 80  # what the Host header leaves out
        connection.sock = _TimedSocket(sock, left)
        token = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        connection.request(method, self._prefix + path, body, {**headers, **token})
        return connection.getresponse()

    def call(self, method: str, path: str, body: Optional[bytes], headers: Mapping[str, str],
             timeout: float) -> Answer:
        """One request, whatever its status.

        timeout: seconds for all of it, above 0.  Raises GreedyLRError UNREACHABLE or NO_ANSWER.
        """
        left = _deadline(timeout)
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
            raise _broken(self.url, error) from None
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
            if response.status != 200:
                raise of_answer(response.status, {k.lower(): v for k, v in response.getheaders()},
                                response.read(ANSWER_MAX))
            begun = True
            for line in response:
                yield line.decode("utf-8", "replace").rstrip("\r\n")
        except (OSError, http.client.HTTPException) as error:
            raise _broken(self.url, error) from None
        finally:
            sock.close()


def _broken(url: str, error: Exception) -> GreedyLRError:
    what = "no answer in time" if isinstance(error, socket.timeout) else f"the answer broke off: {error!r}"
    return no_answer(NO_ANSWER, f"{url}: {what}")
