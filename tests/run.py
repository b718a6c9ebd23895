"""`./guesthouse check` and `./guesthouse test`: runs the phases, keeps every outcome, adds up.

Standard library only. The last line reads `N passed, N failed` with `, N skipped` where some were.
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from argparse import SUPPRESS, ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO

from config.data import HOME
from config.processes import die_with_parent
from tests.servers import private_postgresql

TESTS = HOME / "tests"
WORK = HOME / ".cache"
RESUME_FILE = WORK / "test-full.json"
NOTHING_COLLECTED = 5  # pytest's exit code
# A phase that takes longer hangs; the slowest needs a few minutes on two cores.
PHASE_LIMIT_SECONDS = 25 * 60
FULL_LIMIT_SECONDS = 4 * 3600
# What a run makes; all of it stands in .gitignore, too.
TOOLS_FOLDERS = {".mypy_cache", ".ruff_cache", ".pytest_cache", ".import_linter_cache", ".hypothesis", "test-results"}
SKIPPED_FOLDERS = {".git", ".venv", ".cache", "var", "__pycache__"} | TOOLS_FOLDERS


@dataclass(frozen=True, slots=True)
class Phase:
    """Some folders of tests, on one database."""

    name: str
    folders: tuple[str, ...]
    database: str = "sqlite"
    side_by_side: bool = True
    # "whole": also what the quick run leaves out, and more of each property test's histories (tests/examples.py);
    # "databases": only what uses one, and fewer of those histories.
    choice: str = ""
    limit_seconds: int = PHASE_LIMIT_SECONDS


@dataclass(slots=True)
class Outcome:
    """What came of a phase; a phase that broke off counts as one failure at least."""

    name: str
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)


CHECKS = {
    "ruff": ("ruff", "check", "."),
    "format": ("ruff", "format", "--check", "."),
    "types": ("mypy", "."),
    "layers": ("lint-imports",),
    "templates": ("djlint", "--lint", "--quiet", "templates"),
    "settings": ("python", "manage.py", "check"),
    "schema changes": ("python", "manage.py", "makemigrations", "--check", "--dry-run"),
}
FAST = ("unit", "contract", "web")
# These share one lab or one browser each, so their tests run one after another; what waits most comes first, since
# then the others work.
SLOW = ("faults", "e2e", "browser")
BUSY_PHASES = (
    Phase("fast tests on SQLite", FAST),
    # Drivers and their contract know no database (a rule of the layers), so once is enough for them.
    Phase("fast tests on PostgreSQL", ("unit", "web"), database="postgresql", choice="databases"),
    Phase("launcher", ("launcher",)),
)
# These mostly wait: for guests that boot, leases that end, pages that load. So they run beside the busy ones.
WAITING_PHASES = tuple(Phase(f"{name} on SQLite", (name,), side_by_side=False) for name in SLOW)
PHASES = (*BUSY_PHASES, *WAITING_PHASES)
FULL_PHASES = (
    Phase("unit tests on SQLite, whole", ("unit",), choice="whole", limit_seconds=FULL_LIMIT_SECONDS),
    Phase("unit tests on PostgreSQL, whole", ("unit",), "postgresql", choice="whole", limit_seconds=FULL_LIMIT_SECONDS),
    Phase("contract on real hosts, whole", ("contract",), choice="whole"),
    *(
        Phase(f"{name} on PostgreSQL, whole", (name,), "postgresql", False, "whole", limit_seconds=FULL_LIMIT_SECONDS)
        for name in SLOW
    ),
)


def main(arguments: Sequence[str] | None = None) -> int:
    options, extra = parse_options(sys.argv[1:] if arguments is None else arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    outcomes: list[Outcome] = []
    try:
        outcomes.extend(run_all(options, extra))
    except KeyboardInterrupt:
        outcomes.append(Outcome("interrupted", failed=1, problems=["stopped by a signal"]))
    if options.outcomes:
        options.outcomes.write_text(json.dumps([asdict(outcome) for outcome in outcomes]))
        return 0
    return report(outcomes)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def parse_options(arguments: Sequence[str]) -> tuple[Namespace, list[str]]:
    parser = ArgumentParser(prog="guesthouse", epilog="Anything else goes to pytest.", allow_abbrev=False)
    parser.add_argument("command", choices=("check", "test", "waiting"), metavar="{check,test}")
    parser.add_argument("--full", action="store_true", help="also what takes longer; goes on where it was stopped")
    parser.add_argument("--outcomes", type=Path, help=SUPPRESS)
    return parser.parse_known_args(arguments)


def run_all(options: Namespace, extra: list[str]) -> Iterator[Outcome]:
    if options.command == "check":
        yield run_checks()
    elif paths := named_paths(extra):
        yield run_phase(replace(phase_of(paths[0]), folders=(), name=" ".join(paths)), extra)
    elif options.full:
        yield from run_resumable(extra)
    elif options.command == "waiting":
        for phase in WAITING_PHASES:
            yield run_phase(phase, extra)
    elif "--pdb" in extra:  # a person can talk to one row only
        yield from (run_phase(phase, extra) for phase in PHASES)
    else:
        yield from run_in_two_rows(extra)


def named_paths(extra: Sequence[str]) -> list[str]:
    """Test files or folders among pytest's arguments."""
    return [word for word in extra if not word.startswith("-") and (HOME / word.partition("::")[0]).exists()]


def phase_of(path: str) -> Phase:
    """How tests at this place are run: on SQLite, or on the database that DATABASE_URL names."""
    parts = Path(path.partition("::")[0]).parts
    folder = parts[1] if len(parts) > 1 else ""
    return Phase(path, (), database="as given", side_by_side=folder in (*FAST, "launcher"))


# -- checks


def run_checks() -> Outcome:
    """Run every check, also after one has failed."""
    outcome = Outcome("checks")
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="gh-check-") as folder:
        environment = environment_of(Phase("checks", ()), Path(folder), None)
        for name, command in CHECKS.items():
            head(f"check: {name}")
            if run_process([program(command[0]), *command[1:]], environment, PHASE_LIMIT_SECONDS) == 0:
                outcome.passed += 1
            else:
                outcome.failed += 1
                outcome.problems.append(name)
    outcome.seconds = time.monotonic() - started
    return outcome


def program(name: str) -> str:
    return str(Path(sys.executable).with_name(name)) if name != "python" else sys.executable


# -- phases


def run_resumable(extra: list[str]) -> Iterator[Outcome]:
    """All phases; those that passed before on this very tree are not run again."""
    tree = fingerprint()
    done = _passed_before(tree)
    for phase in (None, *PHASES, *FULL_PHASES, *long_phases()):
        name = phase.name if phase else "checks"
        if name in done:
            say(f"{name}: passed before on this tree")
            yield Outcome(**done[name])
            continue
        outcome = run_phase(phase, extra) if phase else run_checks()
        if not outcome.failed and not extra:
            done[name] = asdict(outcome)
            WORK.mkdir(exist_ok=True)
            RESUME_FILE.write_text(json.dumps({"tree": tree, "done": done}))
        yield outcome


def _passed_before(tree: str) -> dict[str, Any]:
    try:
        kept = json.loads(RESUME_FILE.read_text())
    except (OSError, ValueError):
        return {}
    return dict(kept["done"]) if kept.get("tree") == tree else {}


def long_phases() -> Iterator[Phase]:
    """Each file of tests/full, where there are any, by itself: a stopped run loses one file at most."""
    for file in sorted((TESTS / "full").glob("test_*.py")):
        yield Phase(f"full/{file.name}", (f"full/{file.name}",), side_by_side=False, limit_seconds=FULL_LIMIT_SECONDS)


def fingerprint() -> str:
    """Of every file of the project."""
    digest = hashlib.sha256()
    for folder, folders, files in os.walk(HOME):
        folders[:] = sorted(set(folders) - SKIPPED_FOLDERS)
        for name in sorted(files):
            path = Path(folder, name)
            digest.update(str(path.relative_to(HOME)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def run_in_two_rows(extra: list[str]) -> Iterator[Outcome]:
    """Checks and the busy phases, and beside them the waiting ones in a process of their own; what it says follows."""
    with tempfile.TemporaryDirectory(prefix="gh-row-") as folder:
        said, outcomes = Path(folder, "said"), Path(folder, "outcomes")
        with said.open("wb") as output:
            process = start_process(waiting_command(outcomes, extra), dict(os.environ), output)
        try:
            if not extra:
                yield run_checks()
            for phase in BUSY_PHASES:
                yield run_phase(phase, extra)
            follow(process, said)
        finally:
            if process.poll() is None:
                _end(process)
        if outcomes.exists():
            yield from (Outcome(**outcome) for outcome in json.loads(outcomes.read_text()))
        else:
            problem = f"their process ended with {process.returncode}"
            yield Outcome("phases that wait", failed=1, problems=[problem])


def waiting_command(outcomes: Path, extra: list[str]) -> list[str]:
    return [sys.executable, "-m", "tests.run", "waiting", "--outcomes", str(outcomes), *extra]


def follow(process: subprocess.Popen[bytes], said: Path) -> None:
    """Show what a process wrote into a file, until it ends."""
    with said.open("rb") as file:
        ended = False
        while not ended:
            ended = process.poll() is not None
            sys.stdout.write(file.read().decode(errors="replace"))
            sys.stdout.flush()
            if not ended:
                time.sleep(0.5)


def run_phase(phase: Phase, extra: list[str]) -> Outcome:
    head(phase.name)
    started = time.monotonic()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gh-test-", dir="/tmp")))
        url = stack.enter_context(private_postgresql()) if phase.database == "postgresql" else None
        results = folder / "results.xml"
        code = run_process(
            pytest_command(phase, results, extra), environment_of(phase, folder, url), phase.limit_seconds
        )
        outcome = read_results(phase, results)
    narrowed = bool(extra)
    if code not in (0, NOTHING_COLLECTED) and not outcome.failed:
        outcome.failed += 1
        outcome.problems.append(f"pytest ended with {code}")
    elif not outcome.passed + outcome.failed and not narrowed:
        outcome.failed += 1
        outcome.problems.append("no test ran")
    outcome.seconds = time.monotonic() - started
    return outcome


def pytest_command(phase: Phase, results: Path, extra: list[str]) -> list[str]:
    command = [sys.executable, "-m", "pytest", "-q", f"--junitxml={results}"]
    if phase.side_by_side and not {"-n", "--pdb"} & set(extra):
        command += ["-n", str(os.cpu_count() or 2), "--dist", "loadgroup"]
    return [*command, *(str(Path("tests", name)) for name in phase.folders), *extra]


def environment_of(phase: Phase, folder: Path, url: str | None) -> dict[str, str]:
    """A data directory of its own, and nothing of the person's installation."""
    kept = {key: value for key, value in os.environ.items() if key not in ("REDIS_URL", "GUESTHOUSE_DEBUG")}
    kept |= {"GUESTHOUSE_DATA": str(folder / "data")}
    # A run starts hundreds of processes of the product; each would compile it again, a quarter of its start.
    kept.pop("PYTHONDONTWRITEBYTECODE", None)
    if phase.choice:
        kept["GUESTHOUSE_TESTS"] = phase.choice
    kept.setdefault("GUESTHOUSE_LAB_CACHE", str(HOME / "var" / "cache" / "lab"))
    if phase.database != "as given":
        kept.pop("DATABASE_URL", None)
    if url:
        kept["DATABASE_URL"] = url
    return kept


def run_process(command: Sequence[str], environment: dict[str, str], limit_seconds: float) -> int:
    """Run to the end."""
    process = start_process(command, environment)
    try:
        return process.wait(timeout=limit_seconds)
    except subprocess.TimeoutExpired:
        say(f"ended after {limit_seconds:.0f} s: it hangs")
        return _end(process)
    except KeyboardInterrupt:
        _end(process)
        raise


def start_process(
    command: Sequence[str], environment: dict[str, str], output: BinaryIO | None = None
) -> subprocess.Popen[bytes]:
    """In a group of its own, else a terminal's Ctrl-C would reach it twice."""
    debugging = "--pdb" in command
    return subprocess.Popen(
        command,
        cwd=HOME,
        env=environment,
        stdin=None if debugging else subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT if output else None,
        process_group=None if debugging else 0,
        preexec_fn=die_with_parent(os.getpid(), signal.SIGTERM),  # noqa: PLW1509 - the runner has one thread
    )


def _end(process: subprocess.Popen[bytes]) -> int:
    """By SIGINT first, so that pytest's fixtures take their labs down."""
    for number, seconds in ((signal.SIGINT, 60), (signal.SIGTERM, 20)):
        process.send_signal(number)
        try:
            return process.wait(timeout=seconds) or 1
        except subprocess.TimeoutExpired:
            continue
    process.kill()
    return process.wait()


def read_results(phase: Phase, results: Path) -> Outcome:
    outcome = Outcome(phase.name)
    if not results.exists():
        outcome.failed = 1
        outcome.problems.append("it broke off without results")
        return outcome
    for suite in ET.parse(results).getroot().iter("testsuite"):  # noqa: S314 - written by our own pytest
        counts = {name: int(suite.get(name, "0")) for name in ("tests", "failures", "errors", "skipped")}
        outcome.failed += counts["failures"] + counts["errors"]
        outcome.skipped += counts["skipped"]
        outcome.passed += counts["tests"] - counts["failures"] - counts["errors"] - counts["skipped"]
    return outcome


# -- what the person sees


def say(text: str) -> None:
    print(text, flush=True)


def head(text: str) -> None:
    say(f"\n=== {text}")


def report(outcomes: list[Outcome]) -> int:
    head("summary")
    for outcome in outcomes:
        what = f"{outcome.passed} passed, {outcome.failed} failed, {outcome.skipped} skipped"
        note = f" ({'; '.join(outcome.problems)})" if outcome.problems else ""
        say(f"{outcome.name:<28} {outcome.seconds:6.0f} s  {what}{note}")
    passed, failed, skipped = (sum(getattr(o, name) for o in outcomes) for name in ("passed", "failed", "skipped"))
    say(f"\n{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
