"""The lab's command line: guesthouse lab …"""

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from typing import Any

from lab import extras, lifecycle, state, status
from lab.processes import LabError, NotPossible, follow_parent, require_machine
from lab.state import Place

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
HOST_COMMANDS = {
    "pull-plug": "take the power from a host: all in it stops at once",
    "plug-in": "give a host its power back",
    "cut-cable": "take a host's network cables out",
    "join-cable": "put a host's network cables back",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Exit codes: 0 done, 1 failed, 2 not possible here or wrong usage."""
    options = parser().parse_args(argv)
    try:
        place = state.make_place(options.name, options.data)
        require_machine()
        return int(COMMANDS[options.command](place, options) or 0)
    except NotPossible as error:
        print(error, file=sys.stderr)
        return 2
    except LabError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"The lab could not use {error.filename or 'a file'}: {error.strerror or error}.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="guesthouse lab", description="Real libvirt/QEMU hosts on this machine.")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--name", metavar="PREFIX", help="the lab's name; by default one of the data folder's own")
    shared.add_argument("--data", metavar="DIR", help="the data folder; by default $GUESTHOUSE_DATA or var")
    commands = made.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", parents=[shared], help="start a lab")
    up.add_argument("hosts", nargs="?", type=int, default=3, metavar="N", help="number of hosts (3)")
    kinds = ", ".join([*extras.EXTRAS, extras.ALL])
    up.add_argument("--with", dest="extras", default="", metavar="EXTRAS", help=f"also these, by commas: {kinds}")
    up.add_argument("--json", action="store_true", help="show the status as JSON")
    up.add_argument("--foreground", action="store_true", help="stay, and take the lab down at the end")
    commands.add_parser("down", parents=[shared], help="remove the lab and all that belongs to it")
    shown = commands.add_parser("status", parents=[shared], help="show hosts and guests")
    shown.add_argument("--json", action="store_true", help="as JSON, with everything a program needs")
    _add_guest_options(commands.add_parser("add-guest", parents=[shared], help="make another guest"))
    for name, about in HOST_COMMANDS.items():
        commands.add_parser(name, parents=[shared], help=about).add_argument("host", metavar="HOST")
    return made


def _add_guest_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--host", help="by default the host with the fewest guests")
    command.add_argument("guest", nargs="?", metavar="GUEST", help="its name; by default the next free one")
    command.add_argument("--memory", type=int, metavar="MIB")
    command.add_argument("--dirty", type=int, default=0, metavar="MB", help="rewrite so much memory without end")
    command.add_argument("--local-disk", action="store_true", help="its disk on the host's local datastore")
    command.add_argument("--tiny", action="store_true", help="a boot sector that counts: for load")
    command.add_argument("--no-start", action="store_true", help="only define it")


def cmd_up(place: Place, options: argparse.Namespace) -> int:
    _stop_on_signals()
    chosen = extras.parse(options.extras)
    if options.foreground:
        return stay_up(place, options.hosts, chosen)
    lab = lifecycle.up(place, options.hosts, owned=False, say=_progress, chosen=chosen)
    if late := lifecycle.wait_for_guests(place, lab.guests):
        _progress(f"not counting yet: {', '.join(late)}")
    cmd_status(place, options)
    return 0


def stay_up(place: Place, count: int, chosen: Sequence[str] = ()) -> int:
    """Run the lab until a signal comes or the parent dies. Prints `ready`, then `counting` when the guests do."""
    follow_parent()
    try:
        lab = lifecycle.up(place, count, owned=True, say=_progress, chosen=chosen)
        print("ready", flush=True)
        late = lifecycle.wait_for_guests(place, lab.guests)
        print(f"late: {', '.join(late)}" if late else "counting", flush=True)
        while True:
            signal.pause()
    except KeyboardInterrupt:
        _take_down(place)
        return 0
    except BaseException:  # also a broken pipe of the one who reads `ready`: whatever ends us ends the lab
        _take_down(place)
        raise


def _take_down(place: Place) -> None:
    """Take our own lab down; one that was up before us is not ours."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    if lifecycle.is_mine(place):
        lifecycle.down(place)


def _stop_on_signals() -> None:
    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    for number in STOP_SIGNALS:
        signal.signal(number, stop)


def _progress(text: str) -> None:
    print(f"lab: {text}", file=sys.stderr, flush=True)


def cmd_down(place: Place, _options: argparse.Namespace) -> None:
    lifecycle.down(place)


def cmd_status(place: Place, options: argparse.Namespace) -> None:
    shown = status.status(place)
    print(json.dumps(shown, indent=1) if options.json else "\n".join(status.sentences(shown)))


def cmd_add_guest(place: Place, options: argparse.Namespace) -> None:
    guest = lifecycle.add_guest(
        place,
        host=options.host,
        name=options.guest,
        kind="tiny" if options.tiny else "linux",
        memory=options.memory,
        dirty=options.dirty,
        disk="local" if options.local_disk else "shared",
        start=not options.no_start,
    )
    print(guest.name)


def cmd_pull_plug(place: Place, options: argparse.Namespace) -> None:
    lifecycle.pull_plug(place, options.host)


def cmd_plug_in(place: Place, options: argparse.Namespace) -> None:
    lifecycle.plug_in(place, options.host)


def cmd_cut_cable(place: Place, options: argparse.Namespace) -> None:
    lifecycle.set_cable(place, options.host, joined=False)


def cmd_join_cable(place: Place, options: argparse.Namespace) -> None:
    lifecycle.set_cable(place, options.host, joined=True)


COMMANDS = {
    "up": cmd_up,
    "down": cmd_down,
    "status": cmd_status,
    "add-guest": cmd_add_guest,
    "pull-plug": cmd_pull_plug,
    "plug-in": cmd_plug_in,
    "cut-cable": cmd_cut_cable,
    "join-cable": cmd_join_cable,
}

if __name__ == "__main__":
    sys.exit(main())
