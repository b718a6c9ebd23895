"""What drivers say, in the reader's language: the one place where their sentences and words are translated."""

from collections.abc import Mapping
from dataclasses import replace

from django.utils.functional import Promise
from django.utils.translation import gettext, pgettext_lazy
from django.utils.translation import gettext_lazy as _

from drivers.errors import DriverError
from drivers.types import Finding, MigrationProgress
from drivers.words import fill

Labels = Mapping[str, str | Promise]

# Product and protocol names stand in every language as they are.
HYPERVISORS: Labels = {"qemu": "KVM / QEMU", "lxc": "LXC", "xen": "Xen"}
TRANSPORTS: Labels = {
    "tcp": "TCP",
    "tls": "TLS",
    "ssh": "SSH",
    "unix": _("Unix socket"),
    "test": _("test"),
    "fake": _("simulated"),
}
SWITCH_KINDS: Labels = {
    "nat": "NAT",
    "routed": _("routed"),
    "isolated": _("isolated"),
    "bridged": _("bridged"),
    "macvtap": "macvtap",
    "open": pgettext_lazy("virtual switch", "open"),
    "other": _("other"),
}
# Source: https://libvirt.org/formatdomain.html#network-interfaces
ADDRESS_ORIGINS: Labels = {
    "agent": _("told by its agent"),
    "lease": _("by DHCP lease"),
    "arp": _("seen by ARP"),
}
NIC_KINDS: Labels = {
    "network": pgettext_lazy("NIC", "network"),
    "bridge": pgettext_lazy("NIC", "bridge"),
    "direct": pgettext_lazy("NIC", "direct"),
    "user": pgettext_lazy("NIC", "user"),
    "hostdev": _("passed through"),
    "ethernet": "Ethernet",
    "internal": _("internal"),
}
HOST_NIC_KINDS: Labels = {
    "ethernet": "Ethernet",
    "bond": pgettext_lazy("network interface", "bond"),
    "bridge": pgettext_lazy("network interface", "bridge"),
    "vlan": "VLAN",
    "vf": _("virtual function"),
    "wireless": _("wireless"),
    "infiniband": "InfiniBand",
    "virtual": pgettext_lazy("network interface", "virtual"),
}
ADAPTER_KINDS: Labels = {
    "fc": "Fibre Channel",
    "iscsi": "iSCSI",
    "sas": "SAS",
    "sata": "SATA",
    "ata": "ATA",
    "ide": "IDE",
    "nvme": "NVMe",
    "raid": "RAID",
    "scsi": "SCSI",
    "storage": pgettext_lazy("adapter", "storage"),
}
# By the base class: the first two digits of what the bus says.
# Source: PCI Code and ID Assignment Specification, chapter 1; the same list: https://pci-ids.ucw.cz/read/PD
PCI_CLASSES: Labels = {
    "00": _("unclassified device"),
    "01": _("mass storage controller"),
    "02": _("network controller"),
    "03": _("display controller"),
    "04": _("multimedia controller"),
    "05": _("memory controller"),
    "06": pgettext_lazy("PCI", "bridge"),
    "07": _("communication controller"),
    "08": _("system peripheral"),
    "09": _("input device controller"),
    "0a": _("docking station"),
    "0b": _("processor"),
    "0c": _("serial bus controller"),
    "0d": _("wireless controller"),
    "0e": _("intelligent controller"),
    "0f": _("satellite communication controller"),
    "10": _("encryption controller"),
    "11": _("signal processing controller"),
    "12": _("processing accelerator"),
    "13": _("non-essential instrumentation"),
    "40": _("coprocessor"),
    "ff": _("unassigned class"),
}
DISK_DEVICES: Labels = {"disk": _("disk"), "cdrom": _("CD-ROM"), "floppy": _("floppy"), "lun": "LUN"}
# The words of drivers/libvirt/states.py.
STATE_REASONS: Labels = {
    "I/O error": _("I/O error"),
    "booted": _("booted"),
    "crashed": _("crashed"),
    "daemon": _("daemon"),
    "destroyed": _("destroyed"),
    "dump": pgettext_lazy("paused for", "dump"),
    "failed": _("failed"),
    "from snapshot": _("from snapshot"),
    "migrated": _("migrated"),
    "migration": pgettext_lazy("paused for", "migration"),
    "migration canceled": _("migration canceled"),
    "panicked": _("panicked"),
    "post-copy": _("post-copy"),
    "post-copy failed": _("post-copy failed"),
    "restored": _("restored"),
    "save": pgettext_lazy("paused for", "save"),
    "save canceled": _("save canceled"),
    "saved": _("saved"),
    "shutdown": _("shutdown"),
    "shutting down": _("shutting down"),
    "snapshot": pgettext_lazy("paused for", "snapshot"),
    "starting up": _("starting up"),
    "unpaused": _("unpaused"),
    "user": pgettext_lazy("paused by", "user"),
    "watchdog": pgettext_lazy("paused by", "watchdog"),
    "woken up": _("woken up"),
}


def sentence(error: DriverError) -> str:
    """What went wrong. A sentence made above the drivers is translated already and stays as it is."""
    return fill(gettext(error.template), error.parameters)


def translated(finding: Finding) -> Finding:
    """A driver's finding with its sentences filled in."""
    words = dict(finding.parameters)
    message, fix = fill(gettext(finding.message), words), fill(gettext(finding.fix), words)
    return replace(finding, message=message, fix=fix, parameters=())


def sentence_of(progress: MigrationProgress) -> str:
    """Why a move ended, as far as the driver knows; empty when nothing went wrong."""
    return fill(gettext(progress.error), dict(progress.error_parameters))


def _label(labels: Labels, word: str) -> str:
    return str(labels.get(word, word))


def transport_label(word: str) -> str:
    return _label(TRANSPORTS, word)


def hypervisor_label(word: str) -> str:
    return _label(HYPERVISORS, word)


def switch_kind_label(word: str) -> str:
    return _label(SWITCH_KINDS, word)


def address_origin_label(word: str) -> str:
    return _label(ADDRESS_ORIGINS, word)


def nic_kind_label(word: str) -> str:
    return _label(NIC_KINDS, word)


def host_nic_kind_label(word: str) -> str:
    return _label(HOST_NIC_KINDS, word)


def adapter_kind_label(word: str) -> str:
    return _label(ADAPTER_KINDS, word)


def pci_class_label(digits: str) -> str:
    """A class without a name is shown as the bus says it."""
    return str(PCI_CLASSES.get(digits[:2].lower(), digits))


def disk_device_label(word: str) -> str:
    return _label(DISK_DEVICES, word)


def state_reason_label(word: str) -> str:
    return _label(STATE_REASONS, word)
