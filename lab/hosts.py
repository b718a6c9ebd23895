"""A host of the lab: its configuration, its power switch, its libvirtd."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab import network, ovs, san, storage, tls
from lab.processes import (
    LabError,
    children,
    command_line,
    kill,
    pids,
    program_name,
    run,
    start_time,
    succeeds,
    wait_for,
)
from lab.state import ROOT, Host, LabState, Place

TCP_PORT = 16509
INIT = ("-m", "lab.init")
WRAPPERS = ("nsenter", "unshare")
ACCOUNTS = {"libvirt-qemu": 64055, "_rpc": 64056}

# Source: facts of libvirt's own libvirtd.conf and qemu.conf, whose comments describe each setting.
LIBVIRTD_CONF = """\
host_uuid = "{uuid}"
listen_tcp = 1
listen_addr = "{address}"
tcp_port = "{port}"
auth_tcp = "none"
auth_unix_ro = "none"
auth_unix_rw = "none"
unix_sock_ro_perms = "0777"
unix_sock_rw_perms = "0777"
max_clients = 200
max_client_requests = 20
keepalive_interval = 5
keepalive_count = 5
log_outputs = "3:file:/var/log/libvirt/libvirtd.log"
"""
QEMU_CONF = """\
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
security_default_confined = 0
cgroup_controllers = [ ]
namespaces = [ ]
stdio_handler = "file"
vnc_listen = "{address}"
migration_address = "{address}"
migration_host = "{address}"
keepalive_interval = 2
keepalive_count = 3
"""


def make(place: Place, state: LabState, host: Host) -> None:
    """The host's disk: configuration, state folders and what it has its datastores on."""
    folder = place.host(host.name)
    for name in ("etc", "libvirt", "libvirt/qemu", "lib", "cache", "log", "log/qemu"):
        (folder / name).mkdir()
    values = {"uuid": host.uuid, "address": host.address, "port": TCP_PORT}
    listens = tls.LIBVIRTD_CONF if "tls" in state.extras else "listen_tls = 0\n"
    (folder / "libvirt/libvirtd.conf").write_text(LIBVIRTD_CONF.format(**values) + listens)
    (folder / "libvirt/qemu.conf").write_text(QEMU_CONF.format(**values))
    (folder / "etc/hostname").write_text(f"{host.fqdn}\n")
    (folder / "etc/hosts").write_text(hosts_file(state.machines))
    _copy_accounts(folder / "etc")
    if "tls" in state.extras and host.role != "storage":
        tls.make_host(place, host)
    if host.role == "storage":
        san.make(place, state)
    else:
        storage.make_local(place, host)


def hosts_file(hosts: Sequence[Host]) -> str:
    lines = ["127.0.0.1 localhost", "::1 localhost"]
    return "\n".join(lines + [f"{h.address} {h.fqdn} {h.name}" for h in hosts]) + "\n"


def _copy_accounts(etc: Path) -> None:
    """libvirt's QEMU driver does not start without libvirt-qemu, rpcbind not without _rpc: those must exist."""
    texts = {name: Path("/etc", name).read_text().rstrip("\n") + "\n" for name in ("passwd", "group")}
    for account, number in ACCOUNTS.items():
        lines = {"passwd": f"{account}:x:{number}:{number}::/:/usr/sbin/nologin", "group": f"{account}:x:{number}:"}
        for name, line in lines.items():
            if f"\n{account}:" not in texts[name]:
                texts[name] += f"{line}\n"
    for name, text in texts.items():
        (etc / name).write_text(text)


def power_on(place: Place, state: LabState, host: Host) -> None:
    """Start the host with an empty /run, as after a power loss; its disk is as it was."""
    shutil.rmtree(place.run(host.name), ignore_errors=True)
    place.run(host.name).mkdir(mode=0o755, parents=True)
    network.plug_host(place, state.subnet, host)
    command = [str(a) for a in network.inside(network.host_namespace(place, host.name), *_namespaces())]
    owner = os.pidfd_open(state.owner.pid) if state.owner and state.owner.alive() else None
    command += [sys.executable, *INIT, place.name, host.name, str(place.data)]
    command += [str(owner)] if owner is not None else []
    with (place.host(host.name) / "init.log").open("ab") as log:
        # Its own session: a terminal's Ctrl-C is for the lab, which then ends the hosts in order.
        subprocess.Popen(
            command,
            cwd="/",
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", "LC_ALL": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            pass_fds=[] if owner is None else [owner],
        )
    if owner is not None:
        os.close(owner)


def _namespaces() -> list[str]:
    """`unchanged`, because unshare's own choice fails in a chroot that is no mount point."""
    kinds = ["--mount", "--propagation", "unchanged", "--uts", "--ipc", "--pid"]
    return ["unshare", *kinds, "--fork", "--kill-child"]


def wait_until_up(place: Place, host: Host, seconds: float = 60) -> None:
    """Raises: LabError with what the host's start said last."""
    wait_for(lambda: answers(place, host) or host.name not in processes(place), seconds)
    if not answers(place, host):
        said = (place.host(host.name) / "init.log").read_text(errors="replace").strip().splitlines()
        raise LabError(
            f"Host {host.name} did not come up: {said[-1] if said else 'it does not answer'}".rstrip(".") + "."
        )


def answers(place: Place, host: Host) -> bool:
    """Whether libvirtd takes connections and has its drivers ready; of a storage machine, whether it serves."""
    if host.role == "storage":
        return (place.run(host.name) / san.READY).exists() and init_pid(place, host.name) is not None
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(place.socket(host.name)))
        except OSError:
            return False
    return succeeds(["virsh", "-q", "-c", unix_uri(place, host), "hostname"])


def power_off(place: Place, host: str) -> None:
    """Pull the plug: every process of the host is gone at once, and its network with it.

    Raises: LabError when a process outlives its own end.
    """
    doomed = processes(place).get(host, [])
    for pid in doomed:
        kill(pid, signal.SIGKILL)
    if not wait_for(lambda: not any(start_time(pid) for pid in doomed), 20):
        raise LabError(f"Host {host} did not go off: process {doomed[0]} is still there.")
    for pid in doomed:
        with contextlib.suppress(ChildProcessError):  # only those that this process started are ours to reap
            os.waitpid(pid, 0)
    network.unplug_host(place, host)


def processes(place: Place) -> dict[str, list[int]]:
    """The outermost processes of each host of this lab: its first process and the one that waits for it."""
    found: dict[str, list[int]] = {}
    for pid in pids():
        argv = command_line(pid)
        if INIT[1] in argv and start_time(pid):
            name, host, data = [*argv[argv.index(INIT[1]) + 1 :], "", "", ""][:3]
            if (name, data) == (place.name, str(place.data)):
                found.setdefault(host, []).append(pid)
    return found


def init_pid(place: Place, host: str) -> int | None:
    """The host's first process as this machine sees it; nothing when the host is off."""
    for pid in processes(place).get(host, []):
        if program_name(pid) not in WRAPPERS:
            return pid
    return None


def libvirtd_pid(place: Place, host: str) -> int | None:
    """libvirtd's pid as this machine sees it."""
    init = init_pid(place, host)
    found = [pid for pid in children(init) if program_name(pid) == "libvirtd"] if init else []
    return found[0] if found else None


def kill_libvirtd(place: Place, host: str) -> None:
    """kill -9 libvirtd alone: the guests run on."""
    pid = libvirtd_pid(place, host)
    if pid is None:
        raise LabError(f"Host {host} has no libvirtd running.")
    kill(pid, signal.SIGKILL)
    # Until it is reaped: while one of its threads still ends, the host's first process takes it for running, and would
    # not start it again.
    if not wait_for(lambda: not Path("/proc", str(pid)).exists(), 20):
        raise LabError(f"The libvirtd of host {host} did not go.")


def start_libvirtd(place: Place, host: Host) -> None:
    """Have the host's first process start libvirtd again."""
    init = init_pid(place, host.name)
    if init is None:
        raise LabError(f"Host {host.name} is off.")
    kill(init, signal.SIGUSR1)
    wait_until_up(place, host)


def define_pools_and_networks(place: Place, state: LabState, host: Host) -> None:
    """Define, autostart and start what a console is to find on the host.

    Raises: LabError when one of them is not active afterwards; virsh's exit code tells only of its last command.
    """
    folder = place.host(host.name) / "define"
    folder.mkdir(exist_ok=True)
    described = [("pool", pool.name, pool.xml) for pool in pools(place, state, host)]
    described += [("net", net.name, net.xml) for net in networks(place, host)]
    commands = []
    for kind, name, xml in described:
        file = folder / f"{kind}-{name}.xml"
        file.write_text(xml)
        commands += [f"{kind}-define {file}", f"{kind}-autostart {name}", f"{kind}-start {name}"]
    virsh = ["virsh", "-q", "-c", unix_uri(place, host)]
    run(virsh, text="\n".join(commands) + "\n")
    active = run([*virsh, "pool-list --name; net-list --name"]).split()
    if missing := [name for _, name, _ in described if name not in active]:
        log = place.host(host.name) / "log/libvirtd.log"
        raise LabError(f"Host {host.name} could not start {', '.join(missing)}; see {log}.")


def pools(place: Place, state: LabState, host: Host) -> list[storage.Pool]:
    """The folders, and the LUNs where there are some."""
    found = storage.pools(place, state, host)
    return [*found, san.pool(place, state, host)] if "iscsi" in state.extras else found


@dataclass(frozen=True, slots=True)
class VirtualNetwork:
    """A libvirt network as a host defines it; `body` is the part of its XML that tells its kind."""

    name: str
    uuid: str
    bridge: str
    body: str

    @property
    def xml(self) -> str:
        identity = f"<name>{self.name}</name><uuid>{self.uuid}</uuid><bridge name='{self.bridge}'/>"
        return f"<network>{identity}{self.body}</network>"


def networks(place: Place, host: Host) -> list[VirtualNetwork]:
    """NAT, isolated, the bridge that joins the guests of all hosts, and where there is one, the tagged switch."""

    def addressed(prefix: str) -> str:
        dhcp = f"<dhcp><range start='{prefix}.100' end='{prefix}.200'/></dhcp>"
        return f"<ip address='{prefix}.1' netmask='255.255.255.0'>{dhcp}</ip>"

    kinds = (
        ("default", "virbr0", "<forward mode='nat'/>" + addressed(network.NAT)),
        ("isolated", "virbr1", addressed(network.ISOLATED)),
        ("guests", "br0", "<forward mode='bridge'/>"),
        *([(ovs.NAME, ovs.BRIDGE, ovs.network_body())] if host.trunk else []),
    )
    return [VirtualNetwork(name, place.uuid("network", name, host.name), bridge, body) for name, bridge, body in kinds]


def tcp_uri(host: Host) -> str:
    return f"lxc+tcp://{host.address}/system" if host.role == "lxc" else f"qemu+tcp://{host.address}/system"


def tls_uri(host: Host) -> str:
    return tcp_uri(host).replace("+tcp:", "+tls:")


def unix_uri(place: Place, host: Host) -> str:
    return f"lxc+unix:///system?socket={place.socket(host.name)}" if host.role == "lxc" else place.unix_uri(host.name)


def reachable(host: Host) -> bool:
    """Whether this machine reaches the host's libvirtd over the management network."""
    try:
        socket.create_connection((host.address, TCP_PORT), timeout=2).close()
    except OSError:
        return False
    return True
