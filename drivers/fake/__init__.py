"""A simulated hypervisor for tests and measurements, with faults whose outcomes were measured on libvirt."""
