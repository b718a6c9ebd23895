"""Beat's tasks for sources."""

from celery import shared_task

from hosts import batches, polling, services


@shared_task(name="hosts.dispatch_due")  # type: ignore[untyped-decorator]
def dispatch_due() -> None:
    """Hand out the sources that are due. Reads nothing itself."""
    polling.dispatch_due()


@shared_task(name="hosts.expire_drafts")  # type: ignore[untyped-decorator]
def expire_drafts() -> None:
    """Forget old drafts of sources, also when nobody adds another one."""
    services.expire_drafts()
    batches.expire_batches()
