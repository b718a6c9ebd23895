"""A TCP connection within a time limit, or a sentence why there is none."""

from __future__ import annotations

import socket

from drivers.errors import Unreachable
from drivers.words import gettext_noop as _


def reach(host: str, port: int, limit_s: float) -> socket.socket:
    """Raises: Unreachable."""
    try:
        return socket.create_connection((host, port), timeout=limit_s)
    except ConnectionRefusedError:
        raise Unreachable(
            _("%(host)s refuses connections on port %(port)s; check that its service runs."), host=host, port=port
        ) from None
    except socket.gaierror:
        raise Unreachable(_("The name %(host)s is not known here; check its spelling or the DNS."), host=host) from None
    except OSError:
        raise Unreachable(
            _("%(host)s does not answer on port %(port)s; check that it is up and no firewall is between."),
            host=host,
            port=port,
        ) from None
