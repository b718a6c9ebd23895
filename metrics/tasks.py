"""Beat's task for load."""

from celery import shared_task

from metrics.upkeep import keep_up


@shared_task(name="metrics.keep_up")  # type: ignore[untyped-decorator]
def keep_up_with_load() -> None:
    """Pack the hours that are over, roll up, drop what is old. Twice at once is once."""
    keep_up()
