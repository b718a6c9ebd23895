"""Sending work to the workers: by name, with ids only, after the commit."""

import logging
from functools import partial

from celery import current_app
from django.db import transaction
from kombu.exceptions import OperationalError

log = logging.getLogger(__name__)

OPERATIONS = "operations"
POLLS = "polls"
SUSPECT = "suspect"


def enqueue(task: str, *ids: str, queue: str = "default") -> None:
    """Send a message when the open transaction commits.

    A lost message loses nothing: beat's dispatcher and reconciler find the row again, so an unreachable broker is
    logged and not raised.
    """
    transaction.on_commit(partial(_send, task, ids, queue), robust=True)


def _send(task: str, ids: tuple[str, ...], queue: str) -> None:
    try:
        current_app.send_task(task, args=ids, queue=queue, ignore_result=True, retry=False)
    except OperationalError:
        log.warning("The message broker does not answer; %s waits for the next beat.", task)
