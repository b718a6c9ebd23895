"""The whole demo: three real hypervisors as sources, what they hold by the API, and nothing left of them afterwards."""

import signal
import time
from pathlib import Path
from typing import Any

import pytest

from lab.processes import NotPossible, require_machine
from lab.state import make_place


@pytest.mark.lab
def test_the_demo_shows_its_hypervisors_and_ends_without_a_trace(launch, start_console):
    try:
        require_machine()
    except NotPossible as error:
        pytest.skip(str(error))
    console = start_console("demo")
    console.url()
    console.read_until("The lab is up: 3 hosts are sources of this console", seconds=300)
    token = launch("manage", "create_token", "admin", GUESTHOUSE_DATA=str(console.data)).stdout.split()[-1]
    await_inventory(console, token)
    place = make_place(None, str(console.data))
    processes = console.processes()
    assert [process for process in processes if "qemu-system" in process.command]
    assert namespaces(place.name)
    assert console.stop(signal.SIGINT) == 0
    assert [process.command for process in processes if not process.has_ended()] == []
    assert namespaces(place.name) == []
    assert str(console.data) not in Path("/proc/mounts").read_text()


def await_inventory(console: Any, token: str) -> None:
    """What the demo promises to show; the limit only ends a broken test."""
    wanted = {"hosts/": 3, "guests/?state=running": 4, "datastores/": 3, "switches/": 3}
    deadline = time.monotonic() + 300
    while True:
        found = {path: len(console.get_json(f"api/v1/{path}", token)["results"]) for path in wanted}
        if all(found[path] >= number for path, number in wanted.items()):
            break
        assert time.monotonic() < deadline, f"{found}\n{console.logs()}"
        time.sleep(0.5)
    guest = console.get_json("api/v1/guests/?state=running", token)["results"][0]
    assert {"id", "name", "state", "seen_at"} <= set(guest)
    assert set(guest["host"]) == {"id", "name"}


def namespaces(lab: str) -> list[str]:
    folder = Path("/run/netns")
    return sorted(path.name for path in folder.glob(f"{lab}-*"))
