"""The whole demo: three real hypervisors as sources, and nothing left of them afterwards."""

from pathlib import Path

import pytest

from lab.processes import NotPossible, require_machine
from lab.state import make_place


@pytest.mark.lab
def test_the_demo_shows_its_hypervisors_and_ends_without_a_trace(start_console):
    try:
        require_machine()
    except NotPossible as error:
        pytest.skip(str(error))
    console = start_console("demo")
    console.url()
    console.read_until("The lab is up: 3 hosts are sources of this console", seconds=300)
    place = make_place(None, str(console.data))
    processes = console.processes()
    assert [process for process in processes if "qemu-system" in process.command]
    assert namespaces(place.name)
    assert console.stop() == 0
    assert [process.command for process in processes if not process.has_ended()] == []
    assert namespaces(place.name) == []
    assert str(console.data) not in Path("/proc/mounts").read_text()


def namespaces(lab: str) -> list[str]:
    folder = Path("/run/netns")
    return sorted(path.name for path in folder.glob(f"{lab}-*"))
