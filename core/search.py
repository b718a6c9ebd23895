"""Finding texts by any part of them: what each database needs for it. It knows nothing about what is searched.

An index of trigrams (every three characters in a row) narrows a search down to few rows, whose texts are then looked
at. SQLite: an FTS5 table beside the rows, kept by triggers. PostgreSQL: a GIN index by the extension pg_trgm; where
the server does not have it everything is found all the same, by reading every text.
Texts are stored folded, and words to find are folded the same way: neither database folds more than ASCII by itself.
"""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from django.db import DatabaseError, connection, transaction
from django.db.models import Value
from django.db.models.functions import StrIndex
from django.db.models.lookups import GreaterThan
from django.utils.translation import gettext as _

log = logging.getLogger(__name__)

SHORTEST = 3  # characters of a trigram: nothing shorter is indexed
EXTENSION = "pg_trgm"
TELLING = 8
LONGEST_PATTERN = 16
_MAC = re.compile(r"(?:[0-9a-f]{2}:){3,5}[0-9a-f]{2}")
# What PostgreSQL collects before it sorts it into the index; a search reads all of it. Many texts at once are collected
# whole and sorted in when they are written: measured for 20,000 of 200 characters, 20 to 30 µs each instead of 200.
PENDING_KIB = 1024
PENDING_OF_MANY_KIB = 65536
MANY = 500  # texts


def fold(text: str) -> str:
    """A text as it is stored and looked for: one case, one spelling of each character, and storable."""
    if text.isascii():
        return text.lower().replace("\0", "\N{REPLACEMENT CHARACTER}")
    clean = text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", clean).casefold())


@dataclass(frozen=True, slots=True)
class TextIndex:
    """The index of one table's texts. The table's primary key is a whole number called `id`.

    `extra`: a second column of texts, empty in most rows; each word is found in either.
    """

    table: str
    column: str
    extra: str = ""

    @property
    def name(self) -> str:
        return f"{self.table}_trigrams"

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column, self.extra) if self.extra else (self.column,)

    @property
    def parts(self) -> list[str]:
        """The indexes in the database: SQLite has one of both columns, PostgreSQL a second of rows with extras."""
        if not self.extra or connection.vendor == "sqlite":
            return [self.name]
        return [self.name, f"{self.name}_{self.extra}"]

    def exists(self) -> bool:
        tables = "sqlite_master" if connection.vendor == "sqlite" else "pg_class"
        column = "name" if connection.vendor == "sqlite" else "pg_table_is_visible(oid) AND relname"
        marks = ", ".join(["%s"] * len(self.parts))
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT count(*) FROM {tables} WHERE {column} IN ({marks})", self.parts)  # noqa: S608
            (found,) = cursor.fetchone()
        return bool(found == len(self.parts))

    def create(self) -> bool:
        """Make the index anew, filled from the rows there are. Returns whether there is one.

        Transaction: the caller's, if any; a refusal of the extension does not break it.
        """
        self.drop()
        with connection.cursor() as cursor:
            if connection.vendor == "sqlite":
                for statement in _sqlite_index(self):
                    cursor.execute(statement)
                return True
        return self._create_on_postgresql()

    def _create_on_postgresql(self) -> bool:
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute(f"CREATE EXTENSION IF NOT EXISTS {EXTENSION}")
                cursor.execute(
                    "SELECT quote_ident(nspname) FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace "
                    "WHERE extname = %s",
                    [EXTENSION],
                )
                (where,) = cursor.fetchone()
                for name, column in zip(self.parts, self.columns, strict=True):
                    only = f" WHERE {column} <> ''" if column == self.extra else ""
                    cursor.execute(
                        f"CREATE INDEX {name} ON {self.table} USING gin ({column} {where}.gin_trgm_ops){only}"
                    )
        except DatabaseError as refusal:
            log.warning("%s (%s)", _no_extension(), str(refusal).strip().splitlines()[0])
            return False
        return True

    @contextmanager
    def writes(self, count: int) -> Iterator[None]:
        """So many texts are written inside, into an index that is kept without being asked for.

        PostgreSQL's limit holds to the end of the transaction; the index has none of its own, which would go first.
        Source: https://www.postgresql.org/docs/15/gin-implementation.html (GIN Fast Update Technique)
        Transaction: the caller's.
        """
        if connection.vendor == "sqlite" or not count:
            yield
            return
        many = count >= MANY
        with connection.cursor() as cursor:
            limit = PENDING_OF_MANY_KIB if many else PENDING_KIB
            cursor.execute(f"SET LOCAL gin_pending_list_limit = {limit}")
            yield
            if many:
                cursor.execute(_SORT_IN, [self.parts])

    def drop(self) -> None:
        with connection.cursor() as cursor:
            if connection.vendor != "sqlite":
                cursor.execute(f"DROP INDEX IF EXISTS {', '.join(self.parts)}")
                return
            for event in ("insert", "update", "delete"):
                cursor.execute(f"DROP TRIGGER IF EXISTS {self.name}_{event}")
            cursor.execute(f"DROP TABLE IF EXISTS {self.name}")

    def matches(
        self, columns: Sequence[str], words: Sequence[str], *, also: str = "", most: int, only_extra: bool = False
    ) -> list[tuple[Any, ...]]:
        """These columns of rows that have all of these folded words, in no order; a last one says whether `also`.

        One word at least has SHORTEST characters.
        """
        places = (self.extra,) if only_extra else self.columns
        shown = ", ".join(f"r.{name}" for name in columns)
        has = _has(places)
        looked_for = " AND ".join([has] * len(words))
        in_each_place = [part for word in words for part in [word] * len(places)]
        with connection.cursor() as cursor:
            if connection.vendor == "sqlite":
                statement = (
                    f"SELECT {shown}, {has} FROM {self.name} "  # noqa: S608 - our own names
                    f"CROSS JOIN {self.table} r ON r.id = {self.name}.rowid "
                    f"WHERE {self.name} MATCH %s AND {looked_for} LIMIT %s"
                )
                cursor.execute(statement, [*[also] * len(places), _all_of(words), *in_each_place, most])
            else:
                likely = [_anywhere(_telling_part(word)) for word in words if len(word) >= SHORTEST]
                like = " AND ".join([self._like(places)] * len(likely))
                patterns = [part for pattern in likely for part in [pattern] * len(places)]
                statement = (
                    f"SELECT {shown}, {has} FROM {self.table} r "  # noqa: S608
                    f"WHERE {like} AND {looked_for} LIMIT %s"
                )
                cursor.execute(statement, [*[also] * len(places), *patterns, *in_each_place, most])
            return list(cursor.fetchall())

    def _like(self, places: Sequence[str]) -> str:
        """That a row has a pattern, so that PostgreSQL sees the condition of the index of extras in it."""
        conditions = [
            f"(r.{one} <> '' AND r.{one} LIKE %s)" if one == self.extra else f"r.{one} LIKE %s" for one in places
        ]
        return f"({' OR '.join(conditions)})"


def _has(places: Sequence[str]) -> str:
    """That a row has a word in one of these columns; the word is given for each."""
    function = "instr" if connection.vendor == "sqlite" else "strpos"
    return f"({' OR '.join(f'{function}(r.{one}, %s) > 0' for one in places)})"


# Without an index, or where it is another role's, nothing is done: the server does it by itself sometime.
_SORT_IN = """
    SELECT gin_clean_pending_list(oid) FROM pg_class
    WHERE relname = ANY(%s) AND pg_table_is_visible(oid) AND pg_has_role(relowner, 'USAGE')
"""


def _no_extension() -> str:
    return _(
        "The database server does not let us use its extension pg_trgm, so searches read every text and take longer. "
        "Have its administrator run CREATE EXTENSION pg_trgm in this database, then start the console again."
    )


def has_word(column: str, word: str) -> GreaterThan:
    """The condition that a text has this word in it, without any index."""
    return GreaterThan(StrIndex(column, Value(word)), 0)


def indexable(words: Iterable[str]) -> bool:
    return any(len(word) >= SHORTEST for word in words)


def _telling_part(word: str) -> str:
    """The part of a word that the index is asked for: where its digits are, which few rows share.

    Both databases read the rows of each trigram, also of those that nearly all texts have: measured among 50,000, a
    whole UUID takes two to four times as long as eight characters of it.
    """
    if _MAC.fullmatch(word):
        # Its beginning is the maker's, and many guests' next part is of zeros.
        end = word[-TELLING:]
        return end[min(len(end) - len(end.lstrip("0:")), TELLING - SHORTEST - 2) :]
    starts = range(max(1, len(word) - TELLING + 1))
    start = max(starts, key=lambda at: (sum(map(str.isdigit, word[at : at + TELLING])), at))
    return word[start : start + TELLING] if re.search("[0-9]", word) else word[-LONGEST_PATTERN:]


def _anywhere(word: str) -> str:
    """A pattern for LIKE in which the word stands for itself."""
    escaped = word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"


def _all_of(words: Sequence[str]) -> str:
    """A full-text query: every row that has these words has all of these trigrams, and few others do.

    Each trigram is quoted, so that nothing in it is syntax. Of a part every third one is enough.
    """
    grams = [
        part[start : start + SHORTEST]
        for part in map(_telling_part, words)
        if len(part) >= SHORTEST
        for start in (*range(0, len(part) - SHORTEST, SHORTEST), len(part) - SHORTEST)
    ]
    quoted = (gram.replace('"', '""') for gram in dict.fromkeys(grams))
    return " AND ".join(f'"{gram}"' for gram in quoted)


def _sqlite_index(index: TextIndex) -> list[str]:
    """Neither positions nor sizes are kept: half the size, and each match is looked at anyway.

    The triggers follow the table whoever writes to it. A schema change that makes the table anew drops them: create the
    index again then.
    Source: https://www.sqlite.org/fts5.html sections 4.3.4, 4.4.3, 4.6
    """
    name, table = index.name, index.table
    columns = ", ".join(index.columns)
    new, old = (", ".join(f"{row}.{column}" for column in index.columns) for row in ("new", "old"))
    differs = " OR ".join(f"old.{column} IS NOT new.{column}" for column in index.columns)
    add = f"INSERT INTO {name}(rowid, {columns}) VALUES (new.id, {new});"  # noqa: S608
    remove = f"INSERT INTO {name}({name}, rowid, {columns}) VALUES ('delete', old.id, {old});"  # noqa: S608
    return [
        f"CREATE VIRTUAL TABLE {name} USING fts5({columns}, content='{table}', content_rowid='id', "
        "tokenize='trigram case_sensitive 1', detail=none, columnsize=0)",
        f"CREATE TRIGGER {name}_insert AFTER INSERT ON {table} BEGIN {add} END",
        f"CREATE TRIGGER {name}_delete AFTER DELETE ON {table} BEGIN {remove} END",
        f"CREATE TRIGGER {name}_update AFTER UPDATE OF {columns} ON {table} WHEN {differs} BEGIN {remove} {add} END",
        f"INSERT INTO {name}({name}) VALUES ('rebuild')",  # noqa: S608
    ]
