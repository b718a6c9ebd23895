"""What of a dump is restored where nobody may make extensions."""

from __future__ import annotations

import pytest
from django.db import connection

from config.backup import restorable
from search.models import TEXTS


def test_indexes_that_need_an_extension_are_left_to_the_next_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "vendor", "postgresql")
    kept = [
        "251; 1259 16385 TABLE public search_searchrow guesthouse",
        "3498; 1259 16399 INDEX public search_by_name guesthouse",
        "3499; 2606 16400 CONSTRAINT public labels_tag labels_tag_pkey guesthouse",
    ]
    needy = [
        "2; 3079 16386 EXTENSION - pg_trgm ",
        "3601; 0 0 COMMENT - EXTENSION pg_trgm ",
        *(f"35{number}; 1259 1640{number} INDEX public {name} guesthouse" for number, name in enumerate(TEXTS.parts)),
    ]
    assert len(needy) == 4
    contents = "".join(f"{line}\n" for line in [*needy, *kept])
    assert restorable(contents).splitlines() == kept
