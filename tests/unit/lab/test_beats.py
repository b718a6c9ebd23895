"""What a guest's serial lines say of it."""

import pytest

from lab.api import Beat, GuestCrashed, LabGuest

OLD, NEW = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
PANIC = "[  697.44] Kernel panic - not syncing: Fatal exception in interrupt\n"


def beat(count: int, boot: str) -> str:
    return f"HB {count} up={count}.5 boot={boot}\n"


class Lab:
    def __init__(self, **lines: str) -> None:
        self.hosts, self.lines = list(lines), lines


class Guest(LabGuest):
    def __init__(self, **lines: str) -> None:
        self.name, self.lab, self.lines = "web-01", Lab(**lines), lines  # type: ignore[assignment]
        self.read: list[str] = []

    def serial_text(self, host: object) -> str:
        self.read.append(str(host))
        return self.lines[str(host)]


@pytest.mark.parametrize("there", [beat(4, OLD) + PANIC, PANIC, PANIC + beat(1, NEW)])
def test_a_kernel_that_gave_up_is_told(there: str) -> None:
    with pytest.raises(GuestCrashed, match=r"web-01 started anew.*Fatal exception in interrupt"):
        Guest(home=beat(3, OLD), away=there).wait_heartbeat(after=Beat(3, 3.5, OLD), seconds=0)


def test_one_that_gave_up_before_that_is_not() -> None:
    guest = Guest(home=beat(9, NEW) + PANIC + beat(3, OLD), away=beat(4, OLD))
    assert guest.wait_heartbeat(after=Beat(3, 3.5, OLD)).count == 4
    assert guest.read == ["home", "away"], "each log once"


@pytest.mark.parametrize("old", [PANIC, beat(9, NEW) + PANIC])
def test_nor_is_one_on_a_host_where_this_start_never_was(old: str) -> None:
    guest = Guest(home=beat(3, OLD), away=old)
    before = guest.heartbeat("home")
    guest.lines["home"] += beat(4, OLD)
    after = guest.wait_heartbeat(after=before)
    assert (after.count, after.boot_id) == (4, OLD)
    guest.lines["away"] += PANIC
    for earlier in (before, after):
        with pytest.raises(GuestCrashed):
            guest.wait_heartbeat(after=earlier, seconds=0)
