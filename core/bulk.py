"""Writing many rows at once, in one statement a call on both databases.

PostgreSQL gets the rows as one JSON value that it unfolds itself: measured at 20 µs a row of 21 columns, as fast as
COPY through a temporary table and three times as fast as arrays. SQLite gets one prepared statement, run for each row.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from functools import cache, lru_cache
from itertools import islice
from operator import itemgetter
from typing import Any
from uuid import UUID

import msgspec
from django.db import connection
from django.db.models import Field, ForeignKey, Model, QuerySet

# Beyond this PostgreSQL's JSON unfolding spills; below it the round trip shows.
BATCH = 1000

Values = Sequence[Any]


def insert(model: type[Model], columns: Sequence[str], rows: Sequence[Values]) -> None:
    """Insert new rows; a row that exists is an IntegrityError."""
    _write(model, columns, rows, _insert(model, columns))


def upsert(
    model: type[Model],
    columns: Sequence[str],
    rows: Sequence[Values],
    *,
    key: Sequence[str],
    keep: Sequence[str] = (),
    newer: str = "",
) -> None:
    """Insert rows, or update those whose `key` exists in all columns but `keep`.

    With `newer`, a time column, an existing row changes only when the new one is not older. No key may come twice.
    """
    _write(model, columns, rows, _upsert(model, columns, key, keep, newer))


def upsert_from(model: type[Model], columns: Sequence[str], rows: QuerySet[Any, Any], *, key: Sequence[str]) -> None:
    """As `upsert`, of rows that the database reads itself: values in the order of `columns`, filtered by something.

    Source: https://www.sqlite.org/lang_upsert.html section 2.2: without a WHERE, SQLite takes ON CONFLICT for a join.
    """
    names = _quoted(model, columns)
    sets = ", ".join(
        f"{name} = excluded.{name}" for name in _quoted(model, [name for name in columns if name not in key])
    )
    select, parameters = rows.query.sql_with_params()
    conflict = f"ON CONFLICT ({', '.join(_quoted(model, key))}) DO UPDATE SET {sets}"
    with connection.cursor() as cursor:
        cursor.execute(f"INSERT INTO {_table(model)} ({', '.join(names)}) {select} {conflict}", parameters)


def update(
    model: type[Model], columns: Sequence[str], rows: Sequence[Values], *, keys: int = 1, newer: str = ""
) -> None:
    """Update rows by the first `keys` columns, which say which row; the other columns get the values.

    With `newer`, a time column among the others, a row changes only when the new value is not older.
    """
    if connection.vendor != "sqlite":
        _write(model, columns, rows, _update(model, columns, keys, newer))
        return
    # As the placeholders stand: values, keys, and the time once more.
    order = [*range(keys, len(columns)), *range(keys)] + ([columns.index(newer)] if newer else [])
    ordered = list(map(itemgetter(*order), rows))
    _write(model, [columns[position] for position in order], ordered, _update(model, columns, keys, newer))


def delete_rows(model: type[Model], ids: Sequence[Any]) -> None:
    """Delete by primary key, without cascades: for rows nothing points to."""
    for start in range(0, len(ids), BATCH):
        model._default_manager.filter(pk__in=ids[start : start + BATCH])._raw_delete("default")


def delete_from(model: type[Model], key: str, position: str, rows: Sequence[tuple[Any, int]]) -> None:
    """For each (key, count): delete the rows of that key whose position is not below the count."""
    names = _quoted(model, [key, position])
    if connection.vendor == "sqlite":
        statement = f"DELETE FROM {_table(model)} WHERE {names[0]} = %s AND {names[1]} >= %s"  # noqa: S608
    else:
        pairs, table = _recordset(model, [key, position]), _table(model)
        where = f"{table}.{names[0]} = v.c0 AND {table}.{names[1]} >= v.c1"
        statement = f"DELETE FROM {table} USING {pairs} WHERE {where}"  # noqa: S608
    _write(model, (key, position), rows, statement)


def _write(model: type[Model], columns: Sequence[str], rows: Sequence[Values], statement: str) -> None:
    if not rows:
        return
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.executemany(statement, _for_sqlite(model, columns, rows))
            return
        names = _short_names(len(columns))
        remaining = iter(rows)
        while batch := list(islice(remaining, BATCH)):
            cursor.execute(statement, [_as_json(names, batch)])


def _as_json(names: Sequence[str], rows: Iterable[Values]) -> str:
    return msgspec.json.encode([dict(zip(names, row, strict=True)) for row in rows]).decode()


def _short_names(count: int) -> list[str]:
    """What the columns are called on the way: each row repeats them, and the server reads them all."""
    return [f"c{position}" for position in range(count)]


def _field(model: type[Model], name: str) -> Field[Any, Any]:
    field = model._meta.get_field(name)
    assert isinstance(field, Field)  # noqa: S101 (a column name in our own code, not data)
    return field


def _column(model: type[Model], name: str) -> str:
    return str(_field(model, name).column)


def _quoted(model: type[Model], columns: Sequence[str]) -> list[str]:
    return [connection.ops.quote_name(_column(model, name)) for name in columns]


def _table(model: type[Model]) -> str:
    return connection.ops.quote_name(model._meta.db_table)


# Statements are built from our own models' names only; every value is a parameter.
def _rows_source(model: type[Model], columns: Sequence[str]) -> str:
    """The rows as a relation `v`: placeholders on SQLite, one unfolded JSON value on PostgreSQL."""
    if connection.vendor == "sqlite":
        return f"VALUES ({', '.join(['%s'] * len(columns))})"
    return f"SELECT * FROM {_recordset(model, columns)}"  # noqa: S608


def _recordset(model: type[Model], columns: Sequence[str]) -> str:
    types = [_type(_field(model, name)) for name in columns]
    shape = ", ".join(f"{name} {kind}" for name, kind in zip(_short_names(len(types)), types, strict=True))
    return f"json_to_recordset(%s::json) AS v({shape})"


def _type(field: Field[Any, Any]) -> str:
    return str(field.rel_db_type(connection) if field.is_relation else field.db_type(connection))


def _insert(model: type[Model], columns: Sequence[str]) -> str:
    return f"INSERT INTO {_table(model)} ({', '.join(_quoted(model, columns))}) {_rows_source(model, columns)}"


def _upsert(model: type[Model], columns: Sequence[str], key: Sequence[str], keep: Sequence[str], newer: str) -> str:
    changed = _quoted(model, [name for name in columns if name not in key and name not in keep])
    sets = ", ".join(f"{name} = excluded.{name}" for name in changed)
    act = f"UPDATE SET {sets}" if sets else "NOTHING"
    statement = f"{_insert(model, columns)} ON CONFLICT ({', '.join(_quoted(model, key))}) DO {act}"
    if newer:
        (column,) = _quoted(model, [newer])
        statement += f" WHERE excluded.{column} >= {_table(model)}.{column}"
    return statement


def _update(model: type[Model], columns: Sequence[str], keys: int, newer: str) -> str:
    names, table = _quoted(model, columns), _table(model)
    sqlite = connection.vendor == "sqlite"
    values = ["%s"] * len(names) if sqlite else [f"v.{name}" for name in _short_names(len(names))]
    pairs = list(zip(names, values, strict=True))
    sets = ", ".join(f"{name} = {value}" for name, value in pairs[keys:])
    where = [f"{table}.{name} = {value}" for name, value in pairs[:keys]]
    if newer:
        name, value = pairs[list(columns).index(newer)]
        where.append(f"{table}.{name} <= {value}")
    source = "" if sqlite else f" FROM {_recordset(model, columns)}"
    return f"UPDATE {table} SET {sets}{source} WHERE {' AND '.join(where)}"  # noqa: S608


Converter = Callable[[Any], Any]


def _for_sqlite(model: type[Model], columns: Sequence[str], rows: Sequence[Values]) -> Sequence[Any]:
    """SQLite's own values: hexadecimal ids and times as text in UTC. Lists and truth values are adapted below."""
    needed = [
        (position, converter)
        for position, converter in _converters(model, tuple(columns))
        if not set(map(type, map(itemgetter(position), rows))) <= _AS_THEY_ARE[converter]
    ]
    if not needed:
        return rows
    by_column = list(zip(*rows, strict=True))
    for position, converter in needed:
        by_column[position] = tuple(map(converter, by_column[position]))
    return list(zip(*by_column, strict=True))


@cache
def _converters(model: type[Model], columns: tuple[str, ...]) -> tuple[tuple[int, Converter], ...]:
    found = ((position, _converter(_field(model, name))) for position, name in enumerate(columns))
    return tuple((position, converter) for position, converter in found if converter)


def _converter(field: Field[Any, Any]) -> Converter | None:
    kind = field.target_field.get_internal_type() if isinstance(field, ForeignKey) else field.get_internal_type()
    return {"UUIDField": _hexadecimal, "DateTimeField": _utc_text, "JSONField": _json_text}.get(kind)


def _hexadecimal(value: Any) -> Any:
    return value.hex if isinstance(value, UUID) else value


def _utc_text(value: datetime | str | None) -> str | None:
    return text_of_time(value) if isinstance(value, datetime) else value


@lru_cache(maxsize=16)
def text_of_time(value: datetime) -> str:
    """A time as Django writes it to SQLite, so that texts sort as times do. The rows of one read mostly have one."""
    return str(value.astimezone(UTC).replace(tzinfo=None))


def _json_text(value: Any) -> str | None:
    """None is SQL's NULL, as on PostgreSQL."""
    return None if value is None else msgspec.json.encode(value).decode()


# Types that need no conversion of a whole column: those the database takes, or one of the adapters below turns.
_AS_THEY_ARE: dict[Converter, set[type]] = {
    _hexadecimal: {str, type(None)},
    _utc_text: {str, type(None)},
    _json_text: {list, dict, type(None)},
}


# Without an adapter of its own the sqlite3 module searches for one at each value that is not a plain number or text.
sqlite3.register_adapter(bool, int)
sqlite3.register_adapter(list, _json_text)
sqlite3.register_adapter(dict, _json_text)
