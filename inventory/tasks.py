"""Reading sources: the workers' side of polling; and beat's task for the daily readings."""

from celery import shared_task

from inventory.days import record_day
from inventory.poll import poll


@shared_task(name="inventory.poll_source")  # type: ignore[untyped-decorator]
def poll_source(source_id: str) -> None:
    """Read one source if it is due. A doubled or late message does nothing."""
    poll(source_id)


@shared_task(name="inventory.record_day")  # type: ignore[untyped-decorator]
def record_the_day() -> None:
    """Keep today's moving figures of what has none yet. Twice at once is once."""
    record_day()
