"""`manage ensure_admin`: somebody who can administer."""

import os
import secrets
from typing import Any

from django.core.management.base import BaseCommand
from django.utils.translation import gettext as _

from access.services import ensure_admin

VARIABLE = "GUESTHOUSE_ADMIN_PASSWORD"


class Command(BaseCommand):
    help = (
        f"Make the user admin if no active administrator exists. Its password is ${VARIABLE}, or a random one "
        "that is printed, as the last word on stdout, this once."
    )

    def handle(self, *args: Any, **kwargs: Any) -> None:
        given = os.environ.get(VARIABLE, "")
        password = given or secrets.token_urlsafe(15)
        if not ensure_admin(password=password):
            return
        if given:
            self.stdout.write(_("The user admin has the password of $%(variable)s.") % {"variable": VARIABLE})
        else:
            # The password is the last word in every language: whoever starts us reads it there.
            self.stdout.write(_("The user admin has the password") + f" {password}")
