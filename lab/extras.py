"""The technologies a lab can have besides what every lab has, and the machines they need."""

from collections.abc import Callable

from lab import network, roots, storage, tls
from lab.processes import LabError, require_programs
from lab.state import Host, LabState, Place, Role

EXTRAS = {
    "ovs": "Open vSwitch on every host: a network with port groups whose VLANs share one trunk between the hosts",
    "tls": "libvirtd listens for TLS; an authority, the hosts' and a client's certificates",
    "iscsi": "a storage machine with an iSCSI target, a pool of its LUNs on every host, a guest on one of them",
    "archive": "a second shared datastore, with a capacity of its own",
    "lxc": "a host that runs a container instead of virtual machines",
    "trixie": "one more host, with the libvirt and QEMU of Debian 13",
    "nfs": "the storage machine serves NFS, and a guest has its disk there",
}
ALL = "all"
STORAGE = frozenset({"iscsi", "nfs"})
# Their hosts need programs that no plain lab needs: they run from a root that has them.
ROOTED = frozenset({"ovs", *STORAGE})
NEWER = "trixie"
STORAGE_NUMBER, LXC_NUMBER = 0, network.MAX_HOSTS + 2  # around the hosts, and Debian 13's after them


def parse(words: str) -> list[str]:
    """The extras of a `--with` option, in the order of the table.

    Raises: LabError for an unknown one.
    """
    asked = {word for word in words.replace(" ", "").split(",") if word}
    if unknown := sorted(asked - {*EXTRAS, ALL}):
        raise LabError(f"A lab cannot have {', '.join(unknown)}; --with takes {', '.join([*EXTRAS, ALL])}.")
    return [name for name in EXTRAS if name in asked or ALL in asked]


def enter_machines(place: Place, lab: LabState, count: int) -> None:
    """Describe the lab's machines: the hosts, and those that its extras need."""
    extras, own = set(lab.extras), roots.own_release()
    older = roots.OLDEST if own == NEWER and "trixie" in extras else ""  # where this machine's is the newer one itself
    release = older or (own if extras & ROOTED else "")
    lab.hosts = [_machine(place, lab, "kvm", f"kvm-{n:02}", n, release) for n in range(1, count + 1)]
    if "trixie" in extras:
        lab.hosts.append(_machine(place, lab, "kvm", f"kvm-{count + 1:02}", count + 1, NEWER))
    if "lxc" in extras:
        lab.others.append(_machine(place, lab, "lxc", "lxc-01", LXC_NUMBER, own))
    if extras & STORAGE:
        lab.others.append(_machine(place, lab, "storage", "san-01", STORAGE_NUMBER, own))


def _machine(place: Place, lab: LabState, role: Role, name: str, number: int, release: str) -> Host:
    address = network.host_address(lab.subnet, number)
    trunk = role == "kvm" and "ovs" in lab.extras
    return Host(name, number, place.uuid("host", name), address, role=role, release=release, trunk=trunk)


def prepare(place: Place, lab: LabState, say: Callable[[str], None]) -> None:
    """Check the programs, and make what the machines share: roots, certificates, the second datastore.

    Raises: NotPossible when a program is missing, LabError when a root cannot be made.
    """
    releases = sorted({machine.release for machine in lab.machines if machine.release})
    require_programs((["openssl"] if "tls" in lab.extras else []) + (["mmdebstrap"] if releases else []))
    for release in releases:
        if not roots.folder(place.cache, release).exists():
            say(f"unpacking a root of Debian's {release} (once)")
        roots.prepare(place.cache, release)
    if "tls" in lab.extras:
        tls.make_authorities(place)
    if "archive" in lab.extras:
        storage.make_archive(place)
