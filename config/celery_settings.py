"""Celery's settings, read when the first message is sent or a worker starts."""

from django.conf import settings

# Kombu's spelling of the kinds of Redis address.
SCHEMES = {"unix": "redis+socket", "valkey": "redis", "valkeys": "rediss"}


def broker_address(redis_url: str) -> str:
    """The address as kombu reads it."""
    scheme, mark, rest = redis_url.partition("://")
    return f"{SCHEMES.get(scheme, scheme)}{mark}{rest}"


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
    "reconcile jobs": {"task": "operations.reconcile", "schedule": 2.0, "options": {"expires": 10}},
}
