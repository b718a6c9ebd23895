"""Objects are found by their tags as by all else, in every way that the search looks for them."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection, transaction
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from access.models import User
from access.roles import Role
from core.search import fold
from drivers.types import AgentFact, GuestState
from hosts.models import Datacenter, Host, Source
from hosts.services import remove_source
from inventory import find
from inventory.find import Search, cursor_of, read_cursor
from inventory.models import Guest
from inventory.reindex import index_everything, index_missing
from inventory.relocation import move_source
from inventory.sync import apply_snapshot
from labels.models import ENTRIES, OBJECTS, DatastoreTag, GuestTag, Tag
from labels.searching import KINDS
from labels.services import change_tag, change_tags, delete_tag
from search.models import TEXTS, SearchRow
from storage.models import Datastore
from tests.examples import examples
from tests.factories import make_guest, make_host, make_user
from tests.facts import datastore_fact, guest_fact, make_source, snapshot, switch_fact
from tests.unit.inventory.test_search import search_writes

pytestmark = pytest.mark.django_db


@pytest.fixture
def boss() -> User:
    return make_user(Role.ADMIN)


@pytest.fixture(params=[1000, 1, 0], ids=["few", "hardly any", "many in order"])
def _few(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many rows there are, the same is found."""
    monkeypatch.setattr(find, "FEW", request.param)


def names(text: str, user: User) -> list[str]:
    return [str(one.row) for one in Search(text, user=user).results(most=100)]


def put_on(row: Any, *add: str, by: User, kind: str = "guest") -> None:
    change_tags(kind=kind, ids=[row.pk], add=add, by=by)


def written() -> dict[tuple[int, str], str]:
    """What search's rows have, by kind and id."""
    return {
        (kind, str(pk)): tags for kind, pk, tags in SearchRow.objects.values_list("kind", "object_id", "tags") if tags
    }


def wanted() -> dict[tuple[int, str], str]:
    """What they should have by the tables that say which object has what."""
    found: dict[tuple[int, str], list[str]] = {}
    for kind, tagged in KINDS.items():
        for pk, key in ENTRIES[tagged].objects.values_list(f"{tagged}_id", "tag__name_key"):
            found.setdefault((kind.value, str(pk)), []).append(key)
    return {key: "\n{}\n".format("\n".join(sorted(keys))) for key, keys in found.items()}


class TestFinding:
    @pytest.fixture
    def host(self, boss: User) -> Host:
        """Three guests named web, one of them and one more tagged."""
        host = make_host("kvm")
        for name in ("web-1", "web-2", "db-1", "x prod"):
            make_guest(name, host, notes="seen")
        index_missing()
        put_on(Guest.objects.get(name="web-1"), "Prod", "Café Zürich", by=boss)
        put_on(Guest.objects.get(name="db-1"), "production", "db", "ß", by=boss)
        put_on(host, "prod", "日本", by=boss, kind="host")
        return host

    @pytest.mark.usefixtures("_few")
    @pytest.mark.parametrize(
        ("text", "found"),
        [
            ("prod", ["web-1", "kvm", "db-1", "x prod"]),  # whole tags before parts, guests before hosts
            ("PROD", ["web-1", "kvm", "db-1", "x prod"]),
            ("roduct", ["db-1"]),
            ("web prod", ["web-1"]),
            ("prod web seen", ["web-1"]),
            ("web prod nothing", []),
            ("café zürich", ["web-1"]),
            ('"é zü"', ["web-1"]),
            ('"café prod"', []),
            ("cafe", []),
            ("prod café", ["web-1"]),
            ("db", ["db-1"]),
            ("ss", ["db-1"]),
            ("日本", ["kvm"]),
            ("日", []),
            ("ro", []),
            ("ca", []),
            ("we db", []),
            ("prod db", ["db-1"]),
            ("\nprod", ["web-1", "kvm", "db-1", "x prod"]),
        ],
    )
    def test_by_words_in_texts_and_tags(self, host: Host, boss: User, text: str, found: list[str]) -> None:
        assert names(text, boss) == found

    @pytest.mark.usefixtures("_few")
    @pytest.mark.parametrize("text", ["web", "db"])
    def test_pages_follow_each_other(self, boss: User, text: str) -> None:
        host = make_host("kvm")
        for number in range(9):
            make_guest(f"g-{number}", host, notes="web")
            make_guest(f"db-{number}", host)
        index_missing()
        rows = Guest.objects.filter(name__in=[f"g-{number}" for number in range(1, 9)])
        change_tags(kind="guest", ids=[row.pk for row in rows], add=["web", "db", "webs"], by=boss)
        every = [one.hit for one in Search(text, user=boss).results(most=100)]
        assert len(every) == len(set(every)) == 9 + 8 * (text == "db")
        paged: list[Any] = []
        after = None
        while page := Search(text, user=boss).results(after=after, most=2):
            paged += [one.hit for one in page]
            after = read_cursor(cursor_of(page[-1].hit, text), text)
        assert paged == every

    def test_two_short_tags(self, host: Host, boss: User) -> None:
        put_on(Guest.objects.get(name="web-2"), "db", "eu", by=boss)
        assert names("db eu", boss) == ["web-2"]
        assert names("db", boss) == ["db-1", "web-2"]

    def test_by_the_name_of_now(self, host: Host, boss: User) -> None:
        tag = Tag.objects.get(name="Prod")
        change_tag(tag=tag, name="PROD", by=boss)
        assert names("web prod", boss) == ["web-1"]
        change_tag(tag=tag, name="live", by=boss)
        assert names("live", boss) == ["web-1", "kvm"]
        assert names("web prod", boss) == []
        delete_tag(tag=tag, by=boss)
        assert names("live", boss) == []
        assert names("café", boss) == ["web-1"]
        assert written() == wanted()

    def test_the_index_knows_the_tags(self, host: Host, boss: User) -> None:
        for word in ("café", "\nss\n", "\n日本\n"):
            assert len(TEXTS.matches(("object_id",), [word], most=9)) == 1
        with connection.cursor() as cursor:
            if connection.vendor == "sqlite":  # raises when the index and the texts are not the same
                name = TEXTS.name
                cursor.execute(f"INSERT INTO {name}({name}, rank) VALUES ('integrity-check', 1)")  # noqa: S608
                return
            cursor.execute("SET LOCAL enable_seqscan = off")
            cursor.execute(
                "EXPLAIN SELECT 1 FROM search_searchrow WHERE text LIKE '%prod%' OR (tags <> '' AND tags LIKE '%prod%')"
            )
            plan = str(cursor.fetchall())
            assert all(f"on {name} " in plan for name in TEXTS.parts), plan


class TestRowsThatComeAndGo:
    def read(self, source: Source, seconds: float, *guests: Any, host: str = "") -> None:
        source.refresh_from_db()
        host = host or source.name
        facts: dict[str, Any] = {"datastores": (datastore_fact("own", host),), "switches": (switch_fact(host=host),)}
        apply_snapshot(source, snapshot(seconds, *guests, host=host, **facts), source.lease_token)

    @pytest.fixture
    def source(self, boss: User) -> Source:
        """One of each kind, each with the tag web."""
        source = make_source("alpha")
        self.read(source, 1, guest_fact())
        for kind, model in OBJECTS.items():
            put_on(model.objects.get(), "web", by=boss, kind=kind)
        return source

    def test_no_read_writes_or_forgets_them(self, source: Source, boss: User) -> None:
        before = wanted()
        assert len(before) == 4
        self.read(source, 2, guest_fact(notes="changed", agent=AgentFact(hostname="inside")))
        self.read(source, 3, guest_fact(notes="and again", state=GuestState.OFF))
        with search_writes() as writes:
            self.read(source, 4, guest_fact(notes="and once more"))
        assert writes
        assert not any("tags" in sql for sql in writes)
        assert written() == wanted() == before
        assert names("web more", boss) == ["db-07"]

    def test_a_moved_guest_keeps_them(self, source: Source, boss: User) -> None:
        self.read(make_source("beta"), 2, guest_fact(host="beta"))
        self.read(source, 3)
        guest = Guest.objects.get()
        assert guest.host.name == "beta"
        assert "db-07" in names("web", boss)
        assert GuestTag.objects.get().guest == guest

    def test_a_twin_never_gets_them(self, source: Source, boss: User) -> None:
        mine = Guest.objects.get()
        self.read(make_source("beta"), 2, guest_fact(host="beta"))
        self.read(source, 3, guest_fact())
        self.read(Source.objects.get(name="beta"), 4, guest_fact(host="beta"))
        assert Guest.objects.exclude(conflict="").count() == 2
        assert list(GuestTag.objects.values_list("guest_id", flat=True)) == [mine.pk]
        assert written() == wanted()

    def test_who_announces_the_same_uuid_elsewhere_never_gets_them(self, source: Source) -> None:
        mine = Guest.objects.get()
        self.read(make_source("stranger", datacenter="elsewhere"), 2, guest_fact(host="stranger"))
        assert Guest.objects.filter(uuid=mine.uuid).count() == 2
        assert list(GuestTag.objects.values_list("guest_id", flat=True)) == [mine.pk]
        assert len(written()) == 4

    def test_they_go_with_their_source_to_another_datacenter(self, source: Source, boss: User) -> None:
        before = wanted()
        target = Datacenter.objects.create(name="North")
        move_source(source=source, datacenter=target, confirmation="alpha", by=boss)
        self.read(source, 9, guest_fact(notes="there"))
        assert written() == wanted() == before

    def test_they_vanish_with_a_removed_source(self, source: Source, boss: User) -> None:
        remove_source(source=source, confirmation="alpha", by=boss)
        assert written() == wanted() == {}
        assert Tag.objects.get().name == "web"

    def test_a_datastore_that_others_see_keeps_them(self, source: Source, boss: User) -> None:
        beta = make_source("beta")
        self.read(beta, 2, host="beta")
        shared = Datastore.objects.filter(mounts__host__name="beta").first()
        assert shared is not None
        put_on(shared, "kept", by=boss, kind="datastore")
        remove_source(source=source, confirmation="alpha", by=boss)
        assert DatastoreTag.objects.get(tag__name="kept").datastore_id == shared.pk
        assert written() == wanted()

    def test_everything_written_anew_has_them(self, source: Source, boss: User) -> None:
        before = written()
        SearchRow.objects.update(tags="\nold\n")
        call_command("reindex_search")
        assert written() == wanted() == before
        SearchRow.objects.all().delete()
        index_missing()
        assert written() == before
        assert names("web", boss)


WORDS = ("web", "Web", "db", "prod", "Straße", "x")
a_word = st.sampled_from(WORDS)
some_words = st.lists(a_word, max_size=2)


class Lives(RuleBasedStateMachine):
    """Guests of two hosts that are read, tagged, moved and forgotten in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.undo = transaction.atomic()
        self.undo.__enter__()
        self.boss: User = make_user(Role.ADMIN)
        self.second = 0
        self.sources = {name: make_source(name) for name in ("alpha", "beta")}
        self.there: dict[str, set[str]] = {"alpha": {"one", "two", "three"}, "beta": {"four"}}
        for name in self.there:
            self.read(name, "")

    def teardown(self) -> None:
        transaction.set_rollback(True)
        self.undo.__exit__(None, None, None)

    @rule(name=st.sampled_from(("alpha", "beta")), notes=st.sampled_from(("", "web", "other words")))
    def read(self, name: str, notes: str) -> None:
        if name not in self.sources:
            return
        self.second += 1
        guests = [guest_fact(one, host=name, notes=notes) for one in sorted(self.there[name])]
        source = self.sources[name]
        source.refresh_from_db()
        apply_snapshot(source, snapshot(self.second, *guests, host=name), source.lease_token)

    @rule(data=st.data(), kind=st.sampled_from(("guest", "host")), add=some_words, remove=some_words)
    def tag(self, data: st.DataObject, kind: str, add: list[str], remove: list[str]) -> None:
        rows = list((Guest if kind == "guest" else Host).objects.order_by("name").values_list("pk", flat=True))
        remove = [word for word in remove if fold(word) not in map(fold, add)]
        if rows and (add or remove):
            ids = data.draw(st.lists(st.sampled_from(rows), min_size=1, unique=True))
            change_tags(kind=kind, ids=ids, add=add, remove=remove, by=self.boss)

    @precondition(lambda self: Tag.objects.exists())
    @rule(data=st.data(), name=a_word)
    def rename(self, data: st.DataObject, name: str) -> None:
        tag = data.draw(st.sampled_from(list(Tag.objects.order_by("name_key"))))
        if not Tag.objects.filter(name_key=fold(name)).exclude(pk=tag.pk).exists():
            change_tag(tag=tag, name=name, by=self.boss)

    @precondition(lambda self: Tag.objects.exists())
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        delete_tag(tag=data.draw(st.sampled_from(list(Tag.objects.order_by("name_key")))), by=self.boss)

    @rule(name=st.sampled_from(("one", "two", "three", "four")))
    def move(self, name: str) -> None:
        here, there = ("alpha", "beta") if name in self.there["alpha"] else ("beta", "alpha")
        if name in self.there[here]:
            self.there[here].remove(name)
            self.there[there].add(name)

    @precondition(lambda self: "beta" in self.sources and self.second > 8)
    @rule()
    def forget(self) -> None:
        remove_source(source=self.sources.pop("beta"), confirmation="beta", by=self.boss)

    @rule(whole=st.booleans())
    def reindex(self, whole: bool) -> None:
        index_everything() if whole else index_missing()

    @invariant()
    def search_finds_what_the_tables_say(self) -> None:
        assert written() == wanted()
        for word in WORDS:
            key = fold(word)
            if len(key) < 3:
                continue
            tagged = set(GuestTag.objects.filter(tag__name_key__contains=key).values_list("guest_id", flat=True))
            texts = set(SearchRow.objects.filter(kind=1, text__contains=key).values_list("object_id", flat=True))
            found = {one.row.pk for one in Search(word, user=self.boss).results(most=100) if one.kind == 1}
            assert found == tagged | texts


def test_whatever_happens_search_finds_what_the_tables_say() -> None:
    run_state_machine_as_test(
        Lives,
        settings=settings(
            max_examples=examples(12), stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


@pytest.mark.parametrize("text", ["w", "web"])
def test_the_index_is_asked_once_for_all_lists(boss: User, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    asked: list[Any] = []
    matches = type(TEXTS).matches

    def counted(*args: Any, **named: Any) -> Any:
        asked.append(args)
        return matches(*args, **named)

    monkeypatch.setattr(type(TEXTS), "matches", counted)
    search = Search(text, user=boss)
    for kind in find.EVERY_KIND:
        search.results((kind,), most=5)
    assert len(asked) == 1
