"""What a worker process does besides its tasks."""

from typing import Any

from celery import bootsteps

from operations.leases import heartbeat


class HandOver(bootsteps.StartStopStep):  # type: ignore[misc]
    """A stopping worker waits for its tasks: they hand over, since a migration may take hours.

    Celery closes every step before it waits, for whatever reason it stops; its signal `worker_shutting_down` comes
    from signal handlers alone, and sooner.
    """

    def close(self, _worker: Any) -> None:
        heartbeat.stop_work()
