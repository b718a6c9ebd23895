"""Polls of a source of --guests N, against update_or_create: 2 % changed, nothing, everything."""

from __future__ import annotations

from collections.abc import Iterator

from tests.bench.child import run_on_both
from tests.bench.results import Options, Result


def run(options: Options) -> Iterator[Result]:
    yield from run_on_both("tests.bench.sync_child", options)
