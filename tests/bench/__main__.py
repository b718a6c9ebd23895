"""The command: `./guesthouse bench NAME [--json] [--guests N]`."""

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from importlib import import_module

from tests.bench.results import Options, Result, as_json, as_table

# Each module has `run(options)`, which gives Results, and a first docstring line that says what it measures.
BENCHES = {
    "sync": "tests.bench.sync",
    "search": "tests.bench.search",
    "metrics": "tests.bench.metrics",
    "libvirt": "tests.bench.libvirt",
    "migrate": "tests.bench.migrate",
    "watch": "tests.bench.watch",
    "hosts": "tests.bench.hosts",
    "history": "tests.bench.history",
}
DEFAULT_GUESTS = 50_000


def main(arguments: Sequence[str]) -> int:
    options = _parser().parse_args(arguments)
    if options.list or not options.name:
        _list()
        return 0 if options.list else 2
    if options.name not in BENCHES:
        sys.stderr.write(f"There is no benchmark {options.name}; --list names them.\n")
        return 2
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(1))  # servers and files go, too
    results = []
    with tempfile.TemporaryDirectory(prefix="gh-bench-", dir="/tmp") as folder:
        # Never an installation's own data: each benchmark has its servers and files to itself.
        os.environ["GUESTHOUSE_DATA"] = folder
        for result in import_module(BENCHES[options.name]).run(Options(guests=options.guests)):
            results.append(result)
            _show(result, as_lines=options.json)
    if not options.json:
        _say(as_table(results))
    return 0 if all(result.ok for result in results) else 1


def _show(result: Result, *, as_lines: bool) -> None:
    if as_lines:
        _say(as_json(result))
    else:
        sys.stderr.write(f"{result.name} done\n")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _list() -> None:
    for name, module in BENCHES.items():
        try:
            text = import_module(module).__doc__ or ""
        except ModuleNotFoundError:
            continue
        _say(f"{name:12} {text.strip().splitlines()[0]}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="./guesthouse bench", description=__doc__)
    parser.add_argument("name", nargs="?", help="which benchmark")
    parser.add_argument("--list", action="store_true", help="name all benchmarks")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument(
        "--guests",
        type=int,
        default=DEFAULT_GUESTS,
        help=f"size of sync, search, watch, hosts and history ({DEFAULT_GUESTS}); migrate has no size",
    )
    return parser


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
