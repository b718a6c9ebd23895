"""Quantities in the field's habits."""

from datetime import timedelta

import pytest
from django.utils import timezone

from core import units

KIB, GIB = 1024, 1024**3


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        ("", ""),
        (0, "0 B"),
        (1023, "1,023 B"),
        (KIB, "1 KiB"),
        (1536, "1.5 KiB"),
        (4 * GIB, "4 GiB"),
        (12.34 * GIB, "12.3 GiB"),
        (123.4 * GIB, "123 GiB"),
        (1024 * GIB, "1 TiB"),
        (-KIB, "-1 KiB"),
        (1024**7, "1,024 EiB"),
    ],
)
def test_bytes(value: float | None, text: str) -> None:
    assert units.format_bytes(value) == text


@pytest.mark.parametrize(
    ("mbps", "text"),
    [
        (None, ""),
        (10, "10 Mbit/s"),
        (999, "999 Mbit/s"),
        (1000, "1 Gbit/s"),
        (2500, "2.5 Gbit/s"),
        (400_000, "400 Gbit/s"),
    ],
)
def test_link_speeds(mbps: float | None, text: str) -> None:
    assert units.format_link_speed(mbps) == text


@pytest.mark.parametrize(("value", "text"), [(None, ""), (0, "0 %"), (0.4, "< 1 %"), (42.4, "42 %"), (135, "135 %")])
def test_percent(value: float | None, text: str) -> None:
    assert units.format_percent(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(-5, "0 s"), (12, "12 s"), (60, "1 min"), (3599, "59 min"), (3600, "1 h"), (86400 * 3, "3 d")]
)
def test_span(seconds: int, text: str) -> None:
    assert units.format_span(timedelta(seconds=seconds)) == text


def test_age_never_and_now() -> None:
    assert units.format_age(None) == "never"
    assert units.format_age(timezone.now() + timedelta(seconds=30)) == "0 s ago"


@pytest.mark.parametrize(("part", "whole", "percent"), [(1, 4, 25.0), (5, 4, 100.0), (None, 4, None), (1, 0, None)])
def test_share(part: float | None, whole: float | None, percent: float | None) -> None:
    assert units.share(part, whole) == percent


@pytest.mark.parametrize(("value", "text"), [(None, ""), (27, "27 ms"), (280.4, "280 ms"), (65_000, "1 min")])
def test_milliseconds(value: float | None, text: str) -> None:
    assert units.format_duration_ms(value) == text


def test_rate() -> None:
    assert units.format_rate(310 * 1024**2) == "310 MiB/s"
    assert units.format_rate(None) == ""
