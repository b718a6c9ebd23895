"""Sending work to the workers: by name, with ids only, after the commit."""

import logging
import time

from celery import current_app
from kombu.exceptions import OperationalError

from core.db import after_commit

log = logging.getLogger(__name__)

OPERATIONS = "operations"
POLLS = "polls"
SUSPECT = "suspect"

REST_AFTER_FAILURE_SECONDS = 5.0


def enqueue(task: str, *ids: str, queue: str = "default", expires_seconds: float | None = None) -> None:
    """Send a message when the open transaction commits.

    A lost message loses nothing: beat's dispatcher and reconciler find the row again, so an unreachable broker is
    logged and not raised, and left alone for some seconds.
    """
    after_commit(_send, task, ids, queue, expires_seconds)


class _Rest:
    """After a failure nobody waits for the broker again for a while."""

    until = 0.0


def _send(task: str, ids: tuple[str, ...], queue: str, expires_seconds: float | None) -> None:
    if time.monotonic() < _Rest.until:
        return
    try:
        current_app.send_task(task, args=ids, queue=queue, expires=expires_seconds, ignore_result=True, retry=False)
    except (OperationalError, OSError):
        _Rest.until = time.monotonic() + REST_AFTER_FAILURE_SECONDS
        log.warning("The message broker does not answer; %s waits for the next beat.", task)
