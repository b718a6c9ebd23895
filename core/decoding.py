"""JSON, msgpack and plain values into the shapes we declare. Knows no framework: drivers and their children use it.

msgspec learns a Struct's fields the first time something is decoded into it, and another thread that comes meanwhile
takes what is half learnt for the whole: the process ends by SIGSEGV (seen with 0.22.0, whose `StructInfo` stands on the
class before its types are filled in). Here one thread at a time learns; whoever decodes into a shape uses this module.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

D = TypeVar("D")

_learning = threading.Lock()
# A fork waits until nothing is half learnt.
os.register_at_fork(before=_learning.acquire, after_in_parent=_learning.release, after_in_child=_learning.release)

_from_json: dict[Any, msgspec.json.Decoder[Any]] = {}
_from_msgpack: dict[Any, msgspec.msgpack.Decoder[Any]] = {}


def decode_json(data: bytes | str, shape: Any) -> Any:
    """The value in these bytes, an instance of `shape` (anything msgspec takes as a type).

    Raises: msgspec.DecodeError, msgspec.ValidationError.
    """
    return _learnt(_from_json, msgspec.json.Decoder, shape).decode(data)


def decode_msgpack(data: bytes | msgspec.Raw, shape: Any) -> Any:
    """As `decode_json`."""
    return _learnt(_from_msgpack, msgspec.msgpack.Decoder, shape).decode(data)


def convert(value: Any, shape: Any) -> Any:
    """An instance of `shape` made of lists, dictionaries and plain values.

    Raises: msgspec.ValidationError.
    """
    _learnt(_from_json, msgspec.json.Decoder, shape)
    return msgspec.convert(value, type=shape)


def _learnt(known: dict[Any, D], make: Callable[[Any], D], shape: Any) -> D:
    decoder = known.get(shape)
    if decoder is None:
        with _learning:
            decoder = known.get(shape) or known.setdefault(shape, make(shape))
    return decoder
