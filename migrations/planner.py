"""Can this guest move there? Named checks over what the database knows; the worker asks the hypervisors again."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet, Sum
from django.utils.translation import gettext as _

from access.roles import Action
from core.models import by_name
from drivers.types import Capability, Finding, Severity, Transport
from hosts.able import unsupported_reason
from hosts.models import Host, HostState, Source, SourceState
from hosts.words import switch_kind_label, transport_label
from inventory.holds import exclusive_key
from inventory.models import Disk, Guest, GuestState, Nic, Placement
from networks.models import VirtualSwitch
from operations.models import Job
from operations.selectors import open_job_for
from operations.services import sentence_busy
from storage.models import DatastoreMount

# What the source host itself can reach the target by.
PEER_TRANSPORTS = frozenset({Transport.TCP, Transport.TLS, Transport.SSH, Transport.FAKE})
SILENT_STATES = frozenset({SourceState.UNREACHABLE, SourceState.AUTH_FAILED, SourceState.FAILING})
# Disks that every host reaches by itself, over the network: nothing of ours mounts them.
SELF_REACHED = frozenset({"network"})
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Target:
    """One host as a target for one guest."""

    host: Host
    findings: tuple[Finding, ...]

    @property
    def possible(self) -> bool:
        return not any(finding.severity is Severity.ERROR for finding in self.findings)


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What the checks read, loaded in a constant number of queries."""

    guest: Guest
    open_job: Job | None
    disks: tuple[Disk, ...] = ()
    nics: tuple[Nic, ...] = ()
    mounts: dict[tuple[UUID, UUID], DatastoreMount] = field(default_factory=dict)  # (host, datastore)
    switches: dict[tuple[UUID, str], VirtualSwitch] = field(default_factory=dict)  # managed ones, by (host, name)
    bridges: dict[tuple[UUID, str], bool] = field(default_factory=dict)  # whether the host has it, by (host, bridge)
    committed_bytes: dict[UUID, int] = field(default_factory=dict)
    namesakes: frozenset[UUID] = frozenset()  # hosts with another guest of this name
    doubles: frozenset[UUID] = frozenset()  # other hosts that know a guest with this UUID
    old_words: frozenset[UUID] = frozenset()  # other hosts that did, before this one was seen where it is


Check = Callable[[Knowledge, Host], Iterator[Finding]]


def check_targets(guest: Guest, *, user: Any) -> list[Target]:
    """Every host of the guest's datacenter that this user may see, possible ones first."""
    hosts = list(
        Host.objects.restrict(user, Action.VIEW)
        .filter(datacenter_id=guest.datacenter_id)
        .select_related("source")
        .order_by(by_name(), "id")
    )
    knowledge = learn(guest, hosts)
    return sorted((judge(knowledge, host) for host in hosts), key=lambda target: not target.possible)


def check_target(guest: Guest, host: Host) -> Target:
    """One guest, one host."""
    return judge(learn(guest, [host]), host)


def judge(knowledge: Knowledge, host: Host) -> Target:
    """Every check's findings for one host; where it already is, nothing else matters."""
    if host.pk == knowledge.guest.host_id:
        return Target(host, tuple(check_same_host(knowledge, host)))
    return Target(host, tuple(finding for check in CHECKS for finding in check(knowledge, host)))


def as_data(findings: Iterable[Finding]) -> list[dict[str, str]]:
    """Findings as the API shows and the migration's row keeps them."""
    shown = ("check", "severity", "message", "fix")
    return [{name: str(getattr(finding, name)) for name in shown} for finding in findings]


def error(check: str, message: str, fix: str = "") -> Finding:
    return Finding(check, Severity.ERROR, message, fix)


def warning(check: str, message: str, fix: str = "") -> Finding:
    return Finding(check, Severity.WARNING, message, fix)


# -- what the checks read


def learn(guest: Guest, hosts: list[Host]) -> Knowledge:
    """Load what the checks need for these hosts."""
    guest = Guest.objects.select_related("host__source").get(pk=guest.pk)
    ids = {host.pk for host in hosts} | {guest.host_id}
    disks = tuple(guest.disks.select_related("datastore"))
    nics = tuple(guest.nics.all())
    switches = _switches(ids, nics)
    others = Guest.objects.filter(host__in=ids, missing_since=None).exclude(pk=guest.pk)
    placed = _placements(guest, ids)
    return Knowledge(
        guest=guest,
        open_job=open_job_for(exclusive=exclusive_key(guest.pk)),
        disks=disks,
        nics=nics,
        mounts=_mounts(ids, disks),
        switches={(switch.host_id, switch.name): switch for switch in switches if switch.managed},
        bridges=_bridges(switches),
        committed_bytes=_committed(others),
        namesakes=frozenset(others.filter(name=guest.name).values_list("host_id", flat=True)),
        doubles=frozenset(others.filter(uuid=guest.uuid).values_list("host_id", flat=True)) | placed[True],
        old_words=placed[False],
    )


def _mounts(host_ids: set[UUID], disks: tuple[Disk, ...]) -> dict[tuple[UUID, UUID], DatastoreMount]:
    wanted = {disk.datastore_id for disk in disks if disk.datastore_id}
    rows = DatastoreMount.objects.filter(host__in=host_ids, datastore__in=wanted, missing_since=None)
    return {(mount.host_id, mount.datastore_id): mount for mount in rows}


def _switches(host_ids: set[UUID], nics: tuple[Nic, ...]) -> list[VirtualSwitch]:
    names = {nic.network for nic in nics if nic.network}
    bridges = {nic.bridge for nic in nics if nic.bridge}
    wanted = Q(name__in=names) | Q(bridge__in=bridges)
    return list(VirtualSwitch.objects.filter(wanted, host__in=host_ids, missing_since=None))


def _bridges(switches: list[VirtualSwitch]) -> dict[tuple[UUID, str], bool]:
    """What hosts say of bridges. One that only a stopped network names may be there or not."""
    absent = {(one.host_id, one.bridge): False for one in switches if not one.managed and not one.active}
    return absent | {(one.host_id, one.bridge): True for one in switches if one.bridge and one.active}


def _committed(others: QuerySet[Guest]) -> dict[UUID, int]:
    running = others.filter(state__in=(GuestState.RUNNING, GuestState.PAUSED))
    sums = running.order_by().values_list("host_id").annotate(total=Sum("memory_bytes"))
    return {host_id: int(total) for host_id, total in sums}


def _placements(guest: Guest, host_ids: set[UUID]) -> dict[bool, frozenset[UUID]]:
    """Other hosts that hold a definition of this guest, by whether they were read since it was last seen elsewhere."""
    rows = Placement.objects.filter(guest=guest, host__in=host_ids).exclude(host=guest.host_id)
    found = {row.host_id: _was_read_since(row.host.source, guest) for row in rows.select_related("host__source")}
    return {read: frozenset(host for host, since in found.items() if since is read) for read in (True, False)}


def _was_read_since(source: Source, guest: Guest) -> bool:
    return source.inventory_read_at is not None and source.inventory_read_at > guest.evidence_at


# -- the guest and the host it is on


def check_same_host(knowledge: Knowledge, host: Host) -> Iterator[Finding]:
    if host.pk == knowledge.guest.host_id:
        yield error("same_host", _("The guest is on %(host)s already.") % {"host": host.name})


def check_datacenter(knowledge: Knowledge, host: Host) -> Iterator[Finding]:
    """A guest's identity holds within its datacenter only."""
    if host.datacenter_id != knowledge.guest.datacenter_id:
        yield error("datacenter", _("%(host)s is in another datacenter.") % {"host": host.name})


def check_guest(knowledge: Knowledge, _host: Host) -> Iterator[Finding]:
    guest = knowledge.guest
    if guest.missing_since is not None:
        yield error(
            "guest_missing", _("The guest was not found at the last read of its host."), _("Find out where it went.")
        )
    if guest.conflict:
        yield error("guest_conflict", guest.conflict, _("Give one of the two guests a new UUID."))


def check_running(knowledge: Knowledge, _host: Host) -> Iterator[Finding]:
    guest = knowledge.guest
    if guest.state != GuestState.RUNNING:
        yield error(
            "guest_running",
            _("The guest is not running: %(state)s.") % {"state": GuestState(guest.state).label},
            _("Start or resume it first; only running guests are moved."),
        )


def check_snapshots(knowledge: Knowledge, _host: Host) -> Iterator[Finding]:
    if knowledge.guest.snapshot_count:
        yield error(
            "snapshots",
            _("The guest has snapshots (%(count)s); its hypervisor moves no guest that has any.")
            % {"count": knowledge.guest.snapshot_count},
            _("Delete them first."),
        )


def check_passthrough(knowledge: Knowledge, _host: Host) -> Iterator[Finding]:
    if knowledge.guest.passthrough:
        yield error(
            "passthrough",
            _("A device of its host is handed through to the guest: %(devices)s.")
            % {"devices": ", ".join(map(str, knowledge.guest.passthrough))},
            _("Detach it first."),
        )


def check_open_job(knowledge: Knowledge, _host: Host) -> Iterator[Finding]:
    if knowledge.open_job is not None:
        yield error("open_task", sentence_busy(knowledge.open_job))


def check_source(knowledge: Knowledge, _host: Host) -> Iterator[Finding]:
    yield from _connection("source", knowledge.guest.host)


# -- the target and the way there


def check_target_host(_knowledge: Knowledge, host: Host) -> Iterator[Finding]:
    yield from _connection("target", host)


def _connection(side: str, host: Host) -> Iterator[Finding]:
    names = {"host": host.name, "source": host.source.name}
    if host.source.state == SourceState.PAUSED:
        message = _("The source of %(host)s is paused, so nothing is known of its present state.") % names
        yield error(f"{side}_paused", message, _("Resume the source %(source)s.") % names)
    elif host.state != HostState.CONNECTED or host.missing_since or host.source.state in SILENT_STATES:
        message = _("%(host)s is not connected.") % names
        yield error(f"{side}_connected", message, _("Check the host, the network and the source %(source)s.") % names)


def check_maintenance(_knowledge: Knowledge, host: Host) -> Iterator[Finding]:
    if host.maintenance:
        yield error(
            "maintenance",
            _("%(host)s is in maintenance.") % {"host": host.name},
            _("End its maintenance, or choose another host."),
        )


def check_way(knowledge: Knowledge, host: Host) -> Iterator[Finding]:
    source, target = knowledge.guest.host.source, host.source
    kinds = {(one.kind, one.hypervisor) for one in (source, target)}
    if len(kinds) > 1:
        yield error("hypervisor_kind", _("A guest cannot move between these two kinds of hypervisor while it runs."))
    elif reason := unsupported_reason(source, Capability.LIVE_MIGRATION):
        yield error("hypervisor_kind", reason)
    elif Transport(target.transport) not in PEER_TRANSPORTS:
        yield error(
            "peer_to_peer",
            _("The hosts cannot reach each other by themselves: %(host)s is connected by %(transport)s.")
            % {"host": host.name, "transport": transport_label(target.transport)},
            _("Add the source %(source)s by an address that the other host can reach.") % {"source": target.name},
        )
    elif target.transport == Transport.TLS:
        yield warning(
            "peer_to_peer",
            _("%(source)s itself connects to %(target)s by TLS, with certificates of its own.")
            % {"source": knowledge.guest.host.name, "target": host.name},
            _("Make sure that /etc/pki on %(source)s holds a client certificate that the target accepts.")
            % {"source": knowledge.guest.host.name},
        )
    elif target.transport == Transport.SSH:
        yield warning(
            "peer_to_peer",
            _("%(source)s itself signs in to %(target)s by SSH, with a key of its own.")
            % {"source": knowledge.guest.host.name, "target": host.name},
            _("Make sure that root on %(source)s can, without being asked for a password.")
            % {"source": knowledge.guest.host.name},
        )


def check_host_uuid(knowledge: Knowledge, host: Host) -> Iterator[Finding]:
    if host.uuid.lower() == knowledge.guest.host.uuid.lower():
        yield error(
            "host_uuid",
            _("Both hosts have the same UUID, so the hypervisor takes them for one."),
            _("Set host_uuid in libvirtd.conf on one of them."),
        )


def check_architecture(knowledge: Knowledge, host: Host) -> Iterator[Finding]:
    needed = knowledge.guest.architecture
    if needed and host.architecture and needed != host.architecture:
        yield error(
            "architecture",
            _("The guest is made for %(guest)s, %(host)s is %(target)s.")
            % {"guest": needed, "host": host.name, "target": host.architecture},
        )


def check_memory(knowledge: Knowledge, host: Host) -> Iterator[Finding]:
    needed, free = knowledge.guest.memory_bytes, _free_bytes(knowledge, host)
    if not host.memory_bytes or needed <= free:
        return
    numbers = {"host": host.name, "needed": needed // MIB, "free": max(0, free) // MIB}
    message = _("The guest needs %(needed)s MiB of memory; %(host)s has %(free)s MiB that no guest was promised.")
    fix = _("Move another guest away first, or choose another host.")
    # More memory may be promised than there is; what does not fit into the whole machine never runs.
    finding = error if needed > host.memory_bytes else warning
    yield finding("memory", message % numbers, fix)


def _free_bytes(knowledge: Knowledge, host: Host) -> int:
    return host.memory_bytes - knowledge.committed_bytes.get(host.pk, 0)


def check_clash(knowledge: Knowledge, host: Host) -> Iterator[Finding]:
    names = {"host": host.name, "guest": knowledge.guest.name}
    if host.pk in knowledge.doubles:
        message = _("%(host)s already knows a guest with this UUID.") % names
        yield error("uuid_clash", message, _("Remove what is left of it on %(host)s, or give it a new UUID.") % names)
    elif host.pk in knowledge.old_words:
        message = _("%(host)s knew this guest when it was last read; it is asked again before the move.") % names
        yield warning("uuid_clash", message)
    if host.pk in knowledge.namesakes:
        message = _("%(host)s already has another guest named %(guest)s.") % names
        yield error("name_clash", message, _("Rename one of the two."))


# -- what the guest is plugged into


def check_disks(knowledge: Knowledge, host: Host) -> Iterator[Finding]:
    for disk in knowledge.disks:
        if disk.source and disk.source_type not in SELF_REACHED:
            yield from _check_disk(knowledge, host, disk)


def _check_disk(knowledge: Knowledge, host: Host, disk: Disk) -> Iterator[Finding]:
    name = "media" if disk.device in {"cdrom", "floppy"} else "shared_disks"
    words = {"disk": disk.target, "host": host.name, "path": disk.source}
    remedy = _("Eject it first.") if name == "media" else _("Move the disk to shared storage first.")
    if disk.datastore is None:
        message = _("%(disk)s (%(path)s) is on no known datastore, so nobody can say that %(host)s sees it.") % words
        yield error(name, message, remedy)
        return
    words["datastore"] = disk.datastore.name
    mount = knowledge.mounts.get((host.pk, disk.datastore.pk))
    if mount is None or not mount.active:
        message = _("%(disk)s is on the datastore %(datastore)s, which %(host)s does not see.") % words
        yield error(name, message, remedy)
    elif _path_here(knowledge, disk) not in {mount.path, None}:
        message = _("%(host)s has the datastore %(datastore)s in another place, so %(disk)s is not found there.")
        yield error(name, message % words, _("Mount it at the same path on every host."))


def _path_here(knowledge: Knowledge, disk: Disk) -> str | None:
    here = knowledge.mounts.get((knowledge.guest.host_id, disk.datastore_id)) if disk.datastore_id else None
    return here.path if here else None


def check_networks(knowledge: Knowledge, host: Host) -> Iterator[Finding]:
    for nic in knowledge.nics:
        if nic.network:
            yield from _check_switch(knowledge, host, nic)
        elif nic.kind == "bridge":
            yield from _check_bridge(knowledge, host, nic)
        elif nic.kind == "direct":
            words = {"nic": nic.mac, "host": host.name}
            message = _("The NIC %(nic)s uses a physical NIC directly; %(host)s must have one of the same name.")
            yield warning("networks", message % words)


def _check_bridge(knowledge: Knowledge, host: Host, nic: Nic) -> Iterator[Finding]:
    words = {"nic": nic.mac, "bridge": nic.bridge, "host": host.name}
    there = knowledge.bridges.get((host.pk, nic.bridge))
    if there is None:
        message = _("The NIC %(nic)s is on the bridge %(bridge)s; whether %(host)s has it is not known.") % words
        yield warning("networks", message, _("Make sure that it has."))
    elif not there:
        message = _("The NIC %(nic)s is on the bridge %(bridge)s, which %(host)s does not have.") % words
        yield error("networks", message, _("Make a bridge of this name there."))


def _check_switch(knowledge: Knowledge, host: Host, nic: Nic) -> Iterator[Finding]:
    words = {"nic": nic.mac, "switch": nic.network, "host": host.name}
    here = knowledge.switches.get((knowledge.guest.host_id, nic.network))
    there = knowledge.switches.get((host.pk, nic.network))
    if there is None:
        message = _("The NIC %(nic)s is on the switch %(switch)s, which %(host)s does not have.") % words
        yield error("networks", message, _("Make a switch of this name there."))
    elif not there.active:
        message = _("The switch %(switch)s of the NIC %(nic)s is not active on %(host)s.") % words
        yield error("networks", message, _("Start it there."))
    elif here is not None and here.kind != there.kind:
        words |= {"here": switch_kind_label(here.kind), "there": switch_kind_label(there.kind)}
        message = _("The switch %(switch)s of the NIC %(nic)s is %(here)s here and %(there)s on %(host)s.") % words
        yield error("networks", message, _("Connect the NIC to a switch of the same kind on both."))


CHECKS: tuple[Check, ...] = (
    check_datacenter,
    check_guest,
    check_running,
    check_open_job,
    check_source,
    check_target_host,
    check_maintenance,
    check_way,
    check_host_uuid,
    check_architecture,
    check_snapshots,
    check_passthrough,
    check_disks,
    check_networks,
    check_memory,
    check_clash,
)
