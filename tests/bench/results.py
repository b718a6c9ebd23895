"""What a benchmark says, and how it is printed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median

import msgspec


@dataclass(frozen=True, slots=True)
class Options:
    """How large a run is."""

    guests: int


@dataclass(frozen=True, slots=True)
class Result:
    """One figure. `ratio` says how many times better than the reference we are; without one the goal is absolute."""

    name: str
    unit: str
    ours: float
    reference: float | None
    ratio: float | None
    goal: str
    ok: bool
    note: str = ""


def times_faster(name: str, ours: Sequence[float], reference: Sequence[float], *, goal: float, note: str) -> Result:
    """A result from pairs of seconds: the medians, and the median of the pairs' ratios."""
    ratio = median(theirs / mine for mine, theirs in zip(ours, reference, strict=True))
    return Result(
        name=name,
        unit="s",
        ours=round(median(ours), 4),
        reference=round(median(reference), 4),
        ratio=round(ratio, 1),
        goal=f"ratio >= {goal:g}",
        ok=ratio >= goal,
        note=note,
    )


def at_most(name: str, ours: float, *, goal: float, unit: str, note: str = "") -> Result:
    """A result with an absolute goal."""
    return Result(name, unit, ours, None, None, f"<= {goal:g}", ours <= goal, note)


def as_json(result: Result) -> str:
    return msgspec.json.encode(asdict(result)).decode()


def as_table(results: Sequence[Result]) -> str:
    rows: list[tuple[str, ...]] = [("name", "unit", "ours", "reference", "ratio", "goal", "ok", "note")]
    rows += [_cells(result) for result in results]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _cells(result: Result) -> tuple[str, ...]:
    reference = "-" if result.reference is None else f"{result.reference:g}"
    ratio = "-" if result.ratio is None else f"{result.ratio:g}"
    return (
        result.name,
        result.unit,
        f"{result.ours:g}",
        reference,
        ratio,
        result.goal,
        "yes" if result.ok else "NO",
        result.note,
    )
