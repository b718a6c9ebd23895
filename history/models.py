"""What was where and when: a row for each change, never changed itself.

A revision holds from its moment until the object's next one. So nothing has to be closed when something changes, and
what a poll writes twice is written once. Objects are named by kind and id, without foreign keys: history outlives them.
"""

from __future__ import annotations

from django.db import models

from access.models import RestrictedQuerySet


class Revision(models.Model):
    """One object from `valid_from` on. `gone`: from then on it was not there; the other columns keep what was last."""

    id = models.BigAutoField(primary_key=True)
    object_id = models.UUIDField()
    valid_from = models.DateTimeField()
    gone = models.BooleanField(default=False)
    name = models.CharField(max_length=255)
    datacenter_id = models.UUIDField()

    class Meta:
        abstract = True
        constraints = [
            models.UniqueConstraint(fields=["object_id", "valid_from"], name="%(class)s_one_a_moment"),
        ]

    def __str__(self) -> str:
        return f"{self.name} from {self.valid_from}"


class GuestRevision(Revision):
    """What a guest was made of. `facts`: the revisioned fields of drivers.types.GuestFact, without what is empty."""

    vcpus = models.PositiveIntegerField(default=0)
    memory_bytes = models.BigIntegerField(default=0)
    facts = models.JSONField(default=dict)

    objects = RestrictedQuerySet.as_manager()


class GuestStay(models.Model):
    """In which state a guest was, and on which host, from `valid_from` on."""

    id = models.BigAutoField(primary_key=True)
    object_id = models.UUIDField()
    valid_from = models.DateTimeField()
    state = models.CharField(max_length=16)
    host_id = models.UUIDField()

    objects = RestrictedQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["object_id", "valid_from"], name="gueststay_one_a_moment")]

    def __str__(self) -> str:
        return f"{self.object_id} {self.state} from {self.valid_from}"


class RecordedObject(models.Model):
    """An object that history knows, so that all there ever were can be asked for one by one."""

    id = models.BigAutoField(primary_key=True)
    kind = models.CharField(max_length=16)
    object_id = models.UUIDField()
    since = models.DateTimeField()

    objects = RestrictedQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["kind", "object_id"], name="history_one_row_per_object")]

    def __str__(self) -> str:
        return f"{self.kind} {self.object_id}"
