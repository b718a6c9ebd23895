"""Sources of simulated hosts by the thousand: for trying out the design size, never beside real ones by mistake."""

from __future__ import annotations

from django.utils.translation import gettext as _

from audit.services import record
from core.db import write_transaction
from core.errors import Conflict, Invalid
from core.events import Change, publish
from drivers.types import Transport
from hosts.models import Datacenter, Source
from hosts.search import index_places, index_sources
from hosts.services import COMMAND_LINE, locked_datacenter, new_source

KIND = "fake"
MOST_HOSTS = 10_000
HOSTS_A_CLUSTER = 32
AT_ONCE = 500  # rows of one transaction


def make_fleet(
    *,
    hosts: int,
    guests: int,
    hung: int = 0,
    flapping: int = 0,
    flap_s: int = 30,
    events_s: int = 0,
    datacenter: str = "Fleet",
    beside_real: bool = False,
) -> list[Source]:
    """Add simulated hosts with so many guests in all; those that are there already stay as they are.

    The first `hung` of them never answer; the next `flapping` answer for `flap_s` seconds, then not for as long. With
    `events_s` each pauses or resumes a guest that often. Returns what was added.

    Raises: Invalid for sizes that make no sense, Conflict beside real sources.
    Transaction: several short ones of its own.
    """
    _require_sizes(hosts, guests, hung, flapping)
    if not beside_real:
        _require_no_real_source()
    with write_transaction():
        where = locked_datacenter(datacenter)
        index_places([where])
    known = set(Source.objects.filter(kind=KIND).values_list("name", flat=True))
    rows = []
    for number in range(hosts):
        options = {"guests": _share(guests, hosts, number), "cluster": number // HOSTS_A_CLUSTER, "events": events_s}
        if number < hung:
            options["hang"] = 1
        elif number < hung + flapping:
            options["flap"] = flap_s
        if (name := f"fleet-{number:04d}") not in known:
            rows.append(_row(name, where, f"fake://fleet/{number:04d}", options))
    for start in range(0, len(rows), AT_ONCE):
        _insert(rows[start : start + AT_ONCE])
    return rows


def _row(name: str, datacenter: Datacenter, address: str, options: dict[str, int]) -> Source:
    row = new_source(name, by=COMMAND_LINE)
    row.kind, row.transport, row.datacenter = KIND, Transport.FAKE, datacenter
    row.uri = f"{address}?{'&'.join(f'{key}={value}' for key, value in options.items())}"
    return row


def _insert(rows: list[Source]) -> None:
    with write_transaction():
        Source.objects.bulk_create(rows)
        index_sources([row.pk for row in rows])
        record(action="source.fleet_made", by=COMMAND_LINE, target_kind="source", number=len(rows))
        publish(Change("source", "*", "added"))


def _share(guests: int, hosts: int, number: int) -> int:
    """An even share; the first ones get what is left over."""
    return guests // hosts + (number < guests % hosts)


def _require_sizes(hosts: int, guests: int, hung: int, flapping: int) -> None:
    if not 0 < hosts <= MOST_HOSTS:
        raise Invalid(_("Ask for 1 to %(most)d hosts.") % {"most": MOST_HOSTS}, field="hosts")
    if min(guests, hung, flapping) < 0 or hung + flapping > hosts:
        raise Invalid(_("Hung and flapping hosts are some of all hosts, and nothing is below zero."), field="hung")


def _require_no_real_source() -> None:
    real = Source.objects.exclude(kind=KIND).first()
    if real is not None:
        raise Conflict(
            _(
                "This installation has real sources, such as %(name)s; simulated ones would stand among them. "
                "Use one of its own (GUESTHOUSE_DATA), or say --beside-real-sources."
            )
            % {"name": real.name}
        )
