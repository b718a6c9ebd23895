"""What a service answers when it does not do what was asked."""

from django.core.exceptions import PermissionDenied


class Refused(Exception):
    """An act is refused. `message` is one sentence for the person who asked: what is wrong and what to do.

    Pages show it as it is; the API answers with it and `code`.
    """

    code = "refused"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = str(message)


class Invalid(Refused):
    """What was sent cannot be used; `field` names the part that is wrong, if one is."""

    code = "invalid"

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class Conflict(Refused):
    """The object is in a state that does not allow it now."""

    code = "conflict"


class Forbidden(Refused, PermissionDenied):
    """This user may not do that."""

    code = "forbidden"
