"""What hosts are built from is kept beside their rows and written only when it changes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection
from msgspec.structs import replace

from core.events import Change
from drivers.types import (
    HostBusAdapterFact,
    HostFact,
    HostHardware,
    HostNicFact,
    HugepagesFact,
    NumaCellFact,
    PciFact,
)
from hosts import sync
from hosts.facts import MOST_ITEMS, Findings
from hosts.lease import Lease, LeaseLost
from hosts.models import Host, HostDetails, HostState, Source
from hosts.sync import apply_hosts
from tests.facts import at, host_fact, make_source, snapshot

pytestmark = pytest.mark.django_db

NIC = HostNicFact("eno1", "0c:42:a1:00:00:01", "ethernet", True, 25_000, "0000:3b:00.0")
CARD = PciFact("0000:3b:00.0", "020000", "Intel Corporation", "E810", "ice", 0, 40, 2, 64)
BUILT = HostHardware(
    white_box=False,
    serial="7GSQZ63",
    board="Dell Inc. 0KCKR5",
    cpu_flags=("avx", "svm"),
    virtualization="AMD-V",
    virtualization_enabled=True,
    iommu=False,
    numa=(NumaCellFact(0, 1 << 37, (0, 1, 2, 3), ((0, 10), (1, 32))),),
    hugepages=(HugepagesFact(1 << 30, 0),),
    nics=(NIC,),
    adapters=(HostBusAdapterFact("host10", "fc", wwpn="2100f4e9d4eb02c9"),),
    pci=(CARD,),
)


@pytest.fixture
def source() -> Source:
    return make_source()


def built(hardware: HostHardware = BUILT, **values: Any) -> HostFact:
    return host_fact(hardware=hardware, **values)


def apply(source: Source, seconds: float, *hosts: HostFact, token: int = 0, complete: bool = True) -> Findings:
    findings = Findings()
    apply_hosts(source, snapshot(seconds, hosts=hosts, complete=complete), Lease(source.pk, token), findings)
    return findings


@contextmanager
def writes() -> Iterator[list[tuple[str, str]]]:
    """What is written to hosts and their details: the verb, the table and, of an update, its columns."""
    seen: list[tuple[str, str]] = []

    def watch(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        words = sql.replace('"', "").split()
        table = words[2] if words[0] == "INSERT" else words[1]
        if words[0] in {"INSERT", "UPDATE", "DELETE"} and table.startswith("hosts_host"):
            seen.append((f"{words[0]} {table}", sql))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(watch):
        yield seen


def statements(seen: list[tuple[str, str]]) -> list[str]:
    return [name for name, _sql in seen]


def test_a_first_read_keeps_what_a_host_is_built_from(source: Source) -> None:
    apply(source, 1, built())
    details = HostDetails.objects.get()
    host = Host.objects.get()
    assert (details.host, host.serial, host.white_box) == (host, "7GSQZ63", False)
    assert details.facts == {
        "board": "Dell Inc. 0KCKR5",
        "cpu_flags": ["avx", "svm"],
        "virtualization": "AMD-V",
        "virtualization_enabled": True,
        "iommu": False,
        "numa": [{"number": 0, "memory_bytes": 1 << 37, "cpus": [0, 1, 2, 3], "distances": [[0, 10], [1, 32]]}],
        "hugepages": [{"page_bytes": 1 << 30, "count": 0}],
        "nics": [
            {
                "name": "eno1",
                "mac": "0c:42:a1:00:00:01",
                "kind": "ethernet",
                "link_up": True,
                "speed_mbps": 25_000,
                "pci_address": "0000:3b:00.0",
            }
        ],
        "adapters": [{"name": "host10", "kind": "fc", "wwpn": "2100f4e9d4eb02c9", "virtual_ports": 0}],
    }
    (card,) = details.pci
    assert (card["address"], card["driver"], card["virtual_functions"]) == ("0000:3b:00.0", "ice", 2)
    assert "physical_function" not in card


def test_an_unchanged_host_writes_nothing(source: Source) -> None:
    apply(source, 1, built())
    with writes() as seen:
        apply(source, 2, built())
    assert seen == []


@pytest.mark.parametrize(
    ("change", "written", "left"),
    [
        ({"nics": (replace(NIC, link_up=False, speed_mbps=None),)}, "facts", "pci"),
        ({"hugepages": ()}, "facts", "pci"),
        ({"pci": (replace(CARD, driver="vfio-pci"),)}, "pci", "facts"),
        ({"pci": (replace(CARD, virtual_functions=8),)}, "pci", "facts"),
        ({"pci": ()}, "pci", "facts"),
    ],
)
def test_what_changes_by_itself_writes_that_part_alone(
    source: Source, change: dict[str, Any], written: str, left: str
) -> None:
    apply(source, 1, built())
    before = Host.objects.values().get()
    with writes() as seen:
        apply(source, 2, built(replace(BUILT, **change)))
    assert statements(seen) == ["UPDATE hosts_hostdetails"]
    assert f"{written}_hash" in seen[0][1]
    assert f"{left}_hash" not in seen[0][1]
    assert Host.objects.values().get() == before
    with writes() as seen:
        apply(source, 3, built(replace(BUILT, **change)))
    assert seen == []


def test_the_hosts_own_facts_leave_its_details_alone(source: Source) -> None:
    apply(source, 1, built())
    with writes() as seen:
        apply(source, 2, built(replace(BUILT, serial="NEW", white_box=True), hypervisor_version="9.0.0"))
    assert statements(seen) == ["UPDATE hosts_host"]
    host = Host.objects.get()
    assert (host.serial, host.white_box, host.evidence_at) == ("NEW", True, at(2))


def test_a_change_of_details_is_told_to_pages(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Change] = []
    apply(source, 1, built())
    monkeypatch.setattr(sync, "publish", lambda *changes: told.extend(changes))
    apply(source, 2, built(replace(BUILT, nics=())))
    assert told == [Change("host", str(Host.objects.get().pk))]


def test_a_missing_host_keeps_them_and_comes_back_with_them(source: Source) -> None:
    apply(source, 1, built())
    kept = HostDetails.objects.values().get()
    apply(source, 2)
    assert Host.objects.get().state == HostState.MISSING
    assert HostDetails.objects.values().get() == kept
    with writes() as seen:
        apply(source, 3, built())
    assert statements(seen) == ["UPDATE hosts_host"]


def test_an_incomplete_read_that_lacks_a_host_leaves_its_details(source: Source) -> None:
    apply(source, 1, built())
    with writes() as seen:
        apply(source, 2, complete=False)
    assert seen == []


def test_a_host_that_tells_nothing_any_more_is_shown_so(source: Source) -> None:
    apply(source, 1, built())
    apply(source, 2, built(HostHardware()))
    details = HostDetails.objects.get()
    assert (details.facts, details.pci) == ({}, [])
    assert (Host.objects.get().serial, Host.objects.get().white_box) == ("", None)


def test_a_host_from_before_there_were_details_gets_them(source: Source) -> None:
    apply(source, 1, built())
    HostDetails.objects.all().delete()
    with writes() as seen:
        apply(source, 2, built())
    assert statements(seen) == ["INSERT hosts_hostdetails"]


def test_a_row_with_newer_evidence_is_left_alone(source: Source) -> None:
    apply(source, 5, built())
    apply(source, 2, built(replace(BUILT, nics=(), pci=(), serial="OLD")))
    assert Host.objects.get().serial == "7GSQZ63"
    assert len(HostDetails.objects.get().facts["nics"]) == len(HostDetails.objects.get().pci) == 1


def test_a_lost_lease_writes_no_details(source: Source) -> None:
    apply(source, 1, built())
    with pytest.raises(LeaseLost):
        apply(source, 2, built(replace(BUILT, nics=())), token=7)
    assert HostDetails.objects.get().facts["nics"]


def test_many_hosts_are_compared_in_as_many_queries_as_one(source: Source) -> None:
    def queries(count: int, seconds: float) -> int:
        seen = []

        def watch(execute: Any, *args: Any) -> Any:
            seen.append(args[0])
            return execute(*args)

        facts = [host_fact(f"h-{number}", hardware=BUILT) for number in range(count)]
        with connection.execute_wrapper(watch):
            apply(source, seconds, *facts)
        return len(seen)

    assert queries(1, 1) == queries(20, 2), "one new host, and nineteen"


@pytest.mark.parametrize("text", ["x" * 10_000_000, "\x00\ud800", "\u202egnp.exe", "</td><script>alert(1)</script>"])
def test_hostile_texts_are_stored_short(source: Source, text: str) -> None:
    hostile = HostHardware(
        serial=text,
        board=text,
        cpu_flags=(text,),
        nics=(replace(NIC, name=text, ports=(text,)),),
        pci=(replace(CARD, product=text),),
    )
    findings = apply(source, 1, built(hostile))
    details = HostDetails.objects.get()
    stored = [
        Host.objects.get().serial,
        details.facts["board"],
        details.facts["cpu_flags"][0],
        details.facts["nics"][0]["name"],
        details.facts["nics"][0]["ports"][0],
        details.pci[0]["product"],
    ]
    assert len({*stored}) == 1
    assert 0 < len(stored[0]) <= 255
    assert "\x00" not in stored[0]
    assert bool(findings.kept) == (stored[0] != text)
    with writes() as seen:
        apply(source, 2, built(hostile))
    assert seen == []


def test_too_many_and_too_large_is_cut(source: Source) -> None:
    many = tuple(map(str, range(MOST_ITEMS + 1)))
    cell = NumaCellFact(2**70, 2**70, (1,))
    apply(source, 1, built(HostHardware(cpu_flags=many, numa=(cell,))))
    facts = HostDetails.objects.get().facts
    assert len(facts["cpu_flags"]) == MOST_ITEMS
    assert facts["numa"][0]["memory_bytes"] == 2**63 - 1
