"""Datastores and the hosts that see them."""

from django.db import models

from access.models import RestrictedQuerySet
from core.models import NameField, Row, by_name_index
from drivers.types import StorageClass, Technology
from hosts.models import Datacenter, Host

# The driver's words for what a volume is.
DISK_KINDS = frozenset({"file", "block"})  # what a guest can have as its disk by a path on the host
DIRECTORY_KINDS = frozenset({"dir", "netdir"})


class Datastore(Row):
    """A place that holds disks. `identity` says when two mounts are one datastore; see storage.identity."""

    datacenter = models.ForeignKey(Datacenter, on_delete=models.PROTECT, related_name="datastores", db_index=False)
    identity = models.CharField(max_length=500)
    name = NameField(max_length=255)
    technology = models.CharField(max_length=16, choices=[(t.value, t.value) for t in Technology])
    storage_class = models.CharField(max_length=8, choices=[(c.value, c.value) for c in StorageClass])
    path = models.CharField(max_length=1000, blank=True)
    source = models.CharField(max_length=500, blank=True)
    shared = models.BooleanField(default=False)  # several hosts see it
    active = models.BooleanField(default=True)  # on at least one host
    capacity_bytes = models.BigIntegerField(default=0)
    available_bytes = models.BigIntegerField(default=0)
    kind = models.CharField(max_length=32, blank=True)  # the driver's own word: dir, netfs, logical …
    details = models.JSONField(default=dict)  # format, servers and devices, without what is empty
    evidence_at = models.DateTimeField()
    missing_since = models.DateTimeField(null=True, blank=True)

    objects = RestrictedQuerySet.as_manager()

    class Meta:
        ordering = ["name", "id"]
        indexes = [by_name_index("storage_by_name")]
        constraints = [models.UniqueConstraint(fields=["datacenter", "identity"], name="storage_one_row_per_datastore")]

    def __str__(self) -> str:
        return self.name


class DatastoreMount(Row):
    """One host's view of a datastore: on libvirt a storage pool."""

    datastore = models.ForeignKey(Datastore, on_delete=models.CASCADE, related_name="mounts")
    host = models.ForeignKey(Host, on_delete=models.CASCADE, related_name="mounts", db_index=False)
    ref = models.CharField(max_length=255)
    name = models.CharField(max_length=255)
    path = models.CharField(max_length=1000, blank=True)
    active = models.BooleanField()
    details = models.JSONField(default=dict)  # autostart, adapter, initiator and uuid, without what is empty
    fact_hash = models.CharField(max_length=32, blank=True)
    # Of the volumes that were last compared with our rows: when, their digest, and how much they took in all.
    volumes_at = models.DateTimeField(null=True, blank=True)
    volumes_hash = models.CharField(max_length=32, blank=True)
    volumes_bytes = models.BigIntegerField(default=0)
    volumes_cut = models.BooleanField(default=False)  # the host may have more
    evidence_at = models.DateTimeField()
    missing_since = models.DateTimeField(null=True, blank=True)

    objects = RestrictedQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["host", "ref"], name="storage_one_row_per_mount")]

    def __str__(self) -> str:
        return f"{self.name} on {self.host_id}"

    @property
    def uuid(self) -> str:
        """How the host's driver names it in operations. A row from before it was kept has it at its reference's end."""
        return str(self.details.get("uuid") or self.ref.rpartition("/")[2])


class Volume(Row):
    """A disk image, ISO or block device in a datastore, one row however many hosts see it.

    A volume that is gone is deleted: nothing points to it, and hosts that build guests all day make and remove
    thousands. `key` is within the datastore: the path below the mount where there is one, since hosts may mount the
    same export at different places. `told_by` is the mount whose word the row is; when that mount lists it no more, it
    is gone.
    """

    datastore = models.ForeignKey(Datastore, on_delete=models.CASCADE, related_name="volumes", db_index=False)
    key = models.CharField(max_length=255)
    name = NameField(max_length=255)
    path = models.CharField(max_length=1000, blank=True)
    kind = models.CharField(max_length=16, blank=True)
    format = models.CharField(max_length=32, blank=True)
    capacity_bytes = models.BigIntegerField(default=0)
    allocated_bytes = models.BigIntegerField(default=0)
    backing = models.CharField(max_length=1000, blank=True)
    told_by = models.UUIDField()  # no foreign key: a mount that is no more speaks for nothing

    objects = RestrictedQuerySet.as_manager()

    class Meta:
        ordering = ["name", "id"]
        # Not by allocated bytes: they move all the time, and a pool's few thousand rows are sorted in no time.
        indexes = [
            by_name_index("storage_volumes_by_name", "datastore"),
            models.Index(fields=["datastore", "capacity_bytes", "id"], name="storage_volumes_by_size"),
        ]
        constraints = [models.UniqueConstraint(fields=["datastore", "key"], name="storage_one_row_per_volume")]

    def __str__(self) -> str:
        return self.name

    @property
    def is_directory(self) -> bool:
        """Such as lost+found: it lies among the volumes and is none."""
        return self.kind in DIRECTORY_KINDS


class Upload(Row):
    """A file that somebody sends, on its way to a datastore. How much of it is here, its staged file says."""

    name = models.CharField(max_length=255)  # where it comes from; for people
    size_bytes = models.BigIntegerField()
    sha256 = models.CharField(max_length=64, blank=True)  # as the sender told; empty when not
    created_at = models.DateTimeField()
    created_by_id = models.CharField(max_length=64)
    created_by_name = models.CharField(max_length=150)
    job_id = models.UUIDField(null=True, blank=True)  # what last read it; no foreign key: it may be forgotten

    objects = RestrictedQuerySet.as_manager()

    class Meta:
        ordering = ["created_at", "id"]

    def __str__(self) -> str:
        return self.name
