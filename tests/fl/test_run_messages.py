"""What server and clients say to each other."""

from __future__ import annotations

from typing import Any

import pytest

from zmqfl.cell.message import Message
from zmqfl.context.shareable import Shareable
from zmqfl.errors import InvalidRequest
from zmqfl.fl.run_messages import packed, read


def test_a_message_and_its_peer() -> None:
    shareable, peer = read(Message(payload=packed(Shareable({"x": 1}), {"a": 2, "__engine__": "forged"})))
    assert (shareable["x"], peer.get_prop("a"), peer.get_engine(), peer.is_frozen) == (1, 2, None, True)


@pytest.mark.parametrize("content", [None, [], [1, 2], [{}, {}], [{"__headers__": {}}, 3], [{"__headers__": {}}]])
def test_what_is_no_message(content: Any) -> None:
    with pytest.raises(InvalidRequest):
        read(Message(payload=content))
