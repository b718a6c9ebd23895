"""Listen to the sources' events and write what they tell. Opens hypervisor connections."""

from __future__ import annotations

import signal
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext as _

from drivers.isolation.files import files_for, raise_file_limit
from drivers.isolation.watch import SOURCES_PER_PROCESS
from inventory.watching.listener import Listening


class Command(BaseCommand):
    help = (
        "Listen to what sources tell, and write it at once. Any number of machines may run it: "
        "they share the sources, and take over from one that dies."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        require_files(files_for(SOURCES_PER_PROCESS))
        listening = Listening()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_args: listening.stop())
        self.stdout.write(_("Watching."))
        self.stdout.flush()
        listening.run()


def require_files(needed: int) -> None:
    """For this process and the helpers it starts: each of those serves a fixed number of sources.

    Raises: CommandError.
    """
    allowed = raise_file_limit(needed)
    if allowed < needed:
        raise CommandError(
            _(
                "Watching needs %(needed)d open files a process, and only %(hard)d are allowed here. Raise the limit "
                "(ulimit -Hn, or LimitNOFILE= in a systemd unit), then start again."
            )
            % {"needed": needed, "hard": allowed}
        )
