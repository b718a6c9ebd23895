"""Child processes: logs, back-off, and that none outlives its parent."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from config import processes
from config.data import HOME
from config.processes import BackOff, Log, Program


def run(tmp_path: Path, code: str, **options: Any) -> processes.Child:
    program = Program(name="it", command=(sys.executable, "-c", code), **options)
    child = processes.start(program, log_dir=tmp_path, cwd=tmp_path)
    while child.read() or child.exit_code is None:
        pass
    child.close()
    return child


def test_output_goes_to_the_log_and_its_end_is_kept(tmp_path):
    child = run(tmp_path, "for i in range(100): print('line', i)")
    assert child.exit_code == 0
    assert (tmp_path / "it.log").read_text().splitlines()[0] == "line 0"
    assert list(child.tail)[-1] == "line 99"
    assert len(child.tail) == processes.TAIL_LINES


def test_all_lines_are_kept_when_asked(tmp_path):
    child = run(tmp_path, "for i in range(100): print('line', i)", tail_lines=None)
    assert len(child.tail) == 100


def test_a_last_line_without_its_end_counts(tmp_path):
    assert list(run(tmp_path, "import sys; sys.stdout.write('a\\nb')").tail) == ["a", "b"]


def test_a_full_log_is_set_aside_and_only_some_are_kept(tmp_path):
    log = Log(tmp_path / "it.log", limit_bytes=10)
    for number in range(8):
        log.write(f"line {number}\n".encode())
    log.close()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["it.log", "it.log.1", "it.log.2", "it.log.3"]
    assert (tmp_path / "it.log").read_text() == "line 7\n"
    assert (tmp_path / "it.log.3").read_text() == "line 4\n"


def test_a_log_that_cannot_be_written_costs_only_lines(tmp_path):
    Log(tmp_path / "no" / "such" / "folder.log").write(b"lost\n")
    full = Log(Path("/dev/full"))
    full.write(b"lost\n")


def test_the_delay_doubles_up_to_a_limit_and_starts_anew_after_a_good_run():
    back_off = BackOff()
    delays = [back_off.next(ran_well=False) for _ in range(9)]
    assert delays[:4] == [1, 2, 4, 8]
    assert delays[-1] == processes.LONGEST_DELAY_SECONDS
    assert back_off.next(ran_well=True) == 1


@pytest.mark.parametrize(
    ("code", "sentence"),
    [("raise SystemExit(3)", "ended with exit code 3"), ("import os; os.kill(os.getpid(), 9)", "was ended by SIGKILL")],
)
def test_the_end_of_a_process_is_told_in_words(tmp_path, code, sentence):
    assert run(tmp_path, code).describe_end() == sentence


PARENT = """
import sys, time
from pathlib import Path
from typing import Any
from config import processes
from config.processes import Program
child = processes.start(
    Program(name="child", command=("sleep", "600")), log_dir=Path(sys.argv[1]), cwd=Path("/")
)
print(child.process.pid, flush=True)
time.sleep(600)
"""


def test_a_child_dies_with_a_parent_that_is_killed(tmp_path):
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(HOME)},
        stdout=subprocess.PIPE,
    )
    assert parent.stdout
    watched = os.pidfd_open(int(parent.stdout.readline()))
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert ended(watched)
    parent.stdout.close()


def ended(pidfd: int) -> bool:
    """Waits for the end of a process that is not ours; false when it still runs after a minute."""
    import select

    try:
        return bool(select.select([pidfd], [], [], 60)[0])
    finally:
        os.close(pidfd)


def test_descendants_are_found_and_ended():
    nest = "import subprocess, sys; p = subprocess.Popen(['sleep', '600']); print(p.pid, flush=True); p.wait()"
    child = subprocess.Popen([sys.executable, "-c", nest], stdout=subprocess.PIPE)
    assert child.stdout
    grandchild = int(child.stdout.readline())
    try:
        assert grandchild in processes.descendants_of(child.pid)
        assert {child.pid, grandchild} <= set(processes.descendants_of(os.getpid()))
    finally:
        watched = os.pidfd_open(grandchild)
        os.kill(grandchild, signal.SIGKILL)
        child.wait()
        child.stdout.close()
        assert ended(watched)
