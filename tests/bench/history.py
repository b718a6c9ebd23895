"""Lists and guests as of a moment of a year in which 2 % of --guests N changed an hour, and the size of that year."""

from __future__ import annotations

from collections.abc import Iterator

from tests.bench.child import run_on_both
from tests.bench.results import Options, Result


def run(options: Options) -> Iterator[Result]:
    yield from run_on_both("tests.bench.history_child", options)
