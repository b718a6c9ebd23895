"""One file that holds everything an installation keeps: its database and its own keys.

`backup` works while the console runs; `restore` only while it does not.
"""

import contextlib
import io
import json
import os
import re
import secrets
import shutil
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from config import data

FORMAT = 1
MANIFEST = "manifest.json"
INSTANCE = data.FILE_NAME
# What search.models.TEXTS.parts begin with: Django is not set up here.
SEARCH_INDEX = "search_searchrow_trigrams"
DUMPS = {"sqlite": "database.sqlite3", "postgresql": "database.dump"}
LARGEST_TEXT_BYTES = 1024 * 1024
POSTGRESQL_SCHEMES = ("postgres", "postgresql", "pgsql")
LIBPQ_OPTIONS = {"sslmode": "PGSSLMODE", "sslrootcert": "PGSSLROOTCERT", "host": "PGHOST"}


class BackupError(Exception):
    """Backup or restore cannot be done; the text is one sentence for a person."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse_options(sys.argv[1:] if arguments is None else arguments)
    os.umask(0o077)
    if options.data:
        os.environ["GUESTHOUSE_DATA"] = str(options.data.expanduser().absolute())
    try:
        print(write_backup(options.file) if options.command == "backup" else restore(options.file, force=options.force))
    except (BackupError, data.DataError) as error:
        print(f"guesthouse: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"guesthouse: {_disk_sentence(error)}", file=sys.stderr)
        return 1
    return 0


def parse_options(arguments: Sequence[str]) -> Namespace:
    parser = ArgumentParser(prog="guesthouse")
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("backup", "restore"):
        command = commands.add_parser(name)
        command.add_argument("file", type=Path, metavar="FILE")
        command.add_argument("--data", type=Path, metavar="DIR", help="the data directory")
    command.add_argument("--force", action="store_true", help="replace what is there")
    return parser.parse_args(arguments)


def _disk_sentence(error: OSError) -> str:
    where = error.filename or "The disk"
    return f"{where}: {error.strerror or error}."


# -- backup


def write_backup(file: Path) -> str:
    """Write the backup whole or not at all, readable by its owner alone.

    Raises: BackupError.
    """
    instance = data.load()
    if instance is None:
        raise BackupError(f"There is no installation in {data.data_dir()}; name another one with --data.")
    file = file.absolute()
    staged = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    try:
        with tempfile.TemporaryDirectory(dir=instance.data_dir, prefix=".backup-") as folder:
            _fill(staged, instance, Path(folder))
        staged.replace(file)
    finally:
        staged.unlink(missing_ok=True)
    note_act("installation.backed_up", file, instance.data_dir)
    return f"{file} holds this installation: its database and its keys. Keep it where only you can read it."


def _fill(staged: Path, instance: data.Instance, folder: Path) -> None:
    kind, dump = dump_database(instance, folder)
    manifest = describe(kind, applied_schema())
    with _open_private(staged) as raw, tarfile.open(fileobj=raw, mode="w:gz", compresslevel=6) as archive:
        _add_text(archive, MANIFEST, json.dumps(manifest, indent=1))
        archive.add(instance.file, INSTANCE, recursive=False)
        archive.add(dump, DUMPS[kind], recursive=False)


@contextlib.contextmanager
def _open_private(path: Path) -> Iterator[io.BufferedWriter]:
    """A new file for its owner alone; on the disk when this ends."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        yield file
        file.flush()
        os.fsync(descriptor)


def _add_text(archive: tarfile.TarFile, name: str, text: str) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(text.encode())
    entry.mode = 0o600
    archive.addfile(entry, io.BytesIO(text.encode()))


def describe(kind: str, schema: list[str]) -> dict[str, Any]:
    """What a restore has to know before it touches anything."""
    return {
        "format": FORMAT,
        "product": "guesthouse",
        "written_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "database": kind,
        "schema": schema,
    }


def dump_database(instance: data.Instance, folder: Path) -> tuple[str, Path]:
    """A consistent copy of the database, also while others write to it."""
    url = os.environ.get("DATABASE_URL", "")
    kind = database_kind(url)
    target = folder / DUMPS[kind]
    if kind == "postgresql":
        run_tool(["pg_dump", "--format=custom", "--no-owner", "--no-privileges", f"--file={target}"], libpq(url))
    else:
        copy_sqlite(sqlite_file(instance, url), target)
    return kind, target


def database_kind(url: str) -> str:
    """Raises: BackupError for a database that only its own tools can save."""
    scheme = urlsplit(url).scheme
    if scheme in ("", "sqlite"):
        return "sqlite"
    if scheme in POSTGRESQL_SCHEMES:
        return "postgresql"
    raise BackupError(f"A {scheme} database cannot be saved by this command; use its own tools.")


def sqlite_file(instance: data.Instance, url: str) -> Path:
    return Path(unquote(urlsplit(url).path[1:])) if url else instance.database_file


def copy_sqlite(source: Path, target: Path) -> None:
    """Copy by SQLite's online backup, which gives one state however much is written meanwhile.

    Raises: BackupError.
    """
    if not source.exists():
        raise BackupError(f"There is no database in {source}; start the console once.")
    try:
        with (
            contextlib.closing(sqlite3.connect(f"{source.as_uri()}?mode=ro", uri=True, timeout=60)) as reading,
            contextlib.closing(sqlite3.connect(target)) as writing,
        ):
            reading.backup(writing, pages=-1)
            _require_sound(writing, target)
    except sqlite3.Error as error:
        raise BackupError(f"The database {source} could not be copied: {error}.") from error


def _require_sound(connection: sqlite3.Connection, file: Path) -> None:
    """Raises: BackupError when the copy is damaged."""
    try:
        answer = connection.execute("PRAGMA integrity_check").fetchone()
    except sqlite3.DatabaseError as error:
        answer = (str(error),)
    if answer != ("ok",):
        raise BackupError(f"The database in {file.name} is damaged ({' '.join(str(answer[0]).split())}).")


def applied_schema() -> list[str]:
    """The schema changes the database has, as `app.name`."""
    _set_up_django()
    from django.db import connection
    from django.db.migrations.recorder import MigrationRecorder

    return sorted(f"{app}.{name}" for app, name in MigrationRecorder(connection).applied_migrations())


def known_schema() -> set[str]:
    """The schema changes this version of the code knows."""
    _set_up_django()
    from django.db.migrations.loader import MigrationLoader

    return {f"{app}.{name}" for app, name in MigrationLoader(None, ignore_no_migrations=True).disk_migrations}


NOTE = """
import sys, django
django.setup()
from audit.services import COMMAND_LINE, record
record(action=sys.argv[1], by=COMMAND_LINE, target_kind="installation", target_name=sys.argv[2])
"""


def note_act(action: str, file: Path, directory: Path) -> None:
    """A row in the audit log, by a process of its own: this one's settings may be those of an unpacked backup."""
    environment = {**os.environ, "GUESTHOUSE_DATA": str(directory), "DJANGO_SETTINGS_MODULE": "config.settings"}
    command = [sys.executable, "-c", NOTE, action, file.name]
    if subprocess.run(command, cwd=data.HOME, env=environment, capture_output=True, check=False).returncode:
        print("guesthouse: This could not be written into the audit log.", file=sys.stderr)


def _set_up_django() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    import django

    django.setup()


# -- restore


def restore(file: Path, *, force: bool) -> str:
    """Put an installation back; nothing there is touched before the backup has been checked.

    Raises: BackupError.
    """
    directory = data.data_dir()
    if data.load(directory) is not None and not force:
        raise BackupError(f"{directory} holds an installation already; restore --force replaces it.")
    data.make_data_dir(directory)
    with data.lock(directory), tempfile.TemporaryDirectory(dir=directory, prefix=".restore-") as folder:
        manifest = unpack(file, Path(folder))
        _check_unpacked(Path(folder), manifest)
        put_back(Path(folder), directory, manifest["database"], force=force)
        note_act("installation.restored", file, directory)
    return f"{directory} holds the installation of {manifest['written_at']} again; start it as usual."


def unpack(file: Path, folder: Path) -> dict[str, Any]:
    """Take the three known members out of the backup; names from the archive are compared, never used as paths.

    Raises: BackupError.
    """
    try:
        with tarfile.open(file, mode="r:gz") as archive:
            manifest = check_manifest(_read_text(archive, MANIFEST))
            for name in (INSTANCE, DUMPS[manifest["database"]]):
                _extract(archive, name, folder / name)
    except FileNotFoundError:
        raise BackupError(f"There is no file {file}.") from None
    except (tarfile.TarError, EOFError, KeyError, ValueError) as error:
        raise BackupError(f"{file} is no complete backup of Guesthouse.") from error
    return manifest


def check_manifest(text: str) -> dict[str, Any]:
    """Raises: BackupError when this code cannot restore it, ValueError when it is no manifest."""
    manifest = json.loads(text)
    if not isinstance(manifest, dict) or manifest.get("product") != "guesthouse":
        raise ValueError("no manifest")
    if manifest.get("format") != FORMAT or manifest.get("database") not in DUMPS:
        raise BackupError("A newer Guesthouse wrote this backup; restore it with that one.")
    return manifest


def _read_text(archive: tarfile.TarFile, name: str) -> str:
    with _open_member(archive, name) as member:
        return bytes(member.read(LARGEST_TEXT_BYTES)).decode("utf-8")


def _extract(archive: tarfile.TarFile, name: str, target: Path) -> None:
    with _open_member(archive, name) as member, _open_private(target) as file:
        shutil.copyfileobj(member, file, LARGEST_TEXT_BYTES)


def _open_member(archive: tarfile.TarFile, name: str) -> "contextlib.closing[Any]":
    entry = archive.getmember(name)
    content = archive.extractfile(entry) if entry.isreg() else None
    if content is None:
        raise ValueError(f"{name} is no plain file")
    return contextlib.closing(content)


def _check_unpacked(folder: Path, manifest: dict[str, Any]) -> None:
    """Raises: BackupError."""
    instance = data.load(folder)
    if instance is None:
        raise BackupError("The backup holds no keys.")
    kind = database_kind(os.environ.get("DATABASE_URL", ""))
    if kind != manifest["database"]:
        raise BackupError(f"The backup holds a {manifest['database']} database, but this installation uses {kind}.")
    if kind == "sqlite":
        with contextlib.closing(sqlite3.connect(folder / DUMPS[kind])) as connection:
            _require_sound(connection, folder / DUMPS[kind])
    _refuse_newer_schema(folder, manifest)


def _refuse_newer_schema(folder: Path, manifest: dict[str, Any]) -> None:
    """Raises: BackupError when the database is ahead of this code."""
    os.environ["GUESTHOUSE_DATA"] = str(
        folder
    )  # the settings read the unpacked keys; the real place is still untouched
    if unknown := set(manifest.get("schema", [])) - known_schema():
        raise BackupError(f"A newer Guesthouse wrote this backup (it has {min(unknown)}); restore it with that one.")


def put_back(folder: Path, directory: Path, kind: str, *, force: bool) -> None:
    """Replace the database, then the keys that belong to it; in between, nothing may start."""
    (directory / data.UNFINISHED_NAME).touch(mode=0o600)
    url = os.environ.get("DATABASE_URL", "")
    if kind == "postgresql":
        restore_postgresql(folder / DUMPS[kind], url, force=force)
    else:
        instance = data.Instance(directory, "", (), "")
        replace_sqlite(folder / DUMPS[kind], sqlite_file(instance, url), force=force)
    (folder / INSTANCE).replace(directory / INSTANCE)
    _sync(directory)
    (directory / data.UNFINISHED_NAME).unlink()


def replace_sqlite(staged: Path, target: Path, *, force: bool) -> None:
    """Raises: BackupError."""
    if target.exists() and not force:
        raise BackupError(f"{target} exists already; restore --force replaces it.")
    for leftover in ("-wal", "-shm"):  # they belong to the old file and would damage the new one
        target.with_name(target.name + leftover).unlink(missing_ok=True)
    shutil.move(staged, target)
    _sync(target.parent)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def restore_postgresql(dump: Path, url: str, *, force: bool) -> None:
    """Raises: BackupError."""
    environment = libpq(url)
    count = run_tool(
        ["psql", "-XAtqc", "select count(*) from pg_tables where schemaname = current_schema()"], environment
    )
    if count.strip() != "0" and not force:
        raise BackupError("The database named by DATABASE_URL is not empty; restore --force replaces what is there.")
    listed = dump.with_suffix(".list")
    listed.write_text(restorable(run_tool(["pg_restore", "--list", str(dump)], environment)))
    run_tool(
        [
            *("pg_restore", "--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges"),
            *(("--clean", "--if-exists") if force else ()),
            *("--use-list", str(listed), "-d", environment["PGDATABASE"], str(dump)),
        ],
        environment,
    )


def restorable(contents: str) -> str:
    """A dump's table of contents without what only an administrator of the server may restore: its extensions.

    Nor with the search's indexes, which need one: the next start makes them, if the server lets it.
    """
    left_out = re.compile(rf" (?:EXTENSION - |COMMENT - EXTENSION |INDEX \S+ {SEARCH_INDEX}\S* )")
    return "".join(line for line in contents.splitlines(keepends=True) if not left_out.search(line))


def libpq(url: str) -> dict[str, str]:
    """A database address as PostgreSQL's tools take it: the password in the environment, not in the process list.

    Source: PostgreSQL manual, libpq environment variables
    """
    parts = urlsplit(url)
    values = {
        "PGHOST": unquote(parts.hostname or ""),
        "PGPORT": str(parts.port or ""),
        "PGUSER": unquote(parts.username or ""),
        "PGPASSWORD": unquote(parts.password or ""),
        "PGDATABASE": unquote(parts.path[1:]),
    }
    values |= {LIBPQ_OPTIONS[key]: value for key, value in parse_qsl(parts.query) if key in LIBPQ_OPTIONS}
    return {key: value for key, value in values.items() if value}


def run_tool(command: list[str], environment: dict[str, str]) -> str:
    """Raises: BackupError with the tool's own last line."""
    try:
        done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise BackupError(f"The program {command[0]} is missing; install the PostgreSQL client package.") from None
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise BackupError(f"{command[0]} failed: {reason}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
