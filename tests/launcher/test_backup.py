"""Backup and restore: a round trip, and everything that is refused."""

import io
import json
import shutil
import sqlite3
import tarfile
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import pytest

from config import data
from tests.servers import private_postgresql


@pytest.fixture(scope="module")
def prepared(launch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with a schema and one user."""
    folder = tmp_path_factory.mktemp("installation") / "data"
    prepare(launch, folder)
    return folder


@pytest.fixture
def installation(prepared, tmp_path) -> Path:
    return Path(shutil.copytree(prepared, tmp_path / "data"))


@pytest.fixture(scope="module")
def saved(launch, prepared, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its backup."""
    file = tmp_path_factory.mktemp("saved") / "copy.backup"
    done = launch("backup", file, "--data", prepared)
    assert done.returncode == 0, done.stderr
    return file


def prepare(launch, folder: Path, **environment: str) -> None:
    password = {"GUESTHOUSE_ADMIN_PASSWORD": "sun-moon-and-7-stars"}
    for command in ("migrate", "ensure_admin"):
        done = launch("manage", command, GUESTHOUSE_DATA=str(folder), **password, **environment)
        assert done.returncode == 0, done.stderr


def users(folder: Path) -> list[str]:
    with closing(sqlite3.connect(folder / "guesthouse.sqlite3")) as connection:
        return [row[0] for row in connection.execute("select username from access_user order by username")]


def acts(folder: Path) -> list[tuple[str, str, str]]:
    with closing(sqlite3.connect(folder / "guesthouse.sqlite3")) as connection:
        query = "select action, actor_name, target_name from audit_auditrow where target_kind = 'installation'"
        return connection.execute(query).fetchall()


def rename_admin(folder: Path, name: str) -> None:
    with closing(sqlite3.connect(folder / "guesthouse.sqlite3")) as connection, connection:
        connection.execute("update access_user set username = ?", (name,))


def test_what_was_saved_comes_back(launch, installation, tmp_path):
    file = tmp_path / "copy.backup"
    assert launch("backup", file, "--data", installation).returncode == 0
    assert file.stat().st_mode & 0o777 == 0o600
    done = launch("restore", file, "--data", tmp_path / "new")
    assert done.returncode == 0, done.stderr
    assert users(tmp_path / "new") == ["admin"]
    assert acts(installation) == [("installation.backed_up", "command line", "copy.backup")]
    assert acts(tmp_path / "new") == [("installation.restored", "command line", "copy.backup")]
    kept = data.load(installation)
    assert kept
    assert data.load(tmp_path / "new") == replace(kept, data_dir=tmp_path / "new")
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        "guesthouse.lock",
        "guesthouse.sqlite3",
        "instance.json",
    ]


def test_a_relative_name_means_the_callers_folder(launch, installation, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert launch("backup", "here.backup", "--data", "data").returncode == 0
    assert (tmp_path / "here.backup").exists()


def test_a_running_console_is_saved_whole_and_not_overwritten(launch, start_console, tmp_path):
    console = start_console()
    console.url()
    file = tmp_path / "copy.backup"
    assert launch("backup", file, "--data", console.data).returncode == 0
    refused = launch("restore", file, "--data", console.data, "--force")
    assert refused.returncode == 1
    assert "already runs" in refused.stderr
    console.stop()
    rename_admin(console.data, "changed")
    assert launch("restore", file, "--data", console.data, "--force").returncode == 0
    assert users(console.data) == ["admin"]
    start_console(data=console.data).url()


def test_an_installation_is_not_overwritten_unasked(launch, installation, saved):
    rename_admin(installation, "changed")
    refused = launch("restore", saved, "--data", installation)
    assert refused.returncode == 1
    assert refused.stderr.strip().endswith("restore --force replaces it.")
    assert users(installation) == ["changed"]


def test_a_folder_without_an_installation_cannot_be_saved(launch, tmp_path):
    done = launch("backup", tmp_path / "copy.backup", "--data", tmp_path / "none")
    assert done.returncode == 1
    assert "There is no installation" in done.stderr
    assert list(tmp_path.iterdir()) == []


def rewrite(file: Path, target: Path, **members: bytes | None) -> Path:
    """The same backup with some members replaced, or left out."""
    with tarfile.open(file) as archive, tarfile.open(target, "w:gz") as changed:
        for entry in archive:
            content = members.get(entry.name.partition(".")[0], content_of(archive, entry).read())
            if content is not None:
                entry.size = len(content)
                changed.addfile(entry, io.BytesIO(content))
    return target


def member(file: Path, name: str) -> bytes:
    with tarfile.open(file) as archive, content_of(archive, archive.getmember(name)) as content:
        return content.read()


def content_of(archive: tarfile.TarFile, entry: tarfile.TarInfo) -> IO[bytes]:
    content = archive.extractfile(entry)
    assert content
    return content


def manifest(file: Path) -> dict[str, Any]:
    return dict(json.loads(member(file, "manifest.json")))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"product": "another"}, "is no complete backup of Guesthouse"),
        ({"format": 99}, "A newer Guesthouse wrote this backup"),
        ({"schema": ["access.9999_future"]}, "A newer Guesthouse wrote this backup"),
        ({"database": "postgresql"}, "is no complete backup of Guesthouse"),
        ({"database": "../../etc/passwd"}, "A newer Guesthouse wrote this backup"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(launch, saved, tmp_path, change, sentence):
    changed = rewrite(saved, tmp_path / "changed", manifest=json.dumps({**manifest(saved), **change}).encode())
    refuse(launch, changed, tmp_path / "new", sentence)


def refuse(launch, file: Path, folder: Path, sentence: str) -> None:
    refused = launch("restore", file, "--data", folder)
    assert refused.returncode == 1
    assert sentence in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1
    assert not (folder / "instance.json").exists()
    assert not (folder / "guesthouse.sqlite3").exists()


@pytest.mark.parametrize("member", ["manifest", "instance", "database"])
def test_a_backup_with_a_part_missing_is_refused(launch, saved, tmp_path, member):
    refuse(launch, rewrite(saved, tmp_path / "changed", **{member: None}), tmp_path / "new", "is no complete backup")


def test_a_damaged_database_is_refused(launch, saved, tmp_path):
    database = bytearray(member(saved, "database.sqlite3"))
    database[4096 : 4096 * 3] = b"\xff" * 8192
    changed = rewrite(saved, tmp_path / "changed", database=bytes(database))
    refuse(launch, changed, tmp_path / "new", "damaged")


def test_a_backup_that_was_cut_off_is_refused(launch, saved, tmp_path):
    file = tmp_path / "short"
    file.write_bytes(saved.read_bytes()[:-1000])
    refuse(launch, file, tmp_path / "new", "is no complete backup")


@pytest.mark.parametrize("content", [b"", b"hello", b"\x1f\x8b"])
def test_any_other_file_is_refused(launch, tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    refuse(launch, tmp_path / "file", tmp_path / "new", "is no complete backup")


def test_paths_and_links_in_the_archive_are_never_followed(launch, saved, tmp_path):
    evil = tmp_path / "evil"
    with tarfile.open(saved) as archive, tarfile.open(evil, "w:gz") as changed:
        add(changed, "../escaped", b"x")
        add(changed, str(tmp_path / "absolute"), b"x")
        for entry in archive:
            changed.addfile(entry, archive.extractfile(entry))
    assert launch("restore", evil, "--data", tmp_path / "new").returncode == 0
    assert not (tmp_path / "escaped").exists()
    assert not (tmp_path / "absolute").exists()


def add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


def test_a_link_in_the_place_of_a_file_is_refused(launch, saved, tmp_path):
    evil = tmp_path / "evil"
    with tarfile.open(saved) as archive, tarfile.open(evil, "w:gz") as changed:
        for entry in archive:
            if entry.name == "instance.json":
                entry.type, entry.linkname, entry.size = tarfile.SYMTYPE, "/etc/passwd", 0
            changed.addfile(entry, archive.extractfile(entry) if entry.isreg() else None)
    refuse(launch, evil, tmp_path / "new", "is no complete backup")


def test_an_unwritable_place_leaves_nothing_behind(launch, installation, tmp_path):
    (tmp_path / "file").touch()
    done = launch("backup", tmp_path / "file" / "copy.backup", "--data", installation)
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert [path.name for path in installation.iterdir() if path.name.startswith(".")] == []


# An extension of PostgreSQL is its administrator's to restore, and the index that needs it is made by the next start.
INDEX_MADE = """
from inventory.reindex import index_missing; from search.models import TEXTS
print(TEXTS.exists()); index_missing(); print(TEXTS.exists())
"""


def test_postgresql_comes_back_too(launch, tmp_path):
    with private_postgresql() as url, private_postgresql() as other:
        prepare(launch, tmp_path / "data", DATABASE_URL=url)
        file = tmp_path / "copy.backup"
        done = launch("backup", file, "--data", tmp_path / "data", DATABASE_URL=url)
        assert done.returncode == 0, done.stderr
        done = launch("restore", file, "--data", tmp_path / "new", DATABASE_URL=other)
        assert done.returncode == 0, done.stderr
        count = "from access.models import User; print(User.objects.filter(username='admin').count())"
        shell = launch("manage", "shell", "-v0", "-c", count, GUESTHOUSE_DATA=str(tmp_path / "new"), DATABASE_URL=other)
        assert shell.stdout.split()[-1] == "1"
        refused = launch("restore", file, "--data", tmp_path / "third", DATABASE_URL=other)
        assert "is not empty; restore --force replaces" in refused.stderr
        again = launch("restore", file, "--data", tmp_path / "third", "--force", DATABASE_URL=other)
        assert again.returncode == 0, again.stderr
        start = launch(
            "manage", "shell", "-v0", "-c", INDEX_MADE, GUESTHOUSE_DATA=str(tmp_path / "new"), DATABASE_URL=other
        )
        assert start.stdout.split()[-2:] == ["False", "True"]
        refused = launch("restore", file, "--data", tmp_path / "fourth")
        assert "holds a postgresql database, but this installation uses sqlite" in refused.stderr
