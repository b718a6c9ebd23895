"""A change on a hypervisor until browsers are told of it: at rest, in a storm, and while --guests N are written."""

from __future__ import annotations

from collections.abc import Iterator

from tests.bench.child import run_on_both
from tests.bench.results import Options, Result


def run(options: Options) -> Iterator[Result]:
    yield from run_on_both("tests.bench.watch_child", options)
