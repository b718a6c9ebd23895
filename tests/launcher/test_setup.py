"""Setting up: what is missing is installed once, whatever interrupts it."""

import signal
import threading
from pathlib import Path

import pytest


def test_the_first_start_makes_the_environment_and_runs(machine):
    done = machine.run("manage", "hello")
    assert (done.returncode, done.stdout) == (0, "managed hello\n")
    assert machine.environments == [".venv"]
    assert machine.builds == 1


def test_the_locks_are_installed_with_hashes_and_build_constraints(machine):
    machine.run("manage")
    [call] = [call for call in machine.calls if call.startswith("uv pip install")]
    assert "--require-hashes" in call
    assert f"--build-constraints {machine.home}/requirements/build.txt" in call
    assert f"-r {machine.home}/requirements/app.txt" in call


def test_the_second_start_calls_no_installer(machine):
    machine.run("manage")
    machine.calls_file.write_text("")
    assert machine.run("manage", "again").stdout == "managed again\n"
    assert machine.calls == []


def test_a_changed_lock_makes_a_new_environment(machine):
    machine.run("manage")
    with (machine.home / "requirements" / "app.txt").open("a") as lock:
        lock.write("# changed\n")
    machine.run("manage")
    assert machine.builds == 2
    assert machine.environments == [".venv"]


def test_what_an_interrupted_start_left_is_replaced(machine):
    (machine.home / ".venv" / "bin").mkdir(parents=True)
    (machine.home / ".venv.new.1" / "bin").mkdir(parents=True)
    (machine.home / ".venv.old.1").mkdir()
    assert machine.run("manage", "healed").stdout == "managed healed\n"
    assert machine.environments == [".venv"]


@pytest.mark.parametrize(
    ("behavior", "sentence"),
    [
        ("full", "the disk is full. Free some space and start again."),
        ("offline", "the package servers cannot be reached."),
        ("tampered", "does not have its locked checksum, so it was refused."),
    ],
)
def test_a_failed_download_is_one_sentence_and_the_next_start_heals(machine, behavior, sentence):
    failed = machine.run("manage", UV_BEHAVIOR=behavior)
    assert failed.returncode == 1
    assert sentence in failed.stderr.splitlines()[-1]
    assert machine.environments == []
    assert machine.run("manage", "healed").stdout == "managed healed\n"


def test_a_failed_renewal_leaves_the_old_environment(machine):
    machine.run("manage")
    with (machine.home / "requirements" / "app.txt").open("a") as lock:
        lock.write("# changed\n")
    assert machine.run("manage", UV_BEHAVIOR="offline").returncode == 1
    assert machine.environments == [".venv"]
    assert (machine.home / ".venv" / "guesthouse.stamp").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_setting_up_ends_everything(machine, number):
    process = machine.start("manage", UV_BEHAVIOR="slow")
    installer = await_file(Path(f"{machine.calls_file}.pid"), process)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert "the next start goes on" in err
    assert not Path(f"/proc/{installer}").exists()
    assert machine.environments == []
    assert machine.run("manage", "healed").stdout == "managed healed\n"


def await_file(path: Path, process) -> str:
    while process.poll() is None:
        if path.exists() and (text := path.read_text().strip()):
            return text
    raise AssertionError(process.communicate())


def test_two_starts_at_once_build_once(machine):
    results = []
    threads = [threading.Thread(target=lambda: results.append(machine.run("manage", "both"))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [done.stdout for done in results] == ["managed both\n"] * 2
    assert machine.builds == 1


def test_an_ssh_server_for_the_tests_opens_no_port(machine):
    machine.become(1000)
    machine.set_packages_installed(False)
    done = machine.run("test")
    assert "touch /etc/ssh/sshd_not_to_be_run; export" in done.stderr
    assert " openssh-server " in done.stderr
    assert "sshd" not in machine.run("up").stderr
    machine.become(0)
    assert "is told not to run (/etc/ssh/sshd_not_to_be_run)" in machine.run("test").stderr


def test_missing_packages_without_root_print_the_one_command(machine):
    machine.become(1000)
    machine.set_packages_installed(False)
    done = machine.run("manage")
    assert done.returncode == 1
    command = done.stderr.splitlines()[-1].strip()
    assert command.startswith("sh -c '")
    assert "apt-get -q -o DPkg::Lock::Timeout=300 install -y --no-install-recommends" in command
    assert "libvirt0" in command
    assert not any(call.startswith(("apt-get", "dpkg ")) for call in machine.calls)


def test_missing_packages_are_installed_as_root(machine):
    machine.become(0)
    machine.set_packages_installed(False)
    machine.run("manage")
    assert machine.calls.index("dpkg --configure -a") < machine.calls.index("apt-get -q update")
    assert any("install -y" in call and "openssh-client" in call for call in machine.calls)


def test_a_package_that_the_distribution_lacks_is_left_out_where_marked(machine):
    machine.become(0)
    machine.set_packages_installed(False)
    machine.run("lab", "status")
    installs = [call for call in machine.calls if " install " in call]
    assert any("lab-one" in call for call in installs)
    assert not any("lab-two" in call for call in installs)


@pytest.mark.parametrize(
    ("command", "installed"),
    [
        (("lab", "up", "2", "--with", "ovs"), True),
        (("lab", "up", "--with=all"), True),
        (("lab", "up", "2"), False),
        (("lab", "status", "--name", "with"), False),
        (("demo",), False),
    ],
)
def test_what_only_the_extras_of_a_lab_need_is_installed_with_them(machine, command, installed):
    machine.become(0)
    machine.set_packages_installed(False)
    machine.run(*command)
    installs = [call for call in machine.calls if " install " in call]
    assert any("lab-one" in call for call in installs)
    assert any("extra-one" in call for call in installs) == installed


def test_an_untested_distribution_is_named_so(machine):
    machine.become(0)
    machine.set_packages_installed(False)
    Path(machine.environment["GUESTHOUSE_OS_RELEASE"]).write_text(
        'ID=ubuntu\nID_LIKE=debian\nPRETTY_NAME="Ubuntu 30.04"\n'
    )
    assert "Ubuntu 30.04 is not tested" in machine.run("manage").stderr


def test_an_unknown_distribution_with_all_there_works_and_is_named_so(machine):
    Path(machine.environment["GUESTHOUSE_OS_RELEASE"]).write_text('ID=plan9\nPRETTY_NAME="Plan 9"\n')
    done = machine.run("manage", "works")
    assert done.stdout == "managed works\n"
    assert "Plan 9 is not known to this launcher and was not tested" in done.stderr


def test_a_machine_without_python_is_one_sentence(machine, tmp_path):
    machine.become(0)
    for name in (
        "bash",
        "env",
        "dirname",
        "readlink",
        "realpath",
        "mkdir",
        "flock",
        "df",
        "tail",
        "cat",
        "rm",
        "tr",
        "wc",
        "sh",
    ):
        (machine.tools / name).symlink_to(f"/usr/bin/{name}")
    done = machine.run("manage", PATH=str(machine.tools))
    assert done.returncode == 1
    assert "Python 3.11 or newer" in done.stderr.splitlines()[-1]


def test_an_unknown_command_sets_nothing_up(machine):
    done = machine.run("fly")
    assert done.returncode == 2
    assert "there is no command 'fly'" in done.stderr
    assert machine.environments == []


@pytest.mark.parametrize("word", ["help", "--help", "-h"])
def test_help_sets_nothing_up(machine, word):
    done = machine.run(word)
    assert done.returncode == 0
    assert "Usage: ./guesthouse COMMAND" in done.stdout
    assert machine.environments == []


def test_the_demo_as_a_plain_user_prints_the_one_command(machine):
    machine.become(1000)
    done = machine.run("demo")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].strip() == f"sudo {machine.home}/guesthouse demo"


def test_the_demo_goes_on_by_sudo_with_what_was_set_for_it(machine):
    machine.become(1000)
    machine.set_sudo(True)
    machine.run("demo", "--port", "9000", GUESTHOUSE_DATA="/srv/it")
    words = machine.calls[-1].split()
    assert words[0] == "sudo"
    names = words[1].removeprefix("--preserve-env=").split(",")
    assert "GUESTHOUSE_DATA" in names
    assert "/srv/it" not in machine.calls[-1]  # a value may be secret, and command lines are seen by all
    assert words[-4:] == [f"{machine.home}/guesthouse", "demo", "--port", "9000"]


def test_missing_packages_are_installed_by_sudo(machine):
    machine.become(1000)
    machine.set_sudo(True)
    machine.set_packages_installed(False)
    machine.run("manage")
    assert any(
        call.startswith("sudo sh -c export DEBIAN_FRONTEND=noninteractive; dpkg --configure -a")
        for call in machine.calls
    )
