"""State, load and inventory of a real libvirt host against calls guest by guest: 10, 100 and 1,000 guests, no size."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import msgspec

from config.data import HOME
from tests.bench.results import Options, Result


def run(_options: Options) -> Iterator[Result]:
    """In a process of its own, so that its CPU time is that of the reads alone."""
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "config.settings", "GUESTHOUSE_LOG_LEVEL": "WARNING"}
    command = [sys.executable, "-m", "tests.bench.libvirt_child"]
    with subprocess.Popen(command, cwd=HOME, env=environment, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        try:
            for line in child.stdout:
                yield msgspec.json.decode(line, type=Result)
        finally:
            child.terminate()
    if child.returncode > 0:
        raise SystemExit(f"The benchmark failed with exit status {child.returncode}.")
