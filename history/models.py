"""What was where and when: a row for each change, never changed itself.

A row holds from its moment until the object's next one. So nothing has to be closed when something changes, and what a
poll writes twice is written once. Objects are named by kind and id, without foreign keys: history outlives them.
"""

from __future__ import annotations

from django.db import models

from access.models import RestrictedQuerySet
from core.models import NameField, by_name_index


class Kind(models.TextChoices):
    GUEST = "guest"
    HOST = "host"
    DATASTORE = "datastore"
    MOUNT = "mount"
    SWITCH = "switch"


class Interval(models.Model):
    """One object from `valid_from` on."""

    id = models.BigAutoField(primary_key=True)
    object_id = models.UUIDField()
    valid_from = models.DateTimeField()

    class Meta:
        abstract = True
        constraints = [
            models.UniqueConstraint(fields=["object_id", "valid_from"], name="%(class)s_one_a_moment"),
        ]

    def __str__(self) -> str:
        return f"{self.object_id} from {self.valid_from}"


class GuestStay(Interval):
    """In which state a guest was, on which host and with which addresses. `gone`: no host had it; the rest was last."""

    gone = models.BooleanField(default=False)
    state = models.CharField(max_length=16)
    host_id = models.UUIDField()
    addresses = models.CharField(max_length=500, blank=True)

    objects = RestrictedQuerySet.as_manager()

    class Meta(Interval.Meta):
        pass


class GuestRevision(Interval):
    """What a guest was made of. `facts`: the revisioned fields of drivers.types.GuestFact, without what is empty.

    Of these the hardware is apart, in the GuestBuild that `hardware` names; what its agent told is AgentRevision's.
    Whether the guest was there, its stay says.
    """

    name = models.CharField(max_length=255)
    datacenter_id = models.UUIDField()
    vcpus = models.PositiveIntegerField(default=0)
    memory_bytes = models.BigIntegerField(default=0)
    facts = models.JSONField(default=dict)
    hardware = models.CharField(max_length=32, blank=True)

    objects = RestrictedQuerySet.as_manager()

    class Meta(Interval.Meta):
        pass


class GuestName(Interval):
    """What a guest was called: a row only where it is another name than before. So an index has lists in order."""

    name = NameField(max_length=255)

    objects = RestrictedQuerySet.as_manager()

    class Meta(Interval.Meta):
        indexes = [by_name_index("history_names_in_order")]


class GuestBuild(models.Model):
    """The hardware of guests, the revisioned fields of drivers.types.GuestHardware: one row for all that have the same.

    It is two thirds of what a guest is made of, seldom changes, and is alike in guests of one template.
    """

    digest = models.CharField(max_length=32, primary_key=True)
    facts = models.JSONField(default=dict)

    objects = RestrictedQuerySet.as_manager()

    def __str__(self) -> str:
        return self.digest


class Revision(Interval):
    """One of the kinds of which there are few. `gone`: from then on it was not there; the rest is what was last.

    `digest` is of everything else: equal ones are not written again.
    """

    gone = models.BooleanField(default=False)
    digest = models.CharField(max_length=32)
    facts = models.JSONField(default=dict)

    objects = RestrictedQuerySet.as_manager()

    class Meta(Interval.Meta):
        abstract = True


class AgentRevision(Revision):
    """What the agent inside a guest told. A silent agent takes nothing back."""


class HostRevision(Revision):
    name = models.CharField(max_length=255)
    datacenter_id = models.UUIDField()
    vendor = models.CharField(max_length=255, blank=True)
    model = models.CharField(max_length=255, blank=True)
    cpu_cores = models.PositiveIntegerField(default=0)
    memory_bytes = models.BigIntegerField(default=0)


class DatastoreRevision(Revision):
    """The datastore as all its mounts make it; what each host says of it is a MountRevision."""

    name = models.CharField(max_length=255)
    datacenter_id = models.UUIDField()
    technology = models.CharField(max_length=16)
    storage_class = models.CharField(max_length=8)
    shared = models.BooleanField(default=False)
    active = models.BooleanField(default=True)


class MountRevision(Revision):
    name = models.CharField(max_length=255)
    datastore_id = models.UUIDField()
    host_id = models.UUIDField()
    active = models.BooleanField(default=True)


class SwitchRevision(Revision):
    """With its port groups."""

    name = models.CharField(max_length=255)
    host_id = models.UUIDField()
    switch_kind = models.CharField(max_length=16)
    active = models.BooleanField(default=True)


class RecordedObject(models.Model):
    """An object that history knows, so that all there ever were can be asked for one by one."""

    id = models.BigAutoField(primary_key=True)
    kind = models.CharField(max_length=16, choices=Kind.choices)
    object_id = models.UUIDField()
    since = models.DateTimeField()

    objects = RestrictedQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["kind", "object_id"], name="history_one_row_per_object")]

    def __str__(self) -> str:
        return f"{self.kind} {self.object_id}"


class How(models.TextChoices):
    """By what a move was known."""

    MIGRATION = "migration"  # a task of ours
    EVENT = "event"  # the hosts told of it
    POLL = "poll"  # a read found the guest elsewhere


class GuestMove(models.Model):
    """A guest went from one host to another. Names are copied: the row outlives guest and hosts."""

    id = models.BigAutoField(primary_key=True)
    at = models.DateTimeField()
    guest_id = models.UUIDField()
    guest_name = models.CharField(max_length=255)
    from_host_id = models.UUIDField()
    from_host_name = models.CharField(max_length=255)
    to_host_id = models.UUIDField()
    to_host_name = models.CharField(max_length=255)
    state = models.CharField(max_length=16)  # as it arrived
    how = models.CharField(max_length=16, choices=How.choices)
    migration_id = models.UUIDField(null=True, blank=True)
    downtime_ms = models.PositiveIntegerField(null=True, blank=True)
    bytes_moved = models.BigIntegerField(null=True, blank=True)

    objects = RestrictedQuerySet.as_manager()

    class Meta:
        ordering = ["-at", "-id"]
        indexes = [
            models.Index(fields=["at", "id"], name="history_moves_by_time"),
            models.Index(fields=["guest_id", "at"], name="history_moves_of_guest"),
        ]

    def __str__(self) -> str:
        return f"{self.guest_name}: {self.from_host_name} → {self.to_host_name}"


class Reading(models.Model):
    """The moving figures of one object, read once a day. None: nobody told that day."""

    id = models.BigAutoField(primary_key=True)
    object_id = models.UUIDField()
    day = models.DateField()
    read_at = models.DateTimeField()

    class Meta:
        abstract = True
        constraints = [models.UniqueConstraint(fields=["object_id", "day"], name="%(class)s_one_a_day")]
        indexes = [models.Index(fields=["day"], name="%(class)s_by_day")]

    def __str__(self) -> str:
        return f"{self.object_id} on {self.day}"


class GuestDay(Reading):
    cpu_percent = models.FloatField(null=True)
    memory_used_bytes = models.BigIntegerField(null=True)
    disk_capacity_bytes = models.BigIntegerField(null=True)
    disk_allocated_bytes = models.BigIntegerField(null=True)

    objects = RestrictedQuerySet.as_manager()

    class Meta(Reading.Meta):
        pass


class HostDay(Reading):
    cpu_percent = models.FloatField(null=True)
    memory_used_bytes = models.BigIntegerField(null=True)
    guests = models.PositiveIntegerField(default=0)
    running_guests = models.PositiveIntegerField(default=0)

    objects = RestrictedQuerySet.as_manager()

    class Meta(Reading.Meta):
        pass


class DatastoreDay(Reading):
    capacity_bytes = models.BigIntegerField()
    available_bytes = models.BigIntegerField()
    volumes = models.PositiveIntegerField(default=0)
    allocated_bytes = models.BigIntegerField(default=0)  # by those volumes

    objects = RestrictedQuerySet.as_manager()

    class Meta(Reading.Meta):
        pass
