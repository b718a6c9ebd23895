"""What of a word the index of texts is asked for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.search import SHORTEST, _all_of, _telling_part

WORDS = st.text("0123456789abcdef:.-/", min_size=SHORTEST, max_size=40)
MACS = st.from_regex(r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2}", fullmatch=True)


@pytest.mark.parametrize(
    ("word", "part"),
    [
        ("52:54:00:00:80:f8", "80:f8"),
        ("52:54:00:a1:b2:c3", "a1:b2:c3"),
        ("52:54:00:00:00:00", "00:00"),
        ("cache-33016", "he-33016"),
        ("/var/lib/libvirt/images/cache-33016.qcow2", "33016.qc"),
        ("no-such-thing", "no-such-thing"),
        ("web", "web"),
    ],
)
def test_the_part_that_few_texts_have(word: str, part: str) -> None:
    assert _telling_part(word) == part


@given(st.one_of(WORDS, MACS))
def test_it_is_a_part_of_the_word_that_the_index_knows(word: str) -> None:
    part = _telling_part(word)
    assert part in word
    assert len(part) >= SHORTEST


@given(st.lists(st.one_of(WORDS, MACS), min_size=1, max_size=4))
def test_a_text_with_these_words_has_all_that_is_asked_for(words: list[str]) -> None:
    text = "\n".join(words)
    assert all(gram[1:-1] in text for gram in _all_of(words).split(" AND "))
