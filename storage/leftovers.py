"""What a job that makes volumes may leave behind when nobody knows how it ended. Imported only by workers."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.translation import gettext as _

from drivers.isolation import RemoteSession
from drivers.requests import VolumeRequest, VolumeResult
from hosts.acts import At, HostAct, Turn
from operations.models import JobState


@dataclass(frozen=True, slots=True)
class WantedVolume:
    """One that a job makes, in these steps."""

    name: str
    datastore: str
    steps: tuple[str, ...]


class NamesVolumes(HostAct):
    """Makes volumes. When a person must look, the job's last sentence says for which, and where."""

    def wanted_volumes(self) -> list[WantedVolume]:
        """Those that were asked for, by this worker or one before."""
        raise NotImplementedError

    def may_be_left(self, volume: WantedVolume) -> bool:
        """Whether a step of its making was asked for, and nobody knows how that ended."""
        return any(
            self.is_asked(step) and not self.is_done(step) and step not in self._refused for step in volume.steps
        )

    def create_volume(self, step: str, at: At, request: VolumeRequest) -> VolumeResult:
        """The first of two steps: no other volume of its name is ever taken for it; see `drivers.marks`."""

        def call(session: RemoteSession, turn: Turn) -> VolumeResult:
            return session.create_volume(request, turn.stamp, turn.again, turn.not_after)

        return self.ask(step, at, call, VolumeResult)

    def complete_volume(self, step: str, at: At, request: VolumeRequest) -> VolumeResult:
        """The second, when it is noted that the volume is ours."""

        def call(session: RemoteSession, turn: Turn) -> VolumeResult:
            return session.complete_volume(request, self.asked[step]["stamp"], turn.not_after)

        return self.ask(f"{step} size", at, call, VolumeResult)

    def end(self, to: JobState, message: str) -> None:
        if to is JobState.NEEDS_ATTENTION:
            left = [volume for volume in self.wanted_volumes() if self.may_be_left(volume)]
            message = " ".join([message, *map(_sentence_left, left)])
        super().end(to, message)


def _sentence_left(volume: WantedVolume) -> str:
    words = {"name": volume.name, "datastore": volume.datastore}
    return (
        _(
            "Volume %(name)s may be left in datastore %(datastore)s: look there, and delete it if no guest uses it and "
            "nobody else made it."
        )
        % words
    )
