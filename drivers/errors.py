"""What can go wrong between us and a hypervisor. Library exceptions never leave their driver's folder."""


class DriverError(Exception):
    """A hypervisor did not do what was asked.

    `message` is one plain sentence, safe to show to a person: never the raw text of a library or a server.
    """

    retryable = False
    code = "driver_error"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


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


ERRORS: dict[str, type[DriverError]] = {
    error.code: error
    for error in (DriverError, Unreachable, AuthFailed, HostKeyChanged, NotFound, NotSupported, Busy, Rejected)
}
"""By code, to rebuild an error on the other side of a process boundary."""
