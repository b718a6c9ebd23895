"""Datastores and the hosts that see them."""

from django.db import models

from access.models import RestrictedQuerySet
from core.models import NameField, Row, by_name_index
from drivers.types import StorageClass, Technology
from hosts.models import Datacenter, Host


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
    fact_hash = models.CharField(max_length=32, blank=True)
    evidence_at = models.DateTimeField()
    missing_since = models.DateTimeField(null=True, blank=True)

    objects = RestrictedQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["host", "ref"], name="storage_one_row_per_mount")]

    def __str__(self) -> str:
        return f"{self.name} on {self.host_id}"
