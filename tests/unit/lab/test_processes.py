"""Running programs, and telling processes apart."""

import os
import subprocess
import sys

import pytest

from lab import processes
from lab.processes import LabError, NotPossible, ProcessRef


def test_a_failure_is_told_by_its_last_line() -> None:
    with pytest.raises(LabError, match=r"failed: the reason$"):
        processes.run(["sh", "-c", "echo first >&2; echo the reason >&2; echo 'Command failed -:1' >&2; exit 3"])


def test_a_silent_failure_is_told_by_its_exit_code() -> None:
    with pytest.raises(LabError, match="exit code 3"):
        processes.run(["sh", "-c", "exit 3"])


def test_a_program_that_hangs_is_ended() -> None:
    with pytest.raises(LabError, match="did not finish"):
        processes.run(["sleep", "60"], timeout=0.1)


def test_a_missing_program_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(processes.PROGRAMS, "no-such-program", "its-package")
    with pytest.raises(NotPossible, match=r"The lab needs no-such-program.*install .* its-package$"):
        processes.run(["no-such-program"])


def test_a_process_is_alive_until_it_ended() -> None:
    with subprocess.Popen(["sleep", "60"]) as child:
        ref = ProcessRef.of(child.pid)
        assert ref.alive()
        assert child.pid in processes.children(os.getpid())
        child.kill()
        assert processes.wait_for(lambda: not ref.alive(), 10)  # a zombie is not alive


def test_a_later_process_with_the_same_pid_is_another() -> None:
    assert not ProcessRef(os.getpid(), processes.start_time(os.getpid()) - 1).alive()


def test_command_line() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()", "a b", ""], stdin=subprocess.PIPE) as child:
        assert processes.command_line(child.pid)[1:] == ["-c", "input()", "a b", ""]
        child.kill()
    assert processes.command_line(2**22 + 1) == []
