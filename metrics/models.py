"""Load: the latest of each host, guest and datastore, and what it was, in packed blocks.

Rows that change every poll, kept apart from the inventory; objects are named by id, without foreign keys. What is read
goes first into one row for each host and poll (LoadPoll); once its hour is over, a row for each object and hour
(LoadBlock, level RAW); roll-ups are blocks, too. See docs/adr/0012-load-in-packed-blocks.md.
"""

from __future__ import annotations

from django.db import models

from access.models import RestrictedQuerySet


class Load(models.Model):
    """Counters as read last, and the rates since the reading before."""

    read_at = models.DateTimeField()
    cpu_percent = models.FloatField(null=True)
    memory_used_bytes = models.BigIntegerField(default=0)

    class Meta:
        abstract = True


class GuestLoad(Load):
    """`guest_id` is a guest's id; no foreign key, metrics lies below the inventory. `host_id`: whose poll said it."""

    guest_id = models.UUIDField(primary_key=True)
    host_id = models.UUIDField(null=True)
    memory_bytes = models.BigIntegerField(default=0)
    cpu_time_ns = models.BigIntegerField(default=0)
    disk_read_bytes = models.BigIntegerField(default=0)
    disk_written_bytes = models.BigIntegerField(default=0)
    disk_reads = models.BigIntegerField(default=0)
    disk_writes = models.BigIntegerField(default=0)
    net_received_bytes = models.BigIntegerField(default=0)
    net_sent_bytes = models.BigIntegerField(default=0)
    disk_read_rate = models.FloatField(null=True)  # bytes a second
    disk_write_rate = models.FloatField(null=True)
    disk_read_ops = models.FloatField(null=True)  # a second
    disk_write_ops = models.FloatField(null=True)
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


class DatastoreLoad(models.Model):
    """When a datastore was measured last: one that many hosts see is not kept once for each of them."""

    datastore_id = models.UUIDField(primary_key=True)
    read_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"load of datastore {self.datastore_id}"


class Level(models.IntegerChoices):
    """How fine a block's points are; each is made of the one before."""

    RAW = 0  # as polled; a block is an hour
    FIVE_MINUTES = 1  # a block is a day
    HOUR = 2  # a block is a week


class LoadPoll(models.Model):
    """What one poll of one host said of it and its guests, until its hour is packed. Never changed.

    `group_id`: the host, or the datastore if it is one. `objects`: 16 bytes each. `packed`: objects x series.
    """

    id = models.BigAutoField(primary_key=True)
    group_id = models.UUIDField()
    at = models.BigIntegerField()  # seconds since 1970
    exact = models.BooleanField(default=False)
    objects_packed = models.BinaryField()
    values_packed = models.BinaryField()

    objects = RestrictedQuerySet.as_manager()

    class Meta:
        indexes = [models.Index(fields=["group_id", "at"]), models.Index(fields=["at"])]

    def __str__(self) -> str:
        return f"{self.group_id} at {self.at}"


class LoadTrail(models.Model):
    """Before `until`, polls of another host may have told of this object. Only as long as there are such polls."""

    id = models.BigAutoField(primary_key=True)
    object_id = models.UUIDField()
    group_id = models.UUIDField()
    until = models.BigIntegerField()

    objects = RestrictedQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["object_id", "group_id"], name="metrics_one_trail_per_group")]
        indexes = [models.Index(fields=["until"])]

    def __str__(self) -> str:
        return f"{self.object_id} on {self.group_id} until {self.until}"


class LoadBlock(models.Model):
    """One object's points from `start` on, for the length of its level's blocks. Made by metrics.packing."""

    pk = models.CompositePrimaryKey("object_id", "level", "start")
    object_id = models.UUIDField()
    level = models.SmallIntegerField(choices=Level.choices)
    start = models.BigIntegerField()  # seconds since 1970
    packed = models.BinaryField()

    objects = RestrictedQuerySet.as_manager()

    class Meta:
        indexes = [models.Index(fields=["level", "start"])]  # what is due for a roll-up, or too old

    def __str__(self) -> str:
        return f"{self.object_id} from {self.start}, level {self.level}"


class LoadWork(models.Model):
    """How far a kind of upkeep has come, and who does it now.

    `done_until`: seconds since 1970. `cursor`: the last object done of the period after it.
    """

    name = models.CharField(max_length=16, primary_key=True)
    done_until = models.BigIntegerField(default=0)
    cursor = models.UUIDField(null=True)
    token = models.BigIntegerField(default=0)
    lease_until = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"{self.name} until {self.done_until}"
