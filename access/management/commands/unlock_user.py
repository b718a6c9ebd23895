"""`manage unlock_user USER`: let a user sign in again whom guesses from elsewhere locked out."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.translation import gettext as _

from access.models import User
from access.services import unlock_user


class Command(BaseCommand):
    help = "Forget the failed sign-ins counted on a user, so that the right password is let in at once."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("user", metavar="USER", help="the user's name")

    def handle(self, *args: Any, **options: Any) -> None:
        user = User.objects.filter(username=options["user"]).first()
        if user is None:
            raise CommandError(_("There is no user named %(name)r.") % {"name": options["user"]})
        if unlock_user(user=user):
            self.stdout.write(_("The user %(name)s may sign in again.") % {"name": user.username})
        else:
            self.stdout.write(_("The user %(name)s was not locked out.") % {"name": user.username})
