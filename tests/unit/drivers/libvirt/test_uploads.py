"""Uploads: in order, whole, and no image that would make a host open other files."""

import struct
from types import SimpleNamespace

import pytest

from drivers.errors import NotFound, Rejected
from drivers.libvirt.uploads import LEFT_AFTER_S, Upload, Uploads, require_self_contained

KIB = 1024


class Stream:
    """Takes what it is given, in pieces of its own size."""

    def __init__(self, most: int = 700) -> None:
        self.taken = bytearray()
        self.ended = ""
        self.most = most

    def send(self, data: bytes) -> int:
        self.taken += data[: self.most]
        return min(len(data), self.most)

    def finish(self) -> None:
        self.ended = "finished"

    def abort(self) -> None:
        self.ended = "aborted"


def upload(stream: Stream, end: int, position: int = 0) -> Upload:
    line = SimpleNamespace(call_raw=lambda method, *args: method(*args), close=lambda: None)
    return Upload(line, stream, end, position)  # type: ignore[arg-type]


def qcow2(*, version: int = 3, backing: int = 0, features: int = 0) -> bytes:
    return (b"QFI\xfb" + struct.pack(">IQ", version, backing) + bytes(56) + struct.pack(">Q", features)).ljust(
        KIB, b"\0"
    )


def test_each_byte_once_whatever_is_told_twice() -> None:
    content = bytes(n % 251 for n in range(5 * KIB))
    stream = Stream()
    one = upload(stream, len(content))
    assert one.send(0, content[: 2 * KIB]) == 2 * KIB
    assert one.send(0, content[: 2 * KIB]) == 2 * KIB
    assert one.send(KIB, content[KIB : 3 * KIB]) == 3 * KIB
    assert one.send(3 * KIB, content[3 * KIB :]) == 5 * KIB
    one.finish()
    assert (bytes(stream.taken), stream.ended) == (content, "finished")


def test_a_hole_too_much_or_too_little() -> None:
    one = upload(Stream(), 4 * KIB)
    with pytest.raises(Rejected, match="missing"):
        one.send(1, b"x")
    with pytest.raises(Rejected, match="larger"):
        one.send(0, bytes(5 * KIB))
    one.send(0, bytes(KIB))
    with pytest.raises(Rejected, match="whole"):
        one.finish()


def test_the_header_comes_in_one_piece() -> None:
    one = upload(Stream(), 4 * KIB)
    with pytest.raises(Rejected, match="small"):
        one.send(0, qcow2(backing=1)[:8])
    with pytest.raises(Rejected, match="another file"):
        one.send(0, qcow2(backing=1))
    assert one.position == 0


@pytest.mark.parametrize("head", [qcow2(), qcow2(version=2, features=4), b"", b"QFI", bytes(512), b"MZ" + bytes(600)])
def test_images_that_hold_everything_themselves(head: bytes) -> None:
    require_self_contained(head)


@pytest.mark.parametrize(
    "head", [qcow2(backing=512), qcow2(version=2, backing=72), qcow2(features=4), qcow2(features=7)]
)
def test_images_that_rest_on_other_files(head: bytes) -> None:
    with pytest.raises(Rejected, match="another file"):
        require_self_contained(head)


def test_one_of_a_stamp_and_none_that_was_left() -> None:
    uploads, streams = Uploads(), [Stream() for _each in range(4)]
    first, second, left, last = (upload(stream, KIB) for stream in streams)
    uploads.add("a", first)
    uploads.add("a", second)
    assert streams[0].ended == "aborted"
    assert uploads.find("a") is second
    left.used_at -= LEFT_AFTER_S + 1
    uploads.add("b", left)
    uploads.add("c", last)
    assert streams[2].ended == "aborted"
    with pytest.raises(NotFound):
        uploads.find("b")
    assert uploads.take("c") is last
    assert uploads.take("c") is None
