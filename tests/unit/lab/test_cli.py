"""The command line where a lab is not possible, and its list of packages."""

import os
import re
from pathlib import Path

import pytest

from lab import processes, state
from lab.__main__ import COMMANDS, HOST_COMMANDS, main, parser


@pytest.fixture(autouse=True)
def own_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "RUNTIME", tmp_path / "run")


def test_without_root_it_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert main(["up", "--data", str(tmp_path)]) == 2
    assert (
        capsys.readouterr().err
        == "The lab needs root: it makes namespaces, mounts and network links; run it with sudo.\n"
    )


def test_without_a_program_it_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setitem(processes.PROGRAMS, "no-such-program", "its-package")
    assert main(["up", "--data", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "no-such-program" in said
    assert said.endswith("its-package\n")


def test_a_bad_name_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--name", "No Name"]) == 1
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("command", sorted(HOST_COMMANDS))
def test_host_commands_need_a_host(command: str) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args([command])
    assert parser().parse_args([command, "kvm-01"]).host == "kvm-01"


def test_every_command_is_known_to_the_parser() -> None:
    for command in COMMANDS:
        words = [command, "kvm-01"] if command in HOST_COMMANDS else [command]
        assert parser().parse_args(words).command == command


@pytest.mark.parametrize(
    ("file", "programs"),
    [("packages.txt", processes.PROGRAMS), ("packages-extras.txt", processes.EXTRA_PROGRAMS)],
)
def test_every_program_comes_from_a_listed_package(file: str, programs: dict[str, str]) -> None:
    text = (Path(processes.__file__).parent / file).read_text()
    entries = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9.+-]+\??\s+# \S.*", line) for line in entries)
    assert set(programs.values()) <= {re.split(r"[?\s]", line)[0] for line in entries}


def test_an_unknown_extra_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["up", "--with", "ovs,teapot", "--data", str(tmp_path)]) in (1, 2)
    assert capsys.readouterr().err.count("\n") == 1
