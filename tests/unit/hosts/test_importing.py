"""Lines and ranges of an import, odd ones included."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import Invalid
from hosts.importing import LARGEST_FILE, Line, decode, read_lines, read_range


def test_one_address_a_line():
    lines = read_lines("# rack 4\nkvm-01.example.net\n\n10.0.0.9\r\n")
    assert [(line.number, line.address, line.name) for line in lines] == [
        (2, "kvm-01.example.net", ""),
        (4, "10.0.0.9", ""),
    ]


def test_columns_in_their_usual_order():
    (line,) = read_lines("kvm-01, 10.0.0.9, tcp, 16509, , Berlin")
    assert line == Line(1, "kvm-01", "10.0.0.9", "tcp", "16509", "", "Berlin")


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_columns_by_name_in_any_order(separator):
    text = separator.join(["Hostname", "Username", "NAME"]) + "\n" + separator.join(["10.0.0.9", "root", "kvm-01"])
    (line,) = read_lines("\ufeff" + text)
    assert (line.number, line.address, line.user, line.name) == (2, "10.0.0.9", "root", "kvm-01")


def test_a_quoted_cell_may_hold_the_separator_and_an_open_quote_spoils_one_line_only():
    first, second = read_lines('name,address\n"a, b",10.0.0.1\n"c,10.0.0.2\n')
    assert (first.name, first.address) == ("a, b", "10.0.0.1")
    assert second.address == ""


def test_cells_that_are_missing_or_too_many():
    short, long = read_lines("name,address,port\nx\ny,10.0.0.1,22,more,cells")
    assert (short.address, long.port) == ("", "22")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "no source"),
        ("\n# nothing\n", "no source"),
        ("name,address\n", "no source"),
        ("address,password\nx,y", "no column “password”"),
        ("address,ip\nx,y", "stands there twice"),
        ("\n".join(["10.0.0.1"] * 1025), "at most 1024"),
        ("\n".join(["10.0.0.1"] * 5000), "at most 1024"),
    ],
)
def test_what_cannot_be_read_is_said(text, sentence):
    with pytest.raises(Invalid, match=sentence):
        read_lines(text)


def test_a_file_is_text_of_a_bearable_size():
    assert decode(b"\xef\xbb\xbfaddress") == "address"
    for content in (b"\xff\xfe\x00x", b"x" * (LARGEST_FILE + 1)):
        with pytest.raises(Invalid):
            decode(content)


@given(st.text())
def test_any_text_is_read_or_refused(text):
    try:
        lines = read_lines(text)
    except Invalid:
        return
    assert all(isinstance(line.text, str) and "\0" not in line.address for line in lines)


@pytest.mark.parametrize(
    ("text", "addresses"),
    [
        ("10.0.0.0/30", ["10.0.0.1", "10.0.0.2"]),
        ("10.0.0.1/30", ["10.0.0.1", "10.0.0.2"]),
        ("10.0.0.7/32", ["10.0.0.7"]),
        ("10.0.0.7", ["10.0.0.7"]),
        (" 10.0.0.254 - 10.0.1.1 ", ["10.0.0.254", "10.0.0.255", "10.0.1.0", "10.0.1.1"]),
        ("fd00::1-fd00::2", ["fd00::1", "fd00::2"]),
    ],
)
def test_ranges(text, addresses):
    assert [line.address for line in read_range(text)] == addresses


@pytest.mark.parametrize(("text", "number"), [("10.0.0.0/22", 1022), ("10.0.0.0-10.0.3.255", 1024)])
def test_the_largest_ranges(text, number):
    assert len(read_range(text)) == number


@pytest.mark.parametrize("text", ["10.0.0.0/21", "10.0.0.0-10.0.4.0", "0.0.0.0/0", "::/0", "::-ffff::"])
def test_a_range_is_bounded_before_it_is_built(text):
    with pytest.raises(Invalid, match="at most 1024"):
        read_range(text)


@pytest.mark.parametrize(
    "text", ["", "x", "10.0.0.9-10.0.0.1", "10.0.0.1-fd00::1", "1-2-3", "10.0.0.0/33", "fe80::1%eth0-fe80::2", "-", "/"]
)
def test_what_is_no_range_is_said(text):
    with pytest.raises(Invalid):
        read_range(text)
