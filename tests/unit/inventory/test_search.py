"""Everything is found by any part of what it is found by, as soon as it was read, and by nobody who may not see it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.core.management import call_command
from django.db import DatabaseError, connection
from msgspec.structs import replace

from access.models import RestrictedQuerySet, User
from access.roles import Role
from core.lists import ListError
from core.search import MANY
from drivers.types import AgentFact, GuestState
from hosts import organization
from hosts.models import Host, Source
from hosts.services import remove_source
from inventory import find
from inventory.find import LONGEST_QUERY, MOST_WORDS, Search, cursor_of, read_cursor
from inventory.models import Guest
from inventory.reindex import index_everything, index_missing
from inventory.sync import apply_snapshot, apply_states
from networks.models import VirtualSwitch
from search.models import TEXTS, Kind, SearchRow
from storage.models import Datastore
from tests.factories import make_guest, make_host, make_user
from tests.facts import (
    datastore_fact,
    disk_fact,
    guest_fact,
    host_fact,
    make_source,
    nic_fact,
    snapshot,
    state_fact,
    states,
    switch_fact,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def source() -> Source:
    return make_source()


@pytest.fixture
def viewer() -> User:
    return make_user(Role.VIEWER)


def full(seconds: float, *guests: Any, **values: Any) -> Any:
    return snapshot(seconds, *guests, **({"datastores": (datastore_fact(),), "switches": (switch_fact(),)} | values))


def names(text: str, user: User, *kinds: Kind, most: int = 100) -> list[str]:
    found = Search(text, user=user).results(kinds or tuple(Kind), most=most)
    return [str(one.row) for one in found]


@contextmanager
def search_writes() -> Iterator[list[str]]:
    writes: list[str] = []

    def watch(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        plain = sql.replace('"', "").strip()
        if plain.startswith(("INSERT INTO search", "UPDATE search", "DELETE FROM search")):
            writes.append(plain)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(watch):
        yield writes


class TestWhatIsWritten:
    @pytest.mark.parametrize(
        "text",
        [
            "db-07",
            "B-0",
            "10.0.0.7",
            "0.0.7",
            "52:54:00",
            "{uuid}",
            "billing",
            "nightly",
            "/srv/odd/disk.qcow2",
            "br-odd",
            "lan-odd",
            "dmz 42",
            "db-07.example.net",
            "bookworm",
        ],
    )
    def test_a_guest_is_found_by_any_part_of_it(self, source: Source, viewer: User, text: str) -> None:
        nic = nic_fact(network="lan-odd", bridge="br-odd")
        fact = guest_fact(
            title="Billing",
            notes="Restarted nightly",
            disks=(disk_fact(source="/srv/odd/disk.qcow2"),),
            nics=(replace(nic, port_group="DMZ 42"),),
            agent=AgentFact(hostname="db-07.example.net", os="Debian GNU/Linux 12 (bookworm)"),
        )
        apply_snapshot(source, full(1, fact), 0)
        assert "db-07" in names(text.format(uuid=fact.uuid), viewer, Kind.GUEST)

    def test_hosts_datastores_switches_and_sources_are_found(self, source: Source, viewer: User) -> None:
        host = host_fact(vendor="Example Systems", model="R1", cpu_model="EPYC 7763")
        apply_snapshot(source, full(1, guest_fact(), hosts=(host,)), 0)
        index_missing()  # the source was made by hand
        assert names("epyc 7763", viewer) == [host.name]
        assert names("example systems", viewer) == [host.name]
        store, switch = Datastore.objects.get(), VirtualSwitch.objects.get()
        assert store.name in names(store.path, viewer, Kind.DATASTORE)
        assert switch.name in names(switch.bridge, viewer, Kind.SWITCH)
        assert names(source.name, viewer, Kind.SOURCE) == [source.name]

    def test_what_does_not_change_is_not_written(self, source: Source) -> None:
        agent = AgentFact(hostname="db-07")
        apply_snapshot(source, full(1, guest_fact(agent=agent)), 0)
        with search_writes() as writes:
            apply_snapshot(source, full(2, guest_fact(agent=agent)), 0)
            apply_snapshot(source, full(3, guest_fact(agent=None)), 0)
            apply_snapshot(source, full(4, guest_fact(agent=agent, vcpus=16, state=GuestState.OFF)), 0)
            apply_states(source, states(5, state_fact("db-07", state=GuestState.RUNNING)), 0)
        assert writes == []

    def test_a_change_is_found_at_once_and_what_was_before_no_more(self, source: Source, viewer: User) -> None:
        apply_snapshot(source, full(1, guest_fact()), 0)
        apply_snapshot(source, full(2, replace(guest_fact(), name="renamed", notes="moved house")), 0)
        assert names("moved house", viewer) == names("renamed", viewer) == ["renamed"]
        assert names("db-07", viewer) == []

    def test_an_agent_that_is_not_heard_is_not_forgotten(self, source: Source, viewer: User) -> None:
        apply_snapshot(source, full(1, guest_fact(agent=AgentFact(hostname="inside.example"))), 0)
        apply_snapshot(source, full(2, guest_fact(agent=None, notes="new words")), 0)
        assert names("inside.example", viewer) == names("new words", viewer) == ["db-07"]
        apply_snapshot(source, full(3, guest_fact(agent=AgentFact(hostname="other.example"), notes="new words")), 0)
        assert names("inside.example", viewer) == []
        assert names("other.example", viewer) == ["db-07"]

    def test_a_removed_source_takes_everything_along(self, source: Source) -> None:
        apply_snapshot(source, full(1, guest_fact()), 0)
        index_missing()
        assert {row.kind for row in SearchRow.objects.all()} == set(Kind) - {Kind.CLUSTER}
        remove_source(source=source, confirmation=source.name, by=make_user(Role.ADMIN))
        assert {row.kind for row in SearchRow.objects.all()} == {Kind.DATACENTER}
        assert not _indexed("db-07")

    def test_the_index_is_that_of_the_texts_whatever_happened_to_them(self, source: Source) -> None:
        if connection.vendor != "sqlite":
            pytest.skip("PostgreSQL keeps its index by itself")
        for second in range(1, 12):
            there = [replace(guest_fact(f"g{n}"), notes=f"seen {second // n}") for n in range(1, 9) if second % n]
            apply_snapshot(source, full(second, *there), 0)
        Guest.objects.first().delete()  # type: ignore[union-attr]
        index_everything()
        SearchRow.objects.filter(name_key="g2").delete()
        with connection.cursor() as cursor:  # raises when the index and the texts are not the same
            index = TEXTS.name
            cursor.execute(f"INSERT INTO {index}({index}, rank) VALUES ('integrity-check', 1)")  # noqa: S608
            cursor.execute("UPDATE search_searchrow SET id = -id WHERE id IN (SELECT id FROM search_searchrow LIMIT 1)")
            with pytest.raises(DatabaseError, match="malformed"):
                cursor.execute(f"INSERT INTO {index}({index}, rank) VALUES ('integrity-check', 1)")  # noqa: S608

    @pytest.mark.parametrize("count", [MANY, MANY - 1])
    def test_many_texts_are_sorted_into_the_index_when_they_are_written(self, source: Source, count: int) -> None:
        if connection.vendor != "postgresql":
            pytest.skip("only PostgreSQL collects first")
        apply_snapshot(source, full(1, *(guest_fact(f"g{n}") for n in range(count))), 0)
        with connection.cursor() as cursor:
            cursor.execute("SELECT gin_clean_pending_list(%s::regclass)", [TEXTS.name])
            (left,) = cursor.fetchone()
        assert (left == 0) is (count == MANY)
        assert _indexed("g77")


class TestPlaces:
    def test_clusters_and_datacenters_are_found_by_their_names_of_now(self) -> None:
        admin = make_user(Role.ADMIN)
        datacenter = organization.create_datacenter(name="Rheinstraße", by=admin)
        cluster = organization.create_cluster(datacenter=datacenter, name="Blades", by=admin)
        assert names("rheinstrasse", admin) == ["Rheinstraße"]
        organization.rename_datacenter(datacenter=datacenter, name="Hafen", by=admin)
        organization.rename_cluster(cluster=cluster, name="Towers", by=admin)
        assert names("rheinstrasse", admin) == names("blades", admin) == []
        assert (names("hafen", admin), names("tow", admin)) == (["Hafen"], ["Towers"])
        organization.delete_cluster(cluster=cluster, by=admin)
        organization.delete_datacenter(datacenter=datacenter, by=admin)
        assert not SearchRow.objects.exists()


def _indexed(word: str) -> list[Any]:
    return TEXTS.matches(("object_id",), [word], most=10)


class TestReindex:
    def test_it_writes_what_the_sync_wrote(self, source: Source) -> None:
        fact = guest_fact(
            notes="Ümläute\0 and\nlines",
            title="x" * 300,
            agent=AgentFact(hostname="h", os="OS"),
            nics=(nic_fact(),) * 3,
        )
        apply_snapshot(source, full(1, fact, guest_fact(ref="b", uuid="", name="Second")), 0)
        columns = ("kind", "object_id", "name_key", "digest", "text")
        before = sorted(SearchRow.objects.values_list(*columns))
        assert before
        with search_writes():
            index_everything()
        assert [
            row
            for row in sorted(SearchRow.objects.values_list(*columns))
            if row[0] not in (Kind.SOURCE, Kind.DATACENTER)
        ] == before

    def test_what_is_missing_is_filled_in(self, viewer: User) -> None:
        guest = make_guest("web-01", make_host())
        assert names("web-01", viewer) == []
        assert index_missing() == 4  # with its host, source and datacenter
        assert names("web-01", viewer) == ["web-01"]
        assert index_missing() == 0
        Guest.objects.filter(pk=guest.pk).delete()
        call_command("reindex_search")
        assert not SearchRow.objects.filter(kind=Kind.GUEST).exists()

    def test_the_index_is_made_anew(self, viewer: User) -> None:
        make_guest("web-01", make_host())
        index_missing()
        TEXTS.drop()
        assert not TEXTS.exists()
        index_missing()
        assert TEXTS.exists()
        assert names("eb-0", viewer) == ["web-01"]
        index_everything()
        assert names("eb-0", viewer) == ["web-01"]

    def test_without_the_extension_the_same_is_found(self, viewer: User, caplog: Any, monkeypatch: Any) -> None:
        if connection.vendor == "sqlite":
            pytest.skip("SQLite has what is needed built in")
        monkeypatch.setattr("core.search.EXTENSION", "there_is_no_such_extension")
        make_guest("web-01", make_host())
        TEXTS.drop()
        index_missing()
        assert not TEXTS.exists()
        assert "Have its administrator run CREATE EXTENSION pg_trgm" in caplog.text
        assert names("eb-0", viewer) == ["web-01"]


class TestFinding:
    @pytest.fixture
    def host(self) -> Host:
        return make_host("kvm-01")

    def guests(self, host: Host, *wanted: str, **values: Any) -> None:
        for name in wanted:
            make_guest(name, host, **values)
        index_missing()

    def test_the_best_come_first(self, host: Host, viewer: User) -> None:
        make_guest("aa", host, notes="web")
        make_guest("ab", host, notes="knows web-01")
        make_host("web", host.source)
        self.guests(host, "web-02", "cobweb", "web", "Web-01")
        assert names("WEB", viewer) == ["web", "web", "Web-01", "web-02", "aa", "ab", "cobweb"]

    def test_very_many_come_in_the_same_order(self, host: Host, viewer: User, monkeypatch: Any) -> None:
        make_guest("aa", host, notes="web")
        make_host("web", host.source)
        self.guests(host, *(f"web-{n:02d}" for n in range(9)), "cobweb", "web", "wobweb")
        few = names("web", viewer)
        monkeypatch.setattr(find, "FEW", 5)
        assert names("web", viewer) == few
        assert few[:3] == ["web", "web", "web-00"]
        assert few[-3:] == ["aa", "cobweb", "wobweb"]

    @pytest.mark.parametrize("few", [1000, 5, 0])
    @pytest.mark.parametrize("text", ["web", "w"])
    def test_pages_follow_each_other(self, host: Host, viewer: User, monkeypatch: Any, few: int, text: str) -> None:
        make_guest("aa", host, notes="web")
        self.guests(host, *(f"web-{n:02d}" for n in range(9)), "cobweb", "web", "Web", "wobweb")
        monkeypatch.setattr(find, "FEW", few)
        every = [one.hit for one in Search(text, user=viewer).results(most=100)]
        assert len(every) == len(set(every)) > 10
        paged, after = [], None
        while page := Search(text, user=viewer).results(after=after, most=4):
            paged += [one.hit for one in page]
            after = read_cursor(cursor_of(page[-1].hit, text), text)
        assert paged == every

    @pytest.mark.parametrize("few", [1000, 30, 0])
    def test_what_is_hidden_moves_nothing_else(self, host: Host, viewer: User, monkeypatch: Any, few: int) -> None:
        for number in range(20):
            make_guest(f"hidden-{number:02d}", host, notes="web")
        self.guests(host, *(f"a-web-{n:02d}" for n in range(20)))
        make_host("b-web", host.source)
        index_missing()
        by_role = RestrictedQuerySet.restrict

        def restrict(rows: Any, user: Any, action: Any) -> Any:
            seen = by_role(rows, user, action)
            return seen.exclude(name__startswith="hidden") if seen.model is Guest else seen

        monkeypatch.setattr(RestrictedQuerySet, "restrict", restrict)
        monkeypatch.setattr(find, "FEW", few)
        for most in (3, 21, 100):
            assert names("web", viewer, most=most) == [*(f"a-web-{n:02d}" for n in range(20)), "b-web"][:most]

    @pytest.mark.parametrize("few", [1000, 0])
    def test_who_sees_little_finds_little(self, host: Host, viewer: User, monkeypatch: Any, few: int) -> None:
        self.guests(host, *(f"web-{n:03d}" for n in range(150)))
        by_role = RestrictedQuerySet.restrict

        def restrict(rows: Any, user: Any, action: Any) -> Any:
            seen = by_role(rows, user, action)
            return seen.filter(name="web-140") if seen.model is Guest else seen

        monkeypatch.setattr(RestrictedQuerySet, "restrict", restrict)
        monkeypatch.setattr(find, "FEW", few)
        assert names("web", viewer, most=3) == names("w", viewer, most=3) == ["web-140"]

    @pytest.mark.parametrize(
        ("text", "found"),
        [
            ("ärger", True),
            ("ÄRGER", True),
            ("a\u0308rger", True),
            ("STRASSE", True),
            ("straße", True),
            ("100%", True),
            ("0%_x", False),
            ("a_b", True),
            ("aXb", False),
            ("c\\d", True),
            ("c\\\\d", False),
            ("'; drop table", True),
            ('say "hello', True),
            ('"hello world"', True),
            ('"world hello"', False),
            ("world hello", True),
            ("hello nobody", False),
            ('"', False),
            ('"""', False),
            ("%%%", False),
            ("___", False),
            ("***", False),
            ("NEAR(a b)", False),
            ("hello AND world", False),
            ("hello OR nobody", False),
            ("text:hello", False),
            ("-hello", False),
            ("hello*", False),
            ("^hello", False),
            ("nul\0byte", True),
            ("nul\ufffdbyte", True),
            ("\udc80", False),
            ("\0\0\0", False),
            ("日本語", True),
            ("本語", False),
            ("🦊🦊🦊", True),
        ],
    )
    def test_a_query_means_what_it_says(self, host: Host, viewer: User, text: str, found: bool) -> None:
        notes = 'Ärger Straße 100% a_b c\\d \'; drop table say "hello world" nul\ufffdbyte 日本語 🦊🦊🦊'
        self.guests(host, "odd", notes=notes)
        assert names(text, viewer) == (["odd"] if found else [])

    @pytest.mark.parametrize("text", ["", " ", "\t\n", "\u3000"])
    def test_nothing_finds_nothing(self, host: Host, viewer: User, text: str) -> None:
        self.guests(host, "web-01")
        assert names(text, viewer) == []

    def test_short_queries_find_names_that_begin_so(self, host: Host, viewer: User) -> None:
        self.guests(host, "Web", "wan", "cow", notes="w wa")
        assert names("w", viewer) == ["wan", "Web"]
        assert names("WA", viewer) == ["wan"]
        assert names("w a", viewer) == []

    @pytest.mark.parametrize("text", ["52:54:00:AB:cd:01", "52-54-00-ab-cd-01", "5254.00ab.cd01"])
    def test_a_mac_address_is_found_however_it_is_written(self, source: Source, viewer: User, text: str) -> None:
        apply_snapshot(source, full(1, guest_fact(nics=(nic_fact(mac="52:54:00:ab:cd:01"),))), 0)
        assert names(text, viewer) == ["db-07"]

    @pytest.mark.parametrize("text", ["x" * (LONGEST_QUERY + 1), "x" * 10_000, "ab " * (MOST_WORDS + 1)])
    def test_too_much_is_refused_in_words(self, viewer: User, text: str) -> None:
        with pytest.raises(ListError, match="at most"):
            Search(text, user=viewer)

    @pytest.mark.parametrize("cursor", ["x", "W10:abc", cursor_of(find.Hit(0, 1, "a", "x"), "another")])
    def test_a_cursor_that_is_none_of_this_search_is_refused(self, cursor: str) -> None:
        with pytest.raises(ListError):
            read_cursor(cursor, "web")

    def test_the_index_is_asked(self, host: Host, viewer: User) -> None:
        """Without it the same is found, but by reading every text."""
        self.guests(host, *(f"web-{n:02d}" for n in range(20)))
        with connection.cursor() as cursor:
            if connection.vendor == "sqlite":
                cursor.execute("DELETE FROM search_searchrow_trigrams WHERE rowid IN (SELECT id FROM search_searchrow)")
                assert names("eb-1", viewer) == []
            else:
                cursor.execute("SET LOCAL enable_seqscan = off")
                cursor.execute("EXPLAIN SELECT 1 FROM search_searchrow WHERE text LIKE '%web-1%'")
                assert "search_searchrow_trigrams" in str(cursor.fetchall())
