"""Virtual switches and their port groups."""

from django.db import models

from access.models import RestrictedQuerySet
from core.models import NameField, Row, by_name_index
from drivers.types import SwitchKind
from hosts.models import Host


class VirtualSwitch(Row):
    """A virtual switch of one host: on libvirt a network, or a bare bridge, which is not `managed`.

    Names are unique among a host's managed switches only: a bare bridge is named as the bridge.
    """

    host = models.ForeignKey(Host, on_delete=models.CASCADE, related_name="switches", db_index=False)
    ref = models.CharField(max_length=255)
    uuid = models.CharField(max_length=36)
    name = NameField(max_length=255)
    kind = models.CharField(max_length=16, choices=[(k.value, k.value) for k in SwitchKind])
    mode = models.CharField(max_length=16, blank=True)  # the driver's own word: nat, vepa, hostdev …
    managed = models.BooleanField(default=True)
    virtual_port = models.CharField(max_length=32, blank=True)  # openvswitch …
    bridge = models.CharField(max_length=64, blank=True)
    active = models.BooleanField()
    autostart = models.BooleanField()
    uplinks = models.JSONField(default=list)
    # The other fields of drivers.types.SwitchFact, without what is empty: vlans, native_vlan, trunk, addresses, dhcp …
    details = models.JSONField(default=dict)
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


class PortGroup(Row):
    """Ports of a switch with the same settings. NICs name theirs; one that names none is in the default one, if any."""

    switch = models.ForeignKey(VirtualSwitch, on_delete=models.CASCADE, related_name="port_groups", db_index=False)
    name = NameField(max_length=255)
    default = models.BooleanField(default=False)
    vlans = models.JSONField(default=list)
    native_vlan = models.PositiveSmallIntegerField(null=True, blank=True)
    trunk = models.BooleanField(default=False)  # frames keep their tags
    virtual_port = models.CharField(max_length=32, blank=True)

    objects = RestrictedQuerySet.as_manager()

    class Meta:
        ordering = ["name", "id"]
        constraints = [models.UniqueConstraint(fields=["switch", "name"], name="networks_one_row_per_port_group")]

    def __str__(self) -> str:
        return self.name
