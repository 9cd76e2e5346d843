from __future__ import annotations

from copy import deepcopy
from typing import Any

import msgpack
import numpy as np
import pytest

from zmqfl.context.return_code import ReturnCode
from zmqfl.context.shareable import ReservedHeaderKey, Shareable, make_copy, make_reply, shareable_of
from zmqfl.errors import ArgumentError, DecodeError, EncodeError
from zmqfl.wire import payload


def test_it_is_a_dict_with_headers() -> None:
    shareable = Shareable({"x": 1})
    shareable["y"] = 2
    assert shareable == {"x": 1, "y": 2, "__headers__": {}}
    assert shareable.get_header("h") is None
    assert shareable.get_header("h", 5) == 5
    shareable.set_header("h", 1)
    assert shareable["__headers__"] == {"h": 1}


def test_headers_of_what_it_is_made_of_stay_and_are_its_own() -> None:
    first = Shareable({"x": 1})
    first.set_header("h", 1)
    second = Shareable(first)
    second.set_header("h", 2)
    assert (first.get_header("h"), second.get_header("h")) == (1, 2)


def test_headers_that_are_no_dict() -> None:
    with pytest.raises(ArgumentError, match="'__headers__' of a Shareable must be a dict, not int"):
        Shareable({"__headers__": 5})
    shareable = Shareable()
    shareable["__headers__"] = [1]
    with pytest.raises(ValueError, match="not list"):
        shareable.get_header("h")
    del shareable["__headers__"]
    with pytest.raises(ValueError, match="not NoneType"):
        shareable.to_payload()


def test_return_codes() -> None:
    shareable = Shareable()
    assert shareable.get_return_code() is ReturnCode.OK
    assert shareable.get_return_code("none") == "none"
    shareable.set_return_code(ReturnCode.TIMEOUT)
    assert type(shareable.get_header(ReservedHeaderKey.RC)) is str
    assert shareable.get_return_code() is ReturnCode.TIMEOUT
    shareable.set_return_code("of tomorrow")
    assert shareable.get_return_code() == "of tomorrow"
    with pytest.raises(ArgumentError, match="not int"):
        shareable.set_return_code(5)  # type: ignore[arg-type]


def test_cookies() -> None:
    shareable = Shareable()
    assert shareable.get_cookie_jar() is None
    assert shareable.get_cookie_jar({}) == {}
    assert shareable.get_cookie("a", 5) == 5
    jar = {"a": 1}
    shareable.set_cookie_jar(jar)
    shareable.add_cookie("b", 2)
    assert shareable.get_cookie_jar() == {"a": 1, "b": 2}
    assert jar == {"a": 1}
    assert (shareable.get_cookie("b"), shareable.get_cookie("c")) == (2, None)
    with pytest.raises(ArgumentError, match="a cookie jar must be a dict, not str"):
        shareable.set_cookie_jar("x")  # type: ignore[arg-type]


def test_peer_props() -> None:
    shareable = Shareable()
    assert shareable.get_peer_props() is None
    assert shareable.get_peer_prop("a", 5) == 5
    shareable.set_peer_props({"a": 1})
    assert (shareable.get_peer_props(), shareable.get_peer_prop("a", 5)) == ({"a": 1}, 1)
    with pytest.raises(ArgumentError, match="the props of a peer must be a dict, not list"):
        shareable.set_peer_props([])  # type: ignore[arg-type]


def test_make_reply() -> None:
    headers = {"h": 1, "__rc__": "overruled"}
    reply = make_reply(ReturnCode.ERROR, headers)
    assert reply == {"__headers__": {"h": 1, "__rc__": "ERROR"}}
    assert headers["__rc__"] == "overruled"
    assert make_reply("OK").get_return_code() is ReturnCode.OK


def test_make_copy_shares_the_content_and_not_the_headers() -> None:
    source = Shareable({"x": [1]})
    source.set_header("h", [1])
    source.set_header("out", object)
    copy = make_copy(source, exclude_headers=["out"])
    assert copy == {"x": [1], "__headers__": {"h": [1]}}
    assert copy["x"] is source["x"]
    assert copy.get_header("h") is not source.get_header("h")
    assert make_copy(source) == source
    assert deepcopy(source) == source


def test_it_travels() -> None:
    shareable = make_reply(ReturnCode.OK, {"code": ReturnCode.TIMEOUT})
    shareable["w"] = np.arange(5)
    shareable.set_peer_props({"a": (1,)})
    back = shareable_of(payload.decode(payload.encode(shareable.to_payload())))
    assert type(back) is Shareable
    assert back["w"].tolist() == [0, 1, 2, 3, 4]
    assert back["__headers__"] == {"code": "TIMEOUT", "__rc__": "OK", "__peer_props__": {"a": (1,)}}
    with pytest.raises(EncodeError, match="convert it to one first"):
        payload.encode(shareable)


def test_to_payload_shares_neither_the_dict_nor_the_headers() -> None:
    shareable = Shareable({"x": 1})
    plain = shareable.to_payload()
    plain["y"] = plain["__headers__"]["h"] = 1
    assert type(plain) is dict
    assert shareable == {"x": 1, "__headers__": {}}


def test_bytes() -> None:
    shareable = Shareable({"w": np.zeros(10_000), "x": None})
    shareable.set_header("h", 1)
    back = Shareable.from_bytes(shareable.to_bytes())
    assert type(back) is Shareable
    assert (back["w"].shape, back["x"], back.get_header("h")) == ((10_000,), None, 1)
    shareable["x"] = object()
    with pytest.raises(EncodeError, match=r"payload\['x'\]"):
        shareable.to_bytes()


@pytest.mark.parametrize(
    "data", [b"", b"\xc1", msgpack.packb(5), msgpack.packb(["text"]), msgpack.packb([]), msgpack.packb([b"\x05"])]
)
def test_bytes_that_are_none(data: bytes) -> None:
    with pytest.raises(DecodeError):
        Shareable.from_bytes(data)


@pytest.mark.parametrize(
    ("value", "match"),
    [
        (None, "must be a dict, not NoneType"),
        ([], "must be a dict, not list"),
        ({}, "must be a dict with str keys"),
        ({"__headers__": None}, "must be a dict with str keys"),
        ({"__headers__": {1: 2}}, "must be a dict with str keys"),
        ({"__headers__": {"__rc__": 5}}, "'__rc__' must be a str"),
        ({"__headers__": {"__cookie_jar__": 5}}, "'__cookie_jar__' must be a dict, not int"),
        ({"__headers__": {"__peer_props__": None}}, "'__peer_props__' must be a dict, not NoneType"),
    ],
)
def test_what_came_in_is_checked(value: Any, match: str) -> None:
    with pytest.raises(DecodeError, match=match):
        shareable_of(value)
