"""What a worker process does besides its tasks."""

from typing import Any

from celery import bootsteps
from celery.worker import consumer
from kombu.common import ignore_errors

from operations.leases import heartbeat


class HandOver(bootsteps.StartStopStep):  # type: ignore[misc]
    """A stopping worker waits for its tasks: they hand over, since a migration may take hours.

    Celery closes every step before it waits, for whatever reason it stops; its signal `worker_shutting_down` comes
    from signal handlers alone, and sooner.
    """

    def close(self, _worker: Any) -> None:
        heartbeat.stop_work()


class Consumer(consumer.Consumer):  # type: ignore[misc]
    """Celery's, which leaves a connection open when the first command on it fails.

    A broker that refuses commands, such as a replica that is not yet promoted, would be connected to several times a
    second until this process has no file left to open.
    """

    _opened: Any = None

    def connection_for_read(self, heartbeat: Any = None) -> Any:
        self._opened = super().connection_for_read(heartbeat)
        return self._opened

    def connect(self) -> Any:
        self._opened = None
        try:
            return super().connect()
        except self.connection_errors + self.channel_errors:
            if self._opened is not None:
                ignore_errors(self._opened, self._opened.close)  # type: ignore[no-untyped-call]
            raise
