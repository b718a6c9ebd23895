from pathlib import Path
from typing import Any

import pytest

from migrations import runner
from operations import runtime
from operations.leases import heartbeat
from tests.world import Fleet, make_fleet, open_here


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runners open their sessions in this process and wait for nothing longer than a moment."""
    defaults: Any = runner.Attempt.__init__
    monkeypatch.setattr(defaults, "__defaults__", (open_here,))
    monkeypatch.setattr(runner, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(runner, "VERIFY_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(runner, "VERIFY_SECONDS", 0.2)
    monkeypatch.setattr(runner, "LATE_START_SECONDS", 0.1)
    monkeypatch.setattr(runner, "SILENCE_SECONDS", 0.2)
    monkeypatch.setattr(runtime, "RETRY_SECONDS", 0.0)
    # A test's rows are in a transaction that the heartbeat's own connection does not see.
    monkeypatch.setattr(heartbeat, "_ensure_thread", lambda: None)


@pytest.fixture
def fleet(db: None, tmp_path: Path, quick: None) -> Fleet:
    """Two simulated hosts whose guests move at once."""
    return make_fleet(tmp_path / "world.json", "alpha", "beta")
