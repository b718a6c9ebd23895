"""What a lab has on this machine, besides its files."""

from pathlib import Path

from lab import containers
from lab.processes import run


def traces(name: str) -> list[str]:
    """All that the lab of this name has on this machine, besides files."""
    found = [line for line in run(["ip", "-o", "link"]).splitlines() if f"guesthouse-lab:{name}" in line]
    found += [line for line in run(["ip", "netns", "list"]).splitlines() if line.startswith(f"{name}-")]
    found += [line for line in run(["losetup", "--list", "--noheadings"]).splitlines() if f"/{name}/" in line]
    found += [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if f"/{name}/" in line]
    found += [line for line in run(["ps", "-eo", "args"]).splitlines() if f"lab.init {name} " in line]
    groups = (path.glob(f"guesthouse-lab-{name}-*") for path in containers.hierarchies().values())
    return found + [str(group) for some in groups for group in some]
