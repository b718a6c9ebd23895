"""What drivers say reaches people in their language, from whichever process it comes."""

from pathlib import Path

import pytest

from drivers.errors import Rejected, Unreachable
from drivers.fake.world import FakeWorld
from drivers.isolation import SessionPool
from drivers.libvirt import states
from drivers.libvirt.migrate import _check_devices
from drivers.types import (
    Finding,
    MigrationPhase,
    MigrationProgress,
    PowerAction,
    Severity,
    SwitchKind,
    Transport,
)
from hosts import words

GERMAN = {
    "The guest is %(state)s; %(action)s is not possible now.": "%(action)s geht nicht, der Gast ist %(state)s.",
    "The connection broke.": "Die Verbindung brach ab.",
    "%(host)s broke.": "%(host)s ist kaputt.",
    "Repair %(host)s.": "%(host)s reparieren.",
}


@pytest.fixture
def german(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words, "gettext", lambda text: GERMAN.get(text, text))


def test_an_error_of_the_child_process_is_translated(german: None, tmp_path: Path) -> None:
    world = FakeWorld.create(tmp_path / "world.json")
    guest = next(one for one in world.guests("alpha").values() if one.state == "running")
    pool = SessionPool(processes=1)
    try:
        with pool.session(world.endpoint("alpha"), deadline_s=60) as session, pytest.raises(Rejected) as raised:
            session.power(guest.uuid, PowerAction.START)
    finally:
        pool.close()
    assert raised.value.message == "The guest is running; start is not possible now."
    assert words.sentence(raised.value) == "start geht nicht, der Gast ist running."


def test_without_parameters_a_percent_sign_is_one(german: None) -> None:
    assert words.sentence(Unreachable("The connection broke.")) == "Die Verbindung brach ab."
    assert words.sentence(Unreachable("100 % of it is gone: %s %(x)s.")) == "100 % of it is gone: %s %(x)s."


def test_a_value_is_no_template(german: None) -> None:
    assert words.sentence(Unreachable("%(host)s broke.", host="%(x)s 5%")) == "%(x)s 5% ist kaputt."


def test_a_finding_is_translated(german: None) -> None:
    found = Finding("x", Severity.ERROR, "%(host)s broke.", "Repair %(host)s.", (("host", "kvm-01"),))
    told = Finding("x", Severity.ERROR, "kvm-01 ist kaputt.", "kvm-01 reparieren.")
    assert words.translated(found) == told
    assert words.translated(told) == told


def test_a_finding_of_the_driver_is_filled_in() -> None:
    disk = "<disk type='file' device='disk'><driver cache='writeback'/><target dev='vda'/></disk>"
    (finding,) = map(words.translated, _check_devices(f"<domain><devices>{disk}</devices></domain>"))
    assert finding.message.startswith("Disk vda is cached by the host (writeback);")
    assert finding.parameters == ()


def test_why_a_move_ended_is_translated(german: None) -> None:
    ended = MigrationProgress(MigrationPhase.ENDED, error="%(host)s broke.", error_parameters=(("host", "kvm-01"),))
    assert words.sentence_of(ended) == "kvm-01 ist kaputt."
    assert words.sentence_of(MigrationProgress(MigrationPhase.ENDED)) == ""


def test_every_word_of_a_driver_has_a_label() -> None:
    reasons = {reason for several in states._REASONS.values() for reason in several if reason}
    assert set(words.STATE_REASONS) == reasons
    assert set(words.SWITCH_KINDS) == set(SwitchKind)
    assert set(words.TRANSPORTS) == set(Transport)


@pytest.mark.parametrize(
    "label",
    [
        words.transport_label,
        words.switch_kind_label,
        words.nic_kind_label,
        words.address_origin_label,
        words.disk_device_label,
        words.state_reason_label,
    ],
)
def test_an_unknown_word_stands_as_it_is(label) -> None:
    assert label("warp") == "warp"
    assert label("") == ""
