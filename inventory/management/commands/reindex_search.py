"""Write anew what objects are found by, and the index of it."""

from typing import Any

from django.core.management.base import BaseCommand
from django.utils.translation import gettext as _

from inventory.reindex import index_everything


class Command(BaseCommand):
    help = "Write anew what the search finds objects by. The console may run meanwhile."

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(_("Objects that can be found: %(number)d") % {"number": index_everything()})
