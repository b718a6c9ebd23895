"""The runner of checks and tests: nothing that went wrong may add up to a success."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from config.data import HOME
from tests import run
from tests.run import Outcome, Phase

RESULTS = '<testsuites><testsuite tests="7" failures="1" errors="1" skipped="2"/></testsuites>'
PASSES = "def test_it():\n    assert True\n"
FAILS = "def test_it():\n    assert False\n"


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of which the runner believes that it is its own."""
    monkeypatch.setattr(run, "HOME", tmp_path)
    monkeypatch.setattr(run, "TESTS", tmp_path / "tests")
    monkeypatch.setattr(run, "WORK", tmp_path / ".cache")
    monkeypatch.setattr(run, "RESUME_FILE", tmp_path / ".cache" / "resume.json")
    monkeypatch.setenv("PYTHONPATH", str(HOME))
    (tmp_path / "tests").mkdir()
    return tmp_path


def write(tree: Path, name: str, text: str) -> Phase:
    file = tree / "tests" / name / "test_it.py"
    file.parent.mkdir()
    file.write_text(text)
    return Phase(name, (name,), side_by_side=False)


def test_results_are_counted_apart(tmp_path):
    (tmp_path / "results.xml").write_text(RESULTS)
    outcome = run.read_results(Phase("it", ()), tmp_path / "results.xml")
    assert (outcome.passed, outcome.failed, outcome.skipped) == (3, 2, 2)


def test_a_phase_without_results_has_failed(tmp_path):
    assert run.read_results(Phase("it", ()), tmp_path / "none.xml").failed == 1


@pytest.mark.parametrize(
    ("outcomes", "line", "code"),
    [
        ([Outcome("a", passed=2), Outcome("b", passed=1)], "3 passed, 0 failed", 0),
        ([Outcome("a", passed=2, skipped=1)], "2 passed, 0 failed, 1 skipped", 0),
        ([Outcome("a", passed=2), Outcome("b", failed=1)], "2 passed, 1 failed", 1),
        ([Outcome("a", skipped=3)], "0 passed, 0 failed, 3 skipped", 1),
        ([], "0 passed, 0 failed", 1),
    ],
)
def test_the_last_line_and_the_exit_code_say_the_same(capsys, outcomes, line, code):
    assert run.report(outcomes) == code
    assert capsys.readouterr().out.splitlines()[-1] == line


def test_a_phase_that_passes(tree):
    outcome = run.run_phase(write(tree, "good", PASSES), [])
    assert (outcome.passed, outcome.failed) == (1, 0)


@pytest.mark.parametrize(
    "text",
    [FAILS, "import no_such_module\n", "def helper():\n    pass\n", "import os\n\ndef test_it():\n    os._exit(0)\n"],
    ids=["a test fails", "a file cannot be imported", "no test is there", "pytest breaks off"],
)
def test_a_phase_in_which_anything_goes_wrong_has_failed(tree, text):
    assert run.run_phase(write(tree, "bad", text), []).failed == 1


def test_a_phase_whose_folder_is_missing_has_failed(tree):
    assert run.run_phase(Phase("gone", ("gone",), side_by_side=False), []).failed == 1


def test_a_phase_that_hangs_is_ended_and_has_failed(tree):
    phase = write(tree, "endless", "import signal\n\ndef test_it():\n    signal.pause()\n")
    outcome = run.run_phase(Phase(phase.name, phase.folders, side_by_side=False, limit_seconds=2), [])
    assert outcome.failed == 1


def test_a_choice_of_tests_may_leave_a_phase_empty(tree):
    assert run.run_phase(write(tree, "good", PASSES), ["-k", "something_else"]).failed == 0


ROW = "import json, sys; print('they say'); json.dump([{'name': 'slow', 'passed': 2}], open(sys.argv[1], 'w'))"


@pytest.mark.parametrize(
    ("script", "passed", "failed"),
    [(ROW, 4, 0), (ROW + "; sys.exit(3)", 4, 0), ("import os; os.abort()", 2, 1)],
    ids=["both rows", "what counts is what it wrote", "the second breaks off"],
)
def test_two_rows_add_up(tree, monkeypatch, capsys, script, passed, failed):
    monkeypatch.setattr(run, "run_checks", lambda: Outcome("checks", passed=1))
    monkeypatch.setattr(run, "BUSY_PHASES", (write(tree, "good", PASSES),))
    monkeypatch.setattr(run, "waiting_command", lambda outcomes, _: [sys.executable, "-c", script, str(outcomes)])
    outcomes = list(run.run_in_two_rows([]))
    assert (sum(o.passed for o in outcomes), sum(o.failed for o in outcomes)) == (passed, failed)
    assert ("they say" in capsys.readouterr().out) is not bool(failed)


def test_what_breaks_the_first_row_off_ends_the_second(tree, monkeypatch):
    def stopped(_phase: Phase, _extra: list[str]) -> Outcome:
        while not (tree / "pid").exists():
            pass
        raise KeyboardInterrupt

    sleeper = f"import os, signal; open({str(tree / 'new')!r}, 'w').write(str(os.getpid())); " + (
        f"os.rename({str(tree / 'new')!r}, {str(tree / 'pid')!r}); signal.pause()"
    )
    monkeypatch.setattr(run, "run_checks", lambda: Outcome("checks", passed=1))
    monkeypatch.setattr(run, "run_phase", stopped)
    monkeypatch.setattr(run, "waiting_command", lambda _outcomes, _extra: [sys.executable, "-c", sleeper])
    with pytest.raises(KeyboardInterrupt):
        list(run.run_in_two_rows([]))
    assert not Path("/proc", (tree / "pid").read_text()).exists()


def test_the_phases_that_wait_are_the_rest_of_all() -> None:
    assert set(run.BUSY_PHASES) | set(run.WAITING_PHASES) == set(run.PHASES)


def test_every_check_runs_also_after_one_has_failed(monkeypatch):
    ran: list[str] = []

    def pretend(command, *_: object) -> int:
        ran.append(Path(command[0]).name)
        return 1 if len(ran) == 1 else 0

    monkeypatch.setattr(run, "run_process", pretend)
    outcome = run.run_checks()
    assert len(ran) == len(run.CHECKS)
    assert (outcome.passed, outcome.failed) == (len(run.CHECKS) - 1, 1)


def made_by_git_ignore() -> list[str]:
    """The folders a run makes."""
    lines = (HOME / ".gitignore").read_text().split()
    return [line.strip("/") for line in lines if line.endswith("/")]


def test_a_full_run_goes_on_where_it_was_stopped(tree, monkeypatch):
    ran: list[str] = []

    def pretend(phase: Phase, extra: list[str]) -> Outcome:
        ran.append(phase.name)
        return Outcome(phase.name, passed=1, failed=int(phase.name == "second" and len(ran) == 2))

    monkeypatch.setattr(run, "PHASES", (Phase("first", ()), Phase("second", ())))
    monkeypatch.setattr(run, "FULL_PHASES", ())
    monkeypatch.setattr(run, "run_phase", pretend)
    monkeypatch.setattr(run, "run_checks", lambda: Outcome("checks", passed=1))
    assert [outcome.failed for outcome in run.run_resumable([])] == [0, 0, 1]
    for folder in made_by_git_ignore():
        (tree / folder).mkdir(exist_ok=True)
        (tree / folder / "note").write_text("a run leaves such things")
    assert [outcome.failed for outcome in run.run_resumable([])] == [0, 0, 0]
    assert ran == ["first", "second", "second"]
    (tree / "changed.py").touch()
    list(run.run_resumable([]))
    assert ran == ["first", "second", "second", "first", "second"]


def test_a_damaged_note_of_an_earlier_run_is_ignored(tree):
    (tree / ".cache").mkdir()
    run.RESUME_FILE.write_text("{")
    assert run._passed_before("tree") == {}
    run.RESUME_FILE.write_text(json.dumps({"tree": "another", "done": {"first": {}}}))
    assert run._passed_before("tree") == {}


def test_each_long_test_file_is_a_phase_of_its_own(tree):
    (tree / "tests" / "full").mkdir()
    for name in ("test_b.py", "test_a.py", "helper.py"):
        (tree / "tests" / "full" / name).touch()
    assert [phase.name for phase in run.long_phases()] == ["full/test_a.py", "full/test_b.py"]


def test_phases_use_nothing_of_the_persons_installation(tmp_path, monkeypatch):
    for name in ("DATABASE_URL", "REDIS_URL", "GUESTHOUSE_DATA", "GUESTHOUSE_DEBUG"):
        monkeypatch.setenv(name, "theirs")
    environment = run.environment_of(Phase("it", ()), tmp_path, None)
    assert "theirs" not in {environment.get(name) for name in ("DATABASE_URL", "REDIS_URL", "GUESTHOUSE_DATA")}
    assert "GUESTHOUSE_DEBUG" not in environment


def test_processes_of_a_run_keep_what_they_compiled(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    assert "PYTHONDONTWRITEBYTECODE" not in run.environment_of(Phase("it", ()), tmp_path, None)


CHOICES = """
import pytest

@pytest.mark.whole
def test_long():
    assert True

def test_alone():
    assert True

@pytest.mark.django_db
def test_with_a_database():
    assert True

def test_by_a_fixture(client_as):
    assert True

@pytest.fixture
def client_as(db):
    return None
"""


@pytest.mark.parametrize(("choice", "count"), [("", 3), ("whole", 4), ("databases", 2)])
def test_what_a_phase_leaves_out(tmp_path: Path, choice: str, count: int) -> None:
    file = tmp_path / "test_choice.py"
    file.write_text(CHOICES)
    options = ["-q", "--collect-only", "-p", "no:cacheprovider", "-p", "tests.conftest", "-c", "pyproject.toml"]
    environment = run.environment_of(Phase("it", (), choice=choice), tmp_path, None)
    command = [sys.executable, "-m", "pytest", *options, str(file)]
    told = subprocess.run(command, cwd=HOME, env=environment, capture_output=True, text=True, check=True).stdout
    assert told.count("::test_") == count


def test_every_folder_of_tests_belongs_to_a_phase():
    known = {folder for phase in run.PHASES for folder in phase.folders}
    there = {path.parent.relative_to(HOME / "tests").parts[0] for path in (HOME / "tests").glob("*/**/test_*.py")}
    assert there - known <= {"full"}


def test_a_signal_ends_the_tests_and_is_a_failure(tmp_path):
    marker = tmp_path / "started"
    test = tmp_path / "test_it.py"
    test.write_text(
        f"import pathlib, signal\n\ndef test_it():\n    pathlib.Path({str(marker)!r}).touch()\n    signal.pause()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.run", "test", str(test), "-p", "no:cacheprovider"],
        cwd=HOME,
        env={**os.environ, "PYTHONPATH": str(HOME)},
        stdout=subprocess.PIPE,
        text=True,
    )
    while not marker.exists():
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert out.splitlines()[-1] == "0 passed, 1 failed"
