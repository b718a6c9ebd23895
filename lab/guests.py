"""The lab's guests: their definitions, where they run, and making more of them."""

import contextlib
import re
import tempfile
from pathlib import Path
from xml.sax.saxutils import quoteattr

from lab import network, ovs, san, storage
from lab.processes import LabError, run
from lab.state import Disk, Guest, Host, Kind, LabState, Place

LINUX_MEMORY = 96  # MiB; with 64 the kernel does not start
TINY_MEMORY = 8
PER_HOST = ("web", "db")
SAN_GUESTS: dict[Disk, str] = {"iscsi": "erp-01", "nfs": "files-01"}
PEERS = 4  # so many others on the tagged networks a guest asks for an answer
# Source: libvirt's virDomainState
_STATES = ("nostate", "running", "blocked", "paused", "shutdown", "shutoff", "crashed", "pmsuspended")
OFF = ("shutoff", "crashed")
_STATS = re.compile(r"^Domain: '(.+)'\n(?:.*\n)*?\s*state\.state=(\d)", re.MULTILINE)


def new_guest(
    place: Place,
    state: LabState,
    *,
    host: Host,
    name: str,
    kind: Kind = "linux",
    memory: int | None = None,
    dirty: int = 0,
    disk: Disk = "shared",
    networks: tuple[str | None, str] = (None, ""),
    start: bool = True,
) -> Guest:
    """Describe a guest and enter it in the lab's state; nothing is made yet.

    `networks` are the second NIC's network and the third one's port group.

    Raises: LabError when the name is taken or an option does not fit.
    """
    if any(guest.name == name for guest in state.guests):
        raise LabError(f"Lab {state.name} already has a guest {name}.")
    if kind == "tiny" and (dirty or disk == "local"):
        raise LabError("A tiny guest is a boot sector: it can neither rewrite memory nor have a disk of its own.")
    number = max((guest.number for guest in state.guests), default=0) + 1
    linux_number = sum(guest.kind == "linux" for guest in state.guests)
    guest = Guest(
        name=name,
        number=number,
        uuid=place.uuid("guest", name),
        kind=kind,
        first_host=host.name,
        address=network.guest_address(state.subnet, linux_number) if kind == "linux" else None,
        memory=memory or default_memory(kind, dirty),
        dirty=dirty,
        disk=disk if kind == "linux" else "none",
        second_network=networks[0],
        start=start,
        port_group=networks[1],
    )
    state.guests.append(guest)
    return guest


def default_memory(kind: Kind, dirty: int) -> int:
    if kind == "tiny":
        return TINY_MEMORY
    return LINUX_MEMORY + (dirty + 16 if dirty else 0)


def first_guests(place: Place, state: LabState) -> None:
    """Describe the guests every host starts with, named as people name servers; with Open vSwitch, each in a VLAN."""
    vlans = tuple(ovs.VLANS) if "ovs" in state.extras else ("", "")
    for host in state.hosts:
        for role, vlan in zip(PER_HOST, vlans, strict=True):
            second = "default" if role == "web" else "isolated"
            name = f"{role}-{host.number:02}"
            new_guest(place, state, host=host, name=name, networks=(second, vlan))
    for extra, name in SAN_GUESTS.items():
        if extra in state.extras:
            new_guest(place, state, host=state.hosts[0], name=name, disk=extra)


def free_name(state: LabState, kind: Kind) -> str:
    taken = {guest.name for guest in state.guests}
    prefix = "tiny" if kind == "tiny" else "app"
    return next(name for n in range(1, 10_000) if (name := f"{prefix}-{n:02}") not in taken)


def quietest_host(state: LabState) -> Host:
    """The host that was given the fewest guests."""
    return min(state.hosts, key=lambda host: sum(guest.first_host == host.name for guest in state.guests))


def make(place: Place, state: LabState, guest: Guest) -> None:
    """Make the guest's disk, define it on its host and start it if it is to be."""
    host = state.host(guest.first_host)
    try:
        if guest.disk in ("iscsi", "nfs"):
            san.write_disk(place, guest)
        else:
            storage.make_disk(place, guest)
        with tempfile.NamedTemporaryFile("w", suffix=".xml") as file:
            file.write(domain_xml(state, guest))
            file.flush()
            run(["virsh", "-c", place.unix_uri(host.name), "define", file.name])
        if guest.start:
            run(["virsh", "-c", place.unix_uri(host.name), "start", guest.name])
    except LabError:
        storage.remove_disk(place, guest)
        raise


def domain_xml(state: LabState, guest: Guest) -> str:
    """The libvirt definition. It names nothing that only one host has, so that it can move."""
    return f"""<domain type='qemu'>
  <name>{guest.name}</name>
  <uuid>{guest.uuid}</uuid>
  <memory unit='MiB'>{guest.memory}</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64' machine='pc'>hvm</type>{boot_xml(state, guest)}</os>
  <features><acpi/></features>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <on_crash>destroy</on_crash>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    {disk_xml(state, guest)}
    {nics_xml(guest)}
    <serial type='pty'>
      <log file='/var/log/libvirt/qemu/{guest.name}-serial.log' append='on'/>
      <target port='0'/>
    </serial>
    <console type='pty'><target type='serial' port='0'/></console>
    {screen_xml(guest)}
    <controller type='usb' model='none'/>
    <memballoon model='{"none" if guest.kind == "tiny" else "virtio"}'/>
  </devices>
</domain>
"""


def boot_xml(state: LabState, guest: Guest) -> str:
    if guest.kind == "tiny":
        return "<boot dev='hd'/>"
    words = ["console=ttyS0", "quiet", "nokaslr", "mitigations=off", "panic=-1", "no_timer_check"]
    words += [f"lab.name={guest.name}", f"lab.ip={guest.address}/{network.guests(state.subnet).prefixlen}"]
    words += [f"lab.dirty={guest.dirty}"] if guest.dirty else []
    words += tagged_words(state, guest) if guest.port_group else []
    return (
        f"<kernel>{storage.BOOT_PATH}/vmlinux</kernel><initrd>{storage.BOOT_PATH}/initrd.img</initrd>"
        f"<cmdline>{' '.join(words)}</cmdline>"
    )


def tagged_words(state: LabState, guest: Guest) -> list[str]:
    """The address on the tagged networks, and the others there whose answers the guest writes down."""
    others = [other for other in state.guests if other.port_group and other != guest]
    others.sort(key=lambda other: (other.number - guest.number) % (len(state.guests) + 1))
    asked = ",".join(network.tagged_address(other.number) for other in others[:PEERS])
    return [f"lab.tagged={network.tagged_address(guest.number)}/24", f"lab.ask={asked}"]


def disk_xml(state: LabState, guest: Guest) -> str:
    """A tiny guest boots a read-only disk that all of them share (read-only IDE is refused by QEMU)."""
    if guest.disk in ("iscsi", "nfs"):
        return (
            "<disk type='network' device='disk'><driver name='qemu' type='raw' cache='none'/>"
            f"{san.disk_source(state, guest)}<target dev='vda' bus='virtio'/></disk>"
        )
    path = storage.disk_path(guest)
    source, kind = (storage.BOOT_PATH / "tick.img", "raw") if path is None else (path, storage.disk_format(guest))
    readonly = "<readonly/>" if path is None else ""
    return (
        f"<disk type='file' device='disk'><driver name='qemu' type='{kind}' cache='none'/>"
        f"<source file={quoteattr(str(source))}/><target dev='vda' bus='virtio'/>{readonly}</disk>"
    )


def nics_xml(guest: Guest) -> str:
    if guest.kind == "tiny":
        return ""
    names = [("guests", "")] + ([(guest.second_network, "")] if guest.second_network else [])
    names += [(ovs.NAME, f" portgroup='{guest.port_group}'")] if guest.port_group else []
    return "".join(
        f"<interface type='network'><mac address='{network.mac(0x60 + nic, guest.number)}'/>"
        f"<source network='{name}'{group}/><model type='virtio'/><rom enabled='no'/></interface>"
        for nic, (name, group) in enumerate(names)
    )


def screen_xml(guest: Guest) -> str:
    """VNC listens where the host's qemu.conf says, so that it follows a move."""
    if guest.kind == "tiny":
        return ""
    return "<graphics type='vnc' port='-1' autoport='yes'/><video><model type='vga' vram='16384'/></video>"


def where(place: Place, host: Host) -> dict[str, str]:
    """Names of the guests on a host with libvirt's word for their state; nothing when the host does not answer."""
    try:
        # One call, so that no guest is missed between two; `nowait`, since a guest that is arriving would block it.
        answer = run(["virsh", "-q", "-c", place.unix_uri(host.name), "domstats", "--state", "--nowait"], timeout=10)
    except LabError:
        return {}
    return {name: _STATES[int(code)] for name, code in _STATS.findall(answer)}


def make_run(place: Place, host: Host, name: str) -> None:
    """Start or resume a guest, whatever was done to it."""
    power = where(place, host).get(name)
    if power in OFF or power == "paused":
        run(["virsh", "-q", "-c", place.unix_uri(host.name), "start" if power in OFF else "resume", name])


def serial_text(place: Place, host: str, guest: str) -> str:
    """All that the guest wrote on the serial line while on this host."""
    with contextlib.suppress(FileNotFoundError):
        return Path(place.serial_log(host, guest)).read_text(errors="replace")
    return ""


def counting(place: Place, guest: Guest) -> bool:
    """Whether a guest has come up on the host it was made on."""
    marker = "T0001" if guest.kind == "tiny" else "HB 1 "
    return marker in serial_text(place, guest.first_host, guest.name)
