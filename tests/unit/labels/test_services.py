"""Tags: names, limits, what is recorded, and who may."""

from __future__ import annotations

import pytest

from access.roles import Role
from labels.models import Tag
from labels.selectors import tag_list, tags_of
from labels.services import change_tag, change_tags, create_tag, delete_tag
from tests.factories import make_guest, make_user

pytestmark = pytest.mark.django_db


def test_from_putting_on_to_deleting():
    boss, guest = make_user(Role.ADMIN), make_guest()
    assert change_tags(kind="guest", ids=[guest.pk], add=["Prod", "web "], by=boss) == 1
    assert change_tags(kind="guest", ids=[guest.pk], add=["PROD"], by=boss) == 0
    assert [tag.name for tag in tags_of("guest", [guest.pk], user=boss)[guest.pk]] == ["Prod", "web"]
    assert {tag.name: tag.guest_count for tag in tag_list(user=boss)} == {"Prod": 1, "web": 1}
    row = change_tag(tag=Tag.objects.get(name="web"), name="Web", colour="red", by=boss)
    assert (row.name, row.colour) == ("Web", "red")
    delete_tag(tag=row, by=boss)
    assert change_tags(kind="guest", ids=[guest.pk], remove=["prod", "web"], by=boss) == 1
    assert tags_of("guest", [guest.pk], user=boss) == {guest.pk: []}
    assert create_tag(name="db", by=boss).colour == "green"
