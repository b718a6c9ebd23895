"""Load samples of --guests N guests and N/20 hosts: stored a second, packed, read; against one row a sample."""

from __future__ import annotations

from collections.abc import Iterator

from tests.bench.child import run_on_both
from tests.bench.results import Options, Result


def run(options: Options) -> Iterator[Result]:
    yield from run_on_both("tests.bench.metrics_child", options)
