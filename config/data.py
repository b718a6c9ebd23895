"""The data directory: what one installation keeps for itself, made on the first start.

Standard library only: the settings and the supervisor both read it before Django exists.
"""

import base64
import errno
import fcntl
import hashlib
import json
import os
import secrets
import shutil
import stat
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

HOME = Path(__file__).resolve().parent.parent
FILE_NAME = "instance.json"
# Stands while a restore puts the database and the keys in their places.
UNFINISHED_NAME = "restore.unfinished"
LOCK_NAME = "guesthouse.lock"
FORMAT = 1
# sun_path holds 108 bytes with its closing zero on Linux.
SOCKET_PATH_LIMIT = 107
SHORTEST_SECRET_KEY = 50
FEWEST_CHARACTERS = 5
PASSED_ON_KEY_PREFIX = "django-insecure-"
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


class DataError(Exception):
    """The data directory cannot be used; the text is one sentence for a person."""


@dataclass(frozen=True, slots=True)
class Instance:
    """What one installation has of its own."""

    data_dir: Path
    secret_key: str = field(repr=False)
    fernet_keys: tuple[str, ...] = field(repr=False)
    instance_id: str

    @property
    def file(self) -> Path:
        return self.data_dir / FILE_NAME

    @property
    def log_dir(self) -> Path:
        return self.data_dir / "log"

    @property
    def database_file(self) -> Path:
        return self.data_dir / "guesthouse.sqlite3"

    @property
    def run_dir(self) -> Path:
        """Where sockets and locks live: inside the data directory unless a socket's path gets too long there."""
        inside = self.data_dir / "run"
        if len(os.fsencode(inside / "valkey.sock")) <= SOCKET_PATH_LIMIT:
            return inside
        digest = hashlib.sha256(f"{self.instance_id} {self.data_dir}".encode()).hexdigest()
        # Not the environment's temporary directory: every process of this instance must find the same one.
        return Path("/tmp") / f"guesthouse-{digest[:24]}"  # noqa: S108 - made 0700, its owner checked

    @property
    def valkey_socket(self) -> Path:
        return self.run_dir / "valkey.sock"


def data_dir() -> Path:
    """The directory named by GUESTHOUSE_DATA, else `var` beside the code."""
    named = os.environ.get("GUESTHOUSE_DATA")
    return Path(named).expanduser().absolute() if named else HOME / "var"


def load_or_create(path: Path | None = None) -> Instance:
    """The instance in this data directory, made if there is none yet; safe against two starts at once.

    Raises: DataError.
    """
    directory = path or data_dir()
    try:
        make_data_dir(directory)
        if (directory / UNFINISHED_NAME).exists():
            raise DataError(f"A restore into {directory} did not end; run it again with --force.")
        if not (directory / FILE_NAME).exists():
            _create(directory)
        return _read(directory)
    except OSError as error:
        raise DataError(_sentence(directory, error)) from error


def make_folders(instance: Instance) -> None:
    """Make what a running console writes into.

    Raises: DataError.
    """
    try:
        for folder in (instance.run_dir, instance.log_dir):
            _make_private(folder, within=instance.data_dir)
    except OSError as error:
        raise DataError(_sentence(instance.data_dir, error)) from error


def remove_far_run_dir(instance: Instance) -> None:
    """A stopped console leaves nothing outside its data directory."""
    if instance.data_dir not in instance.run_dir.parents:
        shutil.rmtree(instance.run_dir, ignore_errors=True)


def load(path: Path | None = None) -> Instance | None:
    """The instance in this data directory, or none; makes nothing.

    Raises: DataError.
    """
    directory = path or data_dir()
    try:
        return _read(directory) if (directory / FILE_NAME).exists() else None
    except OSError as error:
        raise DataError(_sentence(directory, error)) from error


def lock(directory: Path) -> TextIO:
    """Hold the data directory; the lock ends with this process, however it ends. Its file names the address.

    Raises: DataError naming the address of the one that runs.
    """
    try:
        file = (directory / LOCK_NAME).open("a+", encoding="utf-8")
    except OSError as error:
        raise DataError(_sentence(directory, error)) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        where = file.read().strip() or "an address it has not chosen yet"
        file.close()
        raise DataError(f"Guesthouse already runs with the data in {directory}: {where}") from None
    file.truncate(0)  # the address of an earlier run
    return file


def note_address(file: TextIO, directory: Path, address: str) -> None:
    """Write the address of the one that runs into its lock.

    Raises: DataError.
    """
    try:
        file.write(address + "\n")
        file.flush()
    except OSError as error:
        raise DataError(_sentence(directory, error)) from error


def parse(directory: Path, text: str) -> Instance:
    """The instance a file describes.

    Raises: DataError when it is damaged or its keys are not safe.
    """
    try:
        values = json.loads(text)
        instance = _from_values(directory, values)
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{directory / FILE_NAME} is damaged; put it back from a backup, without it stored credentials are lost."
        ) from error
    _require_safe_keys(instance)
    return instance


def _from_values(directory: Path, values: dict[str, Any]) -> Instance:
    if values["format"] != FORMAT:
        raise ValueError("unknown format")
    keys = tuple(str(key) for key in values["fernet_keys"])
    return Instance(directory, str(values["secret_key"]), keys, str(values["id"]))


def _require_safe_keys(instance: Instance) -> None:
    key = instance.secret_key
    if len(key) < SHORTEST_SECRET_KEY or len(set(key)) < FEWEST_CHARACTERS or key.startswith(PASSED_ON_KEY_PREFIX):
        raise DataError(f"The secret key in {instance.file} is empty, a default or too short; put the file back.")
    if not instance.fernet_keys:
        raise DataError(f"{instance.file} holds no key for stored credentials; put the file back from a backup.")


def _read(directory: Path) -> Instance:
    return parse(directory, (directory / FILE_NAME).read_text(encoding="utf-8"))


def _create(directory: Path) -> None:
    """Write the file whole, then give it its name; the first of several starts wins."""
    staged = directory / f".{FILE_NAME}.{os.getpid()}.{secrets.token_hex(4)}"
    try:
        write_private(staged, json.dumps(_new_values(), indent=1) + "\n")
        with suppress(FileExistsError):  # another start was faster: its keys count
            os.link(staged, directory / FILE_NAME)
    finally:
        staged.unlink(missing_ok=True)


def _new_values() -> dict[str, Any]:
    return {
        "format": FORMAT,
        "id": secrets.token_hex(16),
        "secret_key": secrets.token_urlsafe(60),
        "fernet_keys": [new_key()],
    }


def new_key() -> str:
    """A key for stored credentials."""
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode("ascii")


def write_keys(instance: Instance, keys: tuple[str, ...]) -> None:
    """Give the installation these keys for credentials: the first one writes, all of them read.

    Raises: DataError.
    """
    staged = instance.data_dir / f".{FILE_NAME}.{os.getpid()}.{secrets.token_hex(4)}"
    try:
        values = json.loads(instance.file.read_text(encoding="utf-8")) | {"fernet_keys": list(keys)}
        write_private(staged, json.dumps(values, indent=1) + "\n")
        staged.replace(instance.file)
    except OSError as error:
        raise DataError(_sentence(instance.data_dir, error)) from error
    finally:
        staged.unlink(missing_ok=True)


def write_private(path: Path, text: str) -> None:
    """Write a new file that only its owner reads, and wait until the disk has it."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def make_data_dir(directory: Path) -> None:
    """Make the directory with mode 0700, or close ours; never close somebody else's (think of --data /tmp)."""
    with suppress(FileExistsError):
        directory.mkdir(mode=0o700, parents=True)
    if not stat.S_IMODE(directory.stat().st_mode) & 0o077:
        return
    if not (directory / FILE_NAME).exists() and any(directory.iterdir()):
        raise DataError(f"{directory} already holds other files; choose an empty or a new directory for the data.")
    directory.chmod(0o700)


def _make_private(folder: Path, *, within: Path) -> None:
    """Make a folder that only we enter. One under /tmp could have been put there by somebody else."""
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid not in (os.geteuid(), within.stat().st_uid):
        raise DataError(f"{folder} was not made by Guesthouse; remove it and start again.")
    if stat.S_IMODE(status.st_mode) & 0o077:
        folder.chmod(0o700)


def full_disk_sentence(folder: object) -> str:
    return f"The disk that holds {folder} is full; free some space and start again."


def _sentence(directory: Path, error: OSError) -> str:
    if error.errno in DISK_FULL:
        return full_disk_sentence(directory)
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{directory} cannot be written by this user; choose another directory with --data or GUESTHOUSE_DATA."
    if error.errno in (errno.ENOTDIR, errno.EEXIST, errno.ELOOP):
        return f"{error.filename or directory} is not a directory; choose another one with --data or GUESTHOUSE_DATA."
    return f"The data directory {directory} cannot be used: {error.strerror}."
