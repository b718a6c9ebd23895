"""Beat's tasks for storage."""

from celery import shared_task

from storage import uploads


@shared_task(name="storage.expire_uploads")  # type: ignore[untyped-decorator]
def expire_uploads() -> None:
    """Forget files that were sent and never used."""
    uploads.expire_uploads()
