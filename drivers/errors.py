"""What can go wrong between us and a hypervisor. Library exceptions never leave their driver's folder."""

from __future__ import annotations

from typing import Self

from drivers.words import Parameter, fill


class DriverError(Exception):
    """A hypervisor did not do what was asked.

    `message` is one plain sentence, safe to show to a person: never the raw text of a library or a server. It is made
    of a `template` in English, marked for translation, and its `parameters`.
    """

    retryable = False
    code = "driver_error"

    def __init__(self, template: str, /, **parameters: Parameter) -> None:
        self.template = template
        self.parameters = parameters
        self.message = fill(template, parameters)
        super().__init__(self.message)

    def copy(self) -> Self:
        """The same error, raised nowhere yet."""
        return type(self)(self.template, **self.parameters)


class Unreachable(DriverError):
    """No answer in time, or the connection broke."""

    retryable = True
    code = "unreachable"


class AuthFailed(DriverError):
    """The hypervisor answered and refused our credentials or its host key is not the pinned one."""

    code = "auth_failed"


class HostKeyChanged(AuthFailed):
    """The SSH host key is not the one a person accepted."""

    code = "host_key_changed"


class NotFound(DriverError):
    """The object is not there (any more)."""

    code = "not_found"


class NotSupported(DriverError):
    """This hypervisor, or this driver, cannot do that."""

    code = "not_supported"


class Busy(DriverError):
    """Another operation holds the object; the same call may work later."""

    retryable = True
    code = "busy"


class Rejected(DriverError):
    """The hypervisor understood and refused; the sentence says why."""

    code = "rejected"


class Unsure(DriverError):
    """Something is there, and nobody can tell whether it is what was asked for before or another's."""

    code = "unsure"


ERRORS: dict[str, type[DriverError]] = {
    error.code: error
    for error in (DriverError, Unreachable, AuthFailed, HostKeyChanged, NotFound, NotSupported, Busy, Rejected, Unsure)
}
"""By code, to rebuild an error on the other side of a process boundary."""
