"""TLS as SSH goes: a private socket of this process behind which the host's libvirt answers, for one connection."""

from __future__ import annotations

import select
import shutil
import socket
import ssl
import tempfile
import threading
from contextlib import suppress

from drivers.errors import DriverError
from drivers.libvirt import uri
from drivers.tls import connect
from drivers.types import Endpoint

CHUNK = 64 * 1024
# Of each direction, while the other side is slow: then nothing more is read.
MOST_WAITING = 4 * CHUNK
FLUSH_LIMIT_S = 2.0


class TlsTunnel:
    """Both certificates are checked before libvirt connects.

    Raises: as drivers.tls.connect.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._secure, presented = connect(endpoint)
        self.server_certificate = presented.key
        self._directory = tempfile.mkdtemp(prefix="guesthouse-")  # mode 0700
        self._path = f"{self._directory}/s"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self._path)
        self._listener.listen(1)
        threading.Thread(target=self._carry, daemon=True, name="tls-tunnel").start()

    @property
    def uri(self) -> str:
        return uri.socket_uri(self._endpoint, self._path)

    def _carry(self) -> None:
        with suppress(OSError), self._secure:  # closed before it was used, or either side went
            with self._listener:
                connection, _address = self._listener.accept()
            with connection:
                Pump(connection, self._secure).run()

    def forget_secrets(self) -> None:
        """Once connected, nothing needs the socket's name any more."""
        shutil.rmtree(self._directory, ignore_errors=True)

    def close(self) -> None:
        self.forget_secrets()
        for end in (self._listener, self._secure):  # wakes the thread, whatever it waits for
            with suppress(OSError):
                # Not SSLSocket's own: from there on the pump's last bytes would go out unencrypted.
                socket.socket.shutdown(end, socket.SHUT_RDWR)

    def explain(self, otherwise: DriverError) -> DriverError:
        """What came after both certificates were accepted is libvirt's own."""
        return otherwise


class Pump:
    """Carries bytes both ways in one thread, since a TLS connection may not be read and written at once.

    Source: https://docs.openssl.org/3.0/man7/openssl-threads/
    """

    def __init__(self, plain: socket.socket, secure: ssl.SSLSocket) -> None:
        self._plain, self._secure = plain, secure
        self._to_plain, self._to_secure = bytearray(), bytearray()
        self._secure_wants_to_write = False

    def run(self) -> None:
        """Until either side ends. Raises: OSError when it breaks."""
        self._plain.setblocking(False)
        self._secure.setblocking(False)
        while self._read_plain() and self._read_secure():
            self._write()
            self._wait()
        self._plain.settimeout(FLUSH_LIMIT_S)
        self._plain.sendall(self._to_plain)

    def _read_plain(self) -> bool:
        """False at the end."""
        if len(self._to_secure) >= MOST_WAITING:
            return True
        try:
            data = self._plain.recv(CHUNK)
        except BlockingIOError:
            return True
        self._to_secure += data
        return bool(data)

    def _read_secure(self) -> bool:
        self._secure_wants_to_write = False
        if len(self._to_plain) >= MOST_WAITING:
            return True
        try:
            data = self._secure.recv(CHUNK)
        except ssl.SSLWantReadError:
            return True
        except ssl.SSLWantWriteError:
            self._secure_wants_to_write = True
            return True
        self._to_plain += data
        return bool(data)

    def _write(self) -> None:
        with suppress(BlockingIOError):
            while self._to_plain:
                del self._to_plain[: self._plain.send(self._to_plain[:CHUNK])]
        with suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
            while self._to_secure:
                del self._to_secure[: self._secure.send(self._to_secure[:CHUNK])]

    def _wait(self) -> None:
        """Until one of them can go on. `poll`, since `select` knows no descriptors from 1024 up."""
        room_for_plain, room_for_secure = len(self._to_plain) < MOST_WAITING, len(self._to_secure) < MOST_WAITING
        if room_for_plain and self._secure.pending():
            return
        wanted = (
            (self._plain, _events(room_for_secure, bool(self._to_plain))),
            (self._secure, _events(room_for_plain, bool(self._to_secure) or self._secure_wants_to_write)),
        )
        waiting = select.poll()
        for end, events in wanted:
            if events:  # else its end would be told again and again, while there is no room to read up to it
                waiting.register(end, events)
        waiting.poll()


def _events(read: bool, write: bool) -> int:
    return (select.POLLIN if read else 0) | (select.POLLOUT if write else 0)
