"""Thousands of hosts, a tenth of them hanging: how old is what is shown of the others? --guests N, 20 to a host."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import msgspec

from config.data import HOME
from tests.bench.results import Options, Result
from tests.servers import DURABLE, private_postgresql


def run(options: Options) -> Iterator[Result]:
    """Real workers, beat and a watcher. On PostgreSQL alone: SQLite is meant for up to 100 hosts."""
    with private_postgresql(DURABLE) as database_url:
        environment = {**os.environ, "DATABASE_URL": database_url, "DJANGO_SETTINGS_MODULE": "config.settings"}
        environment["GUESTHOUSE_LOG_LEVEL"] = "WARNING"
        command = [sys.executable, "-m", "tests.bench.hosts_child", str(options.guests)]
        with subprocess.Popen(command, cwd=HOME, env=environment, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            try:
                for line in child.stdout:
                    yield msgspec.json.decode(line, type=Result)
            finally:
                child.terminate()
        if child.returncode > 0:
            raise SystemExit(f"The benchmark failed with exit status {child.returncode}.")
