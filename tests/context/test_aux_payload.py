from __future__ import annotations

from typing import Any

import pytest

from zmqfl.cell.message import Message, make_reply
from zmqfl.context.aux_payload import failed, pack_request, unpack, unpack_reply
from zmqfl.context.fl_context import FLContext
from zmqfl.context.return_code import ReturnCode
from zmqfl.context.shareable import ReservedHeaderKey, Shareable
from zmqfl.errors import ArgumentError, DecodeError


def test_pack_and_unpack() -> None:
    request, fl_ctx = Shareable({"x": 1}), FLContext()
    fl_ctx.set_prop("round", 3, private=False)
    content = pack_request(request, fl_ctx)
    assert content == [{"x": 1, "__headers__": {}}, {"round": 3}]
    content[0]["__headers__"]["h"] = 1
    assert request == {"x": 1, "__headers__": {}}
    assert unpack(content)[1] == {"round": 3}


def test_wrong_arguments() -> None:
    with pytest.raises(ArgumentError, match="must be a Shareable, not dict"):
        pack_request({}, FLContext())
    with pytest.raises(ArgumentError, match="must be an FLContext, not NoneType"):
        pack_request(Shareable(), None)


@pytest.mark.parametrize("content", [None, {}, [], [{}], [{"__headers__": {}}], [[], {}], [{}, {}, {}]])
def test_what_is_no_aux_message(content: Any) -> None:
    with pytest.raises(DecodeError):
        unpack(content)


def test_a_reply_brings_the_props_of_its_sender() -> None:
    reply = unpack_reply(make_reply("ok", payload=[Shareable({"x": 1}).to_payload(), {"round": 3}]))
    assert (reply["x"], reply.get_return_code(), reply.get_peer_props()) == (1, "OK", {"round": 3})


@pytest.mark.parametrize("content", [None, 5, [{"__headers__": {}}, None], [{"__headers__": {}}, {1: 2}]])
def test_a_reply_that_cannot_be_read(content: Any) -> None:
    reply = unpack_reply(Message({"cn__origin": "site-1"}, content))
    assert reply.get_return_code() is ReturnCode.ERROR
    assert "the reply of site-1 cannot be read" in reply.get_header(ReservedHeaderKey.ERROR)


def test_a_request_that_failed() -> None:
    reply = unpack_reply(make_reply("timeout", "10 s are over"))
    assert reply == failed(ReturnCode.TIMEOUT, "10 s are over")
    assert reply == {"__headers__": {"__error__": "10 s are over", "__rc__": "TIMEOUT"}}
