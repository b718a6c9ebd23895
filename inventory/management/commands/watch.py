"""Listen to the sources' events and write what they tell. Opens hypervisor connections."""

from __future__ import annotations

import resource
import signal
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext as _

from drivers.isolation.watch import SOURCES_PER_PROCESS
from inventory.watching.listener import Listening

# What one source takes of its helper process: its connection, the pipe that wakes it, an ssh with its socket and pipe,
# and as much again while it is replaced.
FILES_PER_SOURCE = 12
FILES_OF_A_PROCESS = 128


class Command(BaseCommand):
    help = (
        "Listen to what sources tell, and write it at once. Any number of machines may run it: "
        "they share the sources, and take over from one that dies."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        raise_file_limit(SOURCES_PER_PROCESS * FILES_PER_SOURCE + FILES_OF_A_PROCESS)
        listening = Listening()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_args: listening.stop())
        self.stdout.write(_("Watching."))
        self.stdout.flush()
        listening.run()


def raise_file_limit(needed: int) -> None:
    """For this process and the helpers it starts: each of those serves a fixed number of sources.

    Raises: CommandError.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise CommandError(
            _(
                "Watching needs %(needed)d open files a process, and only %(hard)d are allowed here. Raise the limit "
                "(ulimit -Hn, or LimitNOFILE= in a systemd unit), then start again."
            )
            % {"needed": needed, "hard": hard}
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
