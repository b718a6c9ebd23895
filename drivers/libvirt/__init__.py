"""KVM and QEMU through libvirt: `collect` and `session` talk, `parse` is pure, `uri` builds the addresses."""
