"""What is done after a commit."""

import threading

import pytest
from django.db import connection, transaction

from core.db import after_commit, write_transaction
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
def test_what_follows_a_commit_may_write_and_holds_up_no_other_writer() -> None:
    """A broker that hangs then costs nobody else a turn."""
    done: list[str] = []

    def write_elsewhere() -> None:
        with write_transaction():
            done.append("another thread wrote")
        connection.close()

    def follow() -> None:
        with write_transaction():
            done.append("the hook wrote")
        other = threading.Thread(target=write_elsewhere)
        other.start()
        other.join()

    with write_transaction():
        after_commit(follow)
    assert done == ["the hook wrote", "another thread wrote"]


@pytest.mark.django_db(transaction=True)
def test_a_failed_transaction_gives_its_turn_back() -> None:
    for _ in range(2):
        with pytest.raises(RuntimeError), write_transaction():
            raise RuntimeError
    with write_transaction():
        pass


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
