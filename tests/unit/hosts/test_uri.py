"""URIs of the server's own configuration: what is known, and what libvirt would do harm with."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import Invalid
from drivers.types import Hypervisor, Transport
from hosts.uri import SourceParts, parse_uri

KNOWN = {
    "qemu:///system": SourceParts("libvirt", Transport.UNIX, uri="qemu:///system"),
    "qemu+unix:///system": SourceParts("libvirt", Transport.UNIX, uri="qemu+unix:///system"),
    "qemu+unix:///system?socket=/run/lab/kvm-1/libvirt-sock": SourceParts(
        "libvirt", Transport.UNIX, uri="qemu+unix:///system?socket=/run/lab/kvm-1/libvirt-sock"
    ),
    "qemu+tcp://kvm-01/system": SourceParts("libvirt", Transport.TCP, "kvm-01"),
    "qemu+tcp://KVM-01.Example.org./system": SourceParts("libvirt", Transport.TCP, "kvm-01.example.org"),
    "qemu+tcp://10.1.2.3:16510/system": SourceParts("libvirt", Transport.TCP, "10.1.2.3", 16510),
    "qemu+tcp://[fd00::1]:16510/system": SourceParts("libvirt", Transport.TCP, "fd00::1", 16510),
    "qemu+ssh://root@kvm-01/system": SourceParts("libvirt", Transport.SSH, "kvm-01", None, "root"),
    "qemu+ssh://op@10.1.2.3:2222/system": SourceParts("libvirt", Transport.SSH, "10.1.2.3", 2222, "op"),
    "qemu+tls://kvm-01/system": SourceParts("libvirt", Transport.TLS, "kvm-01"),
    "lxc:///system": SourceParts("libvirt", Transport.UNIX, uri="lxc:///system", hypervisor=Hypervisor.LXC),
    "lxc+tls://box-01:16515/system": SourceParts("libvirt", Transport.TLS, "box-01", 16515, hypervisor=Hypervisor.LXC),
    "xen+ssh://root@xen-01/system": SourceParts(
        "libvirt", Transport.SSH, "xen-01", None, "root", hypervisor=Hypervisor.XEN
    ),
    "test:///default": SourceParts("libvirt", Transport.TEST, uri="test:///default"),
    "fake://fleet/17?guests=20&hang=1": SourceParts("fake", Transport.FAKE, uri="fake://fleet/17?guests=20&hang=1"),
    "fake://world/alpha?file=/tmp/w.json": SourceParts(
        "fake", Transport.FAKE, uri="fake://world/alpha?file=/tmp/w.json"
    ),
}

REFUSED = [
    "",
    "system",
    "qemu",
    "qemu:",
    "qemu:///session",
    "qemu:///system?command=/bin/sh",
    "qemu://host/system",
    "qemu:///system#x",
    "qemu:///system?",
    "qemu:///system#",
    "QEMU:///system",
    "lxc:///",
    "xen:///",
    "lxc+:///system",
    "vbox:///system",
    "lxc+ext:///system?command=/bin/sh",
    "xen+ssh://root@h/system?command=/tmp/x",
    "test+tcp://h/default",
    "qemu+tls://h/system?no_verify=1",
    "qemu+tls://op@h/system",
    "esx://h/?no_verify=1",
    "http://127.0.0.1/",
    "file:///etc/passwd",
    # a local program is run
    "qemu+ext:///system?command=/tmp/x",
    "qemu+ext://host/system?command=/tmp/x",
    "qemu+ssh://root@h/system?command=/tmp/x",
    "qemu+ssh://root@h/system?netcat=/tmp/x",
    "qemu+ssh://root@h/system?keyfile=/etc/shadow",
    "qemu+ssh://root@h/system?sshauth=agent&known_hosts=/x",
    "qemu+libssh://root@h/system",
    "qemu+libssh2://root@h/system",
    "qemu+tls://h/system?pkipath=/tmp",
    "qemu+unix:///system?command=/tmp/x",
    "qemu+unix:///system?socket=/run/a&command=/tmp/x",
    "qemu+unix:///system?socket=/run/a&socket=/run/b",
    "qemu+unix:///system?socket=run/relative",
    "qemu+unix:///system?socket=/run/../etc/x",
    "qemu+unix:///system?socket=/run/a%20b",
    "qemu+unix:///system?socket=/run/a%00",
    "qemu+unix:///system?socket=%2Frun%2F..%2Fx",
    "qemu+unix:///system?socket=",
    "qemu+unix:///system?mode=direct",
    "qemu+unix:///session?socket=/run/a",
    "qemu+unix://host/system?socket=/run/a",
    # options of ssh in place of a name
    "qemu+ssh://-oProxyCommand=touch@h/system",
    "qemu+ssh://root@-oProxyCommand=touch/system",
    "qemu+ssh://h/system",
    "qemu+ssh://root:secret@h/system",
    "qemu+ssh://ro%6Ft@h/system",
    "qemu+ssh://a%40b@h/system",
    # parts that do not belong there
    "qemu+tcp:///system",
    "qemu+tcp://h",
    "qemu+tcp://h/",
    "qemu+tcp://h/session",
    "qemu+tcp://h/system/x",
    "qemu+tcp://h/system?x=1",
    "qemu+tcp://h/system?authfile=/etc/passwd",
    "qemu+tcp://user@h/system",
    "qemu+tcp://@h/system",
    "qemu+tcp://h:0/system",
    "qemu+tcp://h:65536/system",
    "qemu+tcp://h:x/system",
    "qemu+tcp://h:-1/system",
    "qemu+tcp://h h/system",
    "qemu+tcp://h\n/system",
    "qemu+tcp://h\t/system",
    "qemu+tcp://h\0/system",
    "qemu+tcp://h%00/system",
    "qemu+tcp://h;x/system",
    "qemu+tcp://$(id)/system",
    "qemu+tcp://[::1/system",
    "qemu+tcp://[v1.x]/system",
    "qemu+tcp://münchen.example/system",
    " qemu:///system",
    "qemu:///system ",
    # addresses that mean this server
    "qemu+tcp://127.0.0.1/system",
    "qemu+tcp://[::1]/system",
    "qemu+tcp://[::ffff:127.0.0.1]/system",
    "qemu+tcp://169.254.169.254/system",
    "qemu+tcp://127.1/system",
    "qemu+tcp://2130706433/system",
    "qemu+tcp://0x7f.1/system",
    "qemu+ssh://root@0/system",
    # the content of a file is told
    "test:///etc/passwd",
    "test:///default/../etc/passwd",
    "test:///default?x=1",
    "test://host/default",
    "test+tcp://h/default",
    "test+unix:///default?socket=/x",
    "test:/default/",
    "fake://",
    "fake://fleet",
    "fake://fleet/",
    "fake://fleet/a/b",
    "fake://fleet/a?command=x",
    "fake://fleet/a?guests=$(id)",
    "fake://fleet/a?guests",
    "fake://other/a",
    "fake://world/a?hang=1",
    "qemu:///system" + "x" * 600,
]


@pytest.mark.parametrize(("uri", "parts"), KNOWN.items())
def test_known(uri, parts):
    assert parse_uri(uri) == parts


@pytest.mark.parametrize("uri", REFUSED)
def test_refused(uri):
    with pytest.raises(Invalid):
        parse_uri(uri)


@given(st.text(max_size=60))
def test_anything_else_is_refused_and_never_crashes(text):
    for uri in (text, f"qemu+tcp://{text}/system", f"qemu+ssh://root@{text}/system", f"qemu+unix:///system?{text}"):
        try:
            parts = parse_uri(uri)
        except Invalid:
            continue
        assert parts.transport in (Transport.TCP, Transport.SSH, Transport.UNIX)
        assert all(character.isalnum() or character in ".-_:" for character in parts.address)
