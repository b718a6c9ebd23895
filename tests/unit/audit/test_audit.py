"""The audit log: written with the act, never changed."""

import pytest
from django.db import transaction

from access.models import User
from access.roles import Role
from access.selectors import audit_list
from audit.middleware import current_request_id
from audit.models import AuditRow
from audit.services import record

pytestmark = pytest.mark.django_db


def test_copies_names_so_that_they_outlive_the_account():
    user = User.objects.create(username="ann", role=Role.ADMIN)
    record(action="source.added", by=user, target_kind="source", target_id="1", target_name="kvm-01", port=16509)
    user.delete()
    row = AuditRow.objects.get()
    assert (row.actor_name, row.target_name, row.detail) == ("ann", "kvm-01", {"port": 16509})


def test_what_nobody_clicked_has_a_name_too():
    row = record(action="source.state_changed", by="system")
    assert (row.actor_id, row.actor_name) == ("", "system")


def test_rows_are_never_changed_or_deleted():
    row = record(action="x", by="system")
    row.action = "y"
    for act in (
        row.save,
        row.delete,
        AuditRow.objects.all().delete,
        lambda: AuditRow.objects.update(action="y"),
        lambda: AuditRow.objects.filter(pk=row.pk).delete(),
    ):
        with pytest.raises(TypeError):
            act()
    assert AuditRow.objects.get().action == "x"


def test_goes_with_the_act_when_that_is_rolled_back():
    class Stop(Exception):
        pass

    with pytest.raises(Stop), transaction.atomic():
        record(action="x", by="system")
        raise Stop
    assert not AuditRow.objects.exists()


def test_long_names_are_cut_not_refused():
    assert len(record(action="x", by="system", target_name="n" * 1000).target_name) == 255


def test_a_request_groups_its_rows():
    token = current_request_id.set("abc")
    try:
        assert record(action="x", by="system").request_id == "abc"
    finally:
        current_request_id.reset(token)


@pytest.mark.parametrize("role", Role.values)
def test_who_may_read_it(role):
    record(action="x", by="system")
    seen = audit_list(user=User(username="u", role=role)).count()
    assert seen == (role in (Role.AUDITOR, Role.ADMIN))
