"""`manage import_sources FILE`: many sources from the server's own command line."""

import sys
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.translation import gettext as _

from core.errors import Refused
from hosts import importing
from hosts.batches import Defaults, add_lines
from hosts.validation import checked_host_key

FILES = ("private_key", "client_certificate", "client_key", "ca_certificate")


class Command(BaseCommand):
    help = (
        "Add the sources that a CSV or text file names, or a range of addresses, and print each one's id and name. "
        "What is there already stays as it is, so that a second run does nothing. Connects to nothing: the workers "
        "read them within seconds. Ends with 1 when a line could not be taken."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "file",
            metavar="FILE",
            help="one address a line, or the columns name, address, transport, port, user, datacenter, hypervisor; "
            "- for stdin; with --range the range itself",
        )
        parser.add_argument("--range", action="store_true", help="FILE is 10.0.0.0/24 or 10.0.0.5-10.0.0.40")
        parser.add_argument("--transport", default="ssh", help="where a line names none: ssh, tls or tcp")
        parser.add_argument("--hypervisor", default="", help="where a line names none: qemu, lxc or xen")
        parser.add_argument("--port", default="", help="where a line names none")
        parser.add_argument("--user", default="", help="where a line names none")
        parser.add_argument("--datacenter", default="", help="where a line names none")
        parser.add_argument("--private-key", type=Path, metavar="KEY", help="ssh: the private key to sign in with")
        parser.add_argument("--client-certificate", type=Path, metavar="PATH", help="tls: ours, in PEM")
        parser.add_argument("--client-key", type=Path, metavar="PATH", help="tls: its key, in PEM")
        parser.add_argument("--ca-certificate", type=Path, metavar="PATH", help="tls: who signs the hosts', in PEM")
        parser.add_argument("--password-file", type=Path, metavar="PATH", help="ssh: the password, in its first line")
        parser.add_argument("--known-hosts", type=Path, metavar="PATH", help="ssh: the host keys to accept")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            added, refused = self._add(options)
        except Refused as error:
            raise CommandError(error.message) from error
        for source in added:
            self.stdout.write(f"{source.pk} {source.name}")
        for line in refused:
            words = {"line": line["line"], "text": line["text"], "message": line["message"]}
            self.stderr.write(_("Line %(line)d, %(text)s: %(message)s") % words)
        if not all(line["known"] for line in refused):
            sys.exit(1)

    def _add(self, options: dict[str, Any]) -> Any:
        password = _text(options["password_file"]).split("\n")[0].rstrip("\r")
        defaults = Defaults(
            transport=options["transport"],
            port=str(options["port"] or ""),
            user=options["user"],
            datacenter=options["datacenter"],
            password=password,
            hypervisor=options["hypervisor"],
            **{name: _text(options[name]) for name in FILES},
        )
        known = importing.read_known_hosts(_text(options["known_hosts"]))
        keys = {address: checked_host_key(key) for address, key in known.items()}
        return add_lines(lines=_lines(options), defaults=defaults, host_keys=keys)


def _lines(options: dict[str, Any]) -> list[importing.Line]:
    """Raises: Invalid, CommandError."""
    if options["range"]:
        return importing.read_range(options["file"])
    if options["file"] == "-":
        return importing.read_lines(importing.decode(sys.stdin.buffer.read(importing.LARGEST_FILE + 1)))
    return importing.read_lines(importing.decode(_content(Path(options["file"]))))


def _text(path: Path | None) -> str:
    return "" if path is None else _content(path).decode("utf-8", errors="replace")


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CommandError(_("The file %(path)s cannot be read.") % {"path": path}) from error
