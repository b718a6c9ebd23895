"""A runner that tests script."""

from collections.abc import Callable

from operations.handle import JobHandle

steps: list[Callable[[JobHandle], None]] = []


def run(handle: JobHandle) -> None:
    for step in steps:
        step(handle)
