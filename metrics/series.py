"""What is measured of each kind of object, in the order in which blocks keep it."""

from __future__ import annotations

from enum import StrEnum


class Unit(StrEnum):
    PERCENT = "percent"
    BYTES = "bytes"
    BYTES_PER_SECOND = "bytes_per_second"
    OPERATIONS_PER_SECOND = "operations_per_second"


# New ones are added at the end: a block tells how many it has.
# Of a host, disk and network are the sums of its guests.
COMPUTE = {
    "cpu_percent": Unit.PERCENT,  # of all virtual CPUs; of a host, of all its threads
    "memory_used_bytes": Unit.BYTES,
    "memory_bytes": Unit.BYTES,  # what the balloon leaves a guest now; of a host, all there is
    "disk_read_rate": Unit.BYTES_PER_SECOND,
    "disk_write_rate": Unit.BYTES_PER_SECOND,
    "disk_read_ops": Unit.OPERATIONS_PER_SECOND,
    "disk_write_ops": Unit.OPERATIONS_PER_SECOND,
    "net_receive_rate": Unit.BYTES_PER_SECOND,
    "net_send_rate": Unit.BYTES_PER_SECOND,
}
DATASTORE = {
    "capacity_bytes": Unit.BYTES,
    "allocated_bytes": Unit.BYTES,
    "free_bytes": Unit.BYTES,
}
KINDS = {"guest": COMPUTE, "host": COMPUTE, "datastore": DATASTORE}
