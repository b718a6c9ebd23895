"""The lab's cables: a switch namespace, one namespace per host, and two links to this machine.

A lab has a /23 of its own: the first half is the management network, the second the guests' network. This
machine has address 1 in both. No host has a default route, so nothing leaks out.
"""

import contextlib
import hashlib
import ipaddress
import json
import os
import re
from collections.abc import Iterable
from pathlib import Path

from lab import state
from lab.processes import LabError, run, succeeds
from lab.state import Host, Place

Network = ipaddress.IPv4Network

# Where labs take their subnets from, in this order; all are private (RFC 1918).
RANGES = ("10.66.0.0/16", "172.29.0.0/16", "192.168.128.0/17")
FIRST_HOST = 10  # host 1 has address 11
MAX_HOSTS = 90
FIRST_GUEST = 20
LAST_GUEST = 250
TRUNK = "eth2"
NAT = "192.168.122"
ISOLATED = "192.168.150"
TAGGED = "192.168.160"
NAMESPACES = Path("/run/netns")


def management(subnet: str) -> Network:
    return next(Network(subnet).subnets())


def guests(subnet: str) -> Network:
    return list(Network(subnet).subnets())[1]


def host_address(subnet: str, number: int) -> str:
    return str(management(subnet)[FIRST_HOST + number])


def guest_address(subnet: str, number: int) -> str:
    """Raises: LabError when the network is full."""
    if FIRST_GUEST + number > LAST_GUEST:
        raise LabError(
            "The lab's guest network is full; add tiny guests, which have no address, or start a second lab."
        )
    return str(guests(subnet)[FIRST_GUEST + number])


def tagged_address(number: int) -> str:
    """A guest's address on the tagged networks: one range for all of them, so that only the tags keep them apart."""
    return f"{TAGGED}.{number}"


def console_address(subnet: str) -> str:
    return str(management(subnet)[1])


def short(place: Place) -> str:
    """Interface names have 15 characters at most, so a lab's links are named by a hash."""
    return "gh" + hashlib.sha256(place.name.encode()).hexdigest()[:8]


def links(place: Place) -> tuple[str, str]:
    """This machine's ends of the links into the lab: management, guests."""
    return short(place) + "m", short(place) + "g"


def switch_namespace(place: Place) -> str:
    return f"{place.name}-net"


def host_namespace(place: Place, host: str) -> str:
    return f"{place.name}-{host}"


def inside(namespace: str, *args: str | Path) -> list[str | Path]:
    """The command, run in a network namespace. `ip -n` cannot: it fails in a chroot that is no mount point."""
    return ["nsenter", f"--net={NAMESPACES / namespace}", *args]


def ip(*lines: str, namespace: str | None = None) -> None:
    """Run several `ip` commands at once."""
    args: list[str | Path] = ["ip", "-batch", "-"]
    run(inside(namespace, *args) if namespace else args, text="\n".join(lines) + "\n")


def make_switch(place: Place) -> str:
    """Take a free subnet, lay the two networks and connect this machine to them. Returns the subnet."""
    NAMESPACES.mkdir(parents=True, exist_ok=True)
    with state.lock("subnets"):
        subnet = free_subnet(place.name, networks_in_use())
        _lay(place, subnet)
    return subnet


def _lay(place: Place, subnet: str) -> None:
    namespace, (mgmt, guest) = switch_namespace(place), links(place)
    ip(
        f"netns add {namespace}",
        f"link add {mgmt} type veth peer name console-m netns {namespace}",
        f"link add {guest} type veth peer name console-g netns {namespace}",
    )
    for bridge, port in (("mgmt0", "console-m"), ("guests0", "console-g"), ("trunk0", "")):
        ip(
            f"link add {bridge} type bridge stp_state 0 forward_delay 0 mcast_snooping 0",
            *([f"link set {port} master {bridge} up"] if port else []),
            f"link set {bridge} up",
            namespace=namespace,
        )
    for link, network in ((mgmt, management(subnet)), (guest, guests(subnet))):
        ip(
            f"link set {link} addrgenmode none alias guesthouse-lab:{place.name}",
            f"addr add {network[1]}/{network.prefixlen} dev {link}",
            f"link set {link} up",
        )


def networks_in_use() -> list[Network]:
    """Networks this machine has an address in or a route to, default routes left out."""
    found = []
    for entry in json.loads(run(["ip", "-json", "-4", "route", "show", "table", "all"]) or "[]"):
        with contextlib.suppress(ValueError):
            found.append(Network(entry["dst"], strict=False))
    for entry in json.loads(run(["ip", "-json", "-4", "address", "show"]) or "[]"):
        infos = entry.get("addr_info", [])
        found.extend(Network(f"{info['local']}/{info['prefixlen']}", strict=False) for info in infos)
    return [network for network in found if network.prefixlen > 0]


def free_subnet(name: str, used: Iterable[Network]) -> str:
    """A /23 nobody uses; the same lab asks for the same one first, so that its hosts keep their addresses.

    Raises: LabError when all are taken.
    """
    taken = list(used)
    for text in ranges():
        choices = list(Network(text).subnets(new_prefix=23))
        start = int(hashlib.sha256(name.encode()).hexdigest(), 16) % len(choices)
        for choice in choices[start:] + choices[:start]:
            if not any(choice.overlaps(network) for network in taken):
                return str(choice)
    raise LabError(f"No subnet is free for a lab in {', '.join(ranges())}; name another range in GUESTHOUSE_LAB_RANGE.")


def ranges() -> tuple[str, ...]:
    given = os.environ.get("GUESTHOUSE_LAB_RANGE")
    return (given,) if given else RANGES


def plug_host(place: Place, subnet: str, host: Host) -> None:
    """A new network namespace for a host, its two cables plugged in; all is as after power-on."""
    namespace, switch = host_namespace(place, host.name), switch_namespace(place)
    unplug_host(place, host.name)
    ip(f"netns add {namespace}")
    ip(
        f"link add eth0 address {mac(0xA0, host.number)} type veth peer name m-{host.name} netns {switch}",
        f"link add eth1 address {mac(0xA1, host.number)} type veth peer name g-{host.name} netns {switch}",
        f"link add br0 address {mac(0xA1, host.number)} type bridge stp_state 0 forward_delay 0 mcast_snooping 0",
        "link set eth1 master br0 up",
        "link set br0 up",
        f"addr add {host.address}/{management(subnet).prefixlen} dev eth0",
        "link set eth0 up",
        "link set lo up",
        namespace=namespace,
    )
    ip(
        f"link set m-{host.name} master mgmt0 up",
        f"link set g-{host.name} master guests0 up",
        namespace=switch,
    )
    if host.trunk:
        _plug_trunk(namespace, switch, host)
    if host.cut:
        set_cable(place, host, joined=False)


def _plug_trunk(namespace: str, switch: str, host: Host) -> None:
    """A third cable, into a bridge that passes tagged frames as they are. It has no address: it is the hosts' alone."""
    ip(
        f"link add {TRUNK} address {mac(0xA2, host.number)} type veth peer name t-{host.name} netns {switch}",
        f"link set {TRUNK} addrgenmode none up",
        namespace=namespace,
    )
    ip(f"link set t-{host.name} master trunk0 up", namespace=switch)


def unplug_host(place: Place, host: str) -> None:
    """Take the host's network away. The cables go first: with the namespace alone they would stay for a while."""
    for port in (f"m-{host}", f"g-{host}", f"t-{host}"):
        succeeds(inside(switch_namespace(place), "ip", "link", "delete", port))
    remove_namespace(host_namespace(place, host))


def set_cable(place: Place, host: Host, *, joined: bool) -> None:
    """Cut or join all cables of a host at the switch; the host sees its links go down."""
    to, kinds = "up" if joined else "down", "mgt" if host.trunk else "mg"
    ip(*(f"link set {kind}-{host.name} {to}" for kind in kinds), namespace=switch_namespace(place))


def mac(kind: int, number: int) -> str:
    """A fixed hardware address, so that neighbors find a host again after it was off."""
    return f"52:54:00:{kind:02x}:{number >> 8:02x}:{number & 255:02x}"


def remove_namespace(name: str) -> None:
    """Remove a network namespace, also one whose making was cut short."""
    path = NAMESPACES / name
    if path.exists() and not succeeds(["ip", "netns", "delete", name]):
        path.unlink(missing_ok=True)


def remove_all(place: Place) -> None:
    """Remove every namespace and link of this lab, whether its state is known or not."""
    ours = re.compile(re.escape(place.name) + r"-(net|(kvm|lxc|san)-\d+)")
    if NAMESPACES.is_dir():
        for path in list(NAMESPACES.iterdir()):
            if ours.fullmatch(path.name):
                remove_namespace(path.name)
    for link in links(place):
        if Path(f"/sys/class/net/{link}").exists():
            succeeds(["ip", "link", "delete", link])
