"""Sessions in killable child processes: a hypervisor that hangs costs its own process, never ours."""

from drivers.isolation.pool import SessionPool, default_pool
from drivers.isolation.remote import RemoteSession

__all__ = ["RemoteSession", "SessionPool", "default_pool"]
