"""The command line of the benchmarks, and how a result is written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from tests.bench import __main__ as command
from tests.bench.results import Options, Result, as_json, at_most, times_faster

FIELDS = ["name", "unit", "ours", "reference", "ratio", "goal", "ok", "note"]


def test_the_list_names_every_benchmark(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(command.BENCHES)
    assert all(len(line.split(maxsplit=1)[1]) > 20 for line in lines), "each says what it measures"


def test_the_list_says_which_has_a_size(capsys: pytest.CaptureFixture[str]) -> None:
    command.main(["--list"])
    said = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert {name for name, line in said.items() if "--guests" in line} >= {"sync", "search", "metrics", "watch"}
    assert "no size" in said["migrate"]


def test_without_a_name_it_lists_and_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main([]) == 2
    assert capsys.readouterr().out.startswith("sync")


def test_an_unknown_name_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["everything"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "There is no benchmark everything; --list names them.\n"


@pytest.mark.parametrize(
    ("result", "values"),
    [
        (
            times_faster("sync", [1.0, 2.0, 4.0], [10.0, 30.0, 20.0], goal=8, note="three runs"),
            ["sync", "s", 2.0, 20.0, 10.0, "ratio >= 8", True, "three runs"],
        ),
        (at_most("tasks", 0.25, goal=0.2, unit="s"), ["tasks", "s", 0.25, None, None, "<= 0.2", False, ""]),
    ],
)
def test_a_result_is_one_line_of_json(result: Result, values: list[object]) -> None:
    line = as_json(result)
    assert "\n" not in line
    assert list(json.loads(line).items()) == list(zip(FIELDS, values, strict=True))


@pytest.fixture
def two_results(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A benchmark of two results, of which the second misses its goal; the sizes it was asked for."""
    asked: list[int] = []

    def run(options: Options) -> Iterator[Result]:
        asked.append(options.guests)
        yield at_most("first", 1.0, goal=2, unit="s")
        yield at_most("second", 3.0, goal=2, unit="s")

    monkeypatch.setattr(command, "import_module", lambda _name: SimpleNamespace(run=run))
    monkeypatch.setattr("signal.signal", lambda *_arguments: None)
    monkeypatch.setenv("GUESTHOUSE_DATA", "before")
    return asked


def test_each_result_is_a_line_and_a_missed_goal_is_exit_code_1(
    two_results: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["sync", "--json", "--guests", "500"]) == 1
    said = capsys.readouterr()
    assert [json.loads(line)["name"] for line in said.out.splitlines()] == ["first", "second"]
    assert two_results == [500]


def test_for_people_it_is_a_table(two_results: list[int], capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["sync"]) == 1
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.split() == FIELDS
    assert first.split() == ["first", "s", "1", "-", "-", "<=", "2", "yes"]
    assert second.split()[-1] == "NO"
    assert two_results == [command.DEFAULT_GUESTS]
