"""What a guest is made of, and the tree of its snapshots."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client

from access.roles import Role
from console.hardware import DEEPEST, snapshot_tree
from inventory.models import GuestDetails
from tests.factories import add_details, add_disk, add_nic, make_guest, make_host, make_user


@pytest.fixture
def viewer(db: None) -> Client:
    client = Client()
    client.force_login(make_user(Role.VIEWER, "vera"))
    return client


def text_of(client: Client, path: str) -> str:
    answer = client.get(path)
    assert answer.status_code == 200
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.content.decode().split("<main", 1)[1]))


def test_the_hardware_of_a_guest(viewer: Client) -> None:
    guest = make_guest(vcpus=4)
    add_details(guest)
    text = text_of(viewer, f"/guests/{guest.pk}/hardware/")
    for part in ("1 · 2 · 2", "of at most 8", "tpm-crb 2.0 emulator", "127.0.0.1:5901", "org.qemu.guest_agent.0"):
        assert part in text
    assert "Debian GNU/Linux 12 (bookworm)" in text
    assert "40.0 GiB" in text or "40 GiB" in text


def test_a_guest_that_was_not_read_in_full(viewer: Client) -> None:
    guest = make_guest()
    text = text_of(viewer, f"/guests/{guest.pk}/hardware/")
    assert "was not read in full yet" in text
    assert "No agent inside it has told anything." in text


def test_a_port_group_and_a_backing_chain(viewer: Client) -> None:
    guest = make_guest()
    add_nic(guest, None, port_group="vlan10", vlans=[10, 20], details={"addresses_from": "agent"})
    add_disk(guest, None, source="/srv/a.qcow2", details={"backing": [{"source": "/srv/base.qcow2"}]})
    text = text_of(viewer, f"/guests/{guest.pk}/")
    for part in ("vlan10", "10, 20", "told by its agent", "on /srv/base.qcow2"):
        assert part in text


def test_snapshots_are_listed_parents_first_and_by_age(viewer: Client) -> None:
    guest = make_guest(snapshot_count=3)
    add_details(guest)
    text = text_of(viewer, f"/guests/{guest.pk}/snapshots/")
    assert text.index("installed") < text.index("tried") < text.index("patched")
    assert "current" in text
    assert "disks and memory" in text


def test_a_guest_without_snapshots(viewer: Client) -> None:
    guest = make_guest(host=make_host("kvm-09"))
    assert "No snapshots." in text_of(viewer, f"/guests/{guest.pk}/snapshots/")


def tree(*nodes: tuple[str, str]) -> list[tuple[str, int]]:
    facts: dict[str, Any] = {"snapshots": [{"name": name, "parent": parent} for name, parent in nodes]}
    return [(one["name"], one["depth"]) for one in snapshot_tree(GuestDetails(facts=facts))]


def test_no_snapshot_is_left_out_whatever_a_source_says() -> None:
    assert tree(("b", "a"), ("a", ""), ("c", "a"), ("d", "b")) == [("a", 0), ("b", 1), ("d", 2), ("c", 1)]
    assert tree(("b", "gone")) == [("b", 0)]
    assert sorted(name for name, _depth in tree(("a", "b"), ("b", "a"), ("c", "c"))) == ["a", "b", "c"]


def test_a_deep_chain_is_drawn_to_a_limit() -> None:
    names = [f"s{number}" for number in range(500)]
    drawn = tree(*zip(names, ["", *names], strict=False))
    assert [name for name, _depth in drawn] == names
    assert max(depth for _name, depth in drawn) == DEEPEST
