"""The kinds of job that make and delete guests and volumes."""

from __future__ import annotations

from inventory.acts import define, rules, volumes
from operations.kinds import JobKind, register

RUNNERS = (
    (rules.GUEST_CREATE, define.create_title, "define_runner:run_create"),
    (define.GUEST_CLONE, define.clone_title, "define_runner:run_clone"),
    (define.GUEST_DELETE, define.delete_title, "define_runner:run_delete"),
    (volumes.VOLUME_GROW, volumes.grow_title, "volumes_runner:run_grow"),
    (volumes.VOLUME_DELETE, volumes.delete_title, "volumes_runner:run_delete"),
)


def register_kinds() -> None:
    for kind, title, runner in RUNNERS:
        path = f"inventory.acts.{runner}"
        register(JobKind(name=kind, title=title, runner=path, on_unclear="hosts.acts:request_reads"))
