"""Users and tokens."""

import pytest
from django.db import IntegrityError
from django.test import Client

from access import services
from access.models import ApiToken, User
from access.roles import Role
from access.throttle import SignInRefused
from audit.models import AuditRow
from core.errors import Conflict, Forbidden, Invalid
from tests.together import database_for_threads, together
from tests.unit.access.conftest import PASSWORD


def actions() -> list[str]:
    return list(AuditRow.objects.order_by("at", "id").values_list("action", flat=True))


class TestCreateUser:
    def test_makes_up_a_password_that_must_be_changed(self, boss):
        user, password = services.create_user(username=" ann ", role=Role.OPERATOR, by=boss)
        assert user.username == "ann"
        assert len(password) >= 16
        assert user.check_password(password)
        assert user.must_change_password
        assert actions() == ["user.created"]
        assert password not in str(AuditRow.objects.get().detail)

    @pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR, Role.MIGRATION_ADMIN, Role.AUDITOR])
    def test_others_may_not(self, make_user, role):
        with pytest.raises(Forbidden):
            services.create_user(username="ann", role=Role.VIEWER, by=make_user("x", role))
        assert not AuditRow.objects.exists()

    @pytest.mark.parametrize("name", ["", " ", "a b", "a/b", "<script>", "a\0", "x" * 151])
    def test_odd_names_are_refused(self, boss, name):
        with pytest.raises(Invalid):
            services.create_user(username=name, role=Role.VIEWER, by=boss)

    @pytest.mark.parametrize("name", ["system", "System", "unknown", " UNKNOWN ", "command line", "\uff53ystem"])
    def test_nobody_is_named_as_the_audit_log_names_nobody(self, boss, name):
        with pytest.raises(Invalid) as error:
            services.create_user(username=name, role=Role.VIEWER, by=boss)
        assert error.value.field == "username"

    def test_names_differ_in_more_than_case(self, boss):
        services.create_user(username="Ann", role=Role.VIEWER, by=boss)
        with pytest.raises(Invalid) as error:
            services.create_user(username="aNN", role=Role.VIEWER, by=boss)
        assert error.value.field == "username"

    @pytest.mark.parametrize("role", ["", "root", "superuser"])
    def test_unknown_roles_are_refused(self, boss, role):
        with pytest.raises(Invalid):
            services.create_user(username="ann", role=role, by=boss)

    @pytest.mark.parametrize("password", ["short", "password12", "1234567890", "annannannann", "x" * 257])
    def test_weak_passwords_are_refused(self, boss, password):
        with pytest.raises(Invalid):
            services.create_user(username="annannannann", role=Role.VIEWER, password=password, by=boss)


class TestRoles:
    def test_changes_and_says_so(self, boss, make_user):
        user = services.set_role(user=make_user("ann"), role=Role.AUDITOR, by=boss)
        assert User.objects.get(pk=user.pk).role == Role.AUDITOR
        assert AuditRow.objects.get().detail == {"before": "viewer", "after": "auditor"}

    def test_nobody_changes_their_own(self, boss, make_user):
        make_user("other", Role.ADMIN)
        with pytest.raises(Forbidden):
            services.set_role(user=boss, role=Role.VIEWER, by=boss)

    def test_nobody_disables_themselves(self, boss, make_user):
        make_user("other", Role.ADMIN)
        with pytest.raises(Conflict):
            services.disable_user(user=boss, by=boss)

    def test_the_last_administrator_stays(self, boss, make_user):
        other = make_user("other", Role.ADMIN)
        services.disable_user(user=other, by=boss)
        # `other` still holds what was read before; its request is on the way.
        with pytest.raises(Forbidden):
            services.set_role(user=boss, role=Role.VIEWER, by=User.objects.get(pk=other.pk))
        with pytest.raises(Conflict):
            services.set_role(user=boss, role=Role.VIEWER, by=other)
        with pytest.raises(Conflict):
            services.disable_user(user=boss, by=other)

    def test_a_disabled_administrator_does_not_count(self, boss, make_user):
        User.objects.filter(pk=make_user("gone", Role.ADMIN).pk).update(is_active=False)
        stale = User(username="stale", role=Role.ADMIN)
        with pytest.raises(Conflict):
            services.set_role(user=boss, role=Role.VIEWER, by=stale)


@pytest.mark.django_db(transaction=True)
class TestLastAdministratorRace:
    def test_fifty_at_once_leave_one(self, make_user, tmp_path):
        """Each of fifty administrators takes the next one's rights away."""
        users = [make_user(f"admin-{number}", Role.ADMIN) for number in range(50)]

        def demote(number: int) -> None:
            victim = users[(number + 1) % len(users)]
            if number % 2:
                services.set_role(user=victim, role=Role.VIEWER, by=users[number])
            else:
                services.disable_user(user=victim, by=users[number])

        with database_for_threads(tmp_path):
            results = together(len(users), demote)
            assert User.objects.filter(role=Role.ADMIN, is_active=True).count() == 1
        refused = [one for one in results if one is not None]
        assert [type(one) for one in refused] == [Conflict]

    def test_two_who_demote_each_other(self, make_user, tmp_path):
        ann, bob = make_user("ann", Role.ADMIN), make_user("bob", Role.ADMIN)
        pairs = [(ann, bob), (bob, ann)]

        def demote(number: int) -> None:
            by, victim = pairs[number]
            services.set_role(user=victim, role=Role.VIEWER, by=by)

        with database_for_threads(tmp_path):
            results = together(2, demote)
            assert User.objects.filter(role=Role.ADMIN, is_active=True).count() == 1
        assert sorted(type(one).__name__ for one in results) == ["Conflict", "NoneType"]


class TestSessionsEnd:
    @pytest.fixture
    def ann(self, make_user):
        return make_user("ann", Role.VIEWER, PASSWORD)

    @pytest.fixture
    def tab(self, ann):
        client = Client()
        client.force_login(ann)
        assert is_signed_in(client)
        return client

    def test_when_disabled_and_they_do_not_come_back(self, boss, ann, tab):
        services.disable_user(user=ann, by=boss)
        assert not is_signed_in(tab)
        services.enable_user(user=ann, by=boss)
        assert not is_signed_in(tab)

    def test_when_the_password_is_reset(self, boss, ann, tab):
        password = services.reset_password(user=ann, by=boss)
        assert not is_signed_in(tab)
        ann.refresh_from_db()
        assert ann.check_password(password)
        assert ann.must_change_password
        assert password not in str(list(AuditRow.objects.values()))

    def test_when_they_change_it_themselves(self, ann, tab):
        services.change_own_password(user=ann, current=PASSWORD, new="another long secret")
        assert not is_signed_in(tab)

    def test_not_for_others(self, boss, ann, make_user):
        other = Client()
        other.force_login(make_user("bob"))
        services.disable_user(user=ann, by=boss)
        assert is_signed_in(other)


def is_signed_in(client: Client) -> bool:
    return client.get("/api/v1/sources/").status_code == 200


class TestOwnPassword:
    def test_the_current_one_is_asked(self, boss):
        with pytest.raises(Invalid) as error:
            services.change_own_password(user=boss, current="wrong", new="another long secret")
        assert error.value.field == "current"
        assert actions() == ["user.password_change_failed"]

    def test_guesses_are_counted_as_sign_ins_are(self, boss):
        for guess in ["wrong", "x" * 1_000_000, "\0", "", "wrong"]:
            with pytest.raises(Invalid):
                services.change_own_password(user=boss, current=guess, new="another long secret", address="192.0.2.1")
        with pytest.raises(SignInRefused):
            services.change_own_password(user=boss, current=PASSWORD, new="another long secret", address="192.0.2.1")

    def test_a_reset_meanwhile_wins(self, boss, make_user):
        ann = make_user("ann", Role.VIEWER, PASSWORD)
        stale = User.objects.get(pk=ann.pk)
        password = services.reset_password(user=ann, by=boss)
        with pytest.raises(Conflict):
            services.change_own_password(user=stale, current=PASSWORD, new="another long secret")
        ann.refresh_from_db()
        assert ann.check_password(password)
        assert ann.must_change_password

    def test_it_must_differ(self, boss):
        with pytest.raises(Invalid):
            services.change_own_password(user=boss, current=PASSWORD, new=PASSWORD)

    def test_weak_ones_are_refused(self, boss):
        with pytest.raises(Invalid) as error:
            services.change_own_password(user=boss, current=PASSWORD, new="1234567890")
        assert error.value.field == "new"
        boss.refresh_from_db()
        assert boss.check_password(PASSWORD)


class TestTokens:
    def test_only_its_hash_is_kept(self, boss):
        token, text = services.create_token(user=boss, name="backup", by=boss)
        stored = str(ApiToken.objects.filter(pk=token.pk).values().get())
        assert text not in stored
        assert token.prefix == text[:12]
        assert text not in str(list(AuditRow.objects.values()))

    @pytest.mark.parametrize(("typed", "kept"), [("a\0b", "ab"), (" x ", "x"), ("y" * 200, "y" * 100), ("", "boss")])
    def test_odd_labels_are_kept_readable(self, boss, typed, kept):
        assert services.create_token(user=boss, name=typed, by=boss)[0].name == kept

    def test_nobody_makes_one_for_another(self, boss, make_user):
        with pytest.raises(Forbidden):
            services.create_token(user=make_user("ann"), by=boss)

    def test_none_for_a_disabled_user(self, make_user):
        ann = make_user("ann")
        User.objects.filter(pk=ann.pk).update(is_active=False)
        with pytest.raises(Conflict):
            services.create_token(user=ann, by=ann)

    def test_gone_with_disabling_and_reset(self, boss, make_user):
        for act in (services.disable_user, services.reset_password):
            ann = make_user(f"ann-{act.__name__}")
            services.create_token(user=ann, by=ann)
            act(user=ann, by=boss)
            assert not ApiToken.objects.filter(user=ann).exists()

    def test_revoking_anothers_needs_the_right(self, boss, make_user):
        token, _text = services.create_token(user=boss, by=boss)
        with pytest.raises(Forbidden):
            services.revoke_token(token=token, by=make_user("ann", Role.OPERATOR))
        services.revoke_token(token=token, by=boss)
        services.revoke_token(token=token, by=boss)
        assert actions() == ["token.created", "token.revoked"]

    def test_there_is_a_limit(self, boss, monkeypatch):
        monkeypatch.setattr(services, "MOST_TOKENS", 2)
        for _number in range(2):
            services.create_token(user=boss, by=boss)
        with pytest.raises(Conflict):
            services.create_token(user=boss, by=boss)


class TestEnsureAdmin:
    def test_makes_one_once(self, db):
        assert services.ensure_admin(password="correct horse")
        assert not services.ensure_admin(password="another")
        admin = User.objects.get()
        assert (admin.username, admin.role, admin.must_change_password) == ("admin", Role.ADMIN, False)
        assert admin.check_password("correct horse")

    def test_leaves_another_administrator_alone(self, boss):
        assert not services.ensure_admin(password="correct horse")
        assert not User.objects.filter(username="admin").exists()

    def test_makes_admin_usable_again(self, make_user):
        admin = make_user("admin", Role.VIEWER)
        User.objects.filter(pk=admin.pk).update(is_active=False)
        assert services.ensure_admin(password="correct horse")
        admin.refresh_from_db()
        assert admin.is_active
        assert admin.role == Role.ADMIN


def test_two_users_of_one_name_cannot_be_stored(make_user):
    make_user("ann")
    with pytest.raises(IntegrityError):
        make_user("ANN")
