"""The kinds of job. Apps above register theirs when they are ready; this app knows none of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from operations.states import SIMPLE, UNKNOWN, Machine

if TYPE_CHECKING:
    from operations.handle import JobHandle

Runner = Callable[["JobHandle"], None]


@dataclass(frozen=True, slots=True)
class JobKind:
    """`runner` is the dotted path `module:function` of what does the work, imported only by workers.

    A runner leaves the job in an end state. It may be called again for a job that another worker began: it then goes
    on from what the hypervisor says. `on_unclear`, a path as well, is called when the engine gives a job up because its
    runner fails again and again: it writes down what nobody knows now, in the transaction that ends the job.
    """

    name: str
    title: Callable[[Mapping[str, Any]], str]  # of the parameters: what a list of tasks shows
    runner: str
    machine: Machine = SIMPLE
    on_unclear: str = ""


_kinds: dict[str, JobKind] = {}


def register(kind: JobKind) -> None:
    _kinds[kind.name] = kind


def kind_of(name: str) -> JobKind:
    """A kind nobody registered, left by another version, can be shown and ended, and does nothing else."""
    return _kinds.get(name) or JobKind(
        name=name, title=lambda _parameters: name, runner="operations.runtime:end_unknown", machine=UNKNOWN
    )


def load_runner(kind: JobKind) -> Runner:
    return _load(kind.runner)


def load_unclear_hook(kind: JobKind) -> Runner | None:
    return _load(kind.on_unclear) if kind.on_unclear else None


def _load(path: str) -> Runner:
    module, _, name = path.partition(":")
    return cast("Runner", getattr(import_module(module), name))
