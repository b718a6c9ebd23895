"""Progress as jobStats told it, step by step, in one recorded migration of a 96 MiB guest."""

from typing import Any

import libvirt
import pytest

from drivers.errors import Rejected
from drivers.libvirt.jobs import JobReading
from drivers.libvirt.migrate import (
    ATTEMPTS,
    MOST_REMEMBERED,
    Attempt,
    Attempts,
    Migrations,
    _check_devices,
    _check_target,
    _without_job,
    is_switching,
    progress_of,
    total_of,
)
from drivers.types import Endpoint, MigrationPhase, MigrationProgress, Severity, Transport

PREPARING = {"operation": 5, "time_elapsed": 25, "data_total": 0, "memory_total": 0, "memory_iteration": 0, "type": 2}
COPYING = {
    "operation": 5,
    "time_elapsed": 2028,
    "downtime": 300,
    "data_total": 105717760,
    "data_processed": 8404578,
    "data_remaining": 80805888,
    "memory_total": 105717760,
    "memory_processed": 8404578,
    "memory_remaining": 80805888,
    "memory_bps": 5150294,
    "memory_dirty_rate": 12,
    "memory_iteration": 1,
    "memory_page_size": 4096,
    "type": 2,
}
NOT_USED: Any = None
SOURCE = Endpoint(kind="libvirt", transport=Transport.TCP, address="192.0.2.1")
TARGET = Endpoint(kind="libvirt", transport=Transport.TCP, address="192.0.2.2")
SWITCHING = COPYING | {"data_remaining": 0, "downtime": 231, "memory_iteration": 3}


@pytest.mark.parametrize(
    ("state", "reason", "switching"),
    [
        pytest.param(libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_RUNNING_MIGRATED, False, id="runs"),
        pytest.param(libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_USER, False, id="was paused before"),
        pytest.param(libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_MIGRATION, True, id="stopped by the move"),
        pytest.param(libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_MIGRATED, True, id="gone already"),
    ],
)
def test_when_a_guest_switches(state: int, reason: int, switching: bool) -> None:
    assert is_switching(state, reason) is switching


def test_before_the_first_byte_it_prepares() -> None:
    progress = progress_of(JobReading(active=True, outgoing=True, figures=PREPARING), paused_for_switch=False)
    assert progress == MigrationProgress(MigrationPhase.PREPARING, elapsed_ms=25)


def test_while_it_copies_the_downtime_is_a_guess() -> None:
    progress = progress_of(JobReading(active=True, outgoing=True, figures=COPYING), paused_for_switch=False)
    assert progress == MigrationProgress(
        phase=MigrationPhase.COPYING,
        bytes_total=105717760,
        bytes_processed=8404578,
        bytes_remaining=80805888,
        rate_bytes_per_s=5150294,
        dirty_rate_bytes_per_s=12 * 4096,
        iteration=1,
        expected_downtime_ms=300,
        elapsed_ms=2028,
    )


def test_once_the_guest_stands_still_it_switches() -> None:
    progress = progress_of(JobReading(active=True, outgoing=True, figures=SWITCHING), paused_for_switch=True)
    assert (progress.phase, progress.downtime_ms, progress.expected_downtime_ms) == (
        MigrationPhase.SWITCHING,
        231,
        None,
    )
    assert (progress.bytes_remaining, progress.iteration) == (0, 3)


@pytest.mark.parametrize(
    ("disk", "found"),
    [
        ("<disk type='file' device='disk'><driver cache='none'/><target dev='vda'/></disk>", []),
        ("<disk type='file' device='disk'><driver cache='directsync'/><target dev='vda'/></disk>", []),
        ("<disk type='file' device='disk'><target dev='vda'/></disk>", ["disk_cache"]),
        ("<disk type='block' device='disk'><driver cache='writeback'/></disk>", ["disk_cache"]),
        ("<disk type='file' device='disk'><driver cache='writeback'/><readonly/></disk>", []),
        ("<disk type='file' device='cdrom'><driver cache='writeback'/></disk>", []),
        ("<disk type='network' device='disk'><driver cache='writeback'/></disk>", []),
        ("<hostdev type='pci'/>", ["no_passthrough"]),
        ("<interface type='hostdev'/>", ["no_passthrough"]),
        ("<interface type='bridge'/>", []),
    ],
)
def test_what_a_definition_says_of_moving(disk: str, found: list[str]) -> None:
    findings = list(_check_devices(f"<domain><devices>{disk}</devices></domain>"))
    assert [finding.check for finding in findings] == found
    assert all(finding.fix for finding in findings)


def test_a_definition_nobody_can_read() -> None:
    assert [finding.check for finding in _check_devices("<domain>")] == ["definition"]


@pytest.mark.parametrize(
    "target",
    [
        Endpoint("libvirt", Transport.UNIX, uri="qemu:///system"),
        Endpoint("libvirt", Transport.TCP, address="127.0.0.1"),
        Endpoint("libvirt", Transport.TCP, address="localhost"),
        Endpoint("libvirt", Transport.TCP, address="::1"),
        Endpoint("libvirt", Transport.TCP, address="a b"),
    ],
)
def test_a_target_that_no_other_host_can_reach(target: Endpoint) -> None:
    (finding,) = _check_target(target)
    assert (finding.check, finding.severity) == ("target_address", Severity.ERROR)


@pytest.mark.parametrize(
    ("seen", "ended", "phase"),
    [
        (False, False, MigrationPhase.PREPARING),
        (True, False, MigrationPhase.SWITCHING),
        (True, True, MigrationPhase.ENDED),
        (False, True, MigrationPhase.ENDED),
    ],
)
def test_no_job_to_be_seen(seen: bool, ended: bool, phase: MigrationPhase) -> None:
    attempt = Attempt("uuid", "stamp", SOURCE, seen_running=seen, error=Rejected("Why."))
    attempt.last = MigrationProgress(MigrationPhase.COPYING, bytes_total=10, bytes_processed=4, downtime_ms=5)
    if ended:
        attempt.ended.set()
    progress = _without_job(attempt)
    assert (progress.phase, progress.bytes_total, progress.downtime_ms) == (phase, 10, 5)
    assert progress.error == "Why."


def test_a_move_that_is_over_tells_what_it_came_to() -> None:
    total = total_of(COPYING | {"operation": 6, "data_processed": 198_000_000, "downtime": 117, "time_elapsed": 31093})
    assert total.phase is MigrationPhase.ENDED
    assert (total.bytes_processed, total.downtime_ms, total.elapsed_ms) == (198_000_000, 117, 31093)
    assert total_of({}).downtime_ms is None


def test_a_target_in_the_same_process_is_not_taken_for_the_source() -> None:
    attempt = Attempt("guest", "shared process", SOURCE)
    ATTEMPTS.add(attempt)
    here, there = Migrations(SOURCE, NOT_USED, NOT_USED), Migrations(TARGET, NOT_USED, NOT_USED)
    assert here._begun_here("guest", "shared process") is attempt
    assert there._begun_here("guest", "shared process") is None
    attempt.ended.set()


def test_old_attempts_are_forgotten_running_ones_never() -> None:
    attempts = Attempts()
    running = Attempt("guest", "running", SOURCE)
    attempts.add(running)
    for number in range(MOST_REMEMBERED + 20):
        ended = Attempt("guest", str(number), SOURCE)
        ended.ended.set()
        attempts.add(ended)
    assert attempts.find("guest", "running") is running
    assert attempts.find("guest", "0") is None
    assert attempts.find("guest", str(MOST_REMEMBERED + 19)) is not None
