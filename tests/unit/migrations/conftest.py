from pathlib import Path

import pytest

from migrations import runner
from operations import runtime
from tests.world import Fleet, make_fleet, open_here


@pytest.fixture
def fleet(db: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    """Two simulated hosts whose guests move at once; runners open their sessions in this process."""
    monkeypatch.setattr(runner.Attempt.__init__, "__defaults__", (open_here,))
    monkeypatch.setattr(runner, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(runner, "VERIFY_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(runner, "VERIFY_SECONDS", 0.2)
    monkeypatch.setattr(runner, "SILENCE_SECONDS", 0.2)
    monkeypatch.setattr(runtime, "RETRY_SECONDS", 0.0)
    return make_fleet(tmp_path / "world.json", "alpha", "beta")
