"""Searches among --guests N by rare, medium and common words, against LIKE or ILIKE over the same columns; tags."""

from __future__ import annotations

from collections.abc import Iterator

from tests.bench.child import run_on_both
from tests.bench.results import Options, Result


def run(options: Options) -> Iterator[Result]:
    yield from run_on_both("tests.bench.search_child", options)
