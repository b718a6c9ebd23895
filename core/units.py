"""Quantities as people of this field read them: GiB, MiB/s, ages."""

from datetime import datetime, timedelta

from django.utils.formats import number_format
from django.utils.timezone import now
from django.utils.translation import gettext as _

STEP = 1024
LINK_STEP = 1000
MINUTE, HOUR, DAY = 60, 3600, 86400  # seconds
# From here on whole numbers say enough; below this two decimals are kept.
WHOLE_FROM, TENTHS_FROM = 100, 10
SECONDS_FROM_MS = 10_000
_BYTES = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def format_number(value: float) -> str:
    """Three figures at most after rounding, whole from 100 on: 1.25, 12.5, 125."""
    magnitude = abs(value)
    digits = 0 if magnitude >= WHOLE_FROM or value == int(value) else 1 if magnitude >= TENTHS_FROM else 2
    text = f"{value:.{digits}f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return number_format(text, use_l10n=True, force_grouping=True)


def format_bytes(value: float | str | None) -> str:
    """Units: bytes in, binary units out. A template's missing value is an empty text."""
    if value is None or value == "":
        return ""
    amount, unit = float(value), _BYTES[0]
    for unit in _BYTES:  # noqa: B007 - the unit reached is used below
        if abs(amount) < STEP:
            break
        amount /= STEP
    else:
        amount *= STEP
    return f"{format_number(amount)} {unit}"


def format_rate(value: float | str | None) -> str:
    """Units: bytes a second in."""
    text = format_bytes(value)
    return f"{text}/s" if text else ""


def format_link_speed(value: float | str | None) -> str:
    """Units: Mbit/s in, decimal steps out, as networks are sold. A template's missing value is an empty text."""
    if value is None or value == "":
        return ""
    mbps = float(value)
    return f"{format_number(mbps / LINK_STEP)} Gbit/s" if mbps >= LINK_STEP else f"{format_number(mbps)} Mbit/s"


def format_percent(value: float | str | None) -> str:
    """Units: percent in. Below one percent is said as such, not as zero."""
    if value is None or value == "":
        return ""
    value = float(value)
    if 0 < value < 1:
        return "< 1 %"
    return f"{value:.0f} %"


def share(part: float | None, whole: float | None) -> float | None:
    """Percent of the whole, within 0 and 100; none when there is no whole."""
    if part is None or not whole:
        return None
    return max(0.0, min(100.0, 100.0 * part / whole))


def format_span(span: timedelta) -> str:
    """A length of time in its largest fitting unit: 12 s, 3 min, 5 h, 2 d."""
    seconds = max(0, int(span.total_seconds()))
    if seconds < MINUTE:
        return _("%(n)d s") % {"n": seconds}
    if seconds < HOUR:
        return _("%(n)d min") % {"n": seconds // MINUTE}
    if seconds < 2 * DAY:
        return _("%(n)d h") % {"n": seconds // HOUR}
    return _("%(n)d d") % {"n": seconds // DAY}


def format_age(moment: datetime | None) -> str:
    """How long ago: "12 s ago"."""
    if moment is None:
        return _("never")
    return _("%(span)s ago") % {"span": format_span(now() - moment)}


def format_duration_ms(value: float | None) -> str:
    """Units: milliseconds in."""
    if value is None:
        return ""
    if value < SECONDS_FROM_MS:
        return f"{format_number(value)} ms"
    return format_span(timedelta(milliseconds=value))
