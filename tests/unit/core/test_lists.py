"""Paging by key, and the filter text."""

from __future__ import annotations

import pytest
from django.db.models import Q
from hypothesis import given
from hypothesis import strategies as st

from core.lists import (
    LAST,
    LONGEST_FILTER,
    Filter,
    ListError,
    Sort,
    Term,
    all_rows,
    csv_cell,
    filtered,
    keyset_page,
    mapped_filter,
    number_filter,
    parse_filter,
)
from core.models import by_name
from hosts.models import Datacenter, Host
from inventory.models import Guest
from tests.factories import make_guest, make_host

BY_NAME = Sort("name", (by_name(),))
BY_CPU = Sort("vcpus", ("vcpus", by_name()))


@pytest.fixture
def host(db: None) -> Host:
    return make_host()


def _names(queryset, sort: Sort, size: int = 3) -> list[str]:
    """All names, by walking from page to page."""
    names, cursor = [], ""
    while True:
        page = keyset_page(queryset, sort, cursor, size)
        names += [row.name for row in page.rows]
        if not page.next:
            return names
        cursor = page.next


class TestKeysetPage:
    def test_pages_show_every_row_once_in_order(self, host: Host) -> None:
        for number in range(10):
            make_guest(f"g-{number:02d}", host)
        assert _names(Guest.objects.all(), BY_NAME) == [f"g-{number:02d}" for number in range(10)]

    def test_equal_values_are_told_apart_by_id(self, host: Host) -> None:
        for number in range(7):
            make_guest("same", host, uuid=f"{number}", vcpus=2)
        rows: list[str] = []
        cursor = ""
        for _step in range(4):
            page = keyset_page(Guest.objects.all(), BY_CPU, cursor, 2)
            rows += [str(row.pk) for row in page.rows]
            cursor = page.next
        assert len(rows) == len(set(rows)) == 7
        assert not cursor

    def test_descending_is_the_ascending_order_reversed(self, host: Host) -> None:
        for number in range(7):
            make_guest(f"g-{number}", host, vcpus=number % 3)
        upwards = _names(Guest.objects.all(), BY_CPU, 2)
        assert _names(Guest.objects.all(), BY_CPU.reversed(), 2) == upwards[::-1]

    def test_names_are_sorted_whatever_their_case_and_language(self, host: Host) -> None:
        for name in ("b", "A", "a-1", "B-2", "ä", "Z", "_x", "a1"):
            make_guest(name, host)
        assert _names(Guest.objects.all(), BY_NAME) == ["_x", "A", "a-1", "a1", "b", "B-2", "Z", "ä"]

    def test_back_leads_to_the_page_before(self, host: Host) -> None:
        for number in range(8):
            make_guest(f"g-{number}", host)
        first = keyset_page(Guest.objects.all(), BY_NAME, "", 3)
        second = keyset_page(Guest.objects.all(), BY_NAME, first.next, 3)
        back = keyset_page(Guest.objects.all(), BY_NAME, second.previous, 3)
        assert [row.pk for row in back.rows] == [row.pk for row in first.rows]
        assert (second.first, back.first) == (4, 1)
        assert not back.previous
        assert back.next

    def test_the_last_page_ends_the_list(self, host: Host) -> None:
        for number in range(8):
            make_guest(f"g-{number}", host)
        page = keyset_page(Guest.objects.all(), BY_NAME, LAST, 3)
        assert [row.name for row in page.rows] == ["g-6", "g-7"]
        assert (page.first, page.next) == (7, "")
        before = keyset_page(Guest.objects.all(), BY_NAME, page.previous, 3)
        assert [row.name for row in before.rows] == ["g-3", "g-4", "g-5"]
        assert before.first == 4

    def test_rows_added_meanwhile_move_nothing_twice(self, host: Host) -> None:
        for number in range(6):
            make_guest(f"m-{number}", host)
        first = keyset_page(Guest.objects.all(), BY_NAME, "", 3)
        make_guest("a-new-first", host)
        make_guest("z-new-last", host)
        second = keyset_page(Guest.objects.all(), BY_NAME, first.next, 10)
        assert [row.name for row in second.rows] == ["m-3", "m-4", "m-5", "z-new-last"]

    def test_a_removed_row_loses_no_other(self, host: Host) -> None:
        guests = [make_guest(f"m-{number}", host) for number in range(6)]
        first = keyset_page(Guest.objects.all(), BY_NAME, "", 3)
        guests[2].delete()
        second = keyset_page(Guest.objects.all(), BY_NAME, first.next, 10)
        assert [row.name for row in second.rows] == ["m-3", "m-4", "m-5"]

    def test_nothing_is_one_empty_page(self, db: None) -> None:
        for cursor in ("", LAST):
            page = keyset_page(Guest.objects.all(), BY_NAME, cursor, 3)
            assert (page.rows, page.next, page.previous) == ([], "", "")

    @pytest.mark.parametrize("cursor", ["x", "e30:abc", "\0", "last2", "a:b:c", "%00", "ä" * 50])
    def test_a_damaged_cursor_is_one_sentence(self, db: None, cursor: str) -> None:
        with pytest.raises(ListError, match="damaged"):
            keyset_page(Guest.objects.all(), BY_NAME, cursor)

    def test_a_cursor_belongs_to_its_order(self, host: Host) -> None:
        for number in range(4):
            make_guest(f"g-{number}", host)
        page = keyset_page(Guest.objects.all(), BY_NAME, "", 2)
        with pytest.raises(ListError, match="another order"):
            keyset_page(Guest.objects.all(), BY_CPU, page.next, 2)

    def test_all_rows_come_in_chunks(self, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("core.lists.EXPORT_CHUNK", 3)
        for number in range(8):
            make_guest(f"g-{number}", host, vcpus=number % 2)
        chunks: list[int] = []
        rows = list(all_rows(Guest.objects.all(), BY_CPU, lambda chunk: chunks.append(len(chunk))))
        assert [row.name for row in rows] == _names(Guest.objects.all(), BY_CPU, 100)
        assert chunks == [3, 3, 2]


class TestParseFilter:
    KNOWN = ("state", "host", "name")

    def test_words_and_fields(self) -> None:
        terms = parse_filter('state:running host:"rack 4"  web "two words"', self.KNOWN)
        assert terms == [Term("state", "running"), Term("host", "rack 4"), Term("", "web"), Term("", "two words")]

    def test_a_term_is_written_back_as_it_was_read(self) -> None:
        for text in ('host:"rack 4"', "state:running", '"two words"', 'name:""', '-name:"a b"', '"-state:on"', "-x"):
            assert parse_filter(parse_filter(text, self.KNOWN)[0].text, self.KNOWN) == parse_filter(text, self.KNOWN)

    @pytest.mark.parametrize("address", ["52:54:00:aa:bb:cc", "aa:bb:cc:00:11:22", "fe80::1", "2001:db8::5"])
    def test_an_address_is_no_field(self, address: str) -> None:
        assert parse_filter(address, self.KNOWN) == [Term("", address)]

    def test_a_field_is_negated_and_a_word_is_not(self) -> None:
        terms = parse_filter('-state:off -HOST:"rack 4" -web -fe80::1 -aa:bb:cc:00:11:22 "-state:on" -', self.KNOWN)
        words = [Term("", word) for word in ("-web", "-fe80::1", "-aa:bb:cc:00:11:22", "-state:on", "-")]
        assert terms == [Term("state", "off", negated=True), Term("host", "rack 4", negated=True), *words]

    @pytest.mark.parametrize(
        ("text", "sentence"),
        [
            ("-state:", "“-state:” needs a value"),
            ('-flavor:"big one"', "no field “flavor”"),
            ("-stat:running", "no field “stat”.*state, host, name"),
            ('host:"rack 4', "not closed"),
            ("flavor:big", "no field “flavor”.*state, host, name"),
            ("state:", "needs a value"),
            ('a"b', "not closed"),
            ("x" * 501, "too long"),
            ("a\0b", "too long"),
            (" ".join("abcdefghijklmnopqrstuvwxyz"), "too many parts"),
        ],
    )
    def test_a_mistake_is_one_sentence(self, text: str, sentence: str) -> None:
        with pytest.raises(ListError, match=sentence):
            parse_filter(text, self.KNOWN)

    @given(st.text(max_size=600))
    def test_any_text_is_understood_or_refused_in_words(self, text: str) -> None:
        try:
            terms = parse_filter(text, self.KNOWN)
        except ListError as error:
            assert str(error).endswith(".")
        else:
            assert all(term.field in ("", *self.KNOWN) for term in terms)
            again = " ".join(term.text for term in terms)
            if len(again) <= LONGEST_FILTER:
                assert parse_filter(again, self.KNOWN) == terms


class TestFilterCondition:
    FILTERS = (
        mapped_filter("state", "State", {"on": ("on", Q(state="running")), "off": ("off", Q(state="off"))}),
        number_filter("vcpus", "vCPU", "vcpus"),
        Filter("name", "Name", lambda value: Q(name=value)),
    )

    def _count(self, text: str) -> int:
        terms = parse_filter(text, [one.name for one in self.FILTERS])
        return filtered(Guest.objects.all(), terms, self.FILTERS, ("name", "notes")).count()

    def test_values_of_one_field_add_up_and_fields_narrow(self, host: Host) -> None:
        make_guest("a", host, vcpus=2)
        make_guest("b", host, vcpus=4)
        make_guest("c", host, vcpus=4, state="off")
        assert self._count("state:on state:off") == 3
        assert self._count("state:on vcpus:4") == 1
        assert self._count("state:ON") == 2

    def test_what_is_negated_is_left_out(self, host: Host) -> None:
        make_guest("a", host, vcpus=2)
        make_guest("b", host, vcpus=4)
        make_guest("c", host, vcpus=4, state="off")
        make_guest("d", host, state="paused")
        assert self._count("-state:on") == 2
        assert self._count("-state:on -state:off") == 1
        assert self._count("-state:on -name:c") == self._count("-state:on c -vcpus:2") == 1
        assert self._count("state:on -vcpus:4") == 1
        assert self._count("state:on -state:on") == 0

    def test_every_word_must_be_found_somewhere(self, host: Host) -> None:
        make_guest("web-1", host, notes="ask storage")
        make_guest("web-2", host)
        assert self._count("web") == 2
        assert self._count("WEB storage") == 1

    def test_wildcards_are_letters(self, host: Host) -> None:
        make_guest("web%1", host)
        make_guest("web_2", host)
        make_guest("web-3", host)
        assert self._count("web%") == 1
        assert self._count("web_") == 1
        assert self._count("\\") == 0

    @pytest.mark.parametrize("text", ["state:asleep", "vcpus:many", "vcpus:-1", "vcpus:1e9", "vcpus:99999999999"])
    def test_a_wrong_value_is_one_sentence(self, db: None, text: str) -> None:
        with pytest.raises(ListError, match="“"):
            self._count(text)


class TestCsvCell:
    @pytest.mark.parametrize(
        "text",
        ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "  =1", "＝1", '=HYPERLINK("x")'],  # noqa: RUF001
    )
    def test_a_formula_becomes_a_text(self, text: str) -> None:
        assert csv_cell(text) == f"'{text}"

    @pytest.mark.parametrize("value", ["db-07", "", "a=b", 5, -5, 1.5, "192.0.2.1"])
    def test_other_values_stay(self, value) -> None:
        assert csv_cell(value) == value

    def test_truth_and_nothing(self) -> None:
        assert [csv_cell(value) for value in (True, False, None)] == ["true", "false", ""]


def test_a_name_index_serves_the_order(db: None) -> None:
    """The list's order is read from an index: no sort of 50,000 rows for one page."""
    plan = Datacenter.objects.none() or Guest.objects.order_by(by_name(), "id").values("pk")[:100].explain()
    assert "inventory_by_name" in plan or "Seq Scan" in plan  # PostgreSQL sorts a table this small
