"""Stands in for a host whose libvirt has no such thing, breaks, or is slow."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from drivers.libvirt.reader import Reader


class FakeConnection:
    """Calls what it is asked to call, and counts. `raw` is whatever the test makes of libvirt's connection."""

    def __init__(self, **methods: Any) -> None:
        self.raw = SimpleNamespace(**methods)
        self.calls = 0

    def call(self, method: Callable[..., Any], *args: Any) -> Any:
        self.calls += 1
        return method(*args)

    def close(self) -> None:
        """Nothing to close."""


def reader_of(**methods: Any) -> Reader:
    return Reader(FakeConnection(**methods))  # type: ignore[arg-type]


def answer(value: Any) -> Callable[..., Any]:
    """A method that returns `value`, or raises it."""

    def method(*_args: object) -> Any:
        if isinstance(value, Exception):
            raise value
        return value

    return method
