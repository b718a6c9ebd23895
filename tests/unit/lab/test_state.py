"""Names, folders and the memory of a lab."""

import threading
from pathlib import Path

import pytest

from lab import state
from lab.processes import LabError, ProcessRef


@pytest.fixture(autouse=True)
def own_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "RUNTIME", tmp_path / "run")
    monkeypatch.delenv("GUESTHOUSE_DATA", raising=False)
    monkeypatch.delenv("GUESTHOUSE_LAB_CACHE", raising=False)


@pytest.mark.parametrize("name", ["Demo", "a/b", "", "-x", "a" * 32, "a b", ".."])
def test_a_bad_name_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(LabError, match="is no name for a lab"):
        state.make_place(name, str(tmp_path))


def test_the_default_name_belongs_to_the_data_folder(tmp_path: Path) -> None:
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    assert state.make_place(None, one).name == state.make_place(None, one).name
    assert state.make_place(None, one).name != state.make_place(None, two).name


def test_the_data_folder_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GUESTHOUSE_DATA", str(tmp_path))
    assert state.make_place("demo", None).data == tmp_path


def test_a_lab_that_is_up_is_found_by_its_name(tmp_path: Path) -> None:
    place = state.make_place("demo", str(tmp_path / "data"))
    state.register(place)
    assert state.make_place("demo", None).data == tmp_path / "data"
    with pytest.raises(LabError, match="Lab demo belongs to the data folder"):
        state.make_place("demo", str(tmp_path / "other"))


def test_socket_paths_fit_the_kernels_limit() -> None:
    longest = state.Place("a" * 31, Path("/"))
    assert len(str(state.Place.socket(longest, "kvm-90")).replace(str(state.RUNTIME), "/run/guesthouse-lab")) < 108


def test_uuids_are_the_same_each_time_and_differ_between_labs(tmp_path: Path) -> None:
    one, two = state.make_place("one", str(tmp_path)), state.make_place("two", str(tmp_path))
    assert one.uuid("host", "kvm-01") == one.uuid("host", "kvm-01") != two.uuid("host", "kvm-01")


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    place = state.make_place("demo", str(tmp_path))
    place.folder.mkdir(parents=True)
    guest = state.Guest("web-01", 1, "u", "linux", "kvm-01", "10.66.5.20", 96, 0, "shared", None, start=True)
    host = state.Host("kvm-01", 1, "u", "10.66.4.11", cut=True)
    lab = state.LabState(
        "demo", str(tmp_path), "10.66.4.0/23", "up", ProcessRef(1, 2), ProcessRef(3, 4), [host], [guest]
    )
    state.save(place, lab)
    assert state.load(place) == lab


def test_a_half_written_state_counts_as_none(tmp_path: Path) -> None:
    place = state.make_place("demo", str(tmp_path))
    place.folder.mkdir(parents=True)
    place.state_file.write_text('{"name": "de')
    assert state.load(place) is None
    with pytest.raises(LabError, match="Lab demo is not up"):
        state.need(place)


def test_a_lock_is_held_by_one_also_when_its_file_is_removed(tmp_path: Path) -> None:
    place = state.make_place("demo", str(tmp_path))
    turns: list[str] = []
    waiting = threading.Event()

    def second() -> None:
        waiting.set()
        with state.lab_lock(place):
            turns.append("second")

    thread = threading.Thread(target=second)
    with state.lab_lock(place):
        thread.start()
        waiting.wait()
        turns.append("first")
        state.remove_lab_lock(place)
    thread.join()
    assert turns == ["first", "second"]
    with state.lab_lock(place):
        assert (state.RUNTIME / "lab-demo.lock").exists()


def test_an_unknown_host_is_one_sentence() -> None:
    lab = state.LabState("demo", "/", "10.66.4.0/23", "up", ProcessRef(1, 2), None, [state.Host("kvm-01", 1, "u", "a")])
    assert lab.host("kvm-01.lab") is lab.host("kvm-01")
    with pytest.raises(LabError, match=r"has no host kvm-9; it has kvm-01\."):
        lab.host("kvm-9")
