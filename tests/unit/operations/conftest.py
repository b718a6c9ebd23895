from collections.abc import Callable, Iterator
from typing import Any

import pytest

from operations import kinds
from operations.handle import JobHandle
from operations.kinds import JobKind
from operations.leases import claim_job, heartbeat
from operations.models import Job
from operations.services import submit_job
from tests import runners


@pytest.fixture(autouse=True)
def simple_kind() -> Iterator[None]:
    """A kind of job whose runner does what a test puts into `runners.steps`."""
    kinds.register(JobKind(name="simple", title=lambda _p: "Simple", runner="tests.runners:run"))
    runners.steps.clear()
    yield
    del kinds._kinds["simple"]


@pytest.fixture
def submit(db: None) -> Callable[..., Job]:
    def make(**changes: Any) -> Job:
        wanted = {
            "kind": "simple",
            "target_kind": "guest",
            "target_id": "7",
            "target_name": "db-07",
            "parameters": {},
            "exclusive": "guest:7",
            "by": "test",
        }
        return submit_job(**(wanted | changes))

    return make


@pytest.fixture
def job(submit: Callable[..., Job]) -> Job:
    return submit()


@pytest.fixture
def handle(job: Job) -> JobHandle:
    claimed = claim_job(job.pk)
    assert claimed is not None
    return JobHandle(*claimed)


@pytest.fixture(autouse=True)
def quiet_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test's rows are in a transaction that the heartbeat's own connection does not see."""
    monkeypatch.setattr(heartbeat, "_ensure_thread", lambda: None)
