"""Certificates: an authority of the lab's own, the hosts' and a client's, and those of a stranger.

Source: https://libvirt.org/kbase/tlscerts.html
"""

import shutil
from pathlib import Path

from lab.processes import run
from lab.state import Host, Place

PORT = 16514
DAYS = "3650"
KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
# libvirt refuses a certificate that may not encipher keys, though its cipher suites need no such thing.
COMMON = "keyUsage=critical,digitalSignature,keyEncipherment\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid"
# The files are where libvirt looks for them when it is not told.
LIBVIRTD_CONF = f"""\
listen_tls = 1
tls_port = "{PORT}"
auth_tls = "none"
"""


def client_folder(place: Place) -> Path:
    """What a client of the hosts needs, by the names that libvirt's `pkipath` wants."""
    return place.folder / "pki" / "client"


def stranger_folder(place: Place) -> Path:
    """A client that knows the lab's authority, but has its certificate from another one: hosts refuse it."""
    return place.folder / "pki" / "stranger"


def make_authorities(place: Place) -> None:
    """The lab's authority with the console's certificate, and the stranger's."""
    ours, other = place.folder / "pki" / "authority", place.folder / "pki" / "other"
    for folder, name in ((ours, f"lab {place.name}"), (other, "another")):
        folder.mkdir(mode=0o700, parents=True)
        extension = ["-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign"]
        key, made = folder / "cakey.pem", folder / "cacert.pem"
        subject = ["-subj", f"/CN=Authority of {name}", "-days", DAYS]
        run(["openssl", "req", "-x509", *KEY, "-keyout", key, "-out", made, *subject, *extension])
    for folder, authority in ((client_folder(place), ours), (stranger_folder(place), other)):
        _certify(authority, folder, "client", "console", "extendedKeyUsage=clientAuth")
        _trust(folder, ours, authority)


def make_host(place: Place, host: Host) -> None:
    """A certificate for the host's address and names; in a move hosts are each other's clients, too."""
    made, authority = place.host(host.name) / "pki", place.folder / "pki" / "authority"
    names = f"subjectAltName=IP:{host.address},DNS:{host.fqdn},DNS:{host.name}"
    _certify(authority, made, "server", host.fqdn, f"{names}\nextendedKeyUsage=serverAuth,clientAuth")
    pki = place.host(host.name) / "etc/pki"
    for folder in ("CA", "libvirt/private"):
        (pki / folder).mkdir(parents=True)
    _trust(pki / "CA", authority)
    for role in ("server", "client"):
        shutil.copy2(made / "servercert.pem", pki / f"libvirt/{role}cert.pem")
        shutil.copy2(made / "serverkey.pem", pki / f"libvirt/private/{role}key.pem")


def _trust(folder: Path, *authorities: Path) -> None:
    """Those of the peers and, since libvirt looks at its own certificate first, of one's own."""
    (folder / "cacert.pem").write_bytes(b"".join((a / "cacert.pem").read_bytes() for a in dict.fromkeys(authorities)))


def _certify(authority: Path, folder: Path, role: str, name: str, extensions: str) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    asked, wanted = folder / f"{role}.csr", folder / "extensions"
    wanted.write_text(f"{COMMON}\n{extensions}\n")
    run(["openssl", "req", *KEY, "-keyout", folder / f"{role}key.pem", "-out", asked, "-subj", f"/CN={name}"])
    signer: list[str | Path] = ["-CA", authority / "cacert.pem", "-CAkey", authority / "cakey.pem"]
    made: list[str | Path] = ["-out", folder / f"{role}cert.pem", "-days", DAYS, "-extfile", wanted]
    run(["openssl", "x509", "-req", "-in", asked, *signer, *made])
    asked.unlink()
    wanted.unlink()
