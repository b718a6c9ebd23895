"""Helper processes may open as many files as their sources need."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from drivers.isolation.files import files_for, raise_file_limit
from drivers.isolation.pool import SessionPool
from drivers.types import Endpoint, Transport


@pytest.mark.parametrize(
    ("soft", "hard", "leaves", "allowed"),
    [
        (1024, 4096, 2000, 2000),
        (1024, 1500, 1500, 1500),  # as far as is allowed; whoever needs more says so
        (3000, 4096, 3000, 2000),
        (1024, resource.RLIM_INFINITY, 2000, 2000),
    ],
)
def test_the_limit_is_raised_as_far_as_needed_and_allowed(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, leaves: int, allowed: int
) -> None:
    now = [soft, hard]
    monkeypatch.setattr(resource, "getrlimit", lambda _which: tuple(now))
    monkeypatch.setattr(resource, "setrlimit", lambda _which, wanted: now.__setitem__(slice(None), wanted))
    assert raise_file_limit(2000) == allowed
    assert now == [leaves, hard]


def test_a_helper_process_raises_its_own() -> None:
    """Its parent, a worker, may have been started with the usual 1,024."""
    code = (
        "import resource\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (128, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))\n"
        "from tests.unit.drivers.isolation.test_files import limit_of_a_helper\n"
        "print(limit_of_a_helper())\n"
    )
    home = Path(__file__).resolve().parents[4]
    said = subprocess.run([sys.executable, "-c", code], cwd=home, capture_output=True, text=True, check=True)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert int(said.stdout) == (files_for(8) if hard == resource.RLIM_INFINITY else min(files_for(8), hard))


def limit_of_a_helper() -> int:
    pool = SessionPool(processes=1, sessions_per_process=8)
    try:
        with pool.session(Endpoint(kind="fake", transport=Transport.FAKE, uri="fake://fleet/1?guests=1")):
            return resource.prlimit(pool.process_ids()[0], resource.RLIMIT_NOFILE)[0]
    finally:
        pool.close()
