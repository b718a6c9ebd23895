"""The list of the audit log's rows."""

from __future__ import annotations

import json
import re
from datetime import UTC, date, datetime, time, timedelta

from django.db.models import Q
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from audit.models import AuditRow
from console.tables import cells
from console.tables.tasks import KIND_LABELS
from console.templatetags.guesthouse import moment
from core.lists import (
    Column,
    Filter,
    ListError,
    ListSpec,
    Text,
    exact_filter,
    export_column,
    mapped_filter,
    text_filter,
)
from operations.models import ENDED


def _begins(*words: str) -> Q:
    found = Q()
    for word in words:
        found |= Q(action__startswith=word)
    return found


AREAS = {
    "user": (_("users and sign-in"), _begins("user.", "token.")),
    "source": (_("sources"), Q(action__startswith="source")),
    "host": (_("hosts"), Q(action__startswith="host.")),
    "place": (_("datacenters, clusters and folders"), _begins("datacenter.", "cluster.", "folder.")),
    "tag": (_("tags"), Q(action__startswith="tag.")),
    "guest": (_("changed guests"), _begins("snapshot_", "guest_", "disk_", "nic_")),
    "storage": (_("storage"), _begins("volume_", "datastore_", "upload.")),
    "network": (_("virtual switches"), _begins("network_")),
    "power": (_("power"), Q(action__startswith="power.")),
    "migration": (_("migrations"), Q(action__startswith="migration.")),
    "export": (_("exports"), Q(action__in=("list.exported", "load.exported"))),
    "installation": (_("backup and restore"), Q(action__startswith="installation.")),
}
# What the program writes down, by its stable name; tasks are named by their kind and state below.
ACTS: dict[str, Text] = {
    "user.administrator_ensured": _("administrator ensured"),
    "user.created": _("user created"),
    "user.disabled": _("user disabled"),
    "user.enabled": _("user enabled"),
    "user.password_change_failed": _("change of password failed"),
    "user.password_changed": _("password changed"),
    "user.password_reset": _("password reset"),
    "user.role_changed": _("role changed"),
    "user.sign_in_failed": _("sign-in failed"),
    "user.sign_in_limit_reached": _("limit of sign-ins reached"),
    "user.signed_in": _("signed in"),
    "user.signed_out": _("signed out"),
    "user.unlocked": _("user unlocked"),
    "token.created": _("API token created"),
    "token.revoked": _("API token revoked"),
    "source.added": _("source added"),
    "source.credentials_changed": _("credentials changed"),
    "source.credentials_encrypted_anew": _("credentials encrypted anew"),
    "source.fleet_made": _("simulated hosts added"),
    "source.host_key_accepted": _("host key accepted"),
    "source.certificate_accepted": _("certificate accepted"),
    "source.paused": _("source paused"),
    "source.read_asked": _("read asked for"),
    "source.removed": _("source removed"),
    "source.relocated": _("source moved to another datacenter"),
    "source.resumed": _("source resumed"),
    "source_draft.created": _("source drafted"),
    "source_draft.discarded": _("draft of a source discarded"),
    "host.maintenance_entered": _("maintenance entered"),
    "host.maintenance_left": _("maintenance left"),
    "source_credentials.planned": _("new credentials for many sources planned"),
    "source_import.planned": _("import of sources planned"),
    "source_import.host_keys_accepted": _("host keys of an import accepted"),
    "datacenter.created": _("datacenter added"),
    "datacenter.renamed": _("datacenter renamed"),
    "datacenter.deleted": _("datacenter removed"),
    "cluster.created": _("cluster added"),
    "cluster.renamed": _("cluster renamed"),
    "cluster.deleted": _("cluster removed"),
    "cluster.hosts_assigned": _("hosts put into a cluster"),
    "cluster.hosts_released": _("hosts taken out of a cluster"),
    "folder.created": _("folder added"),
    "folder.renamed": _("folder renamed"),
    "folder.deleted": _("folder removed"),
    "folder.guests_assigned": _("guests put into a folder"),
    "folder.guests_released": _("guests taken out of a folder"),
    "tag.created": _("tag added"),
    "tag.changed": _("tag changed"),
    "tag.deleted": _("tag removed"),
    "tag.assigned": _("tags put on or taken off"),
    "upload.begun": _("upload begun"),
    "upload.discarded": _("upload discarded"),
    "list.exported": _("list exported"),
    "load.exported": _("load exported"),
    "installation.backed_up": _("installation backed up"),
    "installation.restored": _("installation restored"),
}
TASK_ACTS: dict[str, Text] = {
    "submitted": _("submitted"),
    "cancel_requested": _("cancel asked"),
    **{state.value: state.label for state in ENDED},
}
TARGETS: dict[str, Text] = {
    "user": _("user"),
    "source": _("source"),
    "source_draft": _("source draft"),
    "host": _("host"),
    "guest": _("guest"),
    "datacenter": _("datacenter"),
    "cluster": _("cluster"),
    "folder": _("folder"),
    "tag": _("tag"),
    "datastore": _("datastore"),
    "volume": _("volume"),
    "switch": _("virtual switch"),
    "source_batch": _("many sources"),
    "upload": _("upload"),
    "list": _("list"),
    "installation": _("installation"),
}


def day_filter(name: str, label: Text, lookup: str, *, next_day: bool = False) -> Filter:
    """Rows from, or until the end of, a day in UTC."""

    def build(value: str) -> Q:
        if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
            raise ListError(gettext("A day is written as 2026-01-31."))
        try:
            day = date.fromisoformat(value) + timedelta(days=int(next_day))
        except (ValueError, OverflowError) as error:
            raise ListError(gettext("There is no such day.")) from error
        return Q(**{lookup: datetime.combine(day, time(), UTC)})

    return Filter(name, label, build)


def detail_text(row: AuditRow) -> str:
    """The details, short: what a machine wrote, for a person who looks closely."""
    return ", ".join(
        f"{key}: {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)}"
        for key, value in row.detail.items()
        if value not in (None, "", [], {})
    )


def target_cell(row: AuditRow) -> SafeString | str:
    return cells.text(f"{TARGETS.get(row.target_kind, row.target_kind)} {row.target_name}".strip())


def act_label(action: str) -> str:
    """An act in words; what has none, by its stable name."""
    kind, _dot, act = action.partition(".")
    if kind in KIND_LABELS and act in TASK_ACTS:
        return f"{KIND_LABELS[kind]}: {TASK_ACTS[act]}"
    return str(ACTS.get(action, action))


def act_cell(row: AuditRow) -> SafeString:
    """In words, with the stable name, which filters and exports use, on hover."""
    return format_html('<span title="{}">{}</span>', row.action, act_label(row.action))


AUDIT: ListSpec[AuditRow] = ListSpec(
    name="audit",
    columns=(
        Column("at", _("Time"), lambda row: moment(row.at), lambda row: row.at, ("at",)),
        Column("actor", _("Who"), lambda row: cells.text(row.actor_name), lambda row: row.actor_name),
        Column("action", _("Act"), act_cell, lambda row: row.action),
        Column("target", _("Object"), target_cell, lambda row: row.target_name),
        Column("detail", _("Details"), lambda row: cells.text(detail_text(row)), detail_text, css="optional"),
        export_column("target_kind", _("Kind"), lambda row: row.target_kind),
        export_column("target_id", _("Object's id"), lambda row: row.target_id),
        export_column("actor_id", _("User's id"), lambda row: row.actor_id),
        export_column("request_id", _("Request"), lambda row: row.request_id),
        export_column("id", _("Id"), lambda row: str(row.pk)),
    ),
    filters=(
        mapped_filter("area", _("Area"), AREAS),
        exact_filter("actor", _("Who"), "actor_name"),
        text_filter("action", _("Act"), "action"),
        exact_filter("kind", _("Kind of object"), "target_kind"),
        exact_filter("id", _("Object's id"), "target_id"),
        exact_filter("request", _("Request"), "request_id"),
        day_filter("since", _("since"), "at__gte"),
        day_filter("until", _("until"), "at__lt", next_day=True),
    ),
    free_text=("actor_name", "action", "target_name"),
    default_sort="-at",
)
