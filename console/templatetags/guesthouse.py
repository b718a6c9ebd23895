"""Our template tags and filters, available in every template."""

from datetime import UTC, datetime
from functools import cache
from typing import Any

from django import template
from django.templatetags.static import static
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _

from core import units
from hosts import words

register = template.Library()

register.filter("bytes", units.format_bytes)
register.filter("rate", units.format_rate)
register.filter("link_speed", units.format_link_speed)
register.filter("percent", units.format_percent)
register.filter("milliseconds", units.format_duration_ms)
register.filter("transport", words.transport_label)
register.filter("switch_kind", words.switch_kind_label)
register.filter("nic_kind", words.nic_kind_label)
register.filter("address_origin", words.address_origin_label)
register.filter("host_nic_kind", words.host_nic_kind_label)
register.filter("adapter_kind", words.adapter_kind_label)
register.filter("pci_class", words.pci_class_label)
register.filter("disk_device", words.disk_device_label)
register.filter("state_reason", words.state_reason_label)


@cache
def _sprite() -> str:
    return static("vendor/icons.svg")


@register.simple_tag
def icon(name: str, css: str = "") -> SafeString:
    """An icon of the sprite; decoration only, so the words beside it say what it means."""
    return format_html(
        '<svg class="icon {}" aria-hidden="true" focusable="false"><use href="{}#{}"/></svg>', css, _sprite(), name
    )


@register.filter
def age(moment: datetime | None) -> SafeString:
    """How long ago, kept current by the page; the absolute time on hover."""
    if moment is None:
        return format_html('<span class="none">{}</span>', _("never"))
    iso = moment.astimezone(UTC).isoformat(timespec="seconds")
    absolute = f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    return format_html('<time datetime="{}" title="{}" data-age>{}</time>', iso, absolute, units.format_age(moment))


@register.filter
def moment(value: datetime | None) -> SafeString:
    """An absolute time, shown in the browser's time zone."""
    if value is None:
        return none()
    iso = value.astimezone(UTC).isoformat(timespec="seconds")
    return format_html(
        '<time datetime="{}" data-moment>{} UTC</time>', iso, f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
    )


@register.simple_tag
def none() -> SafeString:
    """What stands where there is no value."""
    return format_html('<span class="none" aria-label="{}">–</span>', _("none"))  # noqa: RUF001 - a dash, not a minus


@register.filter
def or_none(value: Any) -> Any:
    """The value, or a dash where there is none."""
    return none() if value in (None, "", []) else value


WARN_PERCENT = 80
FULL_PERCENT = 95
WHOLE = 100.0


def load_class(percent: float) -> str:
    if percent >= FULL_PERCENT:
        return "bar-full"
    return "bar-warn" if percent >= WARN_PERCENT else "bar-ok"


@register.simple_tag
def bar(percent: float | None, label: Any = "", css: str = "") -> SafeString:
    """A bar of so many percent, full beyond a hundred. Drawn as SVG: our content policy forbids inline styles."""
    if percent is None:
        return none()
    return format_html(
        '<span class="bar {} {}" role="meter" aria-valuemin="0" aria-valuemax="100" aria-valuenow="{}" '
        'aria-label="{}"><svg viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true">'
        '<rect width="{}" height="4"/></svg></span>',
        css or load_class(percent),
        "" if percent <= WHOLE else "bar-over",
        f"{min(percent, WHOLE):.0f}",
        label or _("in use"),
        f"{max(0.0, min(percent, WHOLE)):.1f}",
    )


# A state is said by word and icon, never by color alone.
STATE_LOOKS: dict[str, tuple[str, str]] = {
    "running": ("ok", "player-play"),
    "connected": ("ok", "circle-check"),
    "ok": ("ok", "circle-check"),
    "succeeded": ("ok", "circle-check"),
    "active": ("ok", "circle-check"),
    "paused": ("hold", "player-pause"),
    "suspended": ("hold", "zzz"),
    "off": ("off", "player-stop"),
    "inactive": ("off", "player-stop"),
    "cancelled": ("off", "ban"),
    "new": ("off", "hourglass"),
    "queued": ("off", "hourglass"),
    "crashed": ("bad", "alert-triangle"),
    "not_responding": ("bad", "plug-connected-x"),
    "unreachable": ("bad", "plug-connected-x"),
    "auth_failed": ("bad", "lock"),
    "failing": ("bad", "alert-triangle"),
    "failed": ("bad", "circle-x"),
    "needs_attention": ("warn", "alert-triangle"),
    "missing": ("bad", "help"),
    "unknown": ("unknown", "help"),
    "maintenance": ("hold", "tool"),
}
_BUSY = ("busy", "loader-2")


@register.simple_tag
def state(code: str, label: Any, stale: bool = False, title: Any = "") -> SafeString:
    """A state with its icon. Stale: grey, since it is the last known and not what holds now."""
    look, name = STATE_LOOKS.get(code, _BUSY)
    return format_html(
        '<span class="state state-{}{}"{}>{}<span>{}</span></span>',
        look,
        " stale" if stale else "",
        format_html(' title="{}"', title) if title else mark_safe(""),
        icon(name),
        label,
    )


@register.filter
def get(mapping: Any, key: Any) -> Any:
    """A mapping's value under a key known only to the template."""
    return mapping.get(key, "")


@register.filter
def slug_key(key: str) -> str:
    """A tree node's key as part of an element's id."""
    return key.replace(":", "-")
