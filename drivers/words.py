"""Sentences that people read: marked here, where no framework is known, and translated by whoever shows them."""

from __future__ import annotations

from collections.abc import Mapping

Parameter = str | int | float
Parameters = tuple[tuple[str, Parameter], ...]  # as a fact keeps them


def gettext_noop(text: str) -> str:
    """Mark a text for the collector of translations. Source: https://docs.python.org/3/library/gettext.html"""
    return text


def fill(template: str, parameters: Mapping[str, Parameter]) -> str:
    """The sentence. Without parameters a percent sign means itself."""
    return template % parameters if parameters else template
