"""A lab as a whole: up, down, status."""

import os
import signal
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any, TypeVar

from lab import guests, hosts, image, network, state, storage
from lab.processes import LabError, ProcessRef, kill, run, wait_for
from lab.state import Guest, Host, LabState, Place

GUEST_START_SECONDS = 180
Say = Callable[[str], None]
T = TypeVar("T")


def up(place: Place, count: int, *, owner: bool, say: Say) -> LabState:
    """Build the lab and start it, after removing what a crash may have left of it.

    Raises: LabError; then nothing of the lab remains.
    """
    if not 1 <= count <= network.MAX_HOSTS:
        raise LabError(f"A lab has 1 to {network.MAX_HOSTS} hosts, not {count}.")
    with state.lab_lock(place):
        refuse_running(place)
        remove(place)
        try:
            return _build(place, count, owner, say)
        except BaseException:  # also Ctrl-C: whatever ends the building, nothing of it may stay
            remove(place)
            raise


def refuse_running(place: Place) -> None:
    """Raises: LabError when the lab is up, with a living owner or without one."""
    known = state.load(place)
    if known and known.phase == "up" and (known.owner is None or known.owner.alive()):
        if any(hosts.init_pids(place, host.name) for host in known.hosts):
            raise LabError(f"Lab {place.name} is already up; take it down first with: guesthouse lab down")


def _build(place: Place, count: int, owner: bool, say: Say) -> LabState:
    for folder in (place.folder, place.shared, place.runtime):
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    say("preparing the guests' kernel")
    image.prepare(place)
    me = ProcessRef.of(os.getpid())
    lab = LabState(place.name, str(place.data), network.make_switch(place), "building", me, me if owner else None)
    lab.hosts = [_host(place, lab.subnet, number) for number in range(1, count + 1)]
    state.save(place, lab)
    say(f"starting {count} hosts in {lab.subnet}")
    each(lambda host: hosts.make(place, lab, host), lab.hosts)
    for host in lab.hosts:
        hosts.power_on(place, lab, host)
    each(lambda host: _furnish(place, host), lab.hosts)
    guests.first_guests(place, lab)
    say(f"starting {len(lab.guests)} guests")
    each(lambda guest: guests.make(place, lab, guest), lab.guests)
    refresh_shared(place, lab)
    lab.phase = "up"
    state.save(place, lab)
    return lab


def _host(place: Place, subnet: str, number: int) -> Host:
    name = f"kvm-{number:02}"
    return Host(name, number, place.uuid("host", name), network.host_address(subnet, number))


def _furnish(place: Place, host: Host) -> None:
    hosts.wait_until_up(place, host)
    hosts.define_pools_and_networks(place, host)


def each(work: Callable[[T], object], items: Iterable[T]) -> None:
    """Do the work for all items side by side; the first error counts."""
    pool = ThreadPoolExecutor(8)
    try:
        for future in [pool.submit(work, item) for item in items]:
            future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def refresh_shared(place: Place, lab: LabState) -> None:
    """Have every host that is on see new files on the shared datastore."""
    on = [host for host in lab.hosts if hosts.answers(place, host)]
    each(lambda host: run(["virsh", "-q", "-c", place.unix_uri(host.name), "pool-refresh", "shared"]), on)


def wait_for_guests(place: Place, some: Iterable[Guest]) -> list[str]:
    """Wait until the guests count; returns the names of those that do not."""
    waiting = list(some)

    def all_count() -> bool:
        waiting[:] = [guest for guest in waiting if not guests.counting(place, guest)]
        return not waiting

    wait_for(all_count, GUEST_START_SECONDS, step=0.1)
    return [guest.name for guest in waiting]


def down(place: Place) -> None:
    """Take the lab away, whatever state it is in; when it is away already, nothing happens."""
    known = state.load(place)
    if known and known.owner and known.owner.alive() and known.owner.pid != os.getpid():
        kill(known.owner.pid, signal.SIGTERM)
        wait_for(lambda: known.owner is None or not known.owner.alive(), 20)
    with state.lab_lock(place):
        remove(place)


def remove(place: Place) -> None:
    """Remove processes, namespaces, links, loop devices and files of this lab and of no other."""
    for host in known_hosts(place):
        hosts.power_off(place, host)
    network.remove_all(place)
    storage.release_loops(place)
    storage.remove_files(place)


def known_hosts(place: Place) -> list[str]:
    """Names of hosts that have a folder; each was made before its first process."""
    folder = place.folder / "hosts"
    return sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []


def status(place: Place) -> dict[str, Any]:
    """Everything a program needs to know of the lab."""
    lab = state.load(place)
    if lab is None:
        return {"name": place.name, "data": str(place.data), "state": "down", "hosts": [], "guests": []}
    located = {host.name: guests.where(place, host) for host in lab.hosts}
    return {
        "name": lab.name,
        "data": lab.data,
        "state": lab.phase,
        "owner_pid": lab.owner.pid if lab.owner else None,
        "subnet": lab.subnet,
        "management_network": str(network.management(lab.subnet)),
        "guest_network": str(network.guests(lab.subnet)),
        "console_address": network.console_address(lab.subnet),
        "shared_folder": str(place.shared),
        "hosts": [host_status(place, host, located[host.name], lab) for host in lab.hosts],
        "guests": [guest_status(place, guest, located, lab) for guest in lab.guests],
    }


def host_status(place: Place, host: Host, located: dict[str, str], lab: LabState) -> dict[str, Any]:
    inits = hosts.init_pids(place, host.name)
    names = {guest.uuid: guest.name for guest in lab.guests}
    return {
        "name": host.name,
        "fqdn": host.fqdn,
        "uuid": host.uuid,
        "address": host.address,
        "power": "on" if inits else "off",
        "cable": "joined" if inits and network.cable_joined(place, host) else "cut" if inits else "off",
        "uri": hosts.tcp_uri(host),
        "unix_uri": place.unix_uri(host.name),
        "socket": str(place.socket(host.name)),
        "network_namespace": network.host_namespace(place, host.name),
        "init_pid": inits[0] if inits else None,
        "libvirtd_pid": hosts.libvirtd_pid(place, host.name),
        "libvirtd_log": str(place.host(host.name) / "log/libvirtd.log"),
        "pools": [
            {"name": p.name, "uuid": p.uuid, "path": str(p.path), "shared": p.shared} for p in storage.pools(place, host)
        ],
        "networks": [
            {"name": name, "uuid": place.uuid("network", name, host.name)} for name in hosts.networks(place, host)
        ],
        "guests": sorted(names.get(uuid, uuid) for uuid in located),
    }


def guest_status(place: Place, guest: Guest, located: dict[str, dict[str, str]], lab: LabState) -> dict[str, Any]:
    at = [(host, found[guest.uuid]) for host, found in located.items() if guest.uuid in found]
    at.sort(key=lambda entry: entry[1] != "running")
    host, power = at[0] if at else (None, "unknown")
    return {
        **asdict(guest),
        "host": host,
        "state": power,
        "disk_path": str(storage.disk_path(guest) or "") or None,
        "serial_logs": {h.name: str(place.serial_log(h.name, guest.name)) for h in lab.hosts},
    }
