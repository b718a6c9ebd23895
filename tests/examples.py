"""How many histories a property test tries."""

import os

# On the second database the quick run tries some; the full run tries more of them, on both.
_SHARE = {"databases": 0.25, "whole": 3.0}


def examples(usual: int) -> int:
    """As many as this run has time for; `usual` is what the quick run tries on SQLite."""
    return round(usual * _SHARE.get(os.environ.get("GUESTHOUSE_TESTS", ""), 1.0))
