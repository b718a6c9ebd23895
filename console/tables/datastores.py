"""The list of datastores."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from access.roles import Action
from console.ages import active_state_keys, datastore_seen_at, datastore_silence, host_is_seen
from console.tables import cells
from console.tables.tags import tagged
from core.lists import (
    Column,
    Filter,
    ListSpec,
    Text,
    choice_filter,
    exact_filter,
    export_column,
    mapped_filter,
    text_filter,
)
from core.models import by_name
from labels.models import Tagged
from storage import selectors
from storage.models import Datastore, DatastoreMount

TECHNOLOGIES: dict[str, Text] = {
    "local": _("local"),
    "nfs": "NFS",
    "smb": "SMB",
    "gluster": "Gluster",
    "iscsi": "iSCSI",
    "fc": _("Fibre Channel"),
    "scsi": "SCSI",
    "sas": "SAS",
    "multipath": _("multipath"),
    "lvm": "LVM",
    "zfs": "ZFS",
    "rbd": "Ceph RBD",
    "sheepdog": "Sheepdog",
    "vstorage": _("Virtuozzo storage"),
    "other": _("other"),
}
CLASSES: dict[str, Text] = {"das": "DAS", "san": "SAN", "nas": "NAS"}


def datastore_rows(*, user: Any) -> QuerySet[Datastore]:
    """The datastores this user sees, with the hosts that see them; `is_known` is where `datastore_silence` is None."""
    mounts = DatastoreMount.objects.restrict(user, Action.VIEW).filter(datastore=OuterRef("pk"), missing_since=None)
    return selectors.datastore_list(user=user).annotate(
        free_bytes=F("available_bytes"),
        is_known=~Exists(mounts) | Exists(mounts.filter(host_is_seen("host__"))),
    )


def link_datastores(datastores: list[Datastore]) -> None:
    for datastore in datastores:
        datastore.page_url = cells.page_url("datastore", datastore.pk)  # type: ignore[attr-defined]


def used_bytes(datastore: Datastore) -> int:
    return max(0, datastore.capacity_bytes - datastore.available_bytes)


def state_of(datastore: Datastore) -> tuple[str, Any]:
    if datastore.missing_since:
        return "missing", _("missing")
    return ("active", _("active")) if datastore.active else ("inactive", _("inactive"))


def state_cell(datastore: Datastore) -> SafeString:
    code, label = state_of(datastore)
    return cells.shown_state(code, label, None if code == "missing" else datastore_silence(datastore))


def technology(datastore: Datastore) -> str:
    return str(TECHNOLOGIES.get(datastore.technology, datastore.technology))


def storage_class(datastore: Datastore) -> str:
    return str(CLASSES.get(datastore.storage_class, datastore.storage_class))


def hosts_cell(datastore: Datastore) -> SafeString | str:
    """How many, or which one: the local datastores of a dozen hosts may all be called "local"."""
    host = selectors.only_host(datastore)
    return cells.link("host", host) if host else cells.number(cells.counted(datastore, "host_count"))


_STATES = {
    "active": (_("active"), Q(active=True, missing_since=None)),
    "inactive": (_("inactive"), Q(active=False, missing_since=None)),
    "missing": (_("missing"), Q(missing_since__isnull=False)),
}

_DATASTORES: ListSpec[Datastore] = ListSpec(
    name="datastore",
    label=_("Datastores"),
    columns=(
        Column("name", _("Name"), lambda d: cells.link("datastore", d), lambda d: d.name, (by_name(),)),
        Column("state", _("State"), state_cell, lambda d: state_of(d)[0], active_state_keys(Q(is_known=True))),
        Column("technology", _("Technology"), technology, technology, ("technology", by_name())),
        Column("class", _("Class"), storage_class, storage_class, ("storage_class", by_name())),
        Column("shared", _("Shared"), lambda d: cells.yes_no(d.shared), lambda d: d.shared, ("shared", by_name())),
        Column(
            "hosts",
            _("Hosts"),
            hosts_cell,
            lambda d: cells.counted(d, "host_count"),
            ("host_count",),
            numeric=True,
        ),
        Column(
            "used",
            _("Used"),
            lambda d: cells.usage(used_bytes(d), d.capacity_bytes, datastore_silence(d) is not None),
            used_bytes,
            numeric=True,
        ),
        Column(
            "free",
            _("Free"),
            lambda d: cells.size(d.available_bytes),
            lambda d: d.available_bytes,
            ("free_bytes",),
            numeric=True,
        ),
        Column(
            "capacity",
            _("Capacity"),
            lambda d: cells.size(d.capacity_bytes),
            lambda d: d.capacity_bytes,
            ("capacity_bytes",),
            numeric=True,
        ),
        Column("path", _("Path"), lambda d: cells.mono(d.path), lambda d: d.path, css="rare"),
        Column(
            "seen",
            _("Seen"),
            lambda d: cells.seen(datastore_seen_at(d), datastore_silence(d)),
            datastore_seen_at,
            css="optional",
        ),
        export_column("source", _("Located at"), lambda d: d.source),
        export_column("datacenter", _("Datacenter"), lambda d: d.datacenter.name),
        export_column("id", _("Id"), lambda d: str(d.pk)),
    ),
    filters=(
        mapped_filter("state", _("State"), _STATES),
        choice_filter("technology", _("Technology"), "technology", list(TECHNOLOGIES.items())),
        choice_filter("class", _("Class"), "storage_class", list(CLASSES.items())),
        mapped_filter("shared", _("Shared"), {"yes": (_("yes"), Q(shared=True)), "no": (_("no"), Q(shared=False))}),
        text_filter("name", _("Name"), "name"),
        exact_filter("datacenter", _("Datacenter"), "datacenter__name"),
    ),
    free_text=("name", "path", "source"),
    prepare=link_datastores,
)


def datastore_spec(*, user: Any) -> ListSpec[Datastore]:
    """The list for this user, with tags: a host finds the datastores that it sees now, each of them once."""
    mounts = DatastoreMount.objects.restrict(user, Action.VIEW).filter(missing_since=None)

    def on_host(name: str) -> Q:
        return Q(pk__in=mounts.filter(host__name__iexact=name).values("datastore"))

    spec = replace(_DATASTORES, filters=(*_DATASTORES.filters, Filter("host", _("Host"), on_host)))
    return tagged(spec, Tagged.DATASTORE, user=user)
