"""What a lab remembers about itself, and where it keeps its files."""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

from lab.processes import LabError, ProcessRef

ROOT = Path(__file__).resolve().parent.parent
# Short, because a unix socket's path is limited to 107 bytes, and volatile, like the processes it speaks of.
RUNTIME = Path("/run/guesthouse-lab")
DOMAIN = "lab"
_NAMES = uuid.UUID("6d3c2f57-6f4c-4b43-9a0c-7b8a8f8d5a10")
NAME_PATTERN = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")

Phase = Literal["building", "up"]
Kind = Literal["linux", "tiny"]
Disk = Literal["shared", "local", "iscsi", "nfs", "none"]
Role = Literal["kvm", "lxc", "storage"]


@dataclass(slots=True)
class Host:
    """One machine of the lab: a hypervisor, or the one that serves disks to them."""

    name: str
    number: int
    uuid: str
    address: str
    cut: bool = False
    role: Role = "kvm"
    release: str = ""  # of the Debian root it runs from; empty: from this machine's own files
    trunk: bool = False  # a third cable, for tagged networks

    @property
    def fqdn(self) -> str:
        return f"{self.name}.{DOMAIN}"


@dataclass(slots=True)
class Guest:
    """One guest as it was made; where it runs now is asked from the hosts.

    Units: memory in MiB, dirty in MiB rewritten without end
    """

    name: str
    number: int
    uuid: str
    kind: Kind
    first_host: str
    address: str | None
    memory: int
    dirty: int
    disk: Disk
    second_network: str | None
    start: bool
    port_group: str = ""  # of its third NIC, on Open vSwitch


@dataclass(slots=True)
class LabState:
    """A whole lab."""

    name: str
    data: str
    subnet: str
    phase: Phase
    builder: ProcessRef
    owner: ProcessRef | None = None
    hosts: list[Host] = field(default_factory=list)  # those that run the guests
    guests: list[Guest] = field(default_factory=list)
    extras: list[str] = field(default_factory=list)
    others: list[Host] = field(default_factory=list)  # machines of other roles

    @property
    def machines(self) -> list[Host]:
        """Everything with a power switch."""
        return self.hosts + self.others

    def guest(self, name: str) -> Guest:
        """Raises: LabError when the lab has no such guest."""
        for guest in self.guests:
            if guest.name == name:
                return guest
        raise LabError(f"Lab {self.name} has no guest {name}.")

    def host(self, name: str) -> Host:
        """Raises: LabError when the lab has no such host."""
        for host in self.machines:
            if name in (host.name, host.fqdn):
                return host
        raise LabError(f"Lab {self.name} has no host {name}; it has {', '.join(h.name for h in self.machines)}.")


@dataclass(frozen=True, slots=True)
class Place:
    """Name and folders of a lab, whether it is up or not."""

    name: str
    data: Path

    @property
    def folder(self) -> Path:
        return self.data / "lab" / self.name

    @property
    def runtime(self) -> Path:
        return RUNTIME / self.name

    @property
    def state_file(self) -> Path:
        return self.folder / "state.json"

    @property
    def shared(self) -> Path:
        return self.folder / "shared"

    @property
    def boot(self) -> Path:
        return self.folder / "boot"

    @property
    def cache(self) -> Path:
        given = os.environ.get("GUESTHOUSE_LAB_CACHE")
        return Path(given).absolute() if given else self.data / "cache" / "lab"

    def host(self, name: str) -> Path:
        return self.folder / "hosts" / name

    def run(self, host: str) -> Path:
        return self.runtime / host

    def socket(self, host: str) -> Path:
        return self.run(host) / "libvirt" / "libvirt-sock"

    def unix_uri(self, host: str) -> str:
        return f"qemu+unix:///system?socket={self.socket(host)}"

    def serial_log(self, host: str, guest: str) -> Path:
        return self.host(host) / "log" / "qemu" / f"{guest}-serial.log"

    def uuid(self, *parts: str) -> str:
        """The same name gives the same UUID, so that a lab built again is the same lab to its console."""
        return str(uuid.uuid5(_NAMES, "/".join((self.name, *parts))))


def make_place(name: str | None, data: str | None) -> Place:
    """Name and folders from the command line's options; a lab that is up is found by its name alone.

    Raises: LabError when the name cannot be used.
    """
    if name is not None and not NAME_PATTERN.fullmatch(name):
        raise LabError(f"{name!r} is no name for a lab: use up to 31 small letters, digits and hyphens.")
    chosen = data or (name and registered_data(name)) or os.environ.get("GUESTHOUSE_DATA") or ROOT / "var"
    folder = Path(chosen).absolute()
    place = Place(name or default_name(folder), folder)
    other = registered_data(place.name)
    if other and Path(other) != folder:
        raise LabError(f"Lab {place.name} belongs to the data folder {other}; choose another --name.")
    return place


def registered_data(name: str) -> str | None:
    """The data folder of the lab of this name, when there is one."""
    try:
        return (RUNTIME / name / "data").read_text()
    except OSError:
        return None


def register(place: Place) -> None:
    """Take the name for this data folder."""
    place.runtime.mkdir(mode=0o700, parents=True, exist_ok=True)
    (place.runtime / "data").write_text(str(place.data))


def default_name(data: Path) -> str:
    """A name of the data folder's own; its inode tells apart equal paths in different roots."""
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        inode = data.stat().st_ino
    except OSError as error:
        raise LabError(f"The data folder {data} cannot be used: {error.strerror}.") from None
    return "gh-" + hashlib.sha256(f"{data}:{inode}".encode()).hexdigest()[:6]


def load(place: Place) -> LabState | None:
    """The lab's state, or nothing when it is down."""
    try:
        raw = json.loads(place.state_file.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return LabState(
        name=raw["name"],
        data=raw["data"],
        subnet=raw["subnet"],
        phase=raw["phase"],
        builder=ProcessRef(**raw["builder"]),
        owner=_owner(raw["owner"]),
        hosts=[Host(**h) for h in raw["hosts"]],
        guests=[Guest(**g) for g in raw["guests"]],
        extras=raw.get("extras", []),
        others=[Host(**h) for h in raw.get("others", [])],
    )


def _owner(raw: dict[str, Any] | None) -> ProcessRef | None:
    return ProcessRef(**raw) if raw else None


def need(place: Place) -> LabState:
    """The state of a lab that is up.

    Raises: LabError
    """
    state = load(place)
    if state is None:
        raise LabError(f"Lab {place.name} is not up; start it with: guesthouse lab up")
    return state


def save(place: Place, state: LabState) -> None:
    """Write the state as a whole or not at all."""
    draft = place.state_file.with_suffix(".new")
    draft.write_text(json.dumps(asdict(state), indent=1))
    draft.replace(place.state_file)


@contextlib.contextmanager
def lock(name: str) -> Iterator[None]:
    """Hold a machine-wide lock; a dead holder's lock is free."""
    RUNTIME.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = RUNTIME / f"{name}.lock"
    with contextlib.ExitStack() as opened:
        while True:
            handle = opened.enter_context(path.open("w"))
            fcntl.flock(handle, fcntl.LOCK_EX)
            if _is_at(handle, path):
                break
            handle.close()
        yield


def _is_at(handle: IO[str], path: Path) -> bool:
    """Whether the open file is still the one at the path, and not one that was removed while we waited for it."""
    try:
        return path.stat().st_ino == os.fstat(handle.fileno()).st_ino
    except FileNotFoundError:
        return False


def lab_lock(place: Place) -> contextlib.AbstractContextManager[None]:
    """Only one command at a time may change a lab."""
    return lock(f"lab-{place.name}")


def remove_lab_lock(place: Place) -> None:
    """Remove the lock's file, as its holder: a lab that is down leaves nothing."""
    (RUNTIME / f"lab-{place.name}.lock").unlink(missing_ok=True)
