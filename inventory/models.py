"""Guests, where they were sighted, and what they are made of."""

from datetime import datetime

from django.db import models
from django.db.models.functions import Lower
from django.utils.translation import gettext_lazy as _

from access.models import RestrictedQuerySet
from core.models import NameField, Row, by_name_index
from drivers.types import GuestState as DriverGuestState
from hosts.models import Datacenter, Host, Source
from networks.models import VirtualSwitch
from storage.models import Datastore


class GuestState(models.TextChoices):
    RUNNING = DriverGuestState.RUNNING.value, _("running")
    PAUSED = DriverGuestState.PAUSED.value, _("paused")
    SUSPENDED = DriverGuestState.SUSPENDED.value, _("suspended")
    OFF = DriverGuestState.OFF.value, _("off")
    CRASHED = DriverGuestState.CRASHED.value, _("crashed")
    UNKNOWN = DriverGuestState.UNKNOWN.value, _("unknown")


# Whoever locks several guests locks them in this order, or two wait for each other.
GUEST_LOCK_ORDER = ("uuid", "twin")


class Guest(Row):
    """A virtual machine. Its identity is (datacenter, UUID); `twin` tells two running guests with one UUID apart.

    `host` is where it runs, or where it is defined when it does not run: the winner among its placements.
    """

    # No index of their own for foreign keys that begin another one: each costs at every poll.
    datacenter = models.ForeignKey(Datacenter, on_delete=models.PROTECT, related_name="guests", db_index=False)
    uuid = models.CharField(max_length=36)
    twin = models.PositiveSmallIntegerField(default=0)
    host = models.ForeignKey(Host, on_delete=models.CASCADE, related_name="guests", db_index=False)
    ref = models.CharField(max_length=255)
    name = NameField(max_length=255)
    title = models.CharField(max_length=255, blank=True)
    notes = models.TextField(blank=True)
    state = models.CharField(max_length=16, choices=GuestState.choices)
    state_reason = models.CharField(max_length=64, blank=True)
    vcpus = models.PositiveIntegerField(default=0)
    memory_bytes = models.BigIntegerField(default=0)
    autostart = models.BooleanField(default=False)
    persistent = models.BooleanField(default=True)
    architecture = models.CharField(max_length=32, blank=True)
    machine = models.CharField(max_length=64, blank=True)
    firmware = models.CharField(max_length=32, blank=True)
    cpu_mode = models.CharField(max_length=64, blank=True)
    snapshot_count = models.PositiveIntegerField(default=0)
    passthrough = models.JSONField(default=list)
    addresses = models.CharField(max_length=500, blank=True)  # of all NICs, for lists
    conflict = models.TextField(blank=True)  # a sentence when another running guest has the same UUID
    fact_hash = models.CharField(max_length=32, blank=True)  # of the fact these columns show
    devices_hash = models.CharField(max_length=32, blank=True)  # of disks, NICs and their links, and how many
    details_hash = models.CharField(max_length=32, blank=True)  # of its details
    revision_hash = models.CharField(max_length=32, blank=True)  # of what history recorded last of what it is made of
    evidence_at = models.DateTimeField()
    placed_at = models.DateTimeField(null=True, blank=True)  # a verified move: no read begun before it counts
    missing_since = models.DateTimeField(null=True, blank=True)

    objects = RestrictedQuerySet.as_manager()

    class Meta:
        ordering = ["name", "id"]
        indexes = [
            by_name_index("inventory_by_name"),
            by_name_index("inventory_by_state", "state"),
            by_name_index("inventory_by_host", "host"),
            models.Index(fields=["vcpus", "id"]),
            models.Index(fields=["memory_bytes", "id"]),
        ]
        constraints = [
            models.UniqueConstraint(fields=["datacenter", "uuid", "twin"], name="inventory_one_row_per_guest")
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def seen_at(self) -> datetime:
        """When it was last read: its own evidence, or its source's last complete read. Needs host.source loaded."""
        source = self.host.source
        reads = [self.evidence_at]
        if self.missing_since is None:
            reads += [read for read in (source.states_read_at, source.inventory_read_at) if read]
        return max(reads)


class GuestDetails(models.Model):
    """What a guest is made of beside the columns of its own row, its disks and NICs, for whoever looks at one guest.

    `facts`: drivers.types.GuestHardware, without what is empty; times as ISO 8601. `agent`: drivers.types.AgentFact as
    the agent inside the guest last told; none when it never did.
    """

    guest = models.OneToOneField(Guest, on_delete=models.CASCADE, primary_key=True, related_name="details")
    facts = models.JSONField(default=dict)
    agent = models.JSONField(null=True, blank=True)

    objects = RestrictedQuerySet.as_manager()

    def __str__(self) -> str:
        return str(self.guest_id)


class Folder(Row):
    """Where people put guests of one datacenter; folders may hold folders. The hypervisor knows nothing of them."""

    datacenter = models.ForeignKey(Datacenter, on_delete=models.PROTECT, related_name="folders", db_index=False)
    parent = models.ForeignKey(
        "self", on_delete=models.PROTECT, null=True, blank=True, related_name="+", db_index=False
    )
    name = NameField(max_length=100)

    objects = RestrictedQuerySet.as_manager()

    class Meta:
        ordering = ["name", "id"]
        constraints = [
            models.UniqueConstraint("parent", Lower("name"), name="inventory_one_folder_per_name"),
            models.UniqueConstraint(
                "datacenter", Lower("name"), condition=models.Q(parent=None), name="inventory_one_top_folder_per_name"
            ),
        ]

    def __str__(self) -> str:
        return self.name


class FolderEntry(models.Model):
    """A guest in a folder. Apart from the guest's row: a poll pays for no index of what only people change."""

    guest = models.OneToOneField(Guest, on_delete=models.CASCADE, primary_key=True, related_name="folder_entry")
    folder = models.ForeignKey(Folder, on_delete=models.PROTECT, related_name="entries")

    objects = RestrictedQuerySet.as_manager()

    def __str__(self) -> str:
        return str(self.guest_id)


class Placement(Row):
    """One host's word about one guest: defined or running there.

    `contested`: it says "running" while the guest's row stands on another host. `claimed_at` is when that claim was
    first heard; none while it is an old word, from before the guest ran elsewhere. `unknown` says that the host may
    have the guest: a quick read missed it, or a move ended unclear; its next complete read tells.
    """

    guest = models.ForeignKey(Guest, on_delete=models.CASCADE, related_name="placements")
    host = models.ForeignKey(Host, on_delete=models.CASCADE, related_name="placements", db_index=False)
    ref = models.CharField(max_length=255)
    state = models.CharField(max_length=16, choices=GuestState.choices)
    state_reason = models.CharField(max_length=64, blank=True)
    fact_hash = models.CharField(max_length=32, blank=True)
    evidence_at = models.DateTimeField()
    contested = models.BooleanField(default=False)
    claimed_at = models.DateTimeField(null=True, blank=True)

    objects = RestrictedQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["host"], condition=models.Q(contested=True), name="inventory_contested_placements")
        ]
        constraints = [models.UniqueConstraint(fields=["host", "ref"], name="inventory_one_placement_per_ref")]

    def __str__(self) -> str:
        return f"{self.guest_id} on {self.host_id}: {self.state}"


class Disk(Row):
    guest = models.ForeignKey(Guest, on_delete=models.CASCADE, related_name="disks", db_index=False)
    datastore = models.ForeignKey(Datastore, on_delete=models.SET_NULL, null=True, blank=True, related_name="disks")
    position = models.PositiveSmallIntegerField()
    target = models.CharField(max_length=64)
    device = models.CharField(max_length=16)
    bus = models.CharField(max_length=32, blank=True)
    source = models.CharField(max_length=1000, blank=True)
    source_type = models.CharField(max_length=16, blank=True)
    format = models.CharField(max_length=32, blank=True)
    cache = models.CharField(max_length=32, blank=True)
    read_only = models.BooleanField(default=False)
    shareable = models.BooleanField(default=False)
    capacity_bytes = models.BigIntegerField(null=True, blank=True)
    details = models.JSONField(default=dict)  # the rest of drivers.types.DiskFact, without what is empty

    objects = RestrictedQuerySet.as_manager()

    class Meta:
        ordering = ["position"]
        constraints = [models.UniqueConstraint(fields=["guest", "position"], name="inventory_one_disk_per_position")]

    def __str__(self) -> str:
        return f"{self.target} {self.source}"


class Nic(Row):
    guest = models.ForeignKey(Guest, on_delete=models.CASCADE, related_name="nics", db_index=False)
    switch = models.ForeignKey(VirtualSwitch, on_delete=models.SET_NULL, null=True, blank=True, related_name="nics")
    position = models.PositiveSmallIntegerField()
    mac = models.CharField(max_length=32)
    model = models.CharField(max_length=32, blank=True)
    kind = models.CharField(max_length=32)
    network = models.CharField(max_length=255, blank=True)
    bridge = models.CharField(max_length=64, blank=True)
    link_up = models.BooleanField(default=True)
    addresses = models.JSONField(default=list)
    port_group = models.CharField(max_length=255, blank=True)
    vlans = models.JSONField(default=list)  # several make a trunk
    details = models.JSONField(default=dict)  # the rest of drivers.types.NicFact, without what is empty

    objects = RestrictedQuerySet.as_manager()

    class Meta:
        ordering = ["position"]
        constraints = [models.UniqueConstraint(fields=["guest", "position"], name="inventory_one_nic_per_position")]

    def __str__(self) -> str:
        return self.mac


class Watcher(Row):
    """A process that listens to sources. It says again and again that it lives; the database's clock counts."""

    name = models.CharField(max_length=200)
    alive_until = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return self.name


class Watch(models.Model):
    """Which process listens to a source. Whoever claims it counts `token` up: what the one before heard is not written.

    `since` is when the events began to come; none while they do not.
    """

    source = models.OneToOneField(Source, on_delete=models.CASCADE, primary_key=True, related_name="watch")
    watcher = models.ForeignKey(Watcher, on_delete=models.SET_NULL, null=True, related_name="watches")
    token = models.PositiveIntegerField(default=0)
    since = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return str(self.pk)
