"""`manage create_token USER`: an API token for scripts."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.translation import gettext as _

from access.models import User
from access.services import create_token
from audit.services import COMMAND_LINE
from core.errors import Refused


class Command(BaseCommand):
    help = "Make an API token for a user and print it, as the last word on stdout."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("user", metavar="USER", help="the user's name")
        parser.add_argument("--name", default=COMMAND_LINE, help="what the token is for")

    def handle(self, *args: Any, **options: Any) -> None:
        user = User.objects.filter(username=options["user"]).first()
        if user is None:
            raise CommandError(_("There is no user named %(name)r.") % {"name": options["user"]})
        try:
            _token, text = create_token(user=user, name=options["name"], by=COMMAND_LINE)
        except Refused as error:
            raise CommandError(error.message) from error
        self.stdout.write(text)
