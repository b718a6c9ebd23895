"""`manage make_fleet`."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from audit.models import AuditRow
from drivers.fake.world import find_world
from hosts.models import Source
from hosts.uri import parse_uri
from tests.facts import make_source

pytestmark = pytest.mark.django_db


def run(*arguments: str) -> str:
    out = StringIO()
    call_command("make_fleet", *arguments, stdout=out)
    return out.getvalue()


def test_hosts_and_guests_of_the_size_asked_for() -> None:
    assert run("--hosts", "7", "--guests", "45", "--hung", "2", "--flapping", "1") == "7 simulated hosts were added.\n"
    sources = list(Source.objects.order_by("name"))
    assert [source.name for source in sources][:2] == ["fleet-0000", "fleet-0001"]
    assert {source.datacenter.name for source in sources} == {"Fleet"}
    worlds = [find_world(source.uri) for source in sources]
    hosts = []
    for world, name in worlds:
        with world.open() as state:
            hosts.append(state.hosts[name])
    assert sum(len(host.guests) for host in hosts) == 45
    assert len({host.uuid for host in hosts}) == 7
    assert [bool(host.faults) for host in hosts].count(True) == 2
    assert [bool(host.flapping_s) for host in hosts].count(True) == 1


def test_each_address_is_one_of_the_servers_own_configuration() -> None:
    run("--hosts", "3", "--guests", "3", "--hung", "1", "--flapping", "1", "--events-every", "60")
    for source in Source.objects.all():
        parts = parse_uri(source.uri)
        assert (parts.kind, parts.transport, parts.uri) == (source.kind, source.transport, source.uri)


def test_a_second_run_adds_what_is_missing() -> None:
    run("--hosts", "2", "--guests", "2")
    before = list(Source.objects.order_by("name").values_list("pk", flat=True))
    assert run("--hosts", "3", "--guests", "3").startswith("1 ")
    assert list(Source.objects.order_by("name").values_list("pk", flat=True))[:2] == before
    assert [row.detail["number"] for row in AuditRow.objects.filter(action="source.fleet_made").order_by("at")] == [
        2,
        1,
    ]


def test_never_beside_real_sources_by_mistake() -> None:
    make_source("kvm-07")
    Source.objects.update(kind="libvirt")
    with pytest.raises(CommandError, match=r"kvm-07.*--beside-real-sources"):
        run("--hosts", "2", "--guests", "2")
    assert Source.objects.count() == 1
    run("--hosts", "2", "--guests", "2", "--beside-real-sources")
    assert Source.objects.count() == 3


@pytest.mark.parametrize(
    "sizes",
    [("--hosts", "0"), ("--hosts", "10001"), ("--guests", "-1"), ("--hosts", "3", "--hung", "2", "--flapping", "2")],
)
def test_sizes_that_make_no_sense(sizes: tuple[str, ...]) -> None:
    with pytest.raises(CommandError):
        run(*sizes)
    assert not Source.objects.exists()
