"""Signing in and out, with guesses counted in the database."""

import hashlib
import ipaddress
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.contrib.auth import authenticate, login, logout
from django.db.models import F
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from access.models import SignInThrottle, User
from access.services import LONGEST_NAME, LONGEST_PASSWORD
from audit.services import record
from core.db import write_transaction
from core.errors import Refused


class SignInRefused(Refused):
    code = "sign_in_refused"


@dataclass(frozen=True, slots=True)
class Limit:
    """So many failures within so long; the sentence then asks to wait until the window ends."""

    scope: str
    failures: int
    window: timedelta


# One person mistyping; one address trying many names; many addresses trying one account (NIST SP 800-63B-4,
# section 3.2.2: at most 100 consecutive failures on an account).
PAIR = Limit("account and address", 5, timedelta(minutes=5))
ADDRESS = Limit("address", 50, timedelta(minutes=5))
ACCOUNT = Limit("account", 100, timedelta(hours=1))
KEEP_EXPIRED = timedelta(days=1)


def sign_in(request: HttpRequest, *, username: str, password: str) -> User:
    """Check name and password, and start a new session.

    An attempt is counted before the password is checked, so that many at once get no more than a few.

    Raises: SignInRefused.
    """
    counters = _counters(username, str(request.META.get("REMOTE_ADDR", "")))
    wait_until = _count_attempt(counters)
    if wait_until:
        raise SignInRefused(_wait_sentence(wait_until))
    user = _authenticate(request, username, password)
    if user is None:
        _record_failure(username)
        raise SignInRefused(_("The user name or the password is not right."))
    _forget_attempt(counters)
    login(request, user)
    record(action="user.signed_in", by=user, target_kind="user", target_id=user.pk, target_name=user.username)
    return user


def sign_out(request: HttpRequest) -> None:
    """End this session."""
    user = request.user
    if isinstance(user, User):
        record(action="user.signed_out", by=user, target_kind="user", target_id=user.pk, target_name=user.username)
    logout(request)


def _authenticate(request: HttpRequest, username: str, password: str) -> User | None:
    if len(password) > LONGEST_PASSWORD or not _may_exist(username):
        return None
    user = authenticate(request, username=username, password=password)
    return user if isinstance(user, User) else None


def _may_exist(username: str) -> bool:
    """PostgreSQL refuses to be asked for a NUL."""
    return len(username) <= LONGEST_NAME and "\0" not in username


def _counters(username: str, address: str) -> dict[str, Limit]:
    """The counted keys, in one order for everybody, so that two attempts never wait for each other in a circle."""
    account, network = username.strip().casefold(), _network(address)
    named = {
        _key(PAIR, account, network): PAIR,
        _key(ADDRESS, network): ADDRESS,
        _key(ACCOUNT, account): ACCOUNT,
    }
    return dict(sorted(named.items()))


def _network(address: str) -> str:
    """Who asks: an IPv4 address, or the /64 an IPv6 address lies in, since one person has all of it."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv4Address):
        return str(ip)
    return str(ipaddress.ip_network((int(ip), 64), strict=False))


def _key(limit: Limit, *parts: str) -> str:
    return hashlib.sha256("\0".join((limit.scope, *parts)).encode()).hexdigest()


def _count_attempt(counters: dict[str, Limit]) -> datetime | None:
    """Count one attempt on each key, or say until when to wait and count nothing."""
    now = timezone.now()
    SignInThrottle.objects.filter(until__lt=now - KEEP_EXPIRED).delete()
    with write_transaction():
        rows = [_current(key, limit, now) for key, limit in counters.items()]
        full = [row for row in rows if row.failures >= counters[row.key].failures]
        if full:
            return max(row.until for row in full)
        SignInThrottle.objects.filter(key__in=counters).update(failures=F("failures") + 1)
    return None


def _current(key: str, limit: Limit, now: datetime) -> SignInThrottle:
    """The locked row of a key, its count started anew when the window is over."""
    SignInThrottle.objects.get_or_create(key=key, defaults={"until": now + limit.window})
    row = SignInThrottle.objects.select_for_update().get(key=key)
    if row.until <= now:
        row.failures, row.until = 0, now + limit.window
        row.save(update_fields=["failures", "until"])
    return row


def _forget_attempt(counters: dict[str, Limit]) -> None:
    """A success clears the person's own count; from the wider ones it only takes itself back."""
    with write_transaction():
        pair = [key for key, limit in counters.items() if limit is PAIR]
        SignInThrottle.objects.filter(key__in=counters, failures__gt=0).update(failures=F("failures") - 1)
        SignInThrottle.objects.filter(key__in=pair).update(failures=0)


def _record_failure(username: str) -> None:
    """Names an existing account only: what was typed may be a password in the wrong field."""
    known = User.objects.filter(username=username).first() if _may_exist(username) else None
    record(
        action="user.sign_in_failed",
        by="unknown",
        target_kind="user",
        target_id=known.pk if known else "",
        target_name=known.username if known else "",
    )


def _wait_sentence(until: datetime) -> str:
    minutes = max(1, -(-int((until - timezone.now()).total_seconds()) // 60))
    return ngettext(
        "Too many failed sign-ins. Wait %(minutes)d minute, then try again.",
        "Too many failed sign-ins. Wait %(minutes)d minutes, then try again.",
        minutes,
    ) % {"minutes": minutes}
