"""Sending to workers never costs the sender its act."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import Celery
from celery import current_app as configured

from core import queue


@pytest.fixture
def silent_broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """Accepts and never answers."""
    path = tmp_path / "broker.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(8)
        options = dict(configured.conf.broker_transport_options)
        app = Celery("silent", broker=f"redis+socket://{path}", set_as_current=False)
        app.conf.broker_transport_options = {**options, "socket_timeout": 0.2}
        monkeypatch.setattr(queue, "current_app", app)
        monkeypatch.setattr(queue._Rest, "until", 0.0)
        yield listener


def test_a_silent_broker_is_given_up_and_then_left_alone(
    silent_broker: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    queue._send("operations.run_job", ("1",), "operations", None)
    assert "does not answer" in caplog.text
    assert connections(silent_broker) >= 1

    queue._send("operations.run_job", ("2",), "operations", None)
    assert connections(silent_broker) == 0


def test_the_product_bounds_every_wait_for_its_broker() -> None:
    options = configured.conf.broker_transport_options
    assert options["socket_timeout"] <= 5
    assert options["socket_connect_timeout"] <= 5
    assert options["max_retries"] <= 1


def connections(listener: socket.socket) -> int:
    listener.setblocking(False)
    count = 0
    while True:
        try:
            listener.accept()[0].close()
        except BlockingIOError:
            return count
        count += 1
