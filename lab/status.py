"""What a lab looks like now, for programs and for people."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from lab import containers, guests, hosts, network, san, state, storage, tls
from lab.state import Guest, Host, LabState, Place

Located = dict[str, dict[str, str]]  # host name -> guest name -> libvirt state


def status(place: Place) -> dict[str, Any]:
    """Everything a program needs to know of the lab, as `status --json` prints it."""
    lab = state.load(place)
    if lab is None:
        return {"name": place.name, "data": str(place.data), "state": "down", "hosts": [], "guests": [], "others": []}
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
        "extras": lab.extras,
        "tls": tls_status(place) if "tls" in lab.extras else None,
        "hosts": [host_status(place, lab, host, located[host.name]) for host in lab.hosts],
        "others": [other_status(place, lab, host) for host in lab.others],
        "guests": [guest_status(place, guest, located, lab) for guest in lab.guests],
    }


def tls_status(place: Place) -> dict[str, Any]:
    """Where a client's certificates are, and those of one that the hosts refuse; as libvirt's `pkipath` has them."""
    folders = {"client": tls.client_folder(place), "stranger": tls.stranger_folder(place)}
    files = {"ca": "cacert.pem", "certificate": "clientcert.pem", "key": "clientkey.pem"}
    return {
        name: {"folder": str(folder), **{kind: str(folder / file) for kind, file in files.items()}}
        for name, folder in folders.items()
    }


def machine_status(place: Place, machine: Host) -> dict[str, Any]:
    """What everything with a power switch has, with pids as this machine sees them."""
    init = hosts.init_pid(place, machine.name)
    return {
        "name": machine.name,
        "fqdn": machine.fqdn,
        "role": machine.role,
        "release": machine.release or None,
        "uuid": machine.uuid,
        "address": machine.address,
        "power": "off" if init is None else "on",
        "cable": "cut" if machine.cut else "joined",
        "network_namespace": network.host_namespace(place, machine.name),
        "init_pid": init,
    }


def libvirt_status(place: Place, lab: LabState, host: Host) -> dict[str, Any]:
    """What a machine with libvirt has besides."""
    return {
        "uri": hosts.tcp_uri(host),
        "tls_uri": hosts.tls_uri(host) if "tls" in lab.extras else None,
        "unix_uri": hosts.unix_uri(place, host),
        "socket": str(place.socket(host.name)),
        "libvirtd_pid": hosts.libvirtd_pid(place, host.name),
        "libvirtd_log": str(place.host(host.name) / "log/libvirtd.log"),
        "pools": [pool_status(pool) for pool in hosts.pools(place, lab, host)],
        "networks": [{"name": net.name, "uuid": net.uuid, "bridge": net.bridge} for net in hosts.networks(place, host)],
    }


def pool_status(pool: storage.Pool) -> dict[str, Any]:
    path = str(pool.path) if pool.path else None
    return {"name": pool.name, "uuid": pool.uuid, "path": path, "shared": pool.shared}


def host_status(place: Place, lab: LabState, host: Host, located: dict[str, str]) -> dict[str, Any]:
    """One of the hosts that run the guests."""
    return machine_status(place, host) | libvirt_status(place, lab, host) | {"guests": sorted(located)}


def other_status(place: Place, lab: LabState, machine: Host) -> dict[str, Any]:
    """A machine of another role."""
    shown = machine_status(place, machine)
    if machine.role == "lxc":
        containers_here = [{"name": containers.CONTAINER, "address": containers.address(lab)}]
        return shown | libvirt_status(place, lab, machine) | {"containers": containers_here}
    iscsi = f"{machine.address}:{san.ISCSI_PORT}/{san.iqn(lab.name)}" if "iscsi" in lab.extras else None
    nfs = f"{machine.address}:{san.EXPORT}" if "nfs" in lab.extras else None
    return shown | {"iscsi": iscsi, "nfs": nfs}


def guest_status(place: Place, guest: Guest, located: Located, lab: LabState) -> dict[str, Any]:
    """One guest: how it was made, and where it is now; no host when none that answers knows it."""
    at = [(host, found[guest.name]) for host, found in located.items() if guest.name in found]
    at.sort(key=lambda entry: entry[1] != "running")
    host, power = at[0] if at else (None, "unknown")
    return {
        **asdict(guest),
        "host": host,
        "state": power,
        "disk_path": str(path) if (path := storage.disk_path(guest)) else None,
        "serial_logs": {h.name: str(place.serial_log(h.name, guest.name)) for h in lab.hosts},
    }


def sentences(shown: dict[str, Any]) -> Iterator[str]:
    """The status as lines for a person."""
    extras = f", with {', '.join(shown['extras'])}" if shown.get("extras") else ""
    yield f"lab {shown['name']}: {shown['state']}{extras}"
    for host in shown["hosts"]:
        yield _line(host, host["tls_uri"] or host["uri"])
        for guest in (g for g in shown["guests"] if g["host"] == host["name"]):
            yield f"    {guest['name']:<12} {guest['state']:<8} {guest['address'] or ''}"
    for machine in shown["others"]:
        yield _line(machine, *(machine[key] for key in ("uri", "iscsi", "nfs") if machine.get(key)))
        for container in machine.get("containers", ()):
            yield f"    {container['name']:<12} {'container':<8} {container['address']}"
    if lost := [g["name"] for g in shown["guests"] if g["host"] is None]:
        yield f"  on no host that answers: {', '.join(lost)}"


def _line(machine: dict[str, Any], *addresses: str) -> str:
    release = f" [{machine['release']}]" if machine["release"] else ""
    said = f"power {machine['power']}, cable {machine['cable']}"
    return f"  {machine['name']}{release}  {said}  {'  '.join(addresses)}"
