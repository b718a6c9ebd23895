"""The lab is what it says: real hosts, real guests, real faults, and nothing left behind."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.__main__ import HOST_COMMANDS
from lab.api import Lab, LabGuest, LabHost
from lab.hosts import TCP_PORT
from lab.processes import LabError, ProcessRef, run, succeeds, wait_for
from lab.state import ROOT
from tests.traces import traces

MakeLab = Callable[..., Lab]


def tcp_answers(host: LabHost) -> bool:
    try:
        socket.create_connection((host.address, TCP_PORT), timeout=2).close()
    except OSError:
        return False
    return True


def answers_ping(guest: LabGuest) -> bool:
    return wait_for(lambda: succeeds(["ping", "-n", "-c", "1", "-W", "1", str(guest.address)]), 60)


def move(guest: LabGuest, to: LabHost) -> None:
    guest.host.virsh("migrate", "--live", "--p2p", "--undefinesource", "--persistent", guest.name, to.uri)


def pool_value(host: LabHost, pool: str, key: str) -> str:
    lines = dict(line.split(":", 1) for line in host.virsh("pool-info", "--bytes", pool).splitlines() if ":" in line)
    return lines[key].strip()


def test_hosts_are_told_apart_over_tcp(lab: Lab) -> None:
    names = [run(["virsh", "-c", host.uri, "hostname"]).strip() for host in lab.hosts]
    assert names == ["kvm-01.lab", "kvm-02.lab", "kvm-03.lab"]
    assert [host.uuid in host.virsh("capabilities") for host in lab.hosts] == [True] * 3
    assert len({host.uuid for host in lab.hosts}) == 3


def test_libvirt_offers_emulation_only(lab: Lab) -> None:
    assert "<domain type='kvm'" not in lab.hosts[0].virsh("capabilities")


def test_datastores(lab: Lab) -> None:
    assert len({pool_value(host, "shared", "UUID") for host in lab.hosts}) == 1
    assert len({pool_value(host, "local", "UUID") for host in lab.hosts}) == 3
    assert len({pool_value(host, "local", "Capacity") for host in lab.hosts}) == 3
    volumes = [host.virsh("vol-list", "shared") for host in lab.hosts]
    assert volumes[0] == volumes[1] == volumes[2]
    assert "web-03.qcow2" in volumes[0]
    assert "db-03.img" in volumes[0]


def test_networks(lab: Lab) -> None:
    kinds = {name: lab.hosts[0].virsh("net-dumpxml", name) for name in ("default", "isolated", "guests")}
    assert "<forward mode='nat'>" in kinds["default"]
    assert "<forward" not in kinds["isolated"]
    assert "<forward mode='bridge'/>" in kinds["guests"]


def vnc_greeting(guest: LabGuest) -> bytes:
    """What the guest's screen says first (RFC 6143 section 7.1.1)."""
    address, _, display = guest.host.virsh("vncdisplay", guest.name).strip().rpartition(":")
    assert address == guest.host.address
    with socket.create_connection((address, 5900 + int(display)), timeout=10) as screen:
        return screen.recv(12)


def test_guests_count_answer_and_show_a_screen(lab: Lab) -> None:
    for guest in lab.guests:
        assert guest.wait_heartbeat(guest.wait_heartbeat()).count > 1
        assert answers_ping(guest)
        assert vnc_greeting(guest).startswith(b"RFB 003.")
    assert len({guest.boot_id for guest in lab.guests}) == len(lab.guests)


def test_a_guest_moves_and_comes_back_alive(lab: Lab) -> None:
    guest = lab.guest("db-01")
    home = guest.host
    away = next(host for host in lab.hosts if host.name != home.name)
    boot, before, lost = guest.boot_id, guest.wait_heartbeat(), len(guest.lost_beats())
    with lab.ping(guest) as ping:
        move(guest, away)
        assert guest.running_on == guest.defined_on == [away.name]
        halfway = guest.wait_heartbeat(before)
        move(guest, home)
        guest.wait_heartbeat(guest.wait_heartbeat(halfway))
        assert answers_ping(guest)
    assert guest.running_on == guest.defined_on == [home.name]
    assert guest.boot_id == boot
    assert guest.doubled_beats() == []
    assert len(guest.lost_beats()) <= lost + 2  # a line cut in two by each move counts as lost
    assert ping.replies


def test_the_power_button_shuts_a_guest_down_and_its_disk_remembers(lab: Lab) -> None:
    guest = lab.guest("web-03")
    host, boot = guest.host, guest.boot_id
    host.virsh("shutdown", guest.name)
    assert wait_for(lambda: host.guests()[guest.name] == "shutoff", 60)
    host.virsh("start", guest.name)
    assert wait_for(lambda: guest.boot_id != boot, 120)
    assert "DISK mounted, start 2" in guest.serial_text(host)


def test_guests_survive_the_death_of_libvirtd(lab: Lab) -> None:
    host, guest = lab.host("kvm-02"), lab.guest("web-02")
    qemu, before = host.qemu_pid(guest), guest.wait_heartbeat()
    assert qemu is not None
    host.kill_libvirtd()
    assert host.libvirtd_pid is None
    assert guest.wait_heartbeat(before)
    host.start_libvirtd()
    assert host.guests()[guest.name] == "running"
    assert host.qemu_pid(guest) == qemu


def test_a_frozen_libvirtd_takes_connections_and_stays_silent(lab: Lab) -> None:
    host = lab.host("kvm-02")
    host.freeze_libvirtd()
    assert tcp_answers(host)
    with pytest.raises(LabError, match="did not finish"):
        host.virsh("hostname", timeout=3)
    host.thaw_libvirtd()
    assert host.virsh("hostname").strip() == "kvm-02.lab"


def test_a_cut_cable_stays_cut_over_a_power_loss(lab: Lab) -> None:
    host = lab.host("kvm-03")
    host.cut_cable()
    assert not tcp_answers(host)
    assert host.virsh("hostname").strip() == "kvm-03.lab"
    host.pull_plug()
    host.plug_in()
    assert not tcp_answers(host)
    host.join_cable()
    assert wait_for(lambda: tcp_answers(host), 30)


def test_a_power_loss_takes_the_guests_and_keeps_what_is_defined(lab: Lab) -> None:
    host, guest = lab.host("kvm-03"), lab.guest("db-03")
    boot, qemu = guest.boot_id, host.qemu_pid(guest)
    assert qemu is not None
    ended = ProcessRef.of(qemu)
    host.pull_plug()
    assert not ended.alive()
    assert not host.is_on
    assert lab.status()["hosts"][2]["power"] == "off"
    host.plug_in()
    assert host.guests()[guest.name] == "shutoff"
    active = host.virsh("pool-list", "--name") + host.virsh("net-list", "--name")
    assert set(active.split()) == {"shared", "local", "default", "isolated", "guests"}
    guest.make_run()
    assert wait_for(lambda: guest.boot_id != boot, 120)


def test_more_guests(lab: Lab) -> None:
    tiny = lab.add_guest(host="kvm-01", kind="tiny")
    local = lab.add_guest("build-01", host="kvm-01", local_disk=True)
    busy = lab.add_guest("cache-01", host="kvm-02", dirty=16)
    off = lab.add_guest("spare-01", host="kvm-02", start=False)
    assert tiny.name == "tiny-01"
    assert "T0001" in tiny.serial_text("kvm-01")
    assert "/var/lib/libvirt/images/build-01.img" in lab.host("kvm-01").virsh("domblklist", local.name)
    assert busy.memory_bytes > local.memory_bytes
    assert lab.host("kvm-02").guests()[off.name] == "shutoff"
    with pytest.raises(LabError, match="already has a guest cache-01"):
        lab.add_guest("cache-01")
    for guest in (tiny, local, busy, off):
        guest.remove()
    assert {guest.name for guest in lab.guests} == {f"{role}-0{n}" for role in ("web", "db") for n in (1, 2, 3)}
    assert "cache-01" not in lab.host("kvm-03").virsh("vol-list", "shared")


def test_the_command_line_does_all_that_a_lab_can(lab: Lab, lab_folder: Path) -> None:
    def command(*words: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "lab", *words, "--name", lab.name, "--data", str(lab_folder)]
        return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)

    def said(*words: str) -> str:
        done = command(*words)
        assert (done.returncode, done.stderr) == (0, ""), words
        return done.stdout

    def host_line() -> str:
        (line,) = [one for one in said("status").splitlines() if one.startswith("  kvm-03 ")]
        return line

    assert said("status").startswith(f"lab {lab.name}: up\n")
    assert json.loads(said("status", "--json")) == lab.status()
    assert said("add-guest", "kiosk-01", "--host", "kvm-03", "--tiny", "--no-start") == "kiosk-01\n"
    assert lab.host("kvm-03").guests()["kiosk-01"] == "shutoff"
    again = command("add-guest", "kiosk-01")
    assert (again.returncode, again.stdout) == (1, "")
    assert "already has a guest kiosk-01" in again.stderr
    lab.guest("kiosk-01").remove()

    host = lab.host("kvm-03")
    assert "power on, cable joined" in host_line()
    assert said("cut-cable", "kvm-03") == ""
    assert "power on, cable cut" in host_line()
    assert not tcp_answers(host)
    assert said("pull-plug", "kvm-03") == ""
    assert "power off, cable cut" in host_line()
    assert not host.is_on
    assert said("plug-in", "kvm-03") == ""
    assert said("join-cable", "kvm-03") == ""
    assert "power on, cable joined" in host_line()
    assert wait_for(lambda: tcp_answers(host), 30)

    for words in HOST_COMMANDS:
        unknown = command(words, "kvm-09")
        assert (unknown.returncode, unknown.stdout) == (1, "")
        assert unknown.stderr.strip().endswith(".")
        assert len(unknown.stderr.strip().splitlines()) == 1
        assert command(words).returncode == 2, "a host must be named"


def test_labs_live_beside_each_other(lab: Lab, make_lab: MakeLab) -> None:
    other = make_lab("beside")
    assert other.subnet != lab.subnet
    assert other.guest("web-01").uuid != lab.guest("web-01").uuid
    before = lab.guest("web-01").wait_heartbeat()
    other.stop()
    assert traces(other.name) == []
    assert lab.guest("web-01").wait_heartbeat(before)
    assert tcp_answers(lab.host("kvm-01"))


def test_a_lab_whose_process_was_killed_is_built_anew(make_lab: MakeLab, lab_folder: Path) -> None:
    first = make_lab("crash")
    uuid = first.hosts[0].uuid
    process = first._process
    assert process is not None
    process.kill()
    process.wait()
    # The hosts notice by themselves; what the kernel keeps is removed by the next start.
    assert wait_for(lambda: not first.hosts[0].is_on, 20)
    assert traces(first.name) != []
    again = make_lab("crash")
    assert again.name == first.name
    assert again.hosts[0].uuid == uuid
    assert again.hosts[0].guests() == {"web-01": "running", "db-01": "running"}
    again.stop()
    assert traces(first.name) == []
    assert not (lab_folder / "lab" / first.name).exists()


def test_a_lab_goes_down_with_the_parent_of_its_process(lab_folder: Path) -> None:
    name = f"t-orphan-{os.getpid()}"
    script = (
        "import subprocess, sys; "
        f"p = subprocess.Popen([sys.executable, '-m', 'lab', 'up', '1', '--foreground', '--name', {name!r}, "
        f"'--data', {str(lab_folder)!r}], stdout=subprocess.PIPE, text=True); "
        "print(p.pid, p.stdout.readline().strip(), flush=True); p.wait()"
    )
    with subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid, said = parent.stdout.readline().split()
        assert said == "ready"
        owner = ProcessRef.of(int(pid))
        parent.send_signal(signal.SIGKILL)
    assert wait_for(lambda: not owner.alive(), 20)
    assert traces(name) == []


def test_down_twice_is_fine_and_up_twice_is_refused(make_lab: MakeLab, lab_folder: Path) -> None:
    lab = make_lab("twice")
    command, where = [sys.executable, "-m", "lab"], ["--name", lab.name, "--data", str(lab_folder)]
    again = subprocess.run([*command, "up", "1", *where], cwd=ROOT, capture_output=True, text=True, check=False)
    assert again.returncode == 1
    assert again.stderr.strip().splitlines()[-1].startswith(f"Lab {lab.name} is already up")
    assert lab.hosts[0].is_on
    for _ in range(2):
        subprocess.run([*command, "down", *where], cwd=ROOT, check=True)
        assert traces(lab.name) == []
