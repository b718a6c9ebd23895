"""When two mounts are one datastore."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from drivers.types import Technology
from storage.identity import datastore_identity
from tests.facts import datastore_fact

NFS = datastore_fact(technology=Technology.NFS, source="filer:/export", uuid="", path="/mnt/a")
FOLDER = datastore_fact()


def same(one: Any, other: Any) -> bool:
    return datastore_identity(one, "1" * 32) == datastore_identity(other, "2" * 32)


def test_network_storage_is_told_by_its_source() -> None:
    assert same(NFS, replace(NFS, path="/mnt/b", ref="other", capacity_bytes=7))
    assert not same(NFS, replace(NFS, source="filer:/other"))
    assert not same(NFS, replace(NFS, technology=Technology.GLUSTER))


def test_network_storage_without_a_source_is_the_hosts_own() -> None:
    assert not same(replace(NFS, source=""), replace(NFS, source=""))


@pytest.mark.parametrize("server", ["localhost", "localhost.localdomain:2050", "127.0.0.1", "127.1.2.3:7001", "[::1]"])
def test_a_server_named_localhost_is_another_one_on_every_host(server: str) -> None:
    here = replace(NFS, source=f"{server}:/export", servers=(server,))
    assert not same(here, here)
    assert same(replace(here, servers=(server, "filer")), replace(here, servers=(server, "filer")))
    assert same(replace(NFS, servers=("localhost7",)), replace(NFS, servers=("filer",)))


@pytest.mark.parametrize("change", [{"path": "/srv/x"}, {"capacity_bytes": 1}, {"uuid": "9" * 32}])
def test_a_folder_is_told_by_its_whole_definition(change: dict[str, Any]) -> None:
    assert same(FOLDER, FOLDER)
    assert not same(FOLDER, replace(FOLDER, **change))


@pytest.mark.parametrize("uuid", ["", "odd", "00000000-0000-0000-0000-000000000000"])
def test_a_folder_without_a_usable_uuid_is_the_hosts_own(uuid: str) -> None:
    assert not same(replace(FOLDER, uuid=uuid), replace(FOLDER, uuid=uuid))


@pytest.mark.parametrize("technology", [Technology.LVM, Technology.ZFS, Technology.SCSI])
def test_block_storage_of_a_host_is_its_own(technology: Technology) -> None:
    assert not same(replace(FOLDER, technology=technology), replace(FOLDER, technology=technology))
