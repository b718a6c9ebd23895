"""A lab as a whole: up, down, its power switches and cables, its guests."""

import os
import signal
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from lab import containers, extras, guests, hosts, image, network, san, state, storage
from lab.processes import LabError, ProcessRef, kill, run, wait_for
from lab.state import Disk, Guest, Host, Kind, LabState, Place

GUEST_START_SECONDS = 180
OWNER_STOP_SECONDS = 20
Say = Callable[[str], None]
T = TypeVar("T")


def up(place: Place, count: int, *, owned: bool, say: Say, chosen: Sequence[str] = ()) -> LabState:
    """Build the lab and start it, after removing what a crash may have left of it.

    An owned lab ends with this process, however that ends.

    Raises: LabError; then nothing of the lab remains, unless it was up already.
    """
    if not 1 <= count <= network.MAX_HOSTS:
        raise LabError(f"A lab has 1 to {network.MAX_HOSTS} hosts, not {count}.")
    with state.lab_lock(place):
        refuse_running(place)
        remove(place)
        try:
            return _build(place, count, owned, say, list(chosen))
        except BaseException:  # also Ctrl-C: whatever ends the building, nothing of it may stay
            remove(place)
            state.remove_lab_lock(place)
            raise


def refuse_running(place: Place) -> None:
    """Raises: LabError when the lab is up, with a living owner or without one."""
    known = state.load(place)
    kept = known is not None and known.phase == "up" and (known.owner is None or known.owner.alive())
    if kept and hosts.processes(place):
        raise LabError(f"Lab {place.name} is already up; take it down first with: guesthouse lab down")


def _build(place: Place, count: int, owned: bool, say: Say, chosen: list[str]) -> LabState:
    state.register(place)
    for folder in (place.folder, place.shared):
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    say("preparing the guests' kernel")
    image.prepare(place)
    me = ProcessRef.of(os.getpid())
    lab = LabState(place.name, str(place.data), network.make_switch(place), "building", me, me if owned else None)
    lab.extras = chosen
    extras.enter_machines(place, lab, count)
    state.save(place, lab)
    extras.prepare(place, lab, say)
    say(f"starting {', '.join(machine.name for machine in lab.machines)} in {lab.subnet}")
    _start_machines(place, lab)
    guests.first_guests(place, lab)
    say(f"starting {len(lab.guests)} guests")
    each(lambda guest: guests.make(place, lab, guest), lab.guests)
    refresh_shared(place, lab)
    lab.phase = "up"
    state.save(place, lab)
    return lab


def _start_machines(place: Place, lab: LabState) -> None:
    for machine in lab.machines:
        place.host(machine.name).mkdir(parents=True)
    each(lambda machine: hosts.make(place, lab, machine), lab.machines)
    for machine in lab.machines:
        hosts.power_on(place, lab, machine)
    # The pools of the others need what the storage machine serves.
    storing = [machine for machine in lab.others if machine.role == "storage"]
    each(lambda machine: hosts.wait_until_up(place, machine), storing)
    each(lambda machine: _furnish(place, lab, machine), [one for one in lab.machines if one not in storing])


def _furnish(place: Place, lab: LabState, host: Host) -> None:
    hosts.wait_until_up(place, host)
    hosts.define_pools_and_networks(place, lab, host)
    if host.role == "lxc":
        containers.make(place, lab, host)


def each(work: Callable[[T], object], items: Iterable[T]) -> None:
    """Do the work for all items side by side; the first error counts.

    After an error, or Ctrl-C, nobody waits for the rest: it fails by itself once its hosts and folders are gone.
    """
    pool = ThreadPoolExecutor(8)
    try:
        for future in [pool.submit(work, item) for item in items]:
            future.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def wait_for_guests(place: Place, some: Iterable[Guest], seconds: float = GUEST_START_SECONDS) -> list[str]:
    """Wait until the guests count on the hosts they were made on; returns the names of those that do not."""
    waiting = list(some)

    def all_count() -> bool:
        waiting[:] = [guest for guest in waiting if not guests.counting(place, guest)]
        return not waiting

    wait_for(all_count, seconds, step=0.1)
    return [guest.name for guest in waiting]


def down(place: Place) -> None:
    """Take the lab away, whatever state it is in; when it is away already, nothing happens."""
    known = state.load(place)
    owner = known.owner if known else None
    if owner and owner.alive() and owner.pid != os.getpid():
        kill(owner.pid, signal.SIGTERM)
        wait_for(lambda: not owner.alive(), OWNER_STOP_SECONDS)
    with state.lab_lock(place):
        remove(place)
        state.remove_lab_lock(place)


def is_mine(place: Place) -> bool:
    """Whether the lab ends with this process."""
    known = state.load(place)
    return known is not None and known.owner == ProcessRef.of(os.getpid())


def remove(place: Place) -> None:
    """Remove processes, namespaces, links, loop devices and files of this lab and of no other."""
    for host in hosts.processes(place):
        hosts.power_off(place, host)
    network.remove_all(place)
    containers.remove_groups(place)
    storage.release_loops(place)
    storage.remove_files(place)


def pull_plug(place: Place, name: str) -> None:
    """Power loss of a host."""
    with state.lab_lock(place):
        hosts.power_off(place, state.need(place).host(name).name)


def plug_in(place: Place, name: str) -> None:
    """Power for a host again; returns when its libvirtd answers.

    Raises: LabError
    """
    with state.lab_lock(place):
        lab = state.need(place)
        host = lab.host(name)
        if host.name in hosts.processes(place):
            raise LabError(f"Host {host.name} is on already.")
        hosts.power_on(place, lab, host)
        hosts.wait_until_up(place, host)


def set_cable(place: Place, name: str, *, joined: bool) -> None:
    """Cut or join a host's cables; one that is cut stays so over a power loss."""
    with state.lab_lock(place):
        lab = state.need(place)
        host = lab.host(name)
        host.cut = not joined
        if host.name in hosts.processes(place):
            network.set_cable(place, host, joined=joined)
        state.save(place, lab)


def add_guest(
    place: Place,
    *,
    host: str | None = None,
    name: str | None = None,
    kind: Kind = "linux",
    memory: int | None = None,
    dirty: int = 0,
    disk: Disk = "shared",
    start: bool = True,
) -> Guest:
    """Make another guest, by default on the host that was given the fewest.

    Units: memory in MiB, dirty in MiB
    Raises: LabError; then there is no such guest.
    """
    with state.lab_lock(place):
        lab = state.need(place)
        guest = guests.new_guest(
            place,
            lab,
            host=lab.host(host) if host else guests.quietest_host(lab),
            name=name or guests.free_name(lab, kind),
            kind=kind,
            memory=memory,
            dirty=dirty,
            disk=disk,
            start=start,
        )
        guests.make(place, lab, guest)
        state.save(place, lab)
        refresh_shared(place, lab)
        return guest


def remove_guest(place: Place, name: str) -> None:
    """Stop a guest and remove it from every host that answers, with its disk on the shared datastore."""
    with state.lab_lock(place):
        lab = state.need(place)
        guest = lab.guest(name)
        for host in lab.hosts:
            if name in (known := guests.where(place, host)):
                virsh = ["virsh", "-q", "-c", place.unix_uri(host.name)]
                if known[name] not in guests.OFF:
                    run([*virsh, "destroy", name])
                run([*virsh, "undefine", name])
        storage.remove_disk(place, guest)
        san.remove_disk(place, guest)
        lab.guests.remove(guest)
        state.save(place, lab)
        refresh_shared(place, lab)


def refresh_shared(place: Place, lab: LabState) -> None:
    """Have every host that answers see new files on the shared datastore."""
    on = [host for host in lab.hosts if hosts.answers(place, host)]
    each(lambda host: run(["virsh", "-q", "-c", place.unix_uri(host.name), "pool-refresh", "shared"]), on)
