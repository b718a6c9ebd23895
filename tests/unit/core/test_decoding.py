"""Decoding into shapes, also by many threads at once."""

from __future__ import annotations

import subprocess
import sys

import msgspec
import pytest

from config.data import HOME
from core.decoding import convert, decode_json, decode_msgpack

# Each round declares shapes anew: only the first decoding into one can fail. With msgspec's own function in the place
# of ours this ended by SIGSEGV in the first rounds, each of ten times (msgspec 0.22.0).
FIRST_AT_ONCE = """
import sys, threading
import msgspec
from core.decoding import {name} as decode

sys.setswitchinterval(1e-6)
FIELDS = "".join(f"    f{{number}}: list[int] | None = None\\n" for number in range(20))
VALUE = {{"f1": [1], "f19": [2], "inner": {{"f3": [3]}}}}
DATA = {data}
failed = []


def declare():
    names = {{"msgspec": msgspec, "__name__": __name__}}
    exec("class Inner(msgspec.Struct):\\n" + FIELDS, names)
    exec("class Outer(msgspec.Struct):\\n" + FIELDS + "    inner: Inner | None = None\\n", names)
    globals()["Inner"] = names["Inner"]
    return names["Outer"]


def decode_one(shape, start):
    start.wait()
    try:
        assert decode(DATA, shape).inner.f3 == [3]
    except Exception as error:
        failed.append(error)


for _round in range(30):
    shape, start = declare(), threading.Barrier(8)
    threads = [threading.Thread(target=decode_one, args=(shape, start)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed, failed[0]
print("decoded")
"""


class Inner(msgspec.Struct):
    number: int


class Outer(msgspec.Struct):
    inner: Inner | None = None


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("decode_json", "msgspec.json.encode(VALUE)"),
        ("decode_msgpack", "msgspec.msgpack.encode(VALUE)"),
        ("convert", "VALUE"),
    ],
)
def test_threads_may_be_the_first_at_once(name: str, data: str):
    script = FIRST_AT_ONCE.format(name=name, data=data)
    done = subprocess.run([sys.executable, "-c", script], cwd=HOME, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "decoded\n", "")


def test_a_shape_is_what_is_declared():
    value = {"inner": {"number": 3}}
    wanted = Outer(Inner(3))
    assert decode_json(msgspec.json.encode(value), Outer) == wanted
    assert decode_msgpack(msgspec.msgpack.encode(value), Outer) == wanted
    assert convert(value, Outer) == wanted
    assert decode_json(b"[1]", tuple[int, ...]) == (1,)


@pytest.mark.parametrize("decode", [decode_json, decode_msgpack])
def test_what_does_not_fit_is_refused(decode):
    encode = msgspec.json.encode if decode is decode_json else msgspec.msgpack.encode
    with pytest.raises(msgspec.ValidationError):
        decode(encode({"inner": {"number": "three"}}), Outer)
    with pytest.raises(msgspec.DecodeError):
        decode(b"{" if decode is decode_json else b"\xc1", Outer)


def test_what_does_not_convert_is_refused():
    with pytest.raises(msgspec.ValidationError):
        convert({"inner": 3}, Outer)
