"""The latest load of hosts and guests: rows that change every poll, kept apart from the inventory."""

from django.db import models


class Load(models.Model):
    """Counters as read last, and the rates since the reading before."""

    read_at = models.DateTimeField()
    cpu_percent = models.FloatField(null=True)
    memory_used_bytes = models.BigIntegerField(default=0)

    class Meta:
        abstract = True


class GuestLoad(Load):
    """`guest_id` is a guest's id; no foreign key, metrics lies below the inventory."""

    guest_id = models.UUIDField(primary_key=True)
    cpu_time_ns = models.BigIntegerField(default=0)
    disk_read_bytes = models.BigIntegerField(default=0)
    disk_written_bytes = models.BigIntegerField(default=0)
    net_received_bytes = models.BigIntegerField(default=0)
    net_sent_bytes = models.BigIntegerField(default=0)
    disk_read_rate = models.FloatField(null=True)  # bytes a second
    disk_write_rate = models.FloatField(null=True)
    net_receive_rate = models.FloatField(null=True)
    net_send_rate = models.FloatField(null=True)

    def __str__(self) -> str:
        return f"load of guest {self.guest_id}"


class HostLoad(Load):
    """`host_id` is a host's id."""

    host_id = models.UUIDField(primary_key=True)
    cpu_busy_ns = models.BigIntegerField(default=0)
    cpu_total_ns = models.BigIntegerField(default=0)

    def __str__(self) -> str:
        return f"load of host {self.host_id}"
