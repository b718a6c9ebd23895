"""States that come in time, also while a guest's QEMU has stopped.

`NOWAIT` waits for nobody who holds a guest's job. It takes the job of a guest that nobody holds, though, and when that
guest's QEMU has stopped, the call hangs with it: seen with libvirt 9.0. From then on the job is held, and nobody else
is kept. So whoever finds such a guest first is left behind with its connection.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future

from drivers.errors import DriverError
from drivers.libvirt import collect
from drivers.libvirt.connection import Connection
from drivers.libvirt.raw import RawReading

PATIENCE_S = 4.0  # many times what a host of thousands of guests takes


class States:
    """Reads a host's states and load on its connection; while that hangs, the states alone on another. Thread-safe."""

    def __init__(
        self, connection: Connection, open_line: Callable[[], Connection], patience_s: float = PATIENCE_S
    ) -> None:
        self._connection = connection
        self._open_line = open_line
        self._patience_s = patience_s
        self._stuck: Future[RawReading] | None = None

    def read(self) -> RawReading:
        """Raises: DriverError."""
        if self._stuck is None or self._stuck.done():
            reading: Future[RawReading] = Future()
            threading.Thread(target=self._read_into, args=(reading,), daemon=True, name="states").start()
            try:
                return reading.result(self._patience_s)
            except TimeoutError:
                self._stuck = reading
        return self._read_bare()

    def when_free(self, act: Callable[[], object]) -> None:
        """Do it once no call hangs on the connection: libvirt's client does not bear that it is closed under one."""
        if self._stuck is None:
            act()
        else:
            self._stuck.add_done_callback(lambda _reading: act())

    def _read_into(self, reading: Future[RawReading]) -> None:
        try:
            reading.set_result(collect.read_states(self._connection))
        except DriverError as error:
            reading.set_exception(error)
        except BaseException as error:  # the end of a thread: who waits must hear of it
            reading.set_exception(error)
            raise

    def _read_bare(self) -> RawReading:
        line = self._open_line()
        try:
            return collect.read_states(line, bare=True)
        finally:
            line.close()
