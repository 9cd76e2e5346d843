from __future__ import annotations

import pytest

from zmqfl.errors import ArgumentError
from zmqfl.rpc.names import check_service, split_topic, topic_of


@pytest.mark.parametrize(("service", "path"), [("", "add"), ("", "calc.add"), ("a.b-1_C", "calc.add")])
def test_a_topic_is_read_as_it_was_made(service: str, path: str) -> None:
    assert split_topic(topic_of(service, path)) == (service, path)


@pytest.mark.parametrize("name", ["", "calc", "calc.v1", "A_b-3", "x" * 64])
def test_names_of_services(name: str) -> None:
    assert check_service(name) == name


@pytest.mark.parametrize("name", ["a/b", "a b", "ü", "x" * 65, None, 3, "a\n"])
def test_what_is_no_name(name: object) -> None:
    with pytest.raises(ArgumentError, match="is none for a service"):
        check_service(name)
