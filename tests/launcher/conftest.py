"""A copy of the launcher on a pretended machine, and consoles that really run."""

import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from config.data import HOME, LOCK_NAME
from config.processes import descendants_of

PATIENCE_SECONDS = 120
READY = re.compile(r"Guesthouse is ready: (http://\S+)")

UV = """#!/bin/bash
echo "uv $*" >>"$CALLS"
case "$1 $2" in
  venv*) target=${!#}; mkdir -p "$target/bin"; ln -s "$REAL_PYTHON" "$target/bin/python" ;;
  'pip install')
    case ${UV_BEHAVIOR:-} in
      full) echo 'error: failed to copy: No space left on device (os error 28)' >&2; exit 2 ;;
      offline) echo 'error: error sending request for url: dns error' >&2; exit 2 ;;
      tampered) echo 'error: Hash mismatch for `django`' >&2; exit 2 ;;
      slow) echo $$ >"$CALLS.pid"; exec sleep 600 ;;
    esac ;;
esac
"""
RECORDING = '#!/bin/bash\necho "$(basename "$0") $*" >>"$CALLS"\n'


class Machine:
    """A folder with the launcher, its locks and a program that says that it was started."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "guesthouse"
        self.tools = folder / "tools"
        self.calls_file = folder / "calls"
        self.calls_file.touch()
        for name in ("guesthouse", "scripts", "requirements"):
            copy = shutil.copytree if (HOME / name).is_dir() else shutil.copy2
            copy(HOME / name, self._made(self.home) / name)
        (self.home / "manage.py").write_text("import sys; print('managed', *sys.argv[1:])\n")
        (self._made(self.home / "lab") / "packages.txt").write_text("# for the lab\nlab-one  # why\nlab-two?\n")
        (self.home / "lab/packages-extras.txt").write_text("extra-one  # why\n")
        self.set_packages_installed(True)
        self._tool("apt-cache", RECORDING)
        self._tool("apt-get", RECORDING)
        self._tool("dpkg", RECORDING)
        self.set_sudo(False)
        self._put_installer()
        release = folder / "os-release"
        release.write_text('ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian 12"\n')
        self.environment = {
            "PATH": f"{self.tools}:{Path(sys.base_prefix, 'bin')}:/usr/bin:/bin",
            "HOME": str(folder),
            "CALLS": str(self.calls_file),
            "REAL_PYTHON": str(Path(sys.base_prefix, "bin", "python3")),
            "GUESTHOUSE_OS_RELEASE": str(release),
        }

    @staticmethod
    def _made(folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _tool(self, name: str, text: str) -> None:
        file = self._made(self.tools) / name
        file.write_text(text)
        file.chmod(0o755)

    def set_packages_installed(self, installed: bool) -> None:
        """Whether the distribution's packages are there."""
        answer = 'for name; do [[ $name == -* || $name == *\\$* ]] || printf "installed:%s " "$name"; done'
        self._tool("dpkg-query", f"#!/bin/bash\nshift 3\n{answer if installed else 'exit 1'}\n")

    def set_sudo(self, allowed: bool) -> None:
        """Whether sudo works without asking."""
        self._tool("sudo", RECORDING if allowed else "#!/bin/bash\nexit 1\n")

    def become(self, user_id: int) -> None:
        self._tool("id", f"#!/bin/bash\necho {user_id}\n")

    def _put_installer(self) -> None:
        """The installer's environment as an earlier start left it, with a stand-in for uv."""
        binaries = self._made(self.home / ".cache" / "bootstrap" / "bin")
        (binaries / "uv").write_text(UV)
        (binaries / "uv").chmod(0o755)
        (binaries / "python").symlink_to(sys.executable)
        stamp = f"{sys.version.split()[0]} $(sha256sum <'{self.home}/requirements/bootstrap.txt')"
        subprocess.run(["bash", "-c", f'echo "{stamp}" >"{binaries.parent}/stamp"'], check=True)

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            # What a shell starts in the background ignores Ctrl-C, and a shell cannot trap what it found ignored.
            ["env", "--default-signal=INT", self.home / "guesthouse", *arguments],
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments, **environment)
        out, err = process.communicate(timeout=PATIENCE_SECONDS)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    @property
    def calls(self) -> list[str]:
        return self.calls_file.read_text().splitlines()

    @property
    def builds(self) -> int:
        return sum(call.startswith("uv pip install") for call in self.calls)

    @property
    def environments(self) -> list[str]:
        return sorted(path.name for path in self.home.glob(".venv*"))


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


class Console:
    """`./guesthouse up` or `demo` of this working copy, with the environment the tests run in."""

    def __init__(
        self, command: str, data: Path, venv: Path, *options: str, by: tuple[str, ...] = (), **environment: str
    ) -> None:
        self.data = data
        self.lines: list[str] = []
        self._rest = b""
        self.process = subprocess.Popen(
            [*by, HOME / "guesthouse", command, "--port", "0", "--data", str(data), *options],
            env={**clean_environment(venv), **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def read_until(self, pattern: str | re.Pattern[str], seconds: float = PATIENCE_SECONDS) -> re.Match[str]:
        """The first line that matches; fails with all that was printed when it does not come."""
        deadline = time.monotonic() + seconds
        while (line := self._line(deadline)) is not None:
            self.lines.append(line)
            if found := re.search(pattern, line):
                return found
        raise AssertionError(f"{pattern} was not printed, but:\n{self.text}\n{self.logs()}")

    def _line(self, deadline: float) -> str | None:
        """The next line, or none at the end of the output or of the patience."""
        assert self.process.stdout
        while b"\n" not in self._rest:
            remaining = max(0.0, deadline - time.monotonic())
            if not select.select([self.process.stdout], [], [], remaining)[0]:
                return None
            if not (chunk := os.read(self.process.stdout.fileno(), 65536)):
                return None
            self._rest += chunk
        line, self._rest = self._rest.split(b"\n", 1)
        return line.decode()

    def get(self, path: str, **headers: str) -> int:
        """Ask for a page; returns the status."""
        url = (self.data / LOCK_NAME).read_text().strip() + path
        request = urllib.request.Request(url, headers=headers)  # noqa: S310 - our own http address
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            return int(answer.status)

    def get_json(self, path: str, token: str) -> Any:
        """Ask the API."""
        url = (self.data / LOCK_NAME).read_text().strip() + path
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})  # noqa: S310 - our own
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            return json.load(answer)

    def logs(self) -> str:
        files = sorted((self.data / "log").glob("*.log"))
        return "\n".join(f"-- {file.name}\n{file.read_text()[-1500:]}" for file in files)

    def url(self) -> str:
        return self.read_until(READY).group(1)

    def processes(self) -> list["Watched"]:
        return [Watched(pid) for pid in descendants_of(self.process.pid)]

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.end()

    def end(self) -> int:
        output = self._rest + self.process.communicate(timeout=PATIENCE_SECONDS)[0]
        self._rest = b""
        self.lines += output.decode().splitlines()
        return self.process.returncode


class Watched:
    """A process that is not ours to wait for; the descriptor stays right when its number is used again."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.command = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
        self._descriptor = os.pidfd_open(pid)

    def has_ended(self, seconds: float = 0) -> bool:
        return bool(select.select([self._descriptor], [], [], seconds)[0])

    def __del__(self) -> None:
        os.close(self._descriptor)


def clean_environment(venv: Path) -> dict[str, str]:
    dropped = ("DATABASE_URL", "REDIS_URL", "GUESTHOUSE_DATA", "GUESTHOUSE_ADMIN_PASSWORD", "PYTEST_VERSION")
    kept = {key: value for key, value in os.environ.items() if key not in dropped}
    return {**kept, "GUESTHOUSE_VENV": str(venv)}


@pytest.fixture(scope="session")
def venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The environment of this test run, stamped as complete, so that the launcher has nothing to set up."""
    folder = tmp_path_factory.mktemp("launcher") / "venv"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(Path(sys.executable).resolve())
    (folder / "lib").symlink_to(Path(sys.prefix) / "lib")
    shutil.copy(Path(sys.prefix) / "pyvenv.cfg", folder)
    script = 'home=$1; . "$1/scripts/environment.sh"; for kind in app dev; do stamp_line $kind "$2"; echo; done'
    version = sys.version.split()[0]
    stamp = subprocess.run(
        ["bash", "-c", script, "_", str(HOME), version], capture_output=True, text=True, check=True
    ).stdout
    (folder / "guesthouse.stamp").write_text(stamp)
    return folder


@pytest.fixture
def start_console(venv: Path) -> Iterator[Callable[..., Console]]:
    """Starts consoles, by default all on one data directory; its path is short, as a person's is."""
    started: list[Console] = []
    with tempfile.TemporaryDirectory(prefix="gh-", dir="/tmp") as folder:

        def start(command: str = "up", *options: str, data: Path | None = None, **settings: Any) -> Console:
            started.append(Console(command, data or Path(folder, "data"), venv, *options, **settings))
            return started[-1]

        yield start
        for console in started:
            if console.process.poll() is None:
                console.stop()


@pytest.fixture(scope="session")
def launch(venv: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a command of the launcher to its end."""

    def run(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [HOME / "guesthouse", *arguments],
            env={**clean_environment(venv), **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_SECONDS,
        )

    return run
