"""What a lab looks like now, for programs and for people."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from lab import guests, hosts, network, state, storage
from lab.state import Guest, Host, LabState, Place

Located = dict[str, dict[str, str]]  # host name -> guest name -> libvirt state


def status(place: Place) -> dict[str, Any]:
    """Everything a program needs to know of the lab, as `status --json` prints it."""
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
        "hosts": [host_status(place, host, located[host.name]) for host in lab.hosts],
        "guests": [guest_status(place, guest, located, lab) for guest in lab.guests],
    }


def host_status(place: Place, host: Host, located: dict[str, str]) -> dict[str, Any]:
    """One host, with pids as this machine sees them."""
    init = hosts.init_pid(place, host.name)
    return {
        "name": host.name,
        "fqdn": host.fqdn,
        "uuid": host.uuid,
        "address": host.address,
        "power": "off" if init is None else "on",
        "cable": "cut" if host.cut else "joined",
        "uri": hosts.tcp_uri(host),
        "unix_uri": place.unix_uri(host.name),
        "socket": str(place.socket(host.name)),
        "network_namespace": network.host_namespace(place, host.name),
        "init_pid": init,
        "libvirtd_pid": hosts.libvirtd_pid(place, host.name),
        "libvirtd_log": str(place.host(host.name) / "log/libvirtd.log"),
        "pools": [asdict(pool) | {"path": str(pool.path)} for pool in storage.pools(place, host)],
        "networks": [{"name": net.name, "uuid": net.uuid, "bridge": net.bridge} for net in hosts.networks(place, host)],
        "guests": sorted(located),
    }


def guest_status(place: Place, guest: Guest, located: Located, lab: LabState) -> dict[str, Any]:
    """One guest: how it was made, and where it is now; no host when none that answers knows it."""
    at = [(host, found[guest.name]) for host, found in located.items() if guest.name in found]
    at.sort(key=lambda entry: entry[1] != "running")
    host, power = at[0] if at else (None, "unknown")
    return {
        **asdict(guest),
        "host": host,
        "state": power,
        "disk_path": str(storage.disk_path(guest)) if guest.disk != "none" else None,
        "serial_logs": {h.name: str(place.serial_log(h.name, guest.name)) for h in lab.hosts},
    }


def sentences(shown: dict[str, Any]) -> Iterator[str]:
    """The status as lines for a person."""
    yield f"lab {shown['name']}: {shown['state']}"
    for host in shown["hosts"]:
        yield f"  {host['name']}  power {host['power']}, cable {host['cable']}  {host['uri']}"
        for guest in (g for g in shown["guests"] if g["host"] == host["name"]):
            yield f"    {guest['name']:<12} {guest['state']:<8} {guest['address'] or ''}"
    if lost := [g["name"] for g in shown["guests"] if g["host"] is None]:
        yield f"  on no host that answers: {', '.join(lost)}"
