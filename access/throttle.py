"""Guesses at passwords, counted in the database."""

import hashlib
import ipaddress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import F
from django.utils import timezone
from django.utils.translation import ngettext

from access.models import SignInThrottle, User
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


@dataclass(frozen=True, slots=True)
class Attempt:
    """One counted guess: its counters by key, and those whose last place it took."""

    counters: dict[str, Limit]
    filled: tuple[Limit, ...]
    network: str

    def forget(self) -> None:
        """A success clears the person's own count; from the wider ones it only takes itself back."""
        with write_transaction():
            for key, limit in self.counters.items():
                rows = SignInThrottle.objects.filter(key=key, failures__gt=0)
                rows.update(failures=0 if limit is PAIR else F("failures") - 1)

    def record_failure(self, action: str, *, user: User | None, by: Any) -> None:
        """Written down for each wrong guess, and once more for each limit that it reached."""
        target = {"target_kind": "user", "target_id": str(user.pk) if user else "", "target_name": str(user or "")}
        with write_transaction():
            record(action=action, by=by, **target)
            for limit in self.filled:
                record(action="user.sign_in_limit_reached", by=by, **target, limit=limit.scope, address=self.network)


def count_attempt(username: str, address: str) -> Attempt:
    """Count one guess before the password is checked, so that many at once get no more than a few.

    The address comes first: one that has no guesses left leaves no rows for the names it tries. All go through their
    counters in the same order of scopes, so that two never wait for each other in a circle.

    Raises: SignInRefused, and then nothing is counted.
    """
    now, network = timezone.now(), _network(address)
    account = account_name(username)
    counters = {
        _key(ADDRESS, network): ADDRESS,
        _key(ACCOUNT, account): ACCOUNT,
        _key(PAIR, account, network): PAIR,
    }
    SignInThrottle.objects.filter(until__lt=now - KEEP_EXPIRED).delete()
    filled: list[Limit] = []
    with write_transaction():
        for key, limit in counters.items():
            row = _current(key, limit, now)
            if row.failures >= limit.failures:
                raise SignInRefused(_wait_sentence(row.until))
            if row.failures + 1 == limit.failures:
                filled.append(limit)
        SignInThrottle.objects.filter(key__in=counters).update(failures=F("failures") + 1)
    return Attempt(counters, tuple(filled), network)


def clear_account(username: str) -> bool:
    """Forget the failures counted on an account over all addresses. Returns whether there were any."""
    rows = SignInThrottle.objects.filter(key=_key(ACCOUNT, account_name(username)), failures__gt=0)
    return bool(rows.update(failures=0))


def account_name(username: str) -> str:
    """One name for all spellings of it."""
    return username.strip().casefold()


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


def _current(key: str, limit: Limit, now: datetime) -> SignInThrottle:
    """The locked row of a key, its count started anew when the window is over."""
    SignInThrottle.objects.get_or_create(key=key, defaults={"until": now + limit.window})
    row = SignInThrottle.objects.select_for_update().get(key=key)
    if row.until <= now:
        row.failures, row.until = 0, now + limit.window
        row.save(update_fields=["failures", "until"])
    return row


def _wait_sentence(until: datetime) -> str:
    minutes = max(1, -(-int((until - timezone.now()).total_seconds()) // 60))
    return ngettext(
        "Too many failed sign-ins. Wait %(minutes)d minute, then try again.",
        "Too many failed sign-ins. Wait %(minutes)d minutes, then try again.",
        minutes,
    ) % {"minutes": minutes}
