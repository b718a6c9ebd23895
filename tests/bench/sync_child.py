"""One database's share of `bench sync`, in a process of its own: prints results as lines of JSON."""

from __future__ import annotations

import gc
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any

import django
from msgspec.structs import replace

django.setup()

from django.core.management import call_command  # noqa: E402
from django.db import connection, transaction  # noqa: E402
from django.utils import timezone  # noqa: E402

from drivers.types import GuestFact, GuestState  # noqa: E402
from hosts.models import Datacenter, Source  # noqa: E402
from inventory.models import Disk, Guest, Nic  # noqa: E402
from inventory.sync import apply_snapshot  # noqa: E402
from tests.bench.fleet import make_snapshot  # noqa: E402
from tests.bench.results import Result, as_json, at_most, timed, times_faster  # noqa: E402

PAIRS = 5
SAMPLE = 1000
CHANGED_EVERY = 50  # 2 %
GOALS = {"sqlite": (100, 40), "postgresql": (200, 40)}
WRITES = re.compile(
    r"(INSERT INTO|UPDATE|DELETE FROM) (inventory_|hosts_host|hosts_datacenter|storage_|networks_|history_|search_)",
    re.IGNORECASE,
)


def main(guests: int) -> Iterator[Result]:
    call_command("migrate", verbosity=0)
    vendor = connection.vendor
    steady_goal, all_goal = GOALS[vendor]
    bench = Bench(guests)
    bench.first_read()
    sample = f"reference: {SAMPLE} guests with disks and NICs in one transaction, scaled to {guests}"
    ours, reference = bench.pairs(bench.change_some)
    yield times_faster(f"sync 2 % changed, {vendor}", ours, reference, goal=steady_goal, note=sample)
    yield bench.unchanged(vendor)
    ours, reference = bench.pairs(bench.change_all)
    yield times_faster(f"sync all changed, {vendor}", ours, reference, goal=all_goal, note=sample)


class Bench:
    """One source with its guests."""

    def __init__(self, guests: int) -> None:
        datacenter = Datacenter.objects.create(name="Bench")
        now = timezone.now()
        self.source = Source.objects.create(
            name="bench", datacenter=datacenter, kind="fake", next_inventory_at=now, next_states_at=now
        )
        self.facts = make_snapshot(guests)
        self.round = 0
        self.count = guests

    def first_read(self) -> None:
        self.apply()
        assert Guest.objects.count() == self.count
        if connection.vendor == "postgresql":  # as autovacuum would within a minute
            with connection.cursor() as cursor:
                cursor.execute("ANALYZE")

    def apply(self) -> float:
        self.facts = replace(self.facts, read_started_at=datetime.now(UTC))
        return timed_alone(lambda: apply_snapshot(self.source, self.facts, self.source.lease_token))

    def pairs(self, change: Callable[[], None]) -> tuple[list[float], list[float]]:
        """Seconds of ours and of the reference, in turn."""
        ours, reference = [], []
        for _ in range(PAIRS):
            self.round += 1
            change()
            ours.append(self.apply())
            self.check()
            change_all = [changed(fact, self.round + 1000) for fact in self.sample()]
            reference.append(timed_alone(partial(update_or_create, change_all)) * self.count / SAMPLE)
        return ours, reference

    def sample(self) -> list[GuestFact]:
        step = max(1, self.count // SAMPLE)
        return list(self.facts.guests[::step][:SAMPLE])

    def change_some(self) -> None:
        guests = list(self.facts.guests)
        for position in range(self.round % CHANGED_EVERY, len(guests), CHANGED_EVERY):
            guests[position] = changed_in_one_way(guests[position], self.round, position)
        self.facts = replace(self.facts, guests=tuple(guests))

    def change_all(self) -> None:
        self.facts = replace(self.facts, guests=tuple(changed(fact, self.round) for fact in self.facts.guests))

    def check(self) -> None:
        """What was measured was really written."""
        for fact in self.facts.guests[self.round % CHANGED_EVERY :: max(1, self.count // 20)]:
            row = Guest.objects.get(uuid=fact.uuid)
            stored = (row.name, row.state, row.memory_bytes, row.notes, row.addresses)
            addresses = ", ".join(a for nic in fact.nics for a in nic.addresses)
            assert stored == (fact.name, fact.state.value, fact.memory_bytes, fact.notes, addresses), stored
            sizes = list(row.disks.values_list("capacity_bytes", flat=True))
            assert sizes == [disk.capacity_bytes for disk in fact.disks], sizes

    def unchanged(self, vendor: str) -> Result:
        """A poll that finds nothing new writes no row to the tables of identity, history and search."""
        self.apply()
        with counted_writes() as writes:
            seconds = self.apply()
        name = f"sync unchanged, rows written, {vendor}"
        note = "; ".join(writes[:3]) or f"{seconds:.2f} s for {self.count} guests"
        return at_most(name, len(writes), goal=0, unit="writes", note=note)


def timed_alone(act: Callable[[], object]) -> float:
    """No garbage of what came before is collected meanwhile."""
    gc.collect()
    return timed(act)


def changed_in_one_way(fact: GuestFact, round_number: int, position: int) -> GuestFact:
    """What changes in an hour of a fleet: power, size, notes, addresses, disks."""
    ways = (_switched, _resized, _noted, _moved_address, _grown)
    return ways[position // CHANGED_EVERY % len(ways)](fact, round_number)


def changed(fact: GuestFact, round_number: int) -> GuestFact:
    """Everything about it changes: the guest itself, each disk and each NIC."""
    for way in (_switched, _resized, _noted, _moved_address, _grown):
        fact = way(fact, round_number)
    return fact


def _switched(fact: GuestFact, _round: int) -> GuestFact:
    running = fact.state is GuestState.RUNNING
    state = GuestState.OFF if running else GuestState.RUNNING
    return replace(fact, state=state, state_reason="shutdown" if running else "booted")


def _resized(fact: GuestFact, round_number: int) -> GuestFact:
    return replace(fact, memory_bytes=((round_number % 60) + 1) << 30, vcpus=round_number % 15 + 1)


def _noted(fact: GuestFact, round_number: int) -> GuestFact:
    return replace(fact, notes=f"round {round_number}")


def _moved_address(fact: GuestFact, round_number: int) -> GuestFact:
    nics = tuple(replace(nic, addresses=(f"10.{round_number % 250}.{n}.7",)) for n, nic in enumerate(fact.nics))
    return replace(fact, nics=nics)


def _grown(fact: GuestFact, round_number: int) -> GuestFact:
    disks = tuple(replace(disk, capacity_bytes=(round_number + n + 1) << 30) for n, disk in enumerate(fact.disks))
    return replace(fact, disks=disks)


@contextmanager
def counted_writes() -> Iterator[list[str]]:
    writes: list[str] = []

    def watch(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        statement = sql.replace('"', "").strip()
        if WRITES.match(statement):
            writes.append(statement[:100])
        return execute(sql, params, many, context)

    with connection.execute_wrapper(watch):
        yield writes


def update_or_create(facts: list[GuestFact]) -> None:
    """The usual way, written fairly: one transaction, update_or_create for each guest, disk and NIC."""
    hosts = dict(Guest.objects.filter(uuid__in=[fact.uuid for fact in facts]).values_list("uuid", "host_id"))
    datacenter = Datacenter.objects.get()
    now = timezone.now()
    with transaction.atomic():
        for fact in facts:
            guest, _created = Guest.objects.update_or_create(
                datacenter=datacenter, uuid=fact.uuid, twin=0, defaults=_guest_values(fact, hosts[fact.uuid], now)
            )
            for position, disk in enumerate(fact.disks):
                Disk.objects.update_or_create(guest=guest, position=position, defaults=_disk_values(disk))
            for position, nic in enumerate(fact.nics):
                Nic.objects.update_or_create(guest=guest, position=position, defaults=_nic_values(nic))
        # The measured poll that follows must find what it wrote itself.
        transaction.set_rollback(True)


def _guest_values(fact: GuestFact, host_id: Any, now: datetime) -> dict[str, Any]:
    names = (
        "name", "title", "notes", "state_reason", "vcpus", "memory_bytes", "autostart", "persistent",
        "architecture", "machine", "firmware", "cpu_mode", "snapshot_count",
    )  # fmt: skip
    values = {name: getattr(fact, name) for name in names}
    addresses = ", ".join(address for nic in fact.nics for address in nic.addresses)
    rest = {"passthrough": list(fact.passthrough), "addresses": addresses, "evidence_at": now, "missing_since": None}
    return values | rest | {"host_id": host_id, "ref": fact.ref, "state": fact.state.value}


def _disk_values(disk: Any) -> dict[str, Any]:
    names = (
        "target", "device", "bus", "source", "source_type", "format", "cache", "read_only", "shareable",
        "capacity_bytes",
    )  # fmt: skip
    return {name: getattr(disk, name) for name in names}


def _nic_values(nic: Any) -> dict[str, Any]:
    names = ("mac", "model", "kind", "network", "bridge", "link_up")
    return {name: getattr(nic, name) for name in names} | {"addresses": list(nic.addresses)}


if __name__ == "__main__":
    for line in main(int(sys.argv[1])):
        sys.stdout.write(as_json(line) + "\n")
        sys.stdout.flush()
