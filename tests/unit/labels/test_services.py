"""Tags: names, limits, what is recorded, who may, and many people at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext

from access.models import User
from access.roles import Action, Role
from audit.models import AuditRow
from core.db import write_transaction
from core.errors import Conflict, Forbidden, Invalid
from core.ids import new_id
from hosts.models import Datacenter, Host, Source
from hosts.services import remove_source
from inventory.find import Search
from inventory.models import Guest
from inventory.reindex import index_missing
from inventory.relocation import move_source
from inventory.sync import apply_snapshot
from labels import services
from labels.models import OBJECTS, Color, GuestTag, Tag, Tagged
from labels.selectors import tag_list, tags_of
from labels.services import change_tag, change_tags, checked_name, create_tag, delete_tag
from networks.models import VirtualSwitch
from search.models import Kind
from search.services import forget
from storage.models import Datastore
from tests import facts
from tests.factories import make_datastore, make_guest, make_host, make_source, make_switch, make_user
from tests.together import Meeting, database_for_threads, together, until_blocked

pytestmark = pytest.mark.django_db
AT_ONCE = 8


class Deadlock(Exception):
    """As PostgreSQL's driver tells it."""

    sqlstate = "40P01"


@pytest.fixture
def boss() -> User:
    return make_user(Role.ADMIN)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What each call of `publish` said."""
    calls: list[tuple[Any, ...]] = []
    monkeypatch.setattr(services, "publish", lambda *changes: calls.append(changes))
    return calls


def put_on(row: Any, *names: str, by: User) -> int:
    kinds = {model: kind for kind, model in OBJECTS.items()}
    return change_tags(kind=kinds[type(row)], ids=[row.pk], add=names, by=by)


def names_of(row: Any, *, by: User, kind: str = "guest") -> list[str]:
    return [tag.name for tag in tags_of(kind, [row.pk], user=by)[row.pk]]


def acts() -> list[str]:
    return list(AuditRow.objects.order_by("at").values_list("action", flat=True))


class TestWho:
    @pytest.mark.parametrize("role", Role)
    def test_by_role(self, role: str, boss: User) -> None:
        user, guest = make_user(role, f"a-{role}"), make_guest()
        tag = create_tag(name="web", by=boss)
        rules: dict[Action, list[Callable[[], Any]]] = {
            Action.CONFIGURE: [
                lambda: change_tags(kind="guest", ids=[guest.pk], add=["new"], by=user),
                lambda: change_tags(kind="guest", ids=[guest.pk], remove=["new"], by=user),
            ],
            Action.SOURCES: [
                lambda: create_tag(name="empty", by=user),
                lambda: change_tag(tag=tag, name="other", by=user),
                lambda: delete_tag(tag=tag, by=user),
            ],
        }
        for action, calls in rules.items():
            for call in calls:
                if user.may(action):
                    call()
                else:
                    with pytest.raises(Forbidden):
                        call()

    def test_nobody_sees_tags_without_signing_in(self, boss: User) -> None:
        guest = make_guest()
        put_on(guest, "web", by=boss)
        assert not tag_list(user=None).exists()
        assert tags_of("guest", [guest.pk], user=None) == {guest.pk: []}


class TestNames:
    @pytest.mark.parametrize(
        ("typed", "kept"),
        [
            ("  web  ", "web"),
            ("web \u3000 front", "web front"),
            ("x" * 64, "x" * 64),
            ("Ä/ß:%_-*", "Ä/ß:%_-*"),
            ("👩\u200d💻", "👩\u200d💻"),
            ("na\u200cme", "na\u200cme"),
            ("\nweb\t", "web"),
            ("\u0378", "\u0378"),  # no sign yet
            ("a\U0001faff b", "a\U0001faff b"),
        ],
    )
    def test_are_kept_trimmed(self, typed: str, kept: str) -> None:
        assert checked_name(typed) == kept

    @pytest.mark.parametrize(
        "typed",
        [
            "",
            " ",
            "\u200d",
            "\u0301",
            "x" * 65,
            "ﷺ" * 64 + "x",
            "a,b",
            'a"b',
            "a\nb",
            "a\tb",
            "a\0b",
            "\udc80",
            "a\u202eb",
            "a\u2028b",
            "a\ufdd0b",
            "a\ufffeb",
            "a\U0002ffffb",
        ],
    )
    def test_may_be_wrong(self, typed: str, boss: User) -> None:
        with pytest.raises(Invalid) as error:
            create_tag(name=typed, by=boss)
        assert error.value.field == "name"
        assert error.value.message.endswith(".")

    def test_what_cannot_be_seen_is_said(self) -> None:
        for typed in ("a\0b", "a\nb", "a\u202eb", "a\ufdd0b"):
            with pytest.raises(Invalid, match="only characters that can be seen"):
                checked_name(typed)

    def test_differ_by_more_than_their_case(self, boss: User) -> None:
        tag, other = create_tag(name="Straße", by=boss), create_tag(name="other", by=boss)
        for same in ("STRASSE", "strasse", " straße"):
            with pytest.raises(Invalid, match="already a tag"):
                create_tag(name=same, by=boss)
            with pytest.raises(Invalid, match="already a tag"):
                change_tag(tag=other, name=same, by=boss)
        assert change_tag(tag=tag, name="STRASSE", by=boss).name == "STRASSE"

    def test_a_new_name_is_spelt_as_it_came_first(self, boss: User) -> None:
        guest = make_guest()
        put_on(guest, "Web", "WEB", "web", by=boss)
        assert names_of(guest, by=boss) == ["Web"]


class TestActs:
    def test_every_kind_has_tags_of_its_own(self, boss: User) -> None:
        host = make_host()
        objects: dict[Tagged, Any] = {Tagged.GUEST: make_guest("g", host), Tagged.HOST: host}
        objects |= {Tagged.DATASTORE: make_datastore("d", (host,)), Tagged.SWITCH: make_switch("s", host)}
        for kind, row in objects.items():
            assert change_tags(kind=kind, ids=[row.pk], add=["b", "a", kind.value], by=boss) == 1
            assert names_of(row, by=boss, kind=kind) == ["a", "b", kind.value]
        rows: Any = tag_list(user=boss)
        counts = {(tag.guest_count, tag.host_count, tag.datastore_count, tag.switch_count) for tag in rows}
        assert counts == {(1, 1, 1, 1), (1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)}

    def test_what_is_there_already_changes_nothing(self, boss: User, told: list[Any]) -> None:
        one, two = make_guest("one"), make_guest("two", Host.objects.get())
        put_on(one, "web", by=boss)
        told.clear()
        assert put_on(one, "WEB", by=boss) == 0
        assert change_tags(kind="guest", ids=[one.pk], remove=["nothing", "of this"], by=boss) == 0
        assert (acts(), told) == (["tag.assigned"], [])
        assert change_tags(kind="guest", ids=[one.pk, two.pk], add=["web"], by=boss) == 1
        row = AuditRow.objects.latest("at")
        assert (row.target_name, row.detail) == ("two", {"added": ["web"]})

    def test_each_change_is_one_row_and_one_event(self, boss: User, told: list[Any]) -> None:
        guests = [make_guest("one"), make_guest("two", Host.objects.get())]
        ids = [guest.pk for guest in guests]
        change_tags(kind="guest", ids=ids, add=["web", "db"], by=boss)
        change_tags(kind="guest", ids=ids, add=["new"], remove=["db", "nothing"], by=boss)
        tag = Tag.objects.get(name="web")
        change_tag(tag=tag, name="Front", color="red", by=boss)
        change_tag(tag=tag, name="Front", color="red", by=boss)
        delete_tag(tag=tag, by=boss)
        delete_tag(tag=tag, by=boss)
        rows = list(AuditRow.objects.order_by("at"))
        assert [row.action for row in rows] == ["tag.assigned", "tag.assigned", "tag.changed", "tag.deleted"]
        assert [row.detail for row in rows[1:]] == [
            {"added": {"new": 2}, "removed": {"db": 2}, "created": ["new"], "number": 2, "objects": ["one", "two"]},
            {"before": {"name": "web", "color": "blue"}, "after": {"name": "Front", "color": "red"}},
            {"guest": 2},
        ]
        kinds = [sorted({change.kind for change in changes}) for changes in told]
        assert kinds == [["guest", "tag"]] * 4
        assert {change.id for change in told[0]} == {
            str(pk) for pk in [*ids, *Tag.objects.exclude(name="new").values_list("pk", flat=True), tag.pk]
        }

    def test_new_tags_get_the_colors_in_turn(self, boss: User) -> None:
        guest = make_guest()
        put_on(guest, *(f"tag {number:02d}" for number in range(12)), by=boss)
        colors = list(Tag.objects.order_by("name").values_list("color", flat=True))
        assert colors == [*Color.values, *Color.values][:12]
        assert create_tag(name="red one", color="red", by=boss).color == "red"

    def test_tags_are_given_by_their_ids_too(self, boss: User) -> None:
        guest = make_guest()
        one, two, gone = (create_tag(name=name, by=boss) for name in ("one", "two", "gone"))
        delete_tag(tag=gone, by=boss)
        ids: dict[str, Any] = {"kind": "guest", "ids": [guest.pk]}
        assert change_tags(**ids, add=["ONE", "new"], add_tags=[one.pk, two.pk], by=boss) == 1
        assert names_of(guest, by=boss) == ["new", "one", "two"]
        assert change_tags(**ids, remove=["new"], remove_tags=[two.pk, gone.pk], by=boss) == 1
        assert change_tags(**ids, remove_tags=[gone.pk], by=boss) == 0
        assert names_of(guest, by=boss) == ["one"]
        with pytest.raises(Conflict, match="is gone"):
            change_tags(**ids, add=["other"], add_tags=[gone.pk], by=boss)
        with pytest.raises(Invalid, match="put on and taken off"):
            change_tags(**ids, add=["one"], remove_tags=[one.pk], by=boss)
        assert names_of(guest, by=boss) == ["one"]

    def test_a_tag_that_is_gone_is_not_renamed(self, boss: User) -> None:
        tag = create_tag(name="web", by=boss)
        delete_tag(tag=tag, by=boss)
        with pytest.raises(Conflict, match="web is gone"):
            change_tag(tag=tag, name="x", by=boss)


class TestLimits:
    def test_of_an_object(self, boss: User, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(services, "MOST_ON_ONE", 3)
        full, empty = make_guest("full"), make_guest("empty", Host.objects.get())
        put_on(full, "a", "b", "c", by=boss)
        with pytest.raises(Invalid, match="at most 3 tags; full would have more"):
            change_tags(kind="guest", ids=[full.pk, empty.pk], add=["d"], by=boss)
        assert names_of(empty, by=boss) == []
        assert not Tag.objects.filter(name="d").exists()
        assert change_tags(kind="guest", ids=[full.pk], add=["d"], remove=["a"], by=boss) == 1
        monkeypatch.setattr(services, "MOST_ON_ONE", 1)  # as a later version may have it
        assert change_tags(kind="guest", ids=[full.pk], remove=["b"], by=boss) == 1
        monkeypatch.setattr(services, "MOST_ON_ONE", 3)
        with pytest.raises(Invalid, match="at most 3 tags"):
            put_on(empty, "a", "b", "c", "d", by=boss)
        with pytest.raises(Invalid, match="at most 3 tags"):
            change_tags(
                kind="guest", ids=[empty.pk], add=["x"], add_tags=Tag.objects.values_list("pk", flat=True), by=boss
            )

    def test_of_tags(self, boss: User, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(services, "MOST_TAGS", 2)
        guest = make_guest()
        put_on(guest, "a", "b", by=boss)
        for act in (lambda: create_tag(name="c", by=boss), lambda: put_on(guest, "c", by=boss)):
            with pytest.raises(Conflict, match="at most 2 tags"):
                act()
        assert put_on(guest, "A", "b", by=boss) == 0

    @pytest.mark.parametrize(
        ("ids", "sentence"), [([], "at least one"), ([new_id() for _ in range(1001)], "at most 1000")]
    )
    def test_of_objects(self, boss: User, ids: list[Any], sentence: str) -> None:
        with pytest.raises(Invalid, match=sentence):
            change_tags(kind="guest", ids=ids, add=["x"], by=boss)

    def test_nothing_to_do_and_both_at_once(self, boss: User) -> None:
        guest = make_guest()
        with pytest.raises(Invalid, match="at least one tag"):
            change_tags(kind="guest", ids=[guest.pk], by=boss)
        with pytest.raises(Invalid, match="put on and taken off"):
            change_tags(kind="guest", ids=[guest.pk], add=["Web"], remove=["web"], by=boss)
        with pytest.raises(Invalid, match="one of guest, host"):
            change_tags(kind="cluster", ids=[guest.pk], add=["Web"], by=boss)
        with pytest.raises(Conflict, match="is gone"):
            change_tags(kind="host", ids=[guest.pk], add=["Web"], by=boss)
        assert not Tag.objects.exists()

    def test_many_objects_cost_no_more_questions(self, boss: User) -> None:
        host, queries = make_host(), []
        for count in (3, 30):
            ids = [make_guest(f"{count} {number}", host).pk for number in range(count)]
            with CaptureQueriesContext(connection) as captured:
                change_tags(kind="guest", ids=ids, add=[f"{count} {number}" for number in range(5)], by=boss)
            queries.append(len(captured))
        assert queries[0] == queries[1]


@pytest.mark.django_db(transaction=True)
class TestAtOnce:
    seen: dict[str, Any]

    def all_of(self, tmp_path: Path, act: Any, count: int = AT_ONCE) -> list[Any]:
        with database_for_threads(tmp_path):
            answers = together(count, act)
            self.seen = {
                "tags": sorted(Tag.objects.values_list("name", flat=True)),
                "entries": sorted(GuestTag.objects.values_list("guest__name", "tag__name")),
                "places": set(Datastore.objects.values_list("datacenter__name", flat=True)),
                "found": {name: self.found(name) for name in ("web", "front")},
            }
        return answers

    def found(self, word: str) -> list[str]:
        user = User.objects.get(username="the-admin")
        return sorted(one.row.name for one in Search(word, user=user).results(most=100))

    def test_one_new_tag_for_all_who_add_it(self, boss: User, tmp_path: Path) -> None:
        host = make_host()
        guests = [make_guest(f"g{number}", host) for number in range(AT_ONCE)]
        index_missing()
        answers = self.all_of(tmp_path, lambda number: put_on(guests[number], "web", by=boss))
        assert answers == [1] * AT_ONCE
        assert self.seen["tags"] == ["web"]
        assert self.seen["found"]["web"] == [f"g{number}" for number in range(AT_ONCE)]

    def test_tags_of_many_people_on_one_object(self, boss: User, tmp_path: Path) -> None:
        guest = make_guest("g")
        index_missing()
        answers = self.all_of(tmp_path, lambda number: put_on(guest, f"web-{number}", by=boss))
        assert answers == [1] * AT_ONCE
        assert len(self.seen["entries"]) == AT_ONCE
        assert self.seen["found"]["web"] == ["g"]

    def test_a_tag_deleted_and_put_on(self, boss: User, tmp_path: Path) -> None:
        guest = make_guest("g")
        index_missing()
        tag = create_tag(name="web", by=boss)

        def act(number: int) -> Any:
            return delete_tag(tag=tag, by=boss) if number % 2 else put_on(guest, "web", by=boss)

        answers = self.all_of(tmp_path, act)
        assert [one for one in answers if isinstance(one, Exception)] == []
        assert self.seen["found"]["web"] == [guest for guest, _tag in self.seen["entries"]]

    def test_a_tag_renamed_and_put_on(self, boss: User, tmp_path: Path) -> None:
        host = make_host()
        guests = [make_guest(f"g{number}", host) for number in range(AT_ONCE)]
        index_missing()
        tag = create_tag(name="web", by=boss)

        def act(number: int) -> Any:
            return put_on(guests[number], "web", by=boss) if number else change_tag(tag=tag, name="front", by=boss)

        answers = self.all_of(tmp_path, act)
        assert [one for one in answers if isinstance(one, Exception)] == []
        for name in ("web", "front"):
            assert self.seen["found"][name] == [guest for guest, tag_name in self.seen["entries"] if tag_name == name]
        assert len(self.seen["entries"]) == AT_ONCE - 1

    def test_the_last_room_is_taken_once(self, boss: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(services, "MOST_TAGS", 3)
        answers = self.all_of(tmp_path, lambda number: create_tag(name=f"t{number}", by=boss))
        assert len(self.seen["tags"]) == 3
        assert sum(isinstance(one, Conflict) for one in answers) == AT_ONCE - 3

    @pytest.mark.parametrize("act", ["change_tags", "change_tag", "delete_tag"])
    def test_a_deadlock_is_tried_again(self, boss: User, monkeypatch: pytest.MonkeyPatch, act: str) -> None:
        guest, tag = make_guest("g"), create_tag(name="web", by=boss)
        put_on(guest, "web", by=boss)
        acts: dict[str, Callable[[], Any]] = {
            "change_tags": lambda: put_on(guest, "new", by=boss),
            "change_tag": lambda: change_tag(tag=tag, name="front", by=boss),
            "delete_tag": lambda: delete_tag(tag=tag, by=boss),
        }
        failing: list[Exception] = [Deadlock(), Deadlock()]

        def fail(*_changes: Any) -> None:
            if failing:
                raise OperationalError("deadlock detected") from failing.pop()

        monkeypatch.setattr(services, "publish", fail)
        rows = AuditRow.objects.count()
        acts[act]()
        assert AuditRow.objects.count() == rows + 1
        failing.extend([Deadlock()] * 3)
        with pytest.raises(OperationalError):
            put_on(guest, "other", by=boss)
        failing.append(Deadlock())
        with pytest.raises(OperationalError), write_transaction():  # the owner's to try again
            put_on(guest, "other", by=boss)
        failing.append(ValueError("disk full"))
        with pytest.raises(OperationalError):
            put_on(guest, "other", by=boss)
        assert not Tag.objects.filter(name="other").exists()

    def test_a_deadlock_with_who_locks_guests_in_another_order(self, boss: User, tmp_path: Path) -> None:
        host = make_host()
        guests = sorted((make_guest(f"g{number}", host) for number in range(2)), key=lambda guest: guest.uuid)
        index_missing()
        locked = threading.Event()

        def lock(guest: Guest) -> None:
            list(Guest.objects.filter(pk=guest.pk).select_for_update(of=("self",)).values_list("pk"))

        def act(number: int) -> Any:
            if number:
                assert locked.wait(30)
                return change_tags(kind="guest", ids=[guest.pk for guest in guests], add=["web"], by=boss)
            with write_transaction():
                lock(guests[1])
                locked.set()
                until_blocked()
                lock(guests[0])  # the other has waited longer and is ended
            return None

        assert self.all_of(tmp_path, act, 2) == [None, 2]
        assert self.seen["found"]["web"] == ["g0", "g1"]

    def test_guests_that_go_meanwhile(self, boss: User, tmp_path: Path) -> None:
        host = make_host()
        guests = [make_guest(f"g{number}", host) for number in range(AT_ONCE)]
        index_missing()

        def act(number: int) -> Any:
            if number % 2:
                return change_tags(kind="guest", ids=[guest.pk for guest in guests], add=["web"], by=boss)
            with write_transaction():  # as a read does it, where two rows turn out to be one guest
                rows = Guest.objects.filter(pk=guests[number].pk)
                list(rows.select_for_update(of=("self",)).values_list("pk"))
                forget(Kind.GUEST, [guests[number].pk])
                return rows.delete()

        answers = self.all_of(tmp_path, act)
        assert [one for one in answers if isinstance(one, Exception) and not isinstance(one, Conflict)] == []

    @pytest.mark.parametrize("kind", Tagged)
    def test_a_source_removed_or_moved_meanwhile(self, boss: User, tmp_path: Path, kind: Tagged) -> None:
        sources = [make_source(f"s{number}") for number in range(AT_ONCE // 2)]
        objects: dict[Any, Any] = {}
        for number, source in enumerate(sources):
            host = make_host(f"h{number}", source)
            made = {Tagged.HOST: host, Tagged.GUEST: make_guest(f"g{number}", host)}
            made |= {Tagged.SWITCH: make_switch("s", host), Tagged.DATASTORE: make_datastore(f"d{number}", (host,))}
            objects[source.pk] = made[kind]
        index_missing()
        north = Datacenter.objects.create(name="North")

        def act(number: int) -> Any:
            source = sources[number // 2]
            if number % 2:
                return put_on(objects[source.pk], "web", by=boss)
            if number % 4:
                return remove_source(source=source, confirmation=source.name, by=boss)
            return move_source(source=source, datacenter=north, confirmation=source.name, by=boss)

        answers = self.all_of(tmp_path, act)
        assert [one for one in answers if isinstance(one, Exception) and not isinstance(one, Conflict)] == []

    def test_a_datastore_that_is_joined_while_it_gets_a_tag(
        self, boss: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        north, source = Datacenter.objects.create(name="North"), make_source("s")
        store = make_datastore("d", (make_host("h", source),))
        Datastore.objects.create(datacenter=north, identity=store.identity, name="d", evidence_at=store.evidence_at)
        index_missing()
        begun, meeting, put = threading.Event(), Meeting(), services._put_on

        def put_and_wait(*args: Any) -> Any:
            answer = put(*args)
            begun.set()
            meeting.wait()
            return answer

        def act(number: int) -> Any:
            if number == 0:
                return put_on(store, "web", by=boss)
            assert begun.wait(30)
            return move_source(source=source, datacenter=north, confirmation="s", by=boss).name

        monkeypatch.setattr(services, "_put_on", put_and_wait)
        assert self.all_of(tmp_path, act, 2) == [1, "s"]
        assert self.seen["places"] == {"North"}

    def test_reads_and_acts_wait_for_each_other_one_way_only(self, boss: User, tmp_path: Path) -> None:
        """Each read writes anew what all its objects are found by, in an order of its own."""
        sources = [read_source(f"alpha-{number}") for number in range(3)]
        for source in sources:
            read_all(source, 1)
        tag = create_tag(name="web", by=boss)
        kinds: dict[str, list[Any]] = {"host": list(Host.objects.values_list("pk", flat=True))}
        kinds |= {"guest": list(Guest.objects.values_list("pk", flat=True))}
        kinds |= {"switch": list(VirtualSwitch.objects.values_list("pk", flat=True))}
        kinds |= {"datastore": list(Datastore.objects.values_list("pk", flat=True))}

        def act(number: int) -> Any:
            for turn in range(2, 8):
                if number < len(sources):
                    read_all(sources[number], turn)
                elif number == len(sources):
                    change_tag(tag=tag, name=f"web {turn}", by=boss)
                else:
                    before, after = (f"t{number} {one}" for one in (turn - 1, turn))
                    for kind, ids in kinds.items():
                        change_tags(kind=kind, ids=ids, add=[after], remove=[before], by=boss)
            return None

        with database_for_threads(tmp_path):
            for kind, ids in kinds.items():
                change_tags(kind=kind, ids=ids, add=["web"], by=boss)
            assert together(6, act) == [None] * 6


def read_source(name: str) -> Source:
    return facts.make_source(name)


def read_all(source: Source, turn: int) -> None:
    """A source of three hosts whose objects all have other texts than before."""
    source.refresh_from_db()
    hosts = [f"{source.name}-{number}" for number in range(3)]
    if turn % 2:
        hosts.reverse()
    told = facts.snapshot(
        turn,
        *(facts.guest_fact(f"{host} {n}", host=host, notes=f"turn {turn}") for host in hosts for n in range(5)),
        hosts=tuple(facts.host_fact(host, model=f"R{turn}") for host in hosts),
        datastores=tuple(facts.datastore_fact(f"own {host}", host, source=f"turn {turn}") for host in hosts),
        switches=tuple(facts.switch_fact("default", host=host, uplinks=(f"eno{turn}",)) for host in hosts),
    )
    apply_snapshot(source, told, source.lease_token)
