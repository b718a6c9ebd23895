"""The guests' kernel and user space: Debian's cloud kernel, unpacked, and an initrd of BusyBox and one script."""

import bz2
import gzip
import lzma
import os
import re
import shutil
import struct
import subprocess
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from lab import state
from lab.processes import LabError, missing_sentence, run, succeeds
from lab.state import Place

FILES = Path(__file__).parent / "files"
META_PACKAGE = "linux-image-cloud-amd64"
# Those the kernel has built in are simply not found.
MODULES = ("virtio_pci", "virtio_net", "virtio_blk", "virtio_balloon", "ext4", "button", "evdev")
DISK_BYTES = 32 << 20
_ELF = b"\x7fELF"


def prepare(place: Place) -> None:
    """Fill the lab's boot folder: vmlinux, initrd.img, tick.img and the two empty guest disks."""
    kernel = find_kernel(place.cache)
    place.boot.mkdir(parents=True, exist_ok=True)
    _link(kernel / "vmlinux", place.boot / "vmlinux")
    (place.boot / "initrd.img").write_bytes(build_initrd(kernel))
    (place.boot / "tick.img").write_bytes(tick_image())
    make_disk(place.boot / "disk.raw")


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # the cache is on another file system
        shutil.copyfile(source, target)


def find_kernel(cache: Path) -> Path:
    """The newest unpacked kernel; downloads one when there is none, so that later starts need no network."""
    with state.lock("kernel"):
        have = sorted(cache.glob("linux-*"), key=lambda p: p.stat().st_mtime)
        return have[-1] if have else fetch_kernel(cache)


def fetch_kernel(cache: Path) -> Path:
    """Download the kernel package, unpack it and keep vmlinux and the modules the guests load.

    Raises: LabError
    """
    cache.mkdir(parents=True, exist_ok=True)
    for unfinished in cache.glob("new-*"):
        shutil.rmtree(unfinished, ignore_errors=True)
    package = kernel_package()
    with tempfile.TemporaryDirectory(dir=cache, prefix="new-") as made:
        work = Path(made)
        download(package, work)
        run(["dpkg-deb", "--extract", next(work.glob("*.deb")), work / "tree"])
        version = package.removeprefix("linux-image-")
        draft = work / f"linux-{version}"
        (draft / "modules").mkdir(parents=True)
        (draft / "vmlinux").write_bytes(extract_vmlinux((work / "tree/boot" / f"vmlinuz-{version}").read_bytes()))
        for number, (name, content) in enumerate(modules_in_order(work / "tree"), 1):
            (draft / "modules" / f"{number:02}-{name}.ko").write_bytes(content)
        return draft.rename(cache / draft.name)


def kernel_package() -> str:
    """The kernel package Debian's cloud kernel stands for now."""
    depends = _kernel_depends()
    if not depends:
        succeeds(["apt-get", "-qq", "update"])
        depends = _kernel_depends()
    if not depends:
        raise LabError(
            f"apt knows no package {META_PACKAGE}; the guests' kernel needs Debian on amd64 and a reachable mirror."
        )
    return depends


def _kernel_depends() -> str:
    try:
        shown = run(["apt-cache", "depends", META_PACKAGE])
    except LabError:
        return ""
    found = re.search(r"Depends: (linux-image-[0-9]\S+)", shown)
    return found[1] if found else ""


def download(package: str, folder: Path) -> None:
    """Fetch a package; its index may be older than the mirror, so once more after an update."""
    command = ["sh", "-c", 'cd "$1" && exec apt-get -qq download "$2"', "sh", str(folder), package]
    if not succeeds(command):
        succeeds(["apt-get", "-qq", "update"])
        run(command, timeout=600)


def modules_in_order(tree: Path) -> Iterator[tuple[str, bytes]]:
    """The wanted modules, each after those it depends on. No modules.dep: only installing would make it."""
    paths = {_module_name(path): path for path in tree.rglob("*.ko*")}
    done: set[str] = set()

    def visit(name: str) -> Iterator[tuple[str, bytes]]:
        if name in done or name not in paths:
            return
        done.add(name)
        content = decompress(paths[name].read_bytes())
        for needed in module_needs(content):
            yield from visit(needed)
        yield name, content

    for wanted in MODULES:
        yield from visit(wanted)


def _module_name(path: Path) -> str:
    return path.name.partition(".ko")[0].replace("-", "_")


def module_needs(content: bytes) -> list[str]:
    """What a module asks for in its .modinfo section, hard and soft."""
    hard = [name for field in re.findall(rb"\0depends=([^\0]*)", content) for name in field.split(b",")]
    soft = [name for field in re.findall(rb"\0softdep=pre: ([^\0]*)", content) for name in field.split()]
    return [name.decode().replace("-", "_") for name in soft + hard if name]


def extract_vmlinux(image: bytes) -> bytes:
    """The uncompressed kernel out of a bzImage; QEMU starts it at once, where unpacking under emulation takes long.

    Source: https://docs.kernel.org/arch/x86/boot.html (setup_sects, payload_offset, payload_length)
    """
    start, length = struct.unpack_from("<II", image, 0x248)
    begin = (image[0x1F1] + 1) * 512 + start
    payload = image[begin : begin + length]
    if payload.startswith(_BY_PROGRAM):
        payload = payload[:-4]  # its length unpacked, which the programs would take for more data
    plain = payload if payload.startswith(_ELF) else decompress(payload)
    if not plain.startswith(_ELF):
        raise LabError("The kernel package holds a kernel of an unknown form; it was not kept, try again.")
    return plain


def decompress(data: bytes) -> bytes:
    """Unpack by magic number; what follows the packed data is ignored, what is not packed comes back as it is."""
    for magic, unpack in _UNPACKERS.items():
        if data.startswith(magic):
            return unpack(data)
    return data


def _by_program(*command: str) -> Callable[[bytes], bytes]:
    def unpack(data: bytes) -> bytes:
        try:
            return subprocess.run(command, input=data, capture_output=True, check=False).stdout
        except FileNotFoundError:
            raise LabError(missing_sentence([command[0]])) from None

    return unpack


_LZ4, _ZSTD = b"\x02\x21\x4c\x18", b"\x28\xb5\x2f\xfd"
_BY_PROGRAM = (_LZ4, _ZSTD)
_UNPACKERS: dict[bytes, Callable[[bytes], bytes]] = {
    _LZ4: _by_program("lz4", "-dc"),
    _ZSTD: _by_program("zstd", "-dcq"),
    b"\xfd7zXZ\x00": lambda data: lzma.LZMADecompressor(lzma.FORMAT_XZ).decompress(data),
    b"\x1f\x8b": lambda data: zlib.decompressobj(wbits=31).decompress(data),
    b"BZh": lambda data: bz2.BZ2Decompressor().decompress(data),
}


def build_initrd(kernel: Path) -> bytes:
    """A packed archive of BusyBox, the modules and the guest's script."""
    busybox = shutil.which("busybox")
    if busybox is None:
        raise LabError(missing_sentence(["busybox"]))
    archive = b"".join(_folder(name) for name in ("bin", "dev", "proc", "sys", "lib", "www", "disk", "ram"))
    archive += _file("bin/busybox", Path(busybox).read_bytes(), 0o755)
    for script in ("init", "dhcp"):
        archive += _file(script, (FILES / script).read_bytes(), 0o755)
    for module in sorted((kernel / "modules").iterdir()):
        archive += _file(f"lib/{module.name}", module.read_bytes(), 0o644)
    return gzip.compress(archive + _entry("TRAILER!!!", b"", 0), compresslevel=6, mtime=0)


def _folder(name: str) -> bytes:
    return _entry(name, b"", 0o040755)


def _file(name: str, content: bytes, mode: int) -> bytes:
    return _entry(name, content, 0o100000 | mode)


def _entry(name: str, content: bytes, mode: int) -> bytes:
    """One member of a cpio archive.

    Source: https://docs.kernel.org/driver-api/early-userspace/buffer-format.html ("newc")
    """
    path = name.encode() + b"\0"
    numbers = (0, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(path), 0)
    header = b"070701" + b"".join(b"%08X" % number for number in numbers)
    return _padded(header + path) + _padded(content)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)


def make_disk(path: Path) -> None:
    """An empty ext4 disk that every guest gets a copy of."""
    with path.open("wb") as disk:
        disk.truncate(DISK_BYTES)
    run(["mkfs.ext4", "-q", "-F", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0", path])


def tick_image() -> bytes:
    """A disk whose boot sector sleeps, counts and writes "T" and four hex digits on the serial line, once a second."""
    out = bytes.fromhex("baf803ee")  # mov dx,0x3f8; out dx,al
    digit = bytes.fromhex("c1c304 88d8 240f 0430 3c3a 7202 0407") + out  # rol bx,4; al = one hex digit of bl
    code = bytes.fromhex("fa 31c0 8ed8 8ed0 bc007c fb 31ed")  # stack at 0x7c00, interrupts on, bp = 0
    loop = len(code)
    code += bytes.fromhex("b91200 f4 e2fd 45")  # 18 timer ticks in hlt, then bp += 1
    code += bytes.fromhex("b054") + out  # "T"
    code += bytes.fromhex("89eb b90400") + digit + bytes([0xE2, -(len(digit) + 2) & 0xFF])  # bx = bp, four digits
    code += bytes.fromhex("b00a") + out  # line feed
    code += bytes([0xEB, (loop - len(code) - 2) & 0xFF])
    return (code.ljust(510, b"\0") + b"\x55\xaa").ljust(1 << 20, b"\0")
