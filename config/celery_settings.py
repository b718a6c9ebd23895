"""Celery's settings, read when the first message is sent or a worker starts."""

from django.conf import settings


def broker_address(redis_url: str) -> str:
    """Kombu's spelling of a Redis address: a unix socket is `redis+socket://`, and it knows no `valkey://`."""
    return redis_url.replace("unix://", "redis+socket://", 1).replace("valkey", "redis", 1)


broker_url = broker_address(settings.REDIS_URL)
broker_connection_retry_on_startup = True
task_ignore_result = True
task_serializer = "json"
accept_content = ["json"]
task_default_queue = "default"
worker_prefetch_multiplier = 1
worker_hijack_root_logger = False
timezone = "UTC"
beat_schedule = {
    "dispatch due sources": {"task": "hosts.dispatch_due", "schedule": 1.0, "options": {"expires": 5}},
    "reconcile jobs": {"task": "operations.reconcile", "schedule": 3.0, "options": {"expires": 10}},
}
