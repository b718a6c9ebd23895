"""Tags: words that people put on guests, hosts, datastores and virtual switches. No hypervisor knows of them."""

from __future__ import annotations

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from access.models import RestrictedQuerySet
from core.models import NameField, Row
from hosts.models import Host
from inventory.models import Guest
from networks.models import VirtualSwitch
from storage.models import Datastore

LONGEST_NAME = 64


class Color(models.TextChoices):
    """What a tag's dot looks like; each theme has its own shade of it. New tags get them in this order."""

    BLUE = "blue", _("blue")
    GREEN = "green", _("green")
    ORANGE = "orange", _("orange")
    PURPLE = "purple", _("purple")
    TEAL = "teal", _("teal")
    RED = "red", _("red")
    YELLOW = "yellow", _("yellow")
    PINK = "pink", _("pink")
    INDIGO = "indigo", _("indigo")
    GREY = "grey", _("grey")


class Tagged(models.TextChoices):
    """The kinds of objects that have tags, named as everywhere."""

    GUEST = "guest", _("guest")
    HOST = "host", _("host")
    DATASTORE = "datastore", _("datastore")
    SWITCH = "switch", _("virtual switch")


class Tag(Row):
    """`name_key` is the name as it is compared and found: `core.search.fold`."""

    name = NameField(max_length=LONGEST_NAME)
    name_key = NameField(max_length=255, unique=True)
    color = models.CharField(max_length=16, choices=Color.choices)
    created = models.DateTimeField(default=timezone.now, editable=False)

    objects = RestrictedQuerySet.as_manager()

    class Meta:
        ordering = ["name_key"]

    def __str__(self) -> str:
        return self.name


class _Entry(models.Model):
    """That a tag is on an object."""

    id = models.BigAutoField(primary_key=True)

    objects = RestrictedQuerySet.as_manager()

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return str(self.pk)


class GuestTag(_Entry):
    tag = models.ForeignKey(Tag, on_delete=models.CASCADE, related_name="guest_entries", db_index=False)
    guest = models.ForeignKey(Guest, on_delete=models.CASCADE, related_name="tag_entries")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tag", "guest"], name="labels_one_tag_per_guest")]


class HostTag(_Entry):
    tag = models.ForeignKey(Tag, on_delete=models.CASCADE, related_name="host_entries", db_index=False)
    host = models.ForeignKey(Host, on_delete=models.CASCADE, related_name="tag_entries")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tag", "host"], name="labels_one_tag_per_host")]


class DatastoreTag(_Entry):
    tag = models.ForeignKey(Tag, on_delete=models.CASCADE, related_name="datastore_entries", db_index=False)
    datastore = models.ForeignKey(Datastore, on_delete=models.CASCADE, related_name="tag_entries")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tag", "datastore"], name="labels_one_tag_per_datastore")]


class SwitchTag(_Entry):
    tag = models.ForeignKey(Tag, on_delete=models.CASCADE, related_name="switch_entries", db_index=False)
    switch = models.ForeignKey(VirtualSwitch, on_delete=models.CASCADE, related_name="tag_entries")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tag", "switch"], name="labels_one_tag_per_switch")]


# What has tags, and the table that says which: its column is named as the kind.
OBJECTS: dict[Tagged, type[Guest] | type[Host] | type[Datastore] | type[VirtualSwitch]] = {
    Tagged.GUEST: Guest,
    Tagged.HOST: Host,
    Tagged.DATASTORE: Datastore,
    Tagged.SWITCH: VirtualSwitch,
}
ENTRIES: dict[Tagged, type[GuestTag] | type[HostTag] | type[DatastoreTag] | type[SwitchTag]] = {
    Tagged.GUEST: GuestTag,
    Tagged.HOST: HostTag,
    Tagged.DATASTORE: DatastoreTag,
    Tagged.SWITCH: SwitchTag,
}
