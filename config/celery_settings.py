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
# A consumer that gives up ends its worker: it goes on asking, for as long as the broker is away (none: no limit), and
# when it answers with an error, as at a failover (READONLY, UNBLOCKED).
broker_connection_max_retries = None
broker_channel_error_retry = True
# A broker that hangs or is away must not hold whoever sends: the row is committed, and the next beat sends again.
broker_transport_options = {
    "socket_timeout": 5.0,
    "socket_connect_timeout": 2.0,
    "max_retries": 1,
    "interval_start": 0,
    "interval_step": 0.1,
    "interval_max": 0.1,
}
task_ignore_result = True
task_serializer = "json"
accept_content = ["json"]
task_default_queue = "default"
worker_prefetch_multiplier = 1
worker_hijack_root_logger = False
worker_consumer = "operations.worker:Consumer"
timezone = "UTC"
beat_schedule = {
    "dispatch due sources": {"task": "hosts.dispatch_due", "schedule": 1.0, "options": {"expires": 5}},
    "expire drafts": {"task": "hosts.expire_drafts", "schedule": 600.0, "options": {"expires": 300}},
    "expire uploads": {"task": "storage.expire_uploads", "schedule": 1800.0, "options": {"expires": 600}},
    "keep up with load": {"task": "metrics.keep_up", "schedule": 60.0, "options": {"expires": 50}},
    "record the day": {"task": "inventory.record_day", "schedule": 1800.0, "options": {"expires": 600}},
    "reconcile jobs": {"task": "operations.reconcile", "schedule": 2.0, "options": {"expires": 10}},
}
