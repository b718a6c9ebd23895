"""The lab: several real libvirt/QEMU hosts on one machine, in namespaces. Standard library only."""
