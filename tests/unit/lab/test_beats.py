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

    def serial_text(self, host: object) -> str:
        return self.lines[str(host)]


@pytest.mark.parametrize("there", [beat(4, OLD) + PANIC, PANIC, PANIC + beat(1, NEW)])
def test_a_kernel_that_gave_up_is_told(there: str) -> None:
    with pytest.raises(GuestCrashed, match=r"web-01 started anew.*Fatal exception in interrupt"):
        Guest(home=beat(3, OLD), away=there).wait_heartbeat(after=Beat(3, 3.5, OLD), seconds=0)


def test_one_that_gave_up_before_that_is_not() -> None:
    guest = Guest(home=beat(9, NEW) + PANIC + beat(3, OLD), away=beat(4, OLD))
    assert guest.wait_heartbeat(after=Beat(3, 3.5, OLD)).count == 4
