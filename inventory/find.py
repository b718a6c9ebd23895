"""Finding objects of every kind by any part of what they are found by.

Best first: the whole name; a name that begins like it; a whole value, such as an address or a tag; anything else. Words
are looked for in an object's text and in its tags, each in either. Equally good ones are ordered by kind, then by name.
Nobody finds what they may not see: each kind is asked with its own `restrict`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any, NamedTuple

from django.core import signing
from django.db.models import Q, QuerySet
from django.utils.translation import gettext as _

from access.roles import Action
from core.lists import ListError
from core.search import fold, has_word, indexable
from hosts.diff import DatabaseId, database_id, id_column
from hosts.models import Cluster, Datacenter, Host, Source
from hosts.selectors import cluster_list, datacenter_list, host_list, source_list
from inventory.models import Guest
from inventory.selectors import guest_list
from networks.models import VirtualSwitch
from networks.selectors import switch_list
from search.models import TEXTS, Kind, SearchRow
from storage.models import Datastore
from storage.selectors import datastore_list

LONGEST_QUERY = 200
MOST_WORDS = 10
# Up to so many rows are looked at and put in order here; of more, the first in order are soon found one by one.
FEW = 1000
EVERY_KIND = tuple(Kind)

NAME, BEGINNING, VALUE, PART = range(4)
_LAST = "\U0010ffff"
_SALT = "inventory.find"
_WORD = re.compile(r'"([^"]+)"(?=\s|$)|(\S+)')
_DASHED_MAC = re.compile(r"(?:[0-9a-f]{2}-){5}[0-9a-f]{2}|(?:[0-9a-f]{4}\.){2}[0-9a-f]{4}")

VISIBLE: dict[Kind, Callable[[Any], QuerySet[Any]]] = {
    Kind.GUEST: lambda user: Guest.objects.restrict(user, Action.VIEW),
    Kind.HOST: lambda user: Host.objects.restrict(user, Action.VIEW),
    Kind.DATASTORE: lambda user: Datastore.objects.restrict(user, Action.VIEW),
    Kind.SWITCH: lambda user: VirtualSwitch.objects.restrict(user, Action.VIEW),
    Kind.SOURCE: lambda user: Source.objects.restrict(user, Action.VIEW),
    Kind.CLUSTER: lambda user: Cluster.objects.restrict(user, Action.VIEW),
    Kind.DATACENTER: lambda user: Datacenter.objects.restrict(user, Action.VIEW),
}
SHOWN: dict[Kind, Callable[[Any], QuerySet[Any]]] = {
    Kind.GUEST: lambda user: guest_list(user=user),
    Kind.HOST: lambda user: host_list(user=user),
    Kind.DATASTORE: lambda user: datastore_list(user=user),
    Kind.SWITCH: lambda user: switch_list(user=user),
    Kind.SOURCE: lambda user: source_list(user=user),
    Kind.CLUSTER: lambda user: cluster_list(user=user),
    Kind.DATACENTER: lambda user: datacenter_list(user=user),
}


class Hit(NamedTuple):
    """One result, ordered as results are."""

    rank: int
    kind: int
    name_key: str
    object_id: DatabaseId


@dataclass(frozen=True, slots=True)
class Result:
    """One object that was found; `row` is as its kind's selector gives it."""

    hit: Hit
    kind: Kind
    row: Any


@dataclass(frozen=True, slots=True)
class Query:
    """What a person typed: folded as a whole, and its words, all of which must be found."""

    whole: str
    words: tuple[str, ...]

    @property
    def value(self) -> str:
        """As a whole value stands in a text."""
        return _as_value(self.whole)

    @property
    def is_short(self) -> bool:
        """Too short for the index: then only names that begin like it are found, and what has it as tags."""
        return not indexable(self.words)

    @property
    def tags(self) -> list[str]:
        """The words as whole tags."""
        return [_as_value(word) for word in self.words]


def _as_value(text: str) -> str:
    return f"\n{text}\n"


def parse_query(text: str) -> Query:
    """Words, or several of them in quotation marks.

    Raises: ListError.
    """
    text = " ".join(text.split())
    if len(text) > LONGEST_QUERY:
        raise ListError(_("This is too long to look for; use at most %(n)d characters.") % {"n": LONGEST_QUERY})
    words = [fold(quoted or plain) for quoted, plain in _WORD.findall(text)]
    if len(words) > MOST_WORDS:
        raise ListError(_("These are too many words to look for; use at most %(n)d.") % {"n": MOST_WORDS})
    words = [_mac(word) for word in words]
    return Query(" ".join(words), tuple(dict.fromkeys(words)))


def _mac(word: str) -> str:
    """A MAC address as we write it, whichever way a switch or a sticker does."""
    if not _DASHED_MAC.fullmatch(word):
        return word
    digits = re.sub(r"[-.]", "", word)
    return ":".join(digits[start : start + 2] for start in range(0, len(digits), 2))


class Search:
    """One search of one user. The index is asked once, however many lists are made of it."""

    def __init__(self, text: str, *, user: Any) -> None:
        """Raises: ListError."""
        self.query = parse_query(text)
        self.user = user
        self._few: list[Hit] | None = self._look() if self.query.words and not self.query.is_short else None

    def results(self, kinds: Sequence[Kind] = EVERY_KIND, *, after: Hit | None = None, most: int) -> list[Result]:
        """The best of what this user sees, after one that was shown, with what lists show of them."""
        found: list[Result] = []
        for hits in self.hits(kinds, after=after, size=most):
            found += _load(hits, self.user)
            if len(found) >= most:
                break
        return found[:most]

    def hits(self, kinds: Sequence[Kind] = EVERY_KIND, *, after: Hit | None = None, size: int) -> Iterator[list[Hit]]:
        """What is found, best first, in parts that grow: for who sees all, the first is enough.

        Of few, some may be nothing for this user: loading the objects tells, and asking before would cost as much.
        """
        if not self.query.words:
            return
        found = self._among(self._few, kinds, after) if self._few is not None else self._in_order(kinds, after, size)
        while part := list(islice(found, size)):
            yield part
            size *= 2

    def _look(self) -> list[Hit] | None:
        """Everything that is found, in order; none when it is too much."""
        return _matches(self.query, self.query.words)

    @staticmethod
    def _among(hits: Iterable[Hit], kinds: Sequence[Kind], after: Hit | None) -> Iterator[Hit]:
        return (hit for hit in hits if hit.kind in kinds and (after is None or hit > after))

    def _in_order(self, kinds: Sequence[Kind], after: Hit | None, size: int) -> Iterator[Hit]:
        """Of very many: rank by rank and kind by kind, each read in order until there are enough."""
        ranks = (NAME, BEGINNING, VALUE) if self.query.is_short else (NAME, BEGINNING, VALUE, PART)
        for rank in ranks:
            if after is not None and rank < after.rank:
                continue
            few = self._few_values if rank == VALUE else None
            if few is not None:
                yield from self._among(few, kinds, after)
                continue
            for kind in sorted(kinds):
                if after is None or (rank, kind) >= (after.rank, after.kind):
                    yield from self._scan(rank, kind, after, size)

    @cached_property
    def _few_values(self) -> list[Hit] | None:
        """Those with the whole value, if they are few: hardly any rows would be met in order."""
        if self.query.is_short:
            hits = _matches(self.query, self.query.tags, only_tags=True)
        else:
            hits = _matches(self.query, [self.query.value])
        return hits if hits is None else [hit for hit in hits if hit.rank == VALUE]

    def _scan(self, rank: int, kind: Kind, after: Hit | None, size: int) -> Iterator[Hit]:
        """What this user sees of one kind, in order, in parts that grow."""
        rows = SearchRow.objects.filter(kind=kind, object_id__in=VISIBLE[kind](self.user).values("pk"))
        found = _of_rank(rows, rank, self.query).order_by("name_key", "object_id")
        last = after if after is not None and (rank, kind) == (after.rank, after.kind) else None
        while True:
            part = _beyond(found, last).values_list("name_key", "object_id")[:size]
            hits = [Hit(rank, kind.value, name, database_id(pk)) for name, pk in part]
            yield from hits
            if len(hits) < size:
                return
            last, size = hits[-1], size * 2


def _beyond(rows: QuerySet[SearchRow], last: Hit | None) -> QuerySet[SearchRow]:
    if last is None:
        return rows
    beyond = Q(name_key__gt=last.name_key) | Q(name_key=last.name_key, object_id__gt=last.object_id)
    return rows.filter(beyond, name_key__gte=last.name_key)


def _of_rank(rows: QuerySet[SearchRow], rank: int, query: Query) -> QuerySet[SearchRow]:
    if rank == NAME:
        return rows.filter(name_key=query.whole)
    end = query.whole + _LAST
    if rank == BEGINNING:
        return rows.filter(name_key__gt=query.whole, name_key__lt=end)
    rows = rows.filter(Q(name_key__lt=query.whole) | Q(name_key__gte=end))
    if rank == VALUE and query.is_short:
        return rows.filter(*(Q(has_word("tags", tag)) for tag in query.tags))
    if rank == VALUE:
        return rows.filter(_has(query.value))
    return rows.exclude(_has(query.value)).filter(*map(_has, query.words))


def _has(word: str) -> Q:
    return Q(has_word("text", word)) | Q(has_word("tags", word))


def _matches(query: Query, words: Sequence[str], *, only_tags: bool = False) -> list[Hit] | None:
    """Everything that has these words, in order; none when that is not few."""
    columns = ("kind", "name_key", id_column("object_id"))
    also = words[0] if only_tags else query.value
    found = TEXTS.matches(columns, words, also=also, most=FEW + 1, only_extra=only_tags)
    if len(found) > FEW:
        return None
    return sorted(Hit(_rank(name, is_value, query), kind, name, pk) for kind, name, pk, is_value in found)


def _rank(name_key: str, is_value: int, query: Query) -> int:
    if name_key == query.whole:
        return NAME
    if name_key.startswith(query.whole):
        return BEGINNING
    return VALUE if is_value else PART


def _load(hits: Sequence[Hit], user: Any) -> list[Result]:
    """The objects of these hits as far as this user sees them."""
    found: dict[tuple[int, DatabaseId], Any] = {}
    for kind in sorted({hit.kind for hit in hits}):
        ids = [hit.object_id for hit in hits if hit.kind == kind]
        rows = SHOWN[Kind(kind)](user).filter(pk__in=ids)
        found.update({(kind, database_id(row.pk)): row for row in rows})
    keys = [(hit, (hit.kind, hit.object_id)) for hit in hits]
    return [Result(hit, Kind(hit.kind), found[key]) for hit, key in keys if key in found]


def cursor_of(hit: Hit, text: str) -> str:
    """Where the next page of this search starts, for its address."""
    return signing.Signer(salt=_SALT).sign_object([text, *hit])


def read_cursor(cursor: str, text: str) -> Hit | None:
    """Raises: ListError when it is none of ours, or of another search."""
    if not cursor:
        return None
    try:
        about, *hit = signing.Signer(salt=_SALT).unsign_object(cursor)
    except (signing.BadSignature, ValueError, TypeError) as error:
        raise ListError(_("This page's address is damaged; search again.")) from error
    if about != text:
        raise ListError(_("This page belongs to another search; search again."))
    return Hit(*hit)
