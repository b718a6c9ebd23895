"""Lists as files: exactly the rows and order on the page, all of them, written while they are read."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import AsyncIterator, Iterable, Iterator
from datetime import UTC, datetime
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypeVar

from asgiref.sync import sync_to_async
from django.db.models import Model, QuerySet
from django.http import FileResponse, HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.utils.timezone import now
from django.utils.translation import gettext_lazy as _
from rustpy_xlsxwriter import write_worksheet

from access.models import require
from access.roles import Action
from audit.services import record
from core.lists import ExportValue, ListError, ListSpec, Sort, Text, all_rows, csv_cell

M = TypeVar("M", bound=Model)

CSV_ROWS_AT_ONCE = 200
FORMATS: dict[str, Text] = {"csv": _("CSV"), "xlsx": _("Excel workbook (XLSX)")}


def export_response(request: HttpRequest, spec: ListSpec[M], queryset: QuerySet[M], wanted: str) -> HttpResponseBase:
    """The filtered list as a file.

    Raises: core.errors.Forbidden when the role may not export.
    """
    require(request.user, Action.EXPORT)
    if wanted not in FORMATS:
        return _refuse(_("Lists are exported as CSV or XLSX."))
    q = request.GET.get("q", "").strip()
    try:
        sort = spec.sort(request.GET.get("sort", ""))
        narrowed = spec.narrow(queryset, q)
    except ListError as error:
        return _refuse(str(error))
    record(action="list.exported", by=request.user, target_kind="list", target_name=spec.name, format=wanted, filter=q)
    name = f"guesthouse-{spec.name}s-{now():%Y-%m-%d-%H%M%S}.{wanted}"
    rows = _values(spec, narrowed, sort)
    head = [str(column.label) for column in spec.written()]
    return _xlsx(head, rows, name) if wanted == "xlsx" else _csv(head, rows, name)


def _refuse(sentence: Text) -> HttpResponse:
    return HttpResponse(str(sentence), status=400, content_type="text/plain; charset=utf-8")


def _values(spec: ListSpec[M], queryset: QuerySet[M], sort: Sort) -> Iterator[list[ExportValue]]:
    for row in all_rows(queryset, sort, spec.prepare):
        yield [column.value(row) for column in spec.written()]


class _Line:
    """A file for the csv module that hands each line back instead of keeping it."""

    def write(self, text: str) -> str:
        return text


def csv_lines(head: list[str], rows: Iterable[list[ExportValue]]) -> Iterator[str]:
    """The file's text in pieces. The mark in front makes Excel read UTF-8."""
    writer = csv.writer(_Line())
    yield "\ufeff" + writer.writerow(head)
    piece: list[str] = []
    for row in rows:
        piece.append(writer.writerow([csv_cell(value) for value in row]))
        if len(piece) >= CSV_ROWS_AT_ONCE:
            yield "".join(piece)
            piece.clear()
    yield "".join(piece)


class _CsvResponse(StreamingHttpResponse):
    """Piece after piece under ASGI as well, where Django collects the whole of what is not asynchronous.

    Source: https://docs.djangoproject.com/en/5.2/ref/request-response/#streaminghttpresponse-objects
    """

    async def __aiter__(self) -> AsyncIterator[bytes]:
        pieces: Any = self.streaming_content
        fetch = sync_to_async(lambda: next(pieces, None))
        while (piece := await fetch()) is not None:
            yield piece


def _csv(head: list[str], rows: Iterator[list[ExportValue]], name: str) -> HttpResponseBase:
    response = _CsvResponse(csv_lines(head, rows), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    response["Cache-Control"] = "no-store"
    return response


def _xlsx(head: list[str], rows: Iterator[list[ExportValue]], name: str) -> HttpResponseBase:
    with tempfile.TemporaryDirectory(prefix="guesthouse-") as folder:
        path = Path(folder) / name
        write_workbook(path, head, rows)
        file = path.open("rb")  # stays readable after its name is gone
    response = FileResponse(file, as_attachment=True, filename=name)
    response["Cache-Control"] = "no-store"
    return response


# A cell of a workbook holds no longer text.
# Source: https://support.microsoft.com/office/excel-specifications-and-limits-1672b34d-7043-467e-8e27-269d656771c3
LONGEST_CELL = 32_767
SHEET_ROWS = 1_048_575


def write_workbook(path: Path, head: list[str], rows: Iterable[list[ExportValue]]) -> None:
    """One sheet. The writer stores every text as an inline string: never as a formula, never as a link."""
    records = (dict(zip(head, map(xlsx_cell, row), strict=True)) for row in islice(rows, SHEET_ROWS))
    first = next(records, dict.fromkeys(head))  # a list without rows still says its columns
    write_worksheet(
        chain([first], records),
        str(path),
        sheet_name="Guesthouse",
        freeze_row=1,
        bold_headers=True,
        autofilter=True,
        datetime_format="yyyy-mm-dd hh:mm:ss",
        column_width=18.0,
    )


def xlsx_cell(value: ExportValue) -> Any:
    """Workbooks know no time zones: moments are UTC."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None)
    return value[:LONGEST_CELL] if isinstance(value, str) else value
