"""Cleaning what a hypervisor says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hosts.facts import Findings, digest, identity, is_identity, key_text, number, text

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=80)


@given(ANY_TEXT, st.integers(1, 40))
def test_texts_can_be_stored(value: str, longest: int) -> None:
    clean = text(value, longest)
    assert len(clean) <= longest
    assert "\x00" not in clean
    clean.encode()


@given(ANY_TEXT, ANY_TEXT)
def test_different_keys_stay_different(one: str, other: str) -> None:
    assert (key_text(one, 40) == key_text(other, 40)) == (one == other)


@given(st.integers())
def test_numbers_fit(value: int) -> None:
    assert 0 <= number(value) <= 2**63 - 1


@pytest.mark.parametrize(
    ("value", "usual"),
    [
        ("6BA7B811-9DAD-11D1-80B4-00C04FD430C8", "6ba7b811-9dad-11d1-80b4-00c04fd430c8"),
        ("6ba7b8119dad11d180b400c04fd430c8", "6ba7b811-9dad-11d1-80b4-00c04fd430c8"),
        ("{6ba7b811-9dad-11d1-80b4-00c04fd430c8}", "6ba7b811-9dad-11d1-80b4-00c04fd430c8"),
    ],
)
def test_a_uuid_has_one_form(value: str, usual: str) -> None:
    assert identity(value, "x") == usual
    assert is_identity(value)


@pytest.mark.parametrize("value", ["", "x", "00000000-0000-0000-0000-000000000000"])
def test_without_a_uuid_the_place_counts(value: str) -> None:
    assert not is_identity(value)
    assert identity(value, "a") == identity(value, "a") != identity(value, "b")


def test_what_cannot_be_packed_is_digested_all_the_same() -> None:
    assert digest("\ud800") != digest("\ud801")
    assert digest(2**70) == digest(2**70) != digest(2**71)


def test_findings_are_kept_until_looked_at_again_and_never_too_many() -> None:
    findings = Findings.load([{"about": "a", "message": "A."}])
    findings.look_at("a")
    for value in range(100):
        findings.add(f"b{value:03}", "B.")
    assert len(findings.dump()) == 50
