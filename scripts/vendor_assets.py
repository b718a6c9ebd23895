#!/usr/bin/env python3
"""Fetch the browser assets kept in static/vendor, at the versions named here, and write their README with hashes.

Run by hand to upgrade (needs npm); the result is committed, so neither a start nor a test fetches anything.
"""

import hashlib
import json
import re
import subprocess
import tarfile
import tempfile
from pathlib import Path

VENDOR = Path(__file__).resolve().parent.parent / "static" / "vendor"
SOURCE_MAP = re.compile(rb"\n?(?:/\*#|//#) sourceMappingURL=\S+(?: \*/)?\s*$")

# package, version → files inside the package and our names for them
PACKAGES: dict[tuple[str, str], dict[str, str]] = {
    ("@tabler/core", "1.6.1"): {
        "dist/css/tabler.min.css": "tabler.min.css",
        "dist/js/tabler.min.js": "tabler.min.js",
    },
    ("htmx.org", "2.0.11"): {"dist/htmx.min.js": "htmx.min.js"},
    ("uplot", "1.6.32"): {"dist/uPlot.iife.min.js": "uplot.min.js", "dist/uPlot.min.css": "uplot.min.css"},
}
ICONS = ("@tabler/icons", "3.51.0")
SPRITE = "icons.svg"
# What templates use; tests/web/test_frame.py compares.
ICON_NAMES = """
activity affiliate alert-triangle arrow-right arrows-right-left ban bolt building check chevron-down chevron-left
chevron-right chevron-up chevrons-left chevrons-right circle circle-check circle-x clock copy cpu database
database-off device-desktop device-sd-card dots download edit eye file-spreadsheet file-text file-type-csv filter folder
help history home hourglass info-circle key keyboard layout-bottombar layout-sidebar list-check loader-2 lock logout
menu-2 moon network player-pause player-play player-stop plug plug-connected plug-connected-x plus point power
refresh rotate search search-off server-2 server-off settings shield skull snowflake sun switch-horizontal tag tool
transfer trash upload user users x zzz
""".split()  # noqa: SIM905 - a list of words reads best as words


def main() -> None:
    VENDOR.mkdir(parents=True, exist_ok=True)
    rows = []
    for (package, version), files in PACKAGES.items():
        with tempfile.TemporaryDirectory() as folder:
            root = _unpack(package, version, Path(folder))
            licence = json.loads((root / "package.json").read_text())["license"]
            for inside, name in files.items():
                content = SOURCE_MAP.sub(b"\n", (root / inside).read_bytes())
                (VENDOR / name).write_bytes(content)
                rows.append((name, package, version, licence, inside))
    with tempfile.TemporaryDirectory() as folder:
        root = _unpack(*ICONS, Path(folder))
        (VENDOR / SPRITE).write_text(_sprite(root / "icons" / "outline"))
        rows.append((SPRITE, *ICONS, "MIT", "icons/outline/*.svg, those used, as symbols"))
    _write_readme(rows)


def _unpack(package: str, version: str, folder: Path) -> Path:
    command = ["npm", "pack", "--silent", f"{package}@{version}", "--pack-destination", str(folder)]
    name = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    with tarfile.open(folder / name) as archive:
        archive.extractall(folder, filter="data")
    return folder / "package"


def _sprite(folder: Path) -> str:
    symbols = []
    for name in ICON_NAMES:
        paths = re.findall(r"<(?:path|circle|rect|line)[^>]*/>", (folder / f"{name}.svg").read_text())
        shapes = "".join(re.sub(r"\s+/>", "/>", path) for path in paths if 'stroke="none"' not in path)
        symbols.append(
            f'<symbol id="{name}" viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="1.75" '
            f'stroke-linecap="round" stroke-linejoin="round">{shapes}</symbol>'
        )
    return '<svg xmlns="http://www.w3.org/2000/svg">\n' + "\n".join(symbols) + "\n</svg>\n"


def _write_readme(rows: list[tuple[str, str, str, str, str]]) -> None:
    lines = [
        "# Vendored browser assets",
        "",
        "Written by `scripts/vendor_assets.py`; a test compares the hashes. Files are as published, but for the",
        "comment that names a source map, which is taken off.",
        "",
        "| file | package | version | licence | from | sha256 |",
        "|---|---|---|---|---|---|",
    ]
    for name, package, version, licence, inside in rows:
        digest = hashlib.sha256((VENDOR / name).read_bytes()).hexdigest()
        lines.append(f"| {name} | {package} | {version} | {licence} | {inside} | `{digest}` |")
    (VENDOR / "README.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
