"""What is done after a commit."""

import pytest
from django.db import transaction

from core.db import after_commit
from core.queue import enqueue


@pytest.mark.django_db(transaction=True)
def test_what_fails_after_the_commit_is_logged_and_never_raised(caplog: pytest.LogCaptureFixture) -> None:
    done: list[int] = []

    def fail() -> None:
        raise RuntimeError("not foreseen")

    with transaction.atomic():
        after_commit(done.append, 1)
        after_commit(fail)
        after_commit(done.append, 2)
        assert done == []
    assert done == [1, 2]
    assert "not foreseen" in caplog.text


@pytest.mark.django_db(transaction=True)
def test_a_message_that_cannot_be_sent_costs_nobody_the_act(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_args: object) -> None:
        raise RuntimeError("Acquire on closed pool")

    monkeypatch.setattr("core.queue._send", broken)
    with transaction.atomic():
        enqueue("operations.run_job", "1")
    assert "Acquire on closed pool" in caplog.text
