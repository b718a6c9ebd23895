"""Reading sources: the workers' side of polling."""

from celery import shared_task

from inventory.poll import poll


@shared_task(name="inventory.poll_source")  # type: ignore[untyped-decorator]
def poll_source(source_id: str) -> None:
    """Read one source if it is due. A doubled or late message does nothing."""
    poll(source_id)
