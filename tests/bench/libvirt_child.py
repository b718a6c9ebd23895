"""`bench libvirt`: our reads of a lab's host, and the same facts asked guest by guest, on the same libvirtd."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
import time
import uuid as uuids
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import libvirt
from lxml import etree

from drivers.libvirt.session import LibvirtSession, open_session
from drivers.types import Endpoint, Transport
from lab.api import Lab, LabHost
from lab.state import ROOT
from tests.bench.results import Result, as_json, at_most, times_faster
from tests.relay import Relay

SIZES = (10, 100, 1_000)
PAIRS = 7
STATES_GOAL = 2.0  # times faster than guest by guest, with 1,000 guests
ROUND_TRIPS = 6  # of a read of states and load: libvirt's client asks twice for the host's memory and CPU times
HOSTS_OWN = 100  # round trips of an inventory that are the host's, its storage's and its networks'
HELD_SECONDS = 10.0
NOT_HELD_SECONDS = 1.0
FIRST_SECONDS = 10.0  # a poll's deadline for states
GUEST = """<domain type='qemu'><name>{name}</name><uuid>{uuid}</uuid><memory unit='MiB'>64</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='pc'>hvm</type></os><devices>
<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/var/lib/libvirt/images/{name}.qcow2'/>
<target dev='vda' bus='virtio'/></disk>
<interface type='network'><mac address='{mac}'/><source network='default'/><model type='virtio'/></interface>
<graphics type='vnc' autoport='yes'/></devices></domain>"""


def main() -> None:
    os.environ.setdefault("GUESTHOUSE_LAB_CACHE", str(ROOT / "var" / "cache" / "lab"))
    libvirt.registerErrorHandler(lambda *_error: None, None)
    with tempfile.TemporaryDirectory(prefix="gh-bench-lab-") as folder:
        lab = Lab.start(1, name=f"b-libvirt-{os.getpid()}", data=Path(folder))
        try:
            for result in measure(lab):
                sys.stdout.write(as_json(result) + "\n")
                sys.stdout.flush()
        finally:
            lab.stop()


def measure(lab: Lab) -> Iterator[Result]:
    (host,) = lab.hosts
    with ExitStack() as stack:
        session = stack.enter_context(closing(open_session(endpoint(host.address))))
        counter = stack.enter_context(Relay("127.0.0.1", host.address))
        counted = stack.enter_context(closing(open_session(endpoint(counter.address, counter.port))))
        reference = stack.enter_context(closing(libvirt.open(host.uri)))
        through = stack.enter_context(closing(libvirt.open(f"qemu+tcp://{counter.address}:{counter.port}/system")))
        for size in SIZES:
            define_guests(host, size)
            counted.read_states()  # the first one of a connection also asks who the host is
            yield from compare_states(session, reference, size, counter, counted, through)
            yield from compare_inventory(session, reference, size, counter, counted, through)
        yield from measure_hung(lab, host)


def endpoint(address: str, port: int | None = None) -> Endpoint:
    return Endpoint(kind="libvirt", transport=Transport.TCP, address=address, port=port)


def define_guests(host: LabHost, size: int) -> None:
    """Make the host have so many guests, of which the lab's own run."""
    with closing(libvirt.open(host.uri)) as connection:
        for number in range(size - connection.numOfDomains() - connection.numOfDefinedDomains()):
            uuid = uuids.uuid4()
            mac = ":".join(["52:54:00", *(uuid.hex[n : n + 2] for n in (0, 2, 4))])
            connection.defineXML(GUEST.format(name=f"app-{size}-{number}", uuid=uuid, mac=mac))


# -- guest by guest


def states_by_guest(connection: libvirt.virConnect) -> int:
    """What is known of a guest that is off: its state with the reason, memory, CPUs and CPU time; load if it runs."""
    domains = connection.listAllDomains(0)
    for domain in domains:
        domain.state()
        domain.info()
        if domain.ID() >= 0:
            domain.memoryStats()
            domain.blockStats("vda")
            domain.interfaceStats(device_of(domain))
    connection.getInfo()
    connection.getMemoryStats(libvirt.VIR_NODE_MEMORY_STATS_ALL_CELLS)
    connection.getCPUStats(libvirt.VIR_NODE_CPU_STATS_ALL_CPUS)
    return len(domains)


def device_of(domain: libvirt.virDomain) -> str:
    """The host's end of its first adapter."""
    number = str(domain.XMLDesc()).partition("<target dev='vnet")[2].partition("'")[0]
    return f"vnet{number}"


def inventory_by_guest(connection: libvirt.virConnect) -> int:
    """Asks each guest for itself and parses its description, but takes nothing out of it."""
    domains = connection.listAllDomains(0)
    for domain in domains:
        etree.fromstring(domain.XMLDesc(0))
        domain.state()
        domain.info()
        domain.autostart()
        domain.isPersistent()
        domain.snapshotNum()
    for thing in (*connection.listAllStoragePools(0), *connection.listAllNetworks(0)):
        thing.XMLDesc(0)
        thing.isActive()
        thing.autostart()
    connection.getCapabilities()
    return len(domains)


# -- comparing


def timed(call: Callable[[], object]) -> tuple[float, float]:
    """Seconds on the wall, and of our own CPU."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - wall, time.process_time() - cpu


def pairs(ours: Callable[[], object], theirs: Callable[[], object]) -> tuple[list[tuple[float, float]], ...]:
    """Each in turn, neither always first."""
    mine: list[tuple[float, float]] = []
    others: list[tuple[float, float]] = []
    for number in range(PAIRS):
        for call, times in ((ours, mine), (theirs, others))[:: 1 if number % 2 else -1]:
            times.append(timed(call))
    return mine, others


def compare_states(
    session: LibvirtSession,
    reference: libvirt.virConnect,
    size: int,
    counter: Relay,
    counted: LibvirtSession,
    through: libvirt.virConnect,
) -> Iterator[Result]:
    what = f"states and load, {size:,} guests"
    yield round_trips(what, counter, counted.read_states, lambda: states_by_guest(through), goal=ROUND_TRIPS)
    mine, others = pairs(session.read_states, lambda: states_by_guest(reference))
    yield from times(what, mine, others, goal=STATES_GOAL if size == SIZES[-1] else 0)


def compare_inventory(
    session: LibvirtSession,
    reference: libvirt.virConnect,
    size: int,
    counter: Relay,
    counted: LibvirtSession,
    through: libvirt.virConnect,
) -> Iterator[Result]:
    what = f"full inventory, {size:,} guests"
    counted.snapshot()  # the first one of a connection also reads the host's devices
    # One a guest, and for those that run the ARP table.
    yield round_trips(what, counter, counted.snapshot, lambda: inventory_by_guest(through), goal=size + HOSTS_OWN)
    mine, others = pairs(session.snapshot, lambda: inventory_by_guest(reference))
    yield from times(what, mine, others, goal=0)


def round_trips(
    what: str, counter: Relay, ours: Callable[[], object], theirs: Callable[[], object], *, goal: int
) -> Result:
    mine, others = counter.count(ours), counter.count(theirs)
    ratio = round(others / mine, 1)
    return Result(f"{what}: round trips", "", mine, others, ratio, f"<= {goal}", mine <= goal)


def times(
    what: str, mine: list[tuple[float, float]], others: list[tuple[float, float]], *, goal: float
) -> Iterator[Result]:
    for number, name in enumerate(("wall", "CPU of the client")):
        a, b = [one[number] for one in mine], [one[number] for one in others]
        yield stated(times_faster(f"{what}: {name}", a, b, goal=0 if number else goal, note=f"{PAIRS} pairs"))


def stated(result: Result) -> Result:
    """Without a goal where there is none."""
    return replace(result, goal="stated") if result.goal == "ratio >= 0" else result


# -- a guest that hangs


def measure_hung(lab: Lab, host: LabHost) -> Iterator[Result]:
    """A guest whose QEMU has stopped while another client asks it something, which holds its job."""
    guest = lab.guests[0]
    pid = host.qemu_pid(guest)
    assert pid is not None
    waits: list[float] = []
    with closing(open_session(endpoint(host.address))) as session, closing(libvirt.open(host.uri)) as connection:
        session.read_states()
        waiting = threading.Thread(target=lambda: waits.append(timed(lambda: with_waiting(connection))[0]))
        with held(host, guest.uuid, pid):
            waiting.start()
            ours = median(timed(session.read_states)[0] for _ in range(PAIRS))
            snapshot = timed(session.snapshot)[0]
        waiting.join()
        first = first_to_find(session, pid)
    note = f"for {HELD_SECONDS:g} s; the reference asks without NOWAIT"
    yield hung("a hung guest: states and load", ours, waits[0], note)
    yield at_most("a hung guest: full inventory", round(snapshot, 3), goal=HELD_SECONDS / 2, unit="s")
    yield at_most("a hung guest nobody knew of: states", round(first, 3), goal=FIRST_SECONDS, unit="s")


def first_to_find(session: LibvirtSession, pid: int) -> float:
    """How long a read takes that takes the job of a guest whose QEMU has stopped."""
    os.kill(pid, signal.SIGSTOP)
    try:
        return timed(session.read_states)[0]
    finally:
        os.kill(pid, signal.SIGCONT)


def hung(name: str, ours: float, reference: float, note: str) -> Result:
    goal = f"<= {NOT_HELD_SECONDS:g}"
    ok = ours <= NOT_HELD_SECONDS
    return Result(name, "s", round(ours, 3), round(reference, 3), round(reference / ours, 1), goal, ok, note)


def with_waiting(connection: libvirt.virConnect) -> Any:
    """All guests' figures in one call, too, but without NOWAIT."""
    return connection.getAllDomainStats(0, 0)


@contextmanager
def held(host: LabHost, uuid: str, pid: int) -> Iterator[None]:
    """The guest's job is taken, and its QEMU answers nobody for a while."""
    os.kill(pid, signal.SIGSTOP)
    threading.Timer(HELD_SECONDS, os.kill, (pid, signal.SIGCONT)).start()
    asking = threading.Thread(target=ask, args=(host.uri, uuid))
    asking.start()
    try:
        wait_for_job(host, uuid)
        yield
    finally:
        asking.join()  # until it is thawed


def ask(uri: str, uuid: str) -> None:
    with closing(libvirt.open(uri)) as connection, suppress(libvirt.libvirtError):
        connection.lookupByUUIDString(uuid).memoryStats()


def wait_for_job(host: LabHost, uuid: str) -> None:
    with closing(libvirt.open(host.uri)) as connection:
        domain = connection.lookupByUUIDString(uuid)
        while domain.controlInfo()[0] == libvirt.VIR_DOMAIN_CONTROL_OK:
            time.sleep(0.01)


if __name__ == "__main__":
    main()
