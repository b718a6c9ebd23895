"""Which subnet a lab takes, and the addresses in it."""

import ipaddress

import pytest

from lab import network
from lab.processes import LabError

Net = ipaddress.IPv4Network


def test_the_same_lab_asks_for_the_same_subnet() -> None:
    assert network.free_subnet("demo", []) == network.free_subnet("demo", [])


def test_a_subnet_in_use_is_not_taken() -> None:
    first = network.free_subnet("demo", [])
    second = network.free_subnet("demo", [Net(first)])
    assert second != first
    assert not Net(first).overlaps(Net(second))


def test_an_address_inside_a_subnet_takes_the_whole_subnet() -> None:
    first = network.free_subnet("demo", [])
    assert network.free_subnet("demo", [Net(f"{Net(first)[300]}/32")]) != first


def test_many_labs_never_meet() -> None:
    taken: list[Net] = []
    for number in range(200):
        taken.append(Net(network.free_subnet(f"lab-{number}", taken)))
    assert not any(a.overlaps(b) for i, a in enumerate(taken) for b in taken[:i])


def test_the_next_range_is_used_when_one_is_full() -> None:
    assert Net(network.free_subnet("demo", [Net(network.RANGES[0])])).subnet_of(Net(network.RANGES[1]))


def test_no_free_subnet_is_one_sentence() -> None:
    with pytest.raises(LabError, match=r"No subnet is free for a lab in .*GUESTHOUSE_LAB_RANGE"):
        network.free_subnet("demo", [Net("0.0.0.0/1"), Net("128.0.0.0/1")])


def test_the_range_can_be_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GUESTHOUSE_LAB_RANGE", "172.20.4.0/22")
    assert Net(network.free_subnet("demo", [])).subnet_of(Net("172.20.4.0/22"))


def test_addresses() -> None:
    assert network.console_address("10.66.4.0/23") == "10.66.4.1"
    assert network.host_address("10.66.4.0/23", 1) == "10.66.4.11"
    assert network.guest_address("10.66.4.0/23", 0) == "10.66.5.20"


def test_a_full_guest_network_is_one_sentence() -> None:
    with pytest.raises(LabError, match="guest network is full"):
        network.guest_address("10.66.4.0/23", 300)


def test_networks_of_default_routes_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {
        "route": '[{"dst": "default", "gateway": "192.0.2.1"}, {"dst": "192.0.2.0/24"}, {"dst": "0.0.0.0/0"}]',
        "address": '[{"addr_info": [{"local": "10.66.4.1", "prefixlen": 24}]}, {}]',
    }
    monkeypatch.setattr(network, "run", lambda args: answers[args[3]])
    assert network.networks_in_use() == [Net("192.0.2.0/24"), Net("10.66.4.0/24")]
