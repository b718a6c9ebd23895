"""Virtual switches."""

from django.db import models

from access.models import RestrictedQuerySet
from core.models import NameField, Row, by_name_index
from drivers.types import SwitchKind
from hosts.models import Host


class VirtualSwitch(Row):
    """A virtual switch of one host: on libvirt a network."""

    host = models.ForeignKey(Host, on_delete=models.CASCADE, related_name="switches", db_index=False)
    ref = models.CharField(max_length=255)
    uuid = models.CharField(max_length=36)
    name = NameField(max_length=255)
    kind = models.CharField(max_length=16, choices=[(k.value, k.value) for k in SwitchKind])
    bridge = models.CharField(max_length=64, blank=True)
    active = models.BooleanField()
    autostart = models.BooleanField()
    uplinks = models.JSONField(default=list)
    fact_hash = models.CharField(max_length=32, blank=True)
    evidence_at = models.DateTimeField()
    missing_since = models.DateTimeField(null=True, blank=True)

    objects = RestrictedQuerySet.as_manager()

    class Meta:
        ordering = ["name", "id"]
        indexes = [by_name_index("networks_by_name")]
        constraints = [models.UniqueConstraint(fields=["host", "ref"], name="networks_one_row_per_ref")]

    def __str__(self) -> str:
        return self.name
