"""Certificates are checked when they are entered, each mistake with its own sentence, and described without secrets."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import Invalid
from hosts.certificates import LONGEST, checked_sheet, describe, describe_presented, read_certificates, warnings
from tests.certificates import CLIENT, SERVER, Made, make

CA = make("house CA", ca=True)
GOOD = make("console", CA, usage=(CLIENT,))


def refused(ca: str = CA.pem, client: str = GOOD.pem, key: str = GOOD.key) -> Invalid:
    with pytest.raises(Invalid) as raised:
        checked_sheet(ca, client, key)
    return raised.value


def test_what_fits_is_kept_and_described():
    sheet = checked_sheet(CA.pem, GOOD.pem, GOOD.key)
    assert (sheet.ca_certificate, sheet.client_certificate) == (CA.pem, GOOD.pem)
    assert sheet.described["client"]["subject"] == "CN=console"
    assert sheet.described["client"]["issuer"] == sheet.described["ca"][0]["subject"] == "CN=house CA"
    assert len(sheet.described["client"]["fingerprint"]) == 32 * 3 - 1


def test_without_a_ca_the_host_is_to_be_accepted_by_a_person():
    sheet = checked_sheet(" \n", GOOD.pem, GOOD.key)
    assert (sheet.ca_certificate, sheet.described["ca"]) == ("", [])


def test_what_else_stands_in_the_file_is_not_kept():
    """People paste the whole .pem, with the key in it."""
    sheet = checked_sheet(CA.pem, f"Bag Attributes\n{GOOD.pem}{GOOD.key}", GOOD.key)
    assert sheet.client_certificate == GOOD.pem


def test_an_authority_in_between():
    between = make("between", CA, ca=True)
    client = make("console", between, usage=(CLIENT,))
    assert checked_sheet(CA.pem, client.pem + between.pem, client.key).client_certificate == client.pem + between.pem
    assert checked_sheet(between.pem, client.pem, client.key)
    assert "did not sign" in refused(client=client.pem, key=client.key).message


@pytest.mark.parametrize(
    ("client", "field", "says"),
    [
        (make("console", CA, usage=(CLIENT,), days=-0.5), "client_certificate", "has expired"),
        (make("console", CA, usage=(CLIENT,), since=-0.5), "client_certificate", "not valid yet"),
        (make("console", CA, usage=(SERVER,)), "client_certificate", "not for clients"),
        (make("console", make("other CA", ca=True)), "ca_certificate", "did not sign"),
        (make("console"), "ca_certificate", "did not sign"),
    ],
)
def test_a_client_certificate_that_will_not_do(client: Made, field: str, says: str):
    error = refused(client=client.pem, key=client.key)
    assert error.field == field
    assert says in error.message


@pytest.mark.parametrize(
    ("ca", "says"),
    [
        (make("old CA", ca=True, days=-0.5), "has expired"),
        (make("kvm-01", usage=(SERVER,)), "not the certificate of a CA"),
    ],
)
def test_an_authority_that_will_not_do(ca: Made, says: str):
    error = refused(ca=ca.pem)
    assert error.field == "ca_certificate"
    assert says in error.message


def test_a_key_of_another_certificate():
    error = refused(key=CA.key)
    assert (error.field, CA.key in error.message) == ("client_key", False)
    assert "does not belong" in error.message


HOSTILE = [
    "",
    "not a certificate",
    GOOD.key,
    "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n",
    "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    GOOD.pem[:200],
    GOOD.pem.replace("M", "N", 5),
    "\0" * 100,
    "\ud800",
    "A" * (LONGEST + 1),
    GOOD.pem * 21,
]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("field", ["client_certificate", "ca_certificate"])
def test_what_is_no_certificate(text: str, field: str):
    with pytest.raises(Invalid) as raised:
        read_certificates(text, field)
    assert raised.value.field == field
    assert "BEGIN PRIVATE" not in raised.value.message


@settings(max_examples=200)
@given(st.integers(0, len(GOOD.pem) - 1), st.characters(codec="utf-8"))
def test_a_damaged_one_is_refused_or_read(at: int, letter: str):
    """Never another error."""
    try:
        read_certificates(GOOD.pem[:at] + letter + GOOD.pem[at + 1 :], "client_certificate")
    except Invalid as error:
        assert error.field == "client_certificate"


EC_KEY, CURVE = bytes.fromhex("2a8648ce3d0201"), bytes.fromhex("2a8648ce3d030107")
SELF_SIGNED = make("console", ca=True)


def changed(of: bytes, to: str) -> str:
    """A good certificate with another object identifier in it."""
    der = SELF_SIGNED.certificate.public_bytes(Encoding.DER)
    assert of in der
    return ssl.DER_cert_to_PEM_cert(der.replace(of, bytes.fromhex(to)))


def with_name_of_x400() -> str:
    name = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.17"), bytes.fromhex("3002a300"))
    subject, private = SELF_SIGNED.certificate.subject, SELF_SIGNED.private
    builder = x509.CertificateBuilder(subject, subject, private.public_key(), 1, extensions=[])
    builder = builder.not_valid_before(datetime(2026, 1, 1, tzinfo=UTC)).not_valid_after(
        datetime(2096, 1, 1, tzinfo=UTC)
    )
    made = builder.add_extension(name, critical=False).sign(private, hashes.SHA256())
    return made.public_bytes(Encoding.PEM).decode()


@pytest.mark.parametrize(
    "odd",
    [changed(EC_KEY, "2a8648ce3d027f"), changed(CURVE, "2a8648ce3d03017f"), with_name_of_x400()],
    ids=["kind of key", "curve", "kind of name"],
)
def test_what_nobody_here_knows_is_a_mistake_and_no_accident(odd: str):
    assert refused(client=odd, key=SELF_SIGNED.key).field in {"client_certificate", ""}
    assert refused(ca=odd).field in {"ca_certificate", ""}


def test_a_name_that_would_turn_the_page_around():
    shown = describe(make("evil\u202egnp.exe\x07<b>").certificate)["subject"]
    assert shown == "CN=evil\ufffdgnp.exe\ufffd\\<b\\>"


@pytest.mark.parametrize("text", ["", "x509 ", "x509 AAAA", "x509 !", "ssh-ed25519 AAAA"])
def test_what_a_host_presented_may_be_rubbish(text: str):
    assert describe_presented(text) == {}


def test_warnings_come_thirty_days_ahead():
    soon, late = make("soon", days=29.5), make("late", days=-1, since=9)
    told = warnings(
        {"client": describe(soon.certificate), "server": describe(late.certificate), "ca": [describe(CA.certificate)]}
    )
    assert len(told) == 2
    assert "in 29 days" in told[0]
    assert told[1].startswith("The host's certificate expired on")
    assert warnings({}) == warnings({"server": {}, "ca": []}) == []
