"""Lists as files: what is filtered, all of it, and nothing that runs."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterator
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.http import StreamingHttpResponse
from django.test import Client
from lxml import etree

from access.roles import ROLE_ACTIONS, Action, Role
from audit.models import AuditRow
from console import exports, tables
from console.listing import Listing
from core.lists import ListSpec
from tests.factories import Inventory, make_guest, make_user
from tests.web.conftest import ClientAs
from tests.web.everything import Everything, Place
from tests.web.routes import allowed

FORMULAS = ['=HYPERLINK("http://x.example","y")', "+1", "-2+3", "@SUM(1)", "\t=1", "=cmd|' /C calc'!A0"]
CONTROLS = ["\r=1", "\n=1", "  =1", "\x0b=1", "\x01=1", "\x1b[31m", "two\r\nlines", 'a","b', "a;b", "\u202e=1", "＝1"]  # noqa: RUF001
STARTS = ("=", "+", "-", "@", "＝")  # noqa: RUF001
BLANKS = ("\t", "\r", "\n")
SHOWN = ["HYPERLINK", "SUM(1)", "[31m", 'a","b']
SHEET = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"


def _body(answer: Any) -> bytes:
    assert answer.status_code == 200
    if isinstance(answer, StreamingHttpResponse):
        pieces: Any = answer.streaming_content
        return b"".join(pieces)
    content: bytes = answer.content
    return content


def _csv(client_as: ClientAs, path: str, role: str = Role.OPERATOR, **query: str) -> list[dict[str, str]]:
    text = _body(client_as(role).get(path, {"export": "csv", **query})).decode("utf-8-sig")
    return list(csv.DictReader(io.StringIO(text)))


def _sheet(client_as: ClientAs, path: str, role: str = Role.OPERATOR, **query: str) -> tuple[list[list[str]], bytes]:
    """The texts of each row, and the sheet as it is."""
    data = _body(client_as(role).get(path, {"export": "xlsx", **query}))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        raw = archive.read("xl/worksheets/sheet1.xml")
        assert not [name for name in archive.namelist() if "sheet1.xml.rels" in name], "a sheet with links"
    rows = etree.fromstring(raw).iter(f"{SHEET}row")
    return [list(_texts(row)) for row in rows], raw


def _texts(row: Any) -> Iterator[str]:
    for cell in row.iter(f"{SHEET}c"):
        yield "".join(cell.itertext())


def _specs() -> set[str]:
    """The name of every list that is declared."""
    modules = [import_module(f"{tables.__name__}.{one.name}") for one in iter_modules(tables.__path__)]
    return {value.name for module in modules for value in vars(module).values() if isinstance(value, ListSpec)}


def _lists(everything: Everything) -> list[Place]:
    """Every page that shows a list, and the tabs that do."""
    client = Client()
    client.force_login(everything.me)
    answers = {place: client.get(place.path) for place in everything.places()}
    return [
        place
        for place, answer in answers.items()
        if getattr(answer, "context", None) and isinstance(answer.context.get("list"), Listing)
    ]


def test_no_list_is_forgotten(everything: Everything) -> None:
    """Each declared list is exported from somewhere, and what shows no list exports nothing."""
    client = Client()
    client.force_login(everything.me)
    files = [
        place
        for place in everything.places()
        if client.get(place.path, {"export": "csv"}).get("Content-Disposition", "").startswith("attachment")
    ]
    assert files == _lists(everything)
    assert {row.target_name for row in AuditRow.objects.filter(action="list.exported")} == _specs()


@pytest.mark.parametrize("format_name", ["csv", "xlsx"])
def test_every_list_is_exported_by_who_sees_it_and_may_export(everything: Everything, format_name: str) -> None:
    clients = {role: Client() for role in Role}
    for role, client in clients.items():
        client.force_login(make_user(role))
    for place in _lists(everything):
        for role, client in clients.items():
            answer: Any = client.get(place.path, {"export": format_name})
            may = allowed(place.need, role) and Action.EXPORT in ROLE_ACTIONS[role]
            assert answer.status_code == (200 if may else 403), (place, role)
            if may:
                assert _body(answer)
                assert f'.{format_name}"' in answer["Content-Disposition"]
                assert answer["Cache-Control"] == "no-store"
        assert Client().get(place.path, {"export": format_name}).status_code == 302, place


@pytest.fixture
def hostile(db: None) -> Everything:
    """Each text of each row starts as a formula does, or holds what a cell may not."""
    made = Everything(FORMULAS[0], rows=1)
    for text in [*FORMULAS[1:], *CONTROLS]:
        made.add(1, text)
    return made


def test_no_list_writes_a_formula_into_csv(hostile: Everything, client_as: ClientAs) -> None:
    for place in _lists(hostile):
        rows = _csv(client_as, place.path, role=Role.ADMIN)
        cells = [value for row in rows for value in row.values()]
        assert not [value for value in cells if value.lstrip().startswith(STARTS) or value[:1] in BLANKS], place
        assert not [row for row in rows if None in row or None in row.values()], (place, "a cell left its row")
        for text in SHOWN:
            assert [value for value in cells if text in value], (place, text)


def test_no_list_writes_a_formula_into_a_workbook(hostile: Everything, client_as: ClientAs) -> None:
    for place in _lists(hostile):
        _rows, raw = _sheet(client_as, place.path, role=Role.ADMIN)
        sheet = etree.fromstring(raw)
        for kind in ("f", "hyperlink"):
            assert not list(sheet.iter(f"{SHEET}{kind}")), place
        texts = [
            cell for cell in sheet.iter(f"{SHEET}c") if "".join(map(str, cell.itertext())).lstrip().startswith(STARTS)
        ]
        assert texts, place
        assert {cell.get("t") for cell in texts} == {"inlineStr"}, place


@pytest.mark.parametrize(
    ("role", "status"),
    [
        (Role.VIEWER, 403),
        (Role.OPERATOR, 200),
        (Role.MIGRATION_ADMIN, 200),
        (Role.AUDITOR, 200),
        (Role.ADMIN, 200),
        ("anonymous", 302),
    ],
)
def test_who_may_export(client_as: ClientAs, inventory: Inventory, role: str, status: int) -> None:
    assert client_as(role).get("/guests/", {"export": "csv"}).status_code == status
    shown = client_as(role).get("/guests/").content
    assert (b"export=csv" in shown) == (status == 200)


def test_an_export_is_audited(client_as: ClientAs, inventory: Inventory) -> None:
    _csv(client_as, "/guests/", q="state:running")
    row = AuditRow.objects.get(action="list.exported")
    assert (row.target_name, row.detail) == ("guest", {"format": "csv", "filter": "state:running"})


def test_the_file_holds_what_is_filtered_in_its_order(client_as: ClientAs, inventory: Inventory) -> None:
    for number in range(130):
        make_guest(f"file-{number:03d}", inventory.hosts[0])
    rows = _csv(client_as, "/guests/", q="file", sort="-name")
    assert [row["Name"] for row in rows] == [f"file-{number:03d}" for number in reversed(range(130))]
    sheet, _raw = _sheet(client_as, "/guests/", q="file", sort="-name")
    assert [row[0] for row in sheet] == ["Name", *(row["Name"] for row in rows)]


def test_a_related_list_exports_only_its_rows(client_as: ClientAs, inventory: Inventory) -> None:
    host = inventory.hosts[0]
    assert {row["Host"] for row in _csv(client_as, f"/hosts/{host.pk}/guests/")} == {host.name}


def test_csv_holds_no_formula(client_as: ClientAs, inventory: Inventory) -> None:
    for number, name in enumerate(FORMULAS):
        make_guest(name, inventory.hosts[0], uuid=f"formula-{number}", notes=name, title=name)
    rows = [row for row in _csv(client_as, "/guests/") if row["UUID"].startswith("formula-")]
    assert sorted(row["Name"] for row in rows) == sorted(f"'{name}" for name in FORMULAS)
    for row in rows:
        assert not [value for value in row.values() if value[:1] in ("=", "+", "-", "@", "\t", "\r", "\n")]


def test_a_workbook_holds_texts_only(client_as: ClientAs, inventory: Inventory) -> None:
    names = [*FORMULAS, "http://x.example/", "mailto:a@x.example", "internal:Sheet1!A1", "{=1+1}", "<f>1</f>", "a\x01b"]
    for number, name in enumerate(names):
        make_guest(name, inventory.hosts[0], uuid=f"text-{number}")
    sheet, raw = _sheet(client_as, "/guests/")
    found = {row[0] for row in sheet}
    assert set(FORMULAS) <= found
    assert "http://x.example/" in found
    assert not list(etree.fromstring(raw).iter(f"{SHEET}f"))
    assert not list(etree.fromstring(raw).iter(f"{SHEET}hyperlink"))


def test_numbers_and_moments_are_typed(client_as: ClientAs, inventory: Inventory) -> None:
    make_guest("typed", inventory.hosts[0], vcpus=12)
    _rows, raw = _sheet(client_as, "/guests/", q="typed")
    row = list(etree.fromstring(raw).iter(f"{SHEET}row"))[1]
    cells = {cell.get("r", "").rstrip("0123456789"): cell for cell in row.iter(f"{SHEET}c")}
    assert cells["E"].get("t") != "inlineStr"  # vCPU
    assert float("".join(map(str, cells["E"].itertext()))) == 12
    assert cells["A"].get("t") == "inlineStr"


def test_an_empty_list_still_names_its_columns(client_as: ClientAs, db: None) -> None:
    sheet, _raw = _sheet(client_as, "/guests/")
    assert sheet[0][0] == "Name"
    text = _body(client_as(Role.OPERATOR).get("/guests/", {"export": "csv"})).decode("utf-8-sig")
    assert text.startswith("Name,State,Host")


def test_texts_longer_than_a_cell_are_cut(client_as: ClientAs, inventory: Inventory) -> None:
    make_guest("long", inventory.hosts[0], notes="n" * 40_000)
    sheet, _raw = _sheet(client_as, "/guests/", q="long")
    assert max(len(text) for text in sheet[1]) == 32_767


@pytest.mark.parametrize(
    "query", [{"export": "pdf"}, {"export": "csv", "q": "flavor:x"}, {"export": "csv", "sort": "pk"}]
)
def test_a_mistake_is_one_sentence(client_as: ClientAs, inventory: Inventory, query: dict[str, str]) -> None:
    answer = client_as(Role.OPERATOR).get("/guests/", query)
    assert answer.status_code == 400
    assert answer["Content-Type"].startswith("text/plain")
    assert answer.content.decode().strip().endswith(".")


def test_csv_is_read_while_it_is_sent() -> None:
    """Under ASGI as well: a large list is never in memory as a whole."""
    read: list[int] = []

    def rows() -> Iterator[list[Any]]:
        for number in range(10 * exports.CSV_ROWS_AT_ONCE):
            read.append(number)
            yield [number]

    async def first_pieces() -> tuple[int, bytes]:
        answer: Any = exports._csv(["Number"], rows(), "numbers.csv")
        pieces = aiter(answer)
        await anext(pieces)
        await anext(pieces)
        after_two = len(read)
        return after_two, b"".join([piece async for piece in pieces])

    after_two, rest = async_to_sync(first_pieces)()
    assert after_two == exports.CSV_ROWS_AT_ONCE
    assert rest.startswith(f"{exports.CSV_ROWS_AT_ONCE}\r\n".encode())
    assert len(read) == 10 * exports.CSV_ROWS_AT_ONCE
