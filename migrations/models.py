"""Moving guests between hosts (Django's schema changes live in `schema/`)."""

from django.db import models

from access.models import RestrictedQuerySet
from hosts.models import Host
from inventory.models import Guest
from operations.models import Job


class GuestMigration(models.Model):
    """One attempt to move one guest; a retry is a new row. Its job holds state, progress, lease and story.

    `stamp` is written into the guest before the hypervisor is asked to move it, so that whoever takes over can tell
    this attempt from any other. Names are copied: the row outlives guest and hosts.
    """

    job = models.OneToOneField(Job, on_delete=models.CASCADE, primary_key=True, related_name="migration")
    guest = models.ForeignKey(Guest, on_delete=models.SET_NULL, null=True, related_name="migrations")
    guest_uuid = models.CharField(max_length=36)
    guest_name = models.CharField(max_length=255)
    source_host = models.ForeignKey(Host, on_delete=models.SET_NULL, null=True, related_name="+")
    source_host_name = models.CharField(max_length=255)
    target_host = models.ForeignKey(Host, on_delete=models.SET_NULL, null=True, related_name="+")
    target_host_name = models.CharField(max_length=255)
    live = models.BooleanField(default=True)
    stamp = models.CharField(max_length=64, unique=True)
    findings = models.JSONField(default=list)
    downtime_ms = models.PositiveIntegerField(null=True, blank=True)
    bytes_moved = models.BigIntegerField(null=True, blank=True)
    samples = models.JSONField(default=list)  # [[seconds since start, bytes done, rate, dirty rate], …] for the chart

    objects = RestrictedQuerySet.as_manager()

    class Meta:
        ordering = ["-job__submitted_at", "-job_id"]

    def __str__(self) -> str:
        return f"{self.guest_name}: {self.source_host_name} → {self.target_host_name}"
