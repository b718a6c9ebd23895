"""Text from a hypervisor is cleaned, the plain text that nearly all of it is no less than the rest."""

import re

from hypothesis import given
from hypothesis import strategies as st

from drivers.libvirt.text import clean

PLAIN = st.text(st.sampled_from("ab \t\n\x7f~é\u202e\ufeff"), max_size=30)
UNWANTED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")


@given(text=PLAIN, limit=st.integers(1, 20))
def test_one_line_without_what_misleads(text: str, limit: int) -> None:
    expected = re.sub(r"\s+", " ", UNWANTED.sub("", text[: limit * 2])).strip()[:limit]
    assert clean(text, limit) == expected


def test_what_is_cleaned() -> None:
    assert clean("  a \t b\n\n c\u202e\x00 ", 40) == "a b c"
    assert clean("  a  b  ", 40) == "a b"
    assert clean(" a b ", 40) == "a b"
    assert clean("x" * 100, 3) == "xxx"
