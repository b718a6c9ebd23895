"""How many histories a property test tries."""

from tests.conftest import ONLY_OF_DATABASES, WHOLE

# On the second database the quick run tries some; the full run tries more of them, on both.
_SHARE = 3.0 if WHOLE else 0.25 if ONLY_OF_DATABASES else 1.0


def examples(usual: int) -> int:
    """As many as this run has time for; `usual` is what the quick run tries on SQLite."""
    return round(usual * _SHARE)
