"""Beat's tasks for sources."""

from celery import shared_task

from hosts import polling


@shared_task(name="hosts.dispatch_due")  # type: ignore[untyped-decorator]
def dispatch_due() -> None:
    """Hand out the sources that are due. Reads nothing itself."""
    polling.dispatch_due()
