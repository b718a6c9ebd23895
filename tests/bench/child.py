"""A benchmark's share on one database, in a process of its own: Django's settings are read once a process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import msgspec

from config.data import HOME
from config.processes import die_with_parent
from tests.bench.results import Options, Result
from tests.servers import DURABLE, private_postgresql, private_valkey


def run_on_both(module: str, options: Options) -> Iterator[Result]:
    """What a module prints as lines of JSON on SQLite, then on PostgreSQL, with servers of its own."""
    with private_valkey() as redis_url:
        yield from _child(module, options, {"REDIS_URL": redis_url})
        with private_postgresql(DURABLE) as database_url:
            yield from _child(module, options, {"REDIS_URL": redis_url, "DATABASE_URL": database_url})


def _child(module: str, options: Options, settings: dict[str, str]) -> Iterator[Result]:
    environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"} | settings
    environment |= {"DJANGO_SETTINGS_MODULE": "config.settings", "GUESTHOUSE_LOG_LEVEL": "WARNING"}
    dies_too = die_with_parent(os.getpid(), signal.SIGKILL)
    with subprocess.Popen(
        [sys.executable, "-m", module, str(options.guests)],
        cwd=HOME,
        env=environment,
        stdout=subprocess.PIPE,
        preexec_fn=dies_too,  # noqa: PLW1509 - this process has one thread
    ) as child:
        assert child.stdout is not None
        for line in child.stdout:
            yield msgspec.json.decode(line, type=Result)
    if child.returncode:
        raise SystemExit(f"The benchmark failed with exit status {child.returncode}.")
