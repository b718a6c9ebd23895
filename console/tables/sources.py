"""The list of sources."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db.models import QuerySet
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from console.tables import cells
from console.templatetags.guesthouse import age, state
from core.lists import Column, ListSpec, choice_filter, exact_filter, export_column, text_filter
from core.models import by_name
from drivers.registry import KINDS
from drivers.types import Hypervisor
from hosts import selectors
from hosts.models import Source, SourceState
from hosts.words import hypervisor_label, transport_label


def source_rows(*, user: Any) -> QuerySet[Source]:
    """The sources this user sees, with their number of hosts."""
    return selectors.source_list(user=user)


def load_sources(sources: list[Source]) -> None:
    """Give each its page."""
    for source in sources:
        source.page_url = cells.page_url("source", source.pk)  # type: ignore[attr-defined]


def plain_state_cell(source: Source) -> SafeString:
    """Without what was last said about it."""
    return state(source.state, SourceState(source.state).label)


def state_cell(source: Source) -> SafeString:
    shown = plain_state_cell(source)
    if not source.state_message:
        return shown
    return format_html('{} <span class="muted" title="{}">{}</span>', shown, source.state_message, source.state_message)


def kind_label(source: Source) -> str:
    if source.hypervisor != Hypervisor.QEMU:
        return f"{hypervisor_label(source.hypervisor)} (libvirt)"
    return gettext(KINDS[source.kind].label) if source.kind in KINDS else source.kind


def place(source: Source) -> str:
    """Where it is, for a person: host and port, or the URI of the server's configuration."""
    if source.uri:
        return source.uri
    host = f"[{source.address}]" if ":" in source.address else source.address
    return f"{host}:{source.port}" if source.port else host


def seen_at(source: Source) -> datetime | None:
    reads = [read for read in (source.states_read_at, source.inventory_read_at) if read is not None]
    return max(reads, default=None)


SOURCES: ListSpec[Source] = ListSpec(
    name="source",
    columns=(
        Column("name", _("Name"), lambda s: cells.link("source", s), lambda s: s.name, (by_name(),)),
        Column("state", _("State"), state_cell, lambda s: s.state, ("state", by_name()), css="wide"),
        Column("kind", _("Kind"), kind_label, kind_label),
        Column("transport", _("Connection"), lambda s: transport_label(s.transport), lambda s: s.transport),
        Column("address", _("Address"), lambda s: cells.text(place(s)), place),
        Column(
            "hosts",
            _("Hosts"),
            lambda s: str(s.host_count),  # type: ignore[attr-defined]
            lambda s: s.host_count,  # type: ignore[attr-defined]
            numeric=True,
        ),
        Column("datacenter", _("Datacenter"), lambda s: cells.text(s.datacenter.name), lambda s: s.datacenter.name),
        Column("seen", _("Last read"), lambda s: age(seen_at(s)), seen_at),
        export_column("message", _("Message"), lambda s: s.state_message),
        export_column("added_by", _("Added by"), lambda s: s.created_by),
        export_column("added", _("Added"), lambda s: s.created_at),
        export_column("id", _("Id"), lambda s: str(s.pk)),
    ),
    filters=(
        choice_filter("state", _("State"), "state", SourceState.choices),
        text_filter("name", _("Name"), "name"),
        text_filter("address", _("Address"), "address"),
        exact_filter("datacenter", _("Datacenter"), "datacenter__name"),
    ),
    free_text=("name", "address"),
    prepare=load_sources,
)


def sign_in_words(source: Source) -> str:
    """How we sign in, without the secret."""
    if source.client_certificate_encrypted:
        client = source.certificates.get("client") or {}
        return gettext("with the certificate of %(name)s") % {"name": client.get("subject", "")}
    if source.private_key_encrypted:
        return gettext("as %(user)s with a private key") % {"user": source.username}
    if source.password_encrypted:
        return gettext("as %(user)s with a password") % {"user": source.username}
    return gettext("as %(user)s, nothing stored") % {"user": source.username} if source.username else gettext("without")
