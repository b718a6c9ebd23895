"""Samples of one object as a few hundred bytes, and back.

A value is kept in 16 bits: the exponent and the first eight bits of the fraction of its 32-bit float, rounded, so it
is right to 0.2 %; sizes of datastores, whose differences matter, are kept whole. The bytes of one significance stand
together, which lets deflate see what repeats. See docs/adr/0012-load-in-packed-blocks.md for what else was measured.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

GAP = 0xFFFF
# A value beyond is no load of anything; it is also the largest with room for rounding.
LARGEST = 2.0**63
_DROPPED_BITS = 15
_HEADER = struct.Struct("<BBBBHH")  # version, flags, series, unused, points, seconds of one step of time
_VERSION = 1
_EXACT, _SPREAD = 1, 2
_LEVEL = 6


@dataclass(frozen=True, slots=True)
class Points:
    """Samples in the order of time.

    Shapes: `times` N, in seconds since 1970; the others series x N. NaN where nothing is known, and 0 in `counts`,
    which says of how many samples a point was made.
    """

    times: Integers
    average: Floats
    low: Floats
    high: Floats
    counts: Integers

    @property
    def series(self) -> int:
        return len(self.average)


def samples(times: Integers, values: Floats) -> Points:
    """Points that were measured one by one."""
    return Points(times, values, values, values, (~np.isnan(values)).astype(np.int64))


def nothing(series: int) -> Points:
    return samples(np.zeros(0, np.int64), np.zeros((series, 0)))


def encode(values: Floats, *, exact: bool) -> bytes:
    return _clean(values).tobytes() if exact else _to_codes(values).tobytes()


def decode(packed: bytes, series: int, *, exact: bool) -> Floats:
    """Shape: objects x series."""
    codes = np.frombuffer(packed, "<f8" if exact else "<u2").reshape(-1, series)
    return codes.astype(np.float64) if exact else _from_codes(codes)


def pack(points: Points, start: int, step: int, *, exact: bool = False, spread: bool = False) -> bytes:
    """A block of points that begin at `start`. `spread`: with minimum, maximum and counts.

    Units: times are kept in whole steps of that many seconds; there is room for 65,535 of them.
    """
    header = _HEADER.pack(_VERSION, exact * _EXACT | spread * _SPREAD, points.series, 0, len(points.times), step)
    steps = ((points.times - start) // step).astype("<u2")
    planes = [points.average, points.low, points.high] if spread else [points.average]
    parts = [_shuffle(np.diff(steps, prepend=steps[:1] * 0)), *(_shuffle(_stored(plane, exact)) for plane in planes)]
    if spread:
        parts.append(_shuffle(np.minimum(points.counts, GAP).astype("<u2")))
    return header + zlib.compress(b"".join(parts), _LEVEL)


def unpack(block: bytes, start: int) -> Points:
    _version, flags, series, _unused, number, step = _HEADER.unpack_from(block)
    body = _Body(zlib.decompress(memoryview(block)[_HEADER.size :]))
    steps = np.cumsum(body.take("<u2", number), dtype=np.int64)
    times = steps * step + start
    exact = bool(flags & _EXACT)
    average = body.take_values(series, number, exact=exact)
    if not flags & _SPREAD:
        return samples(times, average)
    low = body.take_values(series, number, exact=exact)
    high = body.take_values(series, number, exact=exact)
    counts = body.take("<u2", series * number).reshape(series, number).astype(np.int64)
    return Points(times, average, low, high, counts)


def is_exact(block: bytes) -> bool:
    return bool(block[1] & _EXACT)


class _Body:
    def __init__(self, content: bytes) -> None:
        self._content = content
        self._position = 0

    def take(self, kind: str, number: int) -> NDArray[Any]:
        """The next values, their bytes side by side again."""
        width = np.dtype(kind).itemsize
        part = np.frombuffer(self._content, np.uint8, number * width, self._position).reshape(width, number)
        self._position += number * width
        return np.ascontiguousarray(part.T).view(kind).reshape(number)

    def take_values(self, series: int, number: int, *, exact: bool) -> Floats:
        stored = self.take("<f8" if exact else "<u2", series * number).reshape(series, number)
        return stored if exact else _from_codes(stored)


def _shuffle(values: NDArray[Any]) -> bytes:
    flat = np.ascontiguousarray(values)
    return flat.reshape(-1).view(np.uint8).reshape(-1, flat.dtype.itemsize).T.tobytes()


def _stored(values: Floats, exact: bool) -> NDArray[Any]:
    return _clean(values) if exact else _to_codes(values)


def _clean(values: Floats) -> NDArray[Any]:
    return np.clip(values, 0.0, LARGEST).astype("<f8")  # NaN stays


def _to_codes(values: Floats) -> NDArray[Any]:
    bits = np.clip(np.nan_to_num(values, nan=0.0, posinf=LARGEST), 0.0, LARGEST).astype("<f4").view("<u4")
    codes = ((bits + np.uint32(1 << (_DROPPED_BITS - 1))) >> np.uint32(_DROPPED_BITS)).astype("<u2")
    codes[np.isnan(values)] = GAP
    return codes


def _from_codes(codes: NDArray[Any]) -> Floats:
    values = (codes.astype("<u4") << np.uint32(_DROPPED_BITS)).view("<f4").astype(np.float64)
    values[codes == GAP] = np.nan
    return values
