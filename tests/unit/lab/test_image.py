"""Unpacking kernels and modules, and packing the guests' archive."""

import gzip
import lzma
import struct
import subprocess
from pathlib import Path

import pytest

from lab import image, state
from lab.processes import LabError

KERNEL = b"\x7fELF" + bytes(range(256)) * 40


def bzimage(payload: bytes) -> bytes:
    """The least of a bzImage: one setup sector, the payload at its start, its length with the size field after it."""
    head = bytearray(1024)
    head[0x1F1] = 1
    struct.pack_into("<II", head, 0x248, 0, len(payload))
    return bytes(head) + payload


@pytest.mark.parametrize(
    "pack",
    [
        lzma.compress,
        gzip.compress,
        lambda data: subprocess.run(["lz4", "-l", "-c"], input=data, capture_output=True, check=True).stdout,
        lambda data: subprocess.run(["zstd", "-c"], input=data, capture_output=True, check=True).stdout,
        lambda data: data,
    ],
    ids=["xz", "gzip", "lz4", "zstd", "plain"],
)
def test_every_packing_of_a_kernel(pack: object) -> None:
    packed = pack(KERNEL)  # type: ignore[operator]
    unpacked = image.extract_vmlinux(bzimage(packed + struct.pack("<I", len(KERNEL))))
    assert unpacked[: len(KERNEL)] == KERNEL


def test_an_unknown_kernel_is_one_sentence() -> None:
    with pytest.raises(LabError, match="unknown form"):
        image.extract_vmlinux(bzimage(b"nothing we know"))


def test_what_a_module_needs() -> None:
    info = b"\0license=GPL\0depends=virtio-ring,virtio\0softdep=pre: crc32c\0vermagic=6.1\0"
    assert image.module_needs(info) == ["crc32c", "virtio_ring", "virtio"]
    assert image.module_needs(b"\0depends=\0") == []


def test_modules_come_after_what_they_need(tmp_path: Path) -> None:
    folder = tmp_path / "lib/modules/6.1/kernel/drivers"
    folder.mkdir(parents=True)
    (folder / "virtio_net.ko").write_bytes(b"\0depends=virtio_ring,net-failover\0")
    (folder / "virtio_ring.ko.xz").write_bytes(lzma.compress(b"\0depends=virtio\0"))
    (folder / "virtio.ko").write_bytes(b"\0depends=\0")
    (folder / "net_failover.ko").write_bytes(b"\0depends=virtio_net\0")
    names = [name for name, _ in image.modules_in_order(tmp_path)]
    assert names == ["virtio", "virtio_ring", "net_failover", "virtio_net"]


def test_the_archive_is_one_that_cpio_reads(tmp_path: Path) -> None:
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules/01-virtio.ko").write_bytes(b"module")
    archive = gzip.decompress(image.build_initrd(tmp_path))
    command = ["busybox", "cpio", "-t"]
    listed = subprocess.run(command, input=archive, capture_output=True, check=True).stdout.split()
    assert {b"init", b"dhcp", b"bin/busybox", b"lib/01-virtio.ko", b"proc"} <= set(listed)


def test_the_tiny_guest_boots_from_its_first_sector() -> None:
    disk = image.tick_image()
    assert len(disk) == 1 << 20
    assert disk[510:512] == b"\x55\xaa"
    assert disk[0] == 0xFA


def test_a_kernel_in_the_cache_is_used_without_asking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "RUNTIME", tmp_path / "run")
    monkeypatch.setattr(image, "fetch_kernel", lambda cache: pytest.fail("the cache was not used"))
    (tmp_path / "linux-6.1").mkdir()
    assert image.find_kernel(tmp_path) == tmp_path / "linux-6.1"


def test_an_unfinished_download_is_cleared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "new-broken").mkdir()

    def no_mirror() -> str:
        raise LabError("no mirror")

    monkeypatch.setattr(image, "kernel_package", no_mirror)
    with pytest.raises(LabError, match="no mirror"):
        image.fetch_kernel(tmp_path)
    assert list(tmp_path.iterdir()) == []
