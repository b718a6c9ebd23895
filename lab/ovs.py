"""Open vSwitch on a host: a switch of its own whose tagged networks reach the other hosts over one trunk.

Source: https://docs.openvswitch.org/en/latest/intro/install/userspace/, https://libvirt.org/formatnetwork.html
"""

import subprocess
from pathlib import Path

from lab import network
from lab.processes import LabError, run, succeeds, wait_for

NAME = "lan"
BRIDGE = "ovsbr0"
VLANS = {"vlan10": 10, "vlan20": 20}
TRUNK_GROUP = "trunk"
SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"
# With libvirt's state: what is set up outlives a power loss.
DATABASE = Path("/var/lib/libvirt/ovs/conf.db")
SOCKET = Path("/run/openvswitch/db.sock")
START_SECONDS = 30


def network_body() -> str:
    """The libvirt network: a port group for each VLAN, the first being the default, and one for guests that tag."""
    groups = "".join(
        f"<portgroup name='{name}'{default}><vlan><tag id='{tag}'/></vlan></portgroup>"
        for (name, tag), default in zip(VLANS.items(), (" default='yes'", ""), strict=True)
    )
    tags = "".join(f"<tag id='{tag}'/>" for tag in VLANS.values())
    trunk = f"<portgroup name='{TRUNK_GROUP}'><vlan trunk='yes'>{tags}</vlan></portgroup>"
    return f"<forward mode='bridge'/><virtualport type='openvswitch'/>{groups}{trunk}"


def start() -> None:
    """Start the switch, as the host's first process. It forwards in user space, so that no kernel module is needed.

    Raises: LabError when it does not come up.
    """
    for folder in (DATABASE.parent, SOCKET.parent):
        folder.mkdir(parents=True, exist_ok=True)
    if not DATABASE.exists():
        run(["ovsdb-tool", "create", DATABASE, SCHEMA])
    _launch("ovsdb-server", DATABASE, f"--remote=punix:{SOCKET}")
    if not wait_for(SOCKET.is_socket, START_SECONDS):
        raise LabError("The database of Open vSwitch did not come up.")
    run(["ovs-vsctl", "--no-wait", "init"])
    made = ["--may-exist", "add-br", BRIDGE, "--", "set", "bridge", BRIDGE, "datapath_type=netdev"]
    run(["ovs-vsctl", "--no-wait", *made, "--", "--may-exist", "add-port", BRIDGE, network.TRUNK])
    _forget_guests()
    _launch("ovs-vswitchd", f"unix:{SOCKET}")
    if not wait_for(lambda: succeeds(["ip", "link", "set", BRIDGE, "up"]), START_SECONDS, step=0.1):
        raise LabError("Open vSwitch did not make its switch.")


def _forget_guests() -> None:
    """Ports of guests that a power loss ended: else the switch takes the next NIC of that name, whatever it is for."""
    for port in run(["ovs-vsctl", "--no-wait", "list-ports", BRIDGE]).split():
        if port != network.TRUNK:
            run(["ovs-vsctl", "--no-wait", "del-port", BRIDGE, port])


def _launch(program: str, *args: str | Path) -> None:
    command = [program, *map(str, args), "--pidfile", "-vconsole:emer", f"--log-file=/var/log/libvirt/{program}.log"]
    subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
