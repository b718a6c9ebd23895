"""One pass over a host."""

import pytest

from drivers.errors import Rejected
from drivers.libvirt import reader as module
from tests.unit.drivers.libvirt.fakes import answer, reader_of


def test_a_host_that_never_stops_describing_itself_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_TEXT", 10)
    reader = reader_of()
    assert reader.read(answer("12345")) == "12345"
    assert reader.read(answer(["what is no text", "is not counted"]))
    with pytest.raises(Rejected, match="more than"):
        reader.read(answer("123456"))
