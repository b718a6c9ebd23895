"""The lab's command line: guesthouse lab …"""

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from typing import Any

from lab import guests, hosts, lifecycle, network, state
from lab.processes import LabError, NotPossible, follow_parent, require_machine
from lab.state import Place

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
    except KeyboardInterrupt:
        return 130


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="guesthouse lab", description="Several real libvirt/QEMU hosts on this machine.")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--name", metavar="PREFIX", help="the lab's name; by default one of the data folder's own")
    shared.add_argument("--data", metavar="DIR", help="the data folder; by default $GUESTHOUSE_DATA or var")
    commands = made.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", parents=[shared], help="start a lab")
    up.add_argument("hosts", nargs="?", type=int, default=3, metavar="N", help="number of hosts (3)")
    up.add_argument("--foreground", action="store_true", help="stay, and take the lab down at the end")
    commands.add_parser("down", parents=[shared], help="remove the lab and all that belongs to it")
    status = commands.add_parser("status", parents=[shared], help="show hosts and guests")
    status.add_argument("--json", action="store_true", help="as JSON, with everything a program needs")
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
    if options.foreground:
        follow_parent()
    lab = lifecycle.up(place, options.hosts, owner=options.foreground, say=_progress)
    try:
        late = lifecycle.wait_for_guests(place, lab.guests)
        if late:
            _progress(f"not counting yet: {', '.join(late)}")
        if not options.foreground:
            show(lifecycle.status(place))
            return 0
        print("ready", flush=True)
        while True:
            signal.pause()
    except KeyboardInterrupt:
        if not options.foreground:
            raise
    finally:
        if options.foreground:
            _ignore_signals()
            with state.lab_lock(place):
                lifecycle.remove(place)
    return 0


def _stop_on_signals() -> None:
    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, stop)


def _ignore_signals() -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def _progress(text: str) -> None:
    print(f"lab: {text}", file=sys.stderr, flush=True)


def cmd_down(place: Place, _options: argparse.Namespace) -> None:
    lifecycle.down(place)


def cmd_status(place: Place, options: argparse.Namespace) -> None:
    status = lifecycle.status(place)
    if options.json:
        json.dump(status, sys.stdout, indent=1)
        print()
    else:
        show(status)


def show(status: dict[str, Any]) -> None:
    """Print the status for a person."""
    print(f"lab {status['name']}: {status['state']}")
    for host in status["hosts"]:
        print(f"  {host['name']}  power {host['power']}, cable {host['cable']}  {host['uri']}")
        for guest in (g for g in status["guests"] if g["host"] == host["name"]):
            print(f"    {guest['name']:<12} {guest['state']:<8} {guest['address'] or ''}")
    if lost := [g["name"] for g in status["guests"] if g["host"] is None]:
        print(f"  on no host that answers: {', '.join(lost)}")


def cmd_add_guest(place: Place, options: argparse.Namespace) -> None:
    kind: state.Kind = "tiny" if options.tiny else "linux"
    with state.lab_lock(place):
        lab = state.need(place)
        guest = guests.new_guest(
            place,
            lab,
            host=lab.host(options.host) if options.host else guests.quietest_host(lab),
            name=options.guest or guests.free_name(lab, kind),
            kind=kind,
            memory=options.memory,
            dirty=options.dirty,
            disk="local" if options.local_disk else "shared",
        )
        guests.make(place, lab, guest, start=not options.no_start)
        state.save(place, lab)
        lifecycle.refresh_shared(place, lab)
    print(guest.name)


def cmd_pull_plug(place: Place, options: argparse.Namespace) -> None:
    with state.lab_lock(place):
        hosts.power_off(place, state.need(place).host(options.host).name)


def cmd_plug_in(place: Place, options: argparse.Namespace) -> None:
    with state.lab_lock(place):
        lab = state.need(place)
        host = lab.host(options.host)
        if hosts.init_pids(place, host.name):
            raise LabError(f"Host {host.name} is on already.")
        hosts.power_on(place, lab, host)
        hosts.wait_until_up(place, host)


def cmd_cut_cable(place: Place, options: argparse.Namespace) -> None:
    _set_cable(place, options.host, joined=False)


def cmd_join_cable(place: Place, options: argparse.Namespace) -> None:
    _set_cable(place, options.host, joined=True)


def _set_cable(place: Place, name: str, *, joined: bool) -> None:
    with state.lab_lock(place):
        host = state.need(place).host(name)
        if not hosts.init_pids(place, host.name):
            raise LabError(f"Host {host.name} is off; its cables are dead until it is plugged in.")
        network.set_cable(place, host, joined)


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
