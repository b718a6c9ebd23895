"""`manage add_source NAME URI`: a source from the server's own configuration."""

import sys
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.translation import gettext as _

from core.errors import Refused
from hosts.certificates import presented_key
from hosts.services import add_configured_source

FILES = ("private_key", "client_certificate", "client_key", "ca_certificate")


class Command(BaseCommand):
    help = (
        "Add a source and print its id, as the last word on stdout; a source of this name that is there already "
        "stays as it is. Connects to nothing: the workers read it within seconds."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", metavar="NAME")
        parser.add_argument(
            "uri",
            metavar="URI",
            help="qemu:///system, qemu+unix:///system?socket=/path, qemu+ssh://user@host[:port]/system, "
            "qemu+tls://host[:port]/system, qemu+tcp://host[:port]/system, lxc or xen in place of qemu, or test:///default",
        )
        parser.add_argument("--datacenter", default="", help="the datacenter it belongs to")
        parser.add_argument("--private-key", type=Path, metavar="FILE", help="ssh: the private key to sign in with")
        parser.add_argument("--client-certificate", type=Path, metavar="FILE", help="tls: ours, in PEM")
        parser.add_argument("--client-key", type=Path, metavar="FILE", help="tls: its key, in PEM")
        parser.add_argument("--ca-certificate", type=Path, metavar="FILE", help="tls: who signs the host's, in PEM")
        parser.add_argument("--password-stdin", action="store_true", help="ssh: read the password from stdin")
        parser.add_argument("--host-key", default="", help='the host key to accept, as "ssh-ed25519 AAAA…"')
        parser.add_argument(
            "--host-certificate", type=Path, metavar="FILE", help="tls without a CA: the host's own, to accept"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            source, created = add_configured_source(
                name=options["name"],
                uri=options["uri"],
                datacenter=options["datacenter"],
                password=sys.stdin.readline().rstrip("\n") if options["password_stdin"] else "",
                host_key=presented_key(_content(options["host_certificate"])) or options["host_key"],
                **{name: _content(options[name]) for name in FILES},
            )
        except Refused as error:
            raise CommandError(error.message) from error
        if not created:
            told = _("There is already a source named %(name)s; it stays as it is.")
            self.stderr.write(told % {"name": source.name})
        self.stdout.write(str(source.pk))


def _content(path: Path | None) -> str:
    if path is None:
        return ""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise CommandError(_("The file %(path)s cannot be read.") % {"path": path}) from error
