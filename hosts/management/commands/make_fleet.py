"""`manage make_fleet`: simulated hosts at the design size, from the server's own command line."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.translation import gettext as _

from core.errors import Refused
from hosts.fleet import make_fleet


class Command(BaseCommand):
    help = (
        "Add sources of simulated hosts, to see how this installation carries them. They are generated in the "
        "workers and connect to nothing; the workers read them within seconds. A second run adds what is missing."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--hosts", type=int, default=2500, help="how many (2500)")
        parser.add_argument("--guests", type=int, default=50_000, help="of all hosts together (50000)")
        parser.add_argument("--hung", type=int, default=0, metavar="N", help="so many never answer")
        parser.add_argument("--flapping", type=int, default=0, metavar="N", help="so many answer only now and then")
        parser.add_argument("--flap-seconds", type=int, default=30, metavar="S", help="how long each time (30)")
        parser.add_argument(
            "--events-every", type=int, default=0, metavar="S", help="each host pauses or resumes a guest that often"
        )
        parser.add_argument("--datacenter", default="Fleet", help="the datacenter they belong to")
        parser.add_argument("--beside-real-sources", action="store_true", help="also where there are real sources")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            added = make_fleet(
                hosts=options["hosts"],
                guests=options["guests"],
                hung=options["hung"],
                flapping=options["flapping"],
                flap_s=options["flap_seconds"],
                events_s=options["events_every"],
                datacenter=options["datacenter"],
                beside_real=options["beside_real_sources"],
            )
        except Refused as error:
            raise CommandError(error.message) from error
        self.stdout.write(_("%(number)d simulated hosts were added.") % {"number": len(added)})
