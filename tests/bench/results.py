"""What a benchmark says, and how it is printed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
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


def timed(act: Callable[[], object]) -> float:
    """The seconds that it takes."""
    started = time.perf_counter()
    act()
    return time.perf_counter() - started


def p95(ordered: Sequence[float]) -> float:
    """What 95 of a hundred do not exceed."""
    return ordered[math.ceil(len(ordered) * 0.95) - 1]


def p95_at_most(name: str, seconds: Sequence[float], *, goal: float | None, note: str = "") -> Result:
    """A result from seconds as they came, with their median and the longest; without a goal it is stated."""
    ordered = sorted(seconds)
    ours = round(p95(ordered), 3)
    spread = f"p95 of {len(ordered)}; median {ordered[len(ordered) // 2]:.3f} s, longest {ordered[-1]:.3f} s"
    note = f"{spread}; {note}" if note else spread
    if goal is None:
        return Result(name, "s", ours, None, None, "stated", True, note)
    return at_most(name, ours, goal=goal, unit="s", note=note)


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
