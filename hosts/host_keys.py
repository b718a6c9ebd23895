"""A host key that is not the accepted one, told with both fingerprints: only in workers."""

from django.utils.translation import gettext as _

from drivers.errors import DriverError, HostKeyChanged
from drivers.types import Endpoint, Transport
from hosts.validation import fingerprint


def with_fingerprints(endpoint: Endpoint, error: HostKeyChanged) -> HostKeyChanged:
    """The same error with what a person needs to decide; as it was when the host shows no key just now."""
    if endpoint.transport is not Transport.SSH:  # a certificate's error has them already
        return error
    from drivers.ssh import probe_host_key  # the web process imports this module, and no driver

    try:
        presented = probe_host_key(endpoint.address, endpoint.port, accepted=endpoint.host_key)
    except DriverError:
        return error
    if presented.key == endpoint.host_key:
        return error
    sentence = _(
        "The host's SSH key is %(presented)s now, not the accepted %(accepted)s. Find out why; then test the source "
        "and accept the new key."
    )
    return HostKeyChanged(sentence % {"presented": presented.fingerprint, "accepted": fingerprint(endpoint.host_key)})
