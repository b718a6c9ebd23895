"""The data directory and the keys in it."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from config import data


def test_the_first_start_makes_private_keys(tmp_path):
    instance = data.load_or_create(tmp_path / "var")
    assert len(instance.secret_key) >= data.SHORTEST_SECRET_KEY
    assert instance.fernet_keys
    assert (tmp_path / "var").stat().st_mode & 0o777 == 0o700
    assert instance.file.stat().st_mode & 0o777 == 0o600


def test_the_next_start_finds_the_same_keys(tmp_path):
    assert data.load_or_create(tmp_path) == data.load_or_create(tmp_path)


def test_two_installations_have_different_keys(tmp_path):
    assert data.load_or_create(tmp_path / "a").secret_key != data.load_or_create(tmp_path / "b").secret_key


def test_starts_at_once_agree_on_one_key(tmp_path):
    code = "from config import data; print(data.load_or_create().secret_key)"
    environment = {**os.environ, "GUESTHOUSE_DATA": str(tmp_path / "var"), "PYTHONPATH": str(data.HOME)}

    def start(_: int) -> str:
        return subprocess.run(
            [sys.executable, "-P", "-c", code], env=environment, capture_output=True, text=True, check=True
        ).stdout

    with ThreadPoolExecutor(6) as pool:
        assert len(set(pool.map(start, range(6)))) == 1
    assert sorted(path.name for path in (tmp_path / "var").iterdir()) == ["instance.json"]


def test_loading_makes_nothing(tmp_path):
    assert data.load(tmp_path / "none") is None
    assert not (tmp_path / "none").exists()


def test_the_directory_is_var_unless_named(monkeypatch, tmp_path):
    monkeypatch.delenv("GUESTHOUSE_DATA", raising=False)
    assert data.data_dir() == data.HOME / "var"
    monkeypatch.setenv("GUESTHOUSE_DATA", str(tmp_path))
    assert data.data_dir() == tmp_path


def test_a_folder_with_other_files_is_left_as_it_is(tmp_path):
    (tmp_path / "letter.txt").touch()
    tmp_path.chmod(0o755)
    with pytest.raises(data.DataError, match="holds other files"):
        data.load_or_create(tmp_path)
    assert tmp_path.stat().st_mode & 0o777 == 0o755


def test_an_empty_folder_is_closed_to_others(tmp_path):
    tmp_path.chmod(0o755)
    data.load_or_create(tmp_path)
    assert tmp_path.stat().st_mode & 0o777 == 0o700


def test_a_file_in_the_way_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(data.DataError, match="is not a directory"):
        data.load_or_create(tmp_path / "file" / "var")


@pytest.mark.parametrize(
    ("number", "sentence"),
    [(28, "is full"), (122, "is full"), (13, "cannot be written"), (30, "cannot be written"), (5, "cannot be used")],
)
def test_errors_of_the_disk_are_one_sentence(monkeypatch, tmp_path, number, sentence):
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", fail)
    with pytest.raises(data.DataError, match=sentence) as caught:
        data.load_or_create(tmp_path)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == []


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"format": 99, "secret_key": "x", "fernet_keys": [], "id": ""}']
)
def test_a_damaged_file_is_refused(tmp_path, text):
    (tmp_path / data.FILE_NAME).write_text(text)
    with pytest.raises(data.DataError, match="is damaged"):
        data.load_or_create(tmp_path)


@pytest.mark.parametrize("key", ["", "changeme", "x" * 80, "django-insecure-" + "abcdefgh" * 8])
def test_an_unsafe_secret_key_is_refused(tmp_path, key):
    _change(tmp_path, secret_key=key)
    with pytest.raises(data.DataError, match="secret key"):
        data.load_or_create(tmp_path)


def test_missing_credential_keys_are_refused(tmp_path):
    _change(tmp_path, fernet_keys=[])
    with pytest.raises(data.DataError, match="no key for stored credentials"):
        data.load_or_create(tmp_path)


def _change(directory: Path, **values: object) -> None:
    file = data.load_or_create(directory).file
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def test_the_keys_are_not_in_the_objects_text_of_an_error(tmp_path):
    _change(tmp_path, secret_key="changeme-in-production")
    with pytest.raises(data.DataError) as caught:
        data.load_or_create(tmp_path)
    assert "changeme" not in str(caught.value)


def test_sockets_lie_inside_where_their_path_fits(tmp_path):
    instance = data.Instance(Path("/srv/guesthouse"), "", (), "1")
    assert instance.valkey_socket == Path("/srv/guesthouse/run/valkey.sock")


def test_sockets_of_a_deep_directory_lie_in_a_short_private_one(tmp_path):
    deep = tmp_path / ("d" * 100)
    instance = data.load_or_create(deep)
    data.make_folders(instance)
    assert len(os.fsencode(instance.valkey_socket)) <= data.SOCKET_PATH_LIMIT
    assert instance.run_dir.stat().st_mode & 0o777 == 0o700
    assert data.load_or_create(deep).run_dir == instance.run_dir
    data.remove_far_run_dir(instance)
    assert not instance.run_dir.exists()


def test_a_run_folder_inside_the_data_directory_stays():
    folder = Path(tempfile.mkdtemp(prefix="gh-", dir="/tmp"))
    instance = data.load_or_create(folder)
    data.make_folders(instance)
    data.remove_far_run_dir(instance)
    assert instance.run_dir == folder / "run"
    assert instance.run_dir.is_dir()
    shutil.rmtree(folder)


def test_a_run_folder_that_is_a_link_is_refused(tmp_path):
    instance = data.load_or_create(tmp_path / ("d" * 100))
    instance.run_dir.symlink_to(tmp_path)
    try:
        with pytest.raises(data.DataError, match="was not made by Guesthouse"):
            data.make_folders(instance)
    finally:
        instance.run_dir.unlink()


def test_a_second_holder_of_the_lock_learns_the_address(tmp_path):
    first = data.lock(tmp_path)
    first.write("http://127.0.0.1:8000/\n")
    first.flush()
    with pytest.raises(data.DataError, match=r"already runs .*: http://127\.0\.0\.1:8000/$"):
        data.lock(tmp_path)
    first.close()
    data.lock(tmp_path).close()


def test_an_unfinished_restore_keeps_the_console_from_starting(tmp_path):
    data.load_or_create(tmp_path)
    (tmp_path / data.UNFINISHED_NAME).touch()
    with pytest.raises(data.DataError, match="did not end"):
        data.load_or_create(tmp_path)
