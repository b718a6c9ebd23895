"""Which snapshots a guest can have, and what whoever takes over finds out; the rest runs in the contract suite."""

from collections.abc import Callable
from types import SimpleNamespace

import libvirt
import pytest

from drivers.errors import Busy, NotFound, Rejected
from drivers.libvirt.connection import Connection
from drivers.libvirt.jobs import OPERATION, read_stamp, require_idle, wait_for_end, write_stamp
from drivers.libvirt.refusals import refusal_of
from drivers.libvirt.session import TestSession as DriverSession
from drivers.libvirt.snapshots import REVERTS_EXTERNAL, GuestShape, _check_disks, plan_snapshot, revert_findings
from drivers.libvirt.tasks import TASKS, Task
from drivers.libvirt.usage import is_gone
from drivers.libvirt.xml import read_xml
from drivers.requests import RevertOutcome, SnapshotKind, SnapshotRef, SnapshotRequest, TaskPhase
from drivers.types import Endpoint, Severity, Transport
from tests.unit.drivers.libvirt.fakes import FakeConnection, answer
from tests.unit.drivers.libvirt.test_errors import error

INTERNAL, EXTERNAL = SnapshotKind.INTERNAL, SnapshotKind.EXTERNAL
OLD, NEW = 9_000_000, 11_003_000
QCOW2 = "<disk type='file' device='disk'><driver type='qcow2'/><target dev='vda'/></disk>"
RAW = "<disk type='file' device='disk'><driver type='raw'/><target dev='vdb'/></disk>"
CD = "<disk type='file' device='cdrom'><driver type='raw'/><target dev='sda'/><readonly/></disk>"
HOSTDEV = "<hostdev mode='subsystem' type='pci'/>"
EFI = "<os firmware='efi'><type>hvm</type></os>"
PFLASH = "<os><loader type='pflash'>/x</loader><nvram format='{}'>/y</nvram></os>"
ENDPOINT = Endpoint(kind="libvirt", transport=Transport.TEST, uri="test:///default")
GUEST = "6695eb01-f6a4-8304-79aa-97f2502e193f"


def shape(devices: str, *, up: bool, version: int = OLD, os: str = "") -> GuestShape:
    return GuestShape(read_xml(f"<domain type='kvm'>{os}<devices>{devices}</devices></domain>"), up, version)


def errors(guest: GuestShape, request: SnapshotRequest) -> list[str]:
    return [f.check for f in plan_snapshot(guest, request).findings if f.severity is Severity.ERROR]


@pytest.mark.parametrize(("version", "words"), [(8_000_000, "neither"), (OLD, "only be deleted"), (NEW, "")])
def test_what_comes_of_an_external_snapshot_is_said_before(version: int, words: str) -> None:
    plan = plan_snapshot(shape(QCOW2, up=True, version=version), SnapshotRequest("a", memory=False))
    assert [words in finding.message for finding in plan.findings] == ([True] if words else [])


@pytest.mark.parametrize(
    ("devices", "up", "request_", "kind", "memory"),
    [
        (QCOW2, True, SnapshotRequest("a"), INTERNAL, True),
        (QCOW2 + CD, False, SnapshotRequest("a"), INTERNAL, False),
        (QCOW2, False, SnapshotRequest("a", memory=False), INTERNAL, False),
        (QCOW2, True, SnapshotRequest("a", memory=False), EXTERNAL, False),
        (RAW, True, SnapshotRequest("a", memory=False), EXTERNAL, False),
        (RAW, False, SnapshotRequest("a", memory=False), EXTERNAL, False),
        (RAW, False, SnapshotRequest("a"), EXTERNAL, False),
        (QCOW2, True, SnapshotRequest("a", memory=False, quiesce=True), EXTERNAL, False),
    ],
)
def test_the_kind_follows_from_the_guest(
    devices: str, up: bool, request_: SnapshotRequest, kind: SnapshotKind, memory: bool
) -> None:
    plan = plan_snapshot(shape(devices, up=up), request_)
    assert errors(shape(devices, up=up), request_) == []
    assert (plan.kind, plan.memory) == (kind, memory)


@pytest.mark.parametrize(
    ("guest", "request_", "check"),
    [
        (shape(RAW, up=True), SnapshotRequest("a"), "snapshot_format"),
        (shape(QCOW2 + RAW, up=True), SnapshotRequest("a"), "snapshot_format"),
        (shape(CD, up=True), SnapshotRequest("a"), "snapshot_disks"),
        (shape(QCOW2 + HOSTDEV, up=True), SnapshotRequest("a"), "snapshot_passthrough"),
        (shape(QCOW2, up=True, os=EFI), SnapshotRequest("a"), "snapshot_firmware"),
        (shape(QCOW2, up=True, os=EFI, version=NEW), SnapshotRequest("a"), "snapshot_firmware"),
        (shape(QCOW2, up=True, os=PFLASH.format("raw"), version=NEW), SnapshotRequest("a"), "snapshot_firmware"),
        (shape(QCOW2, up=True), SnapshotRequest("a", memory=False, kind=INTERNAL), "snapshot_memory"),
        (shape(QCOW2, up=True), SnapshotRequest("a", kind=EXTERNAL), "snapshot_memory"),
        (shape(QCOW2, up=True), SnapshotRequest("a", quiesce=True), "snapshot_quiesce"),
    ],
)
def test_what_cannot_be_is_refused_with_a_sentence(guest: GuestShape, request_: SnapshotRequest, check: str) -> None:
    assert check in errors(guest, request_)
    for finding in plan_snapshot(guest, request_).findings:
        assert finding.message.endswith(".")


def test_newer_versions_allow_more() -> None:
    assert errors(shape(QCOW2, up=True, os=PFLASH.format("qcow2"), version=NEW), SnapshotRequest("a")) == []
    outside = SnapshotRequest("a", memory=False, kind=EXTERNAL)
    assert [f.check for f in plan_snapshot(shape(QCOW2, up=True), outside).findings] == ["snapshot_revert"]
    assert plan_snapshot(shape(QCOW2, up=True, version=NEW), outside).findings == ()


@pytest.mark.parametrize(
    ("xml", "version", "refused"),
    [
        ("<domainsnapshot><disks><disk snapshot='external'/></disks></domainsnapshot>", OLD, True),
        ("<domainsnapshot><memory snapshot='external'/></domainsnapshot>", OLD, True),
        ("<domainsnapshot><disks><disk snapshot='external'/></disks></domainsnapshot>", REVERTS_EXTERNAL, False),
        ("<domainsnapshot><memory snapshot='internal'/></domainsnapshot>", OLD, False),
        ("not XML", NEW, True),
    ],
)
def test_going_back_to_external_ones(xml: str, version: int, refused: bool) -> None:
    assert bool(list(revert_findings(xml, version))) is refused


def test_who_works_is_seen_without_waiting_for_it() -> None:
    """While a snapshot is taken, libvirt lets the question for the job's figures wait."""
    stuck = SimpleNamespace(controlInfo=answer([1, 0, 5]), jobStats=answer(AssertionError("this would have hung")))
    with pytest.raises(Busy):
        require_idle(FakeConnection(), stuck)  # type: ignore[arg-type]


def test_another_process_began_it_and_it_still_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The record is there before the content: it counts only when nothing of the guest runs any more."""
    line, session = Connection(ENDPOINT), DriverSession(ENDPOINT, Connection(ENDPOINT))
    domain = line.raw.lookupByUUIDString(GUEST)
    write_stamp(line, domain, "op-elsewhere", OPERATION)
    domain.snapshotCreateXML("<domainsnapshot><name>elsewhere</name></domainsnapshot>", 0)
    request = SnapshotRequest("elsewhere")

    def busy(*_args: object) -> None:
        raise Busy("%(x)s.", x="It runs")

    with monkeypatch.context() as patch:
        patch.setattr("drivers.libvirt.snapshots.require_idle", busy)
        with pytest.raises(Busy):
            session.create_snapshot(GUEST, request, "op-elsewhere")
    assert session.create_snapshot(GUEST, request, "op-elsewhere").phase is TaskPhase.ENDED
    assert read_stamp(line, domain, OPERATION) == "", "what it was for is done"
    with pytest.raises(Rejected, match="name"):
        session.create_snapshot(GUEST, request, "op-other")
    assert domain.snapshotNum() == 1
    session.delete_snapshot(GUEST, SnapshotRef("elsewhere"), "op-delete")
    assert domain.snapshotNum() == 0


@pytest.mark.parametrize("since", ["as it was then", "stopped since"])
def test_reverted_by_a_call_that_outlived_its_worker(monkeypatch: pytest.MonkeyPatch, since: str) -> None:
    """Whoever takes over waits for libvirt's turn, and finds the claim gone: nothing is reverted twice."""
    line, session = Connection(ENDPOINT), DriverSession(ENDPOINT, Connection(ENDPOINT))
    domain, snapshot = line.raw.lookupByUUIDString(GUEST), SnapshotRef("before")
    session.create_snapshot(GUEST, SnapshotRequest("before"), "op-take")
    session.claim_guest(GUEST, "op-back")
    waited: list[str] = []

    def the_others_ends(*_args: object) -> None:
        waited.append("for the other's end")
        if len(waited) > 1:
            return
        domain.revertToSnapshot(domain.snapshotLookupByName("before"), 0)
        domain.setMetadata(libvirt.VIR_DOMAIN_METADATA_DESCRIPTION, "written since", None, None, 0)
        if since == "stopped since":
            domain.destroy()

    monkeypatch.setattr("drivers.libvirt.snapshots.wait_for_end", the_others_ends)
    try:
        with pytest.raises(Rejected, match="was made before"):
            session.revert_snapshot(GUEST, snapshot, "op-back")
        assert bool(domain.isActive()) is (since == "as it was then"), "going back again would have started it"
        assert "written since" in domain.XMLDesc(0) or not domain.isActive()
        outcome = session.find_revert(GUEST, snapshot, "op-back")
        assert outcome is (RevertOutcome.UNCLEAR if since == "stopped since" else RevertOutcome.DONE)
    finally:
        if not domain.isActive():
            domain.create()
        session.delete_snapshot(GUEST, snapshot, "op-delete")
        domain.setMetadata(libvirt.VIR_DOMAIN_METADATA_DESCRIPTION, None, None, None, 0)


def test_a_call_that_began_since_anybody_waited_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its claim goes first, and the guest is half way until it ends."""
    line, session = Connection(ENDPOINT), DriverSession(ENDPOINT, Connection(ENDPOINT))
    domain, snapshot = line.raw.lookupByUUIDString(GUEST), SnapshotRef("before")
    session.create_snapshot(GUEST, SnapshotRequest("before"), "op-take")
    domain.destroy()
    session.claim_guest(GUEST, "op-back")
    found = domain.snapshotLookupByName("before")
    steps: list[Callable[[], object]] = [
        lambda: write_stamp(line, domain, "", OPERATION),
        lambda: domain.revertToSnapshot(found, 0),
    ]
    monkeypatch.setattr("drivers.libvirt.snapshots.wait_for_end", lambda *_args: steps.pop(0)())
    try:
        assert session.find_revert(GUEST, snapshot, "op-back") is RevertOutcome.DONE
        assert steps == []
    finally:
        if not domain.isActive():
            domain.create()
        session.delete_snapshot(GUEST, snapshot, "op-delete")


def test_waiting_for_the_turn_changes_nothing() -> None:
    line = Connection(ENDPOINT)
    domain = line.raw.lookupByUUIDString(GUEST)
    before = domain.XMLDesc(0)
    wait_for_end(line, domain)
    assert domain.XMLDesc(0) == before


def test_a_task_that_runs_is_not_begun_again() -> None:
    task, new = TASKS.begin("op-once")
    assert new
    assert TASKS.begin("op-once") == (task, False)
    task.ended.set()
    again, new = TASKS.begin("op-once")
    assert new
    assert again is not task


def test_how_a_task_ends_is_told_with_its_kind() -> None:
    task = Task("op-1")

    def refuse(_line: object, _task: Task) -> None:
        raise Rejected("The host has no %(thing)s.", thing="room")

    task.run(FakeConnection(), refuse)  # type: ignore[arg-type]
    reading = task.reading()
    assert (reading.phase, reading.error_code, reading.error) == (
        TaskPhase.ENDED,
        "rejected",
        "The host has no %(thing)s.",
    )
    assert dict(reading.error_parameters) == {"thing": "room"}


def test_a_task_with_a_bug_in_it_ends(capfd: pytest.CaptureFixture[str]) -> None:
    task, hidden = Task("op-1"), "".join(("sec", "ret"))

    def fail(_line: object, _task: Task) -> None:
        raise ValueError(hidden)

    task.run(FakeConnection(), fail)  # type: ignore[arg-type]
    assert task.reading().error_code == "driver_error"
    assert "ValueError" in (said := capfd.readouterr().err)
    assert hidden not in said


def test_a_refusal_has_its_reason() -> None:
    for text, code, words in [
        ("unsupported configuration: internal snapshot for disk vdb unsupported for storage type raw", 67, "vdb"),
        (
            "unsupported configuration: internal snapshots of a VM with pflash based firmware are not supported",
            67,
            "UEFI",
        ),
        ("operation failed: domain moment a already exists", 9, "name"),
        ("unsupported configuration: revert to external snapshot not supported yet", 67, "external"),
        ("disk image 'vda' for internal snapshot 'i' is not the same as disk image currently used by VM", 84, "after"),
        ("deleting external snapshot that has internal snapshot as parent not supported", 84, "internal one"),
        ("invalid argument: could not find base disk source in disk source chain", 8, "newest"),
        ("internal error: Could not find ide controller with index 0 required for device", 1, "bus"),
        (
            "internal error: unable to execute QEMU command 'device_add': 'x' is not a valid device model name",
            1,
            "model",
        ),
        ("failed reading from file '/a/b': Bad file descriptor", 38, "another datastore"),
        ("Guest agent is not responding: QEMU guest agent is not connected", 86, "agent"),
        ("internal error: Not enough free space in pool for volume 'v9'", 1, "room"),
        (
            "operation failed: Failed to take snapshot: Error: Error while writing VM state: Input/output error",
            9,
            "room",
        ),
        ("operation failed: storage vol already exists", 9, "name"),
        ("internal error: bridge name 'br0' already in use.", 1, "br0"),
        ("internal error: Network is already in use by interface eth0", 1, "eth0"),
    ]:
        raised = refusal_of(error(code, 10, text))
        assert words in raised.message, (text, raised.message)
    assert isinstance(refusal_of(error(55, 18, "volume 'a' is still being allocated.")), Busy)


def pool_of(kind: str, *names: str, refresh: object = 0) -> SimpleNamespace:
    def look_up(name: str) -> str:
        if name not in names:
            raise NotFound("gone")
        return name

    xml = answer(f"<pool type='{kind}'/>")
    return SimpleNamespace(XMLDesc=xml, refresh=answer(refresh), storageVolLookupByName=look_up)


@pytest.mark.parametrize(
    ("path", "pool", "gone"),
    [
        ("/images/a", pool_of("dir"), True),
        ("/images/a", pool_of("netfs", "a"), False),
        ("/images/a", pool_of("dir", refresh=Rejected("stopped")), False),
        ("/images/a", NotFound("no pool"), False),
        ("/dev/disk/by-path/lun-1", pool_of("scsi", "unit:0:0:1"), False),
        ("", None, False),
        ("rbd-image", None, False),
    ],
    ids=["gone", "there", "stopped", "no datastore", "volumes named otherwise", "empty", "no file"],
)
def test_a_disk_is_gone_when_its_datastore_was_looked_through(path: str, pool: object, gone: bool) -> None:
    assert is_gone(FakeConnection(storagePoolLookupByTargetPath=answer(pool)), path) is gone  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("policy", "found"), [("mandatory", ["snapshot_disk_here"]), ("optional", []), ("requisite", [])]
)
def test_a_disk_that_may_be_missing_keeps_nobody_from_going_back(policy: str, found: list[str]) -> None:
    """libvirt itself leaves it out then. Source: https://libvirt.org/formatdomain.html (startupPolicy)"""
    disk = f"<disk device='cdrom'><source file='/iso/a' startupPolicy='{policy}'/><target dev='sda'/></disk>"
    xml = f"<domainsnapshot><domain><devices>{disk}</devices></domain></domainsnapshot>"
    line = FakeConnection(storagePoolLookupByTargetPath=answer(pool_of("dir")))
    domain = SimpleNamespace(XMLDesc=answer("<domain/>"))
    assert [finding.check for finding in _check_disks(line, domain, xml)] == found  # type: ignore[arg-type]
