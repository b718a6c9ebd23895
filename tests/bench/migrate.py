"""Migrations against virsh migrate; open tasks and submissions; an orphan's new owner: no size."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import msgspec

from config.data import HOME
from tests.bench.results import Options, Result
from tests.servers import DURABLE, private_postgresql


def run(_options: Options) -> Iterator[Result]:
    """The lab with SQLite, as the demo runs; the job engine on both databases."""
    yield from _child("lab", "")
    yield from _child("jobs", "")
    with private_postgresql(DURABLE) as database_url:
        yield from _child("jobs", database_url)


def _child(part: str, database_url: str) -> Iterator[Result]:
    environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    environment |= {"DJANGO_SETTINGS_MODULE": "config.settings", "GUESTHOUSE_LOG_LEVEL": "WARNING"}
    if database_url:
        environment["DATABASE_URL"] = database_url
    command = [sys.executable, "-m", "tests.bench.migrate_child", part]
    with subprocess.Popen(command, cwd=HOME, env=environment, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        for line in child.stdout:
            yield msgspec.json.decode(line, type=Result)
    if child.returncode:
        raise SystemExit(f"The benchmark failed with exit status {child.returncode}.")
