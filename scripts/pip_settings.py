"""Prints pip's package servers and certificates as uv's environment variables, one NAME=value a line.

Run by the launcher with the installer's Python; a machine without such settings gets an empty answer.
"""

import ast
import os
import subprocess
import sys

SECTIONS = ("global", "install", ":env:")  # a later one overrides


def pip_settings(listing: str) -> dict[str, str]:
    """The effective options out of `pip config list`, whose lines read `section.option='value'`."""
    found: dict[str, dict[str, str]] = {section: {} for section in SECTIONS}
    for line in listing.splitlines():
        name, _, value = line.partition("=")
        section, _, option = name.rpartition(".")
        if section in found:
            found[section][option] = " ".join(str(ast.literal_eval(value)).split())
    return {option: value for section in SECTIONS for option, value in found[section].items()}


def uv_environment(settings: dict[str, str]) -> dict[str, str]:
    """The same settings by uv's names."""
    names = {"index-url": "UV_DEFAULT_INDEX", "extra-index-url": "UV_INDEX", "cert": "SSL_CERT_FILE"}
    names |= {"trusted-host": "UV_INSECURE_HOST", "proxy": "ALL_PROXY", "default-timeout": "UV_HTTP_TIMEOUT"}
    chosen = {uv: settings[pip] for pip, uv in names.items() if settings.get(pip)}
    if settings.get("find-links"):
        chosen["UV_FIND_LINKS"] = settings["find-links"].replace(" ", ",")
    if "UV_INDEX" in chosen:
        # pip looks at all indexes alike; every file is checked against its locked hash either way.
        chosen["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    return chosen


def main() -> None:
    listing = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    ).stdout
    for name, value in uv_environment(pip_settings(listing)).items():
        if name not in os.environ:
            print(f"{name}={value}")


if __name__ == "__main__":
    main()
