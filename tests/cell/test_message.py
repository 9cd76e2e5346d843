from __future__ import annotations

from typing import Any

import pytest

from zmqfl.cell import message as module
from zmqfl.cell.message import (
    MAX_USER_HEADERS,
    Message,
    MessageHeaderKey,
    make_reply,
    new_message,
    strip_reserved,
    to_return_code,
    user_headers,
)
from zmqfl.errors import CellReturnCode, EncodeError, UsageError


def test_a_message_has_headers_and_a_payload() -> None:
    given = {"round": 3}
    message = new_message([1, 2], given)
    given["round"] = 4
    assert message.payload == [1, 2]
    assert message.get_header("round") == 3
    message.set_header("round", 5)
    message.set_headers({"site": "a", "job": "b"})
    message.add_headers({"job": "c"})
    message.remove_header("site")
    message.remove_header("never there")
    assert message.headers == {"round": 5, "job": "c"}


def test_get_header_gives_the_default_also_without_any_headers() -> None:
    assert Message().get_header("missing") is None
    assert Message(None).get_header("missing", 7) == 7


def test_properties_of_a_message_that_nobody_sent() -> None:
    message = Message()
    assert (message.origin, message.channel, message.topic, message.req_id) == ("", "", "", 0)
    assert (message.return_code, message.error, message.ok) == (CellReturnCode.OK, "", True)


def test_properties_read_the_headers() -> None:
    message = Message(
        {
            MessageHeaderKey.ORIGIN: "site-1",
            MessageHeaderKey.CHANNEL: "task",
            MessageHeaderKey.TOPIC: "get",
            MessageHeaderKey.REQ_ID: 12,
            MessageHeaderKey.RETURN_CODE: "timeout",
            MessageHeaderKey.ERROR: "too late",
        }
    )
    assert (message.origin, message.channel, message.topic, message.req_id) == ("site-1", "task", "get", 12)
    assert (message.return_code, message.error, message.ok) == (CellReturnCode.TIMEOUT, "too late", False)


def test_the_names_of_the_systems_headers() -> None:
    names = {name: value for name, value in vars(MessageHeaderKey).items() if not name.startswith("_")}
    assert names["ORIGIN"] == "cn__origin"
    assert names["RETURN_CODE"] == "cn__return_code"
    assert names == {name: f"cn__{name.lower()}" for name in names}
    assert len(names) == 26


def test_make_reply() -> None:
    reply = make_reply(CellReturnCode.INVALID_REQUEST, "no such task", {"seen": 1})
    assert (reply.return_code, reply.error, reply.payload) == (
        CellReturnCode.INVALID_REQUEST,
        "no such task",
        {"seen": 1},
    )
    assert make_reply("ok").headers == {MessageHeaderKey.RETURN_CODE: CellReturnCode.OK}


def test_a_return_code_must_exist() -> None:
    assert to_return_code("abort_run") is CellReturnCode.ABORT_RUN
    with pytest.raises(UsageError, match=r"'fine' is not a return code; use a member of CellReturnCode"):
        make_reply("fine")
    with pytest.raises(UsageError):
        _ = Message({MessageHeaderKey.RETURN_CODE: "fine"}).return_code


def test_repr_is_one_line_and_shows_no_values() -> None:
    message = make_reply("comm_error", "line 1\nline 2", "very secret")
    message.set_headers({MessageHeaderKey.ORIGIN: "a\nb", "token": "very secret", "job\n": 1})
    text = repr(message)
    assert text == r"<Message '':'' #0 from 'a\nb' 'comm_error' headers ['job\n', 'token'] payload str>"
    assert repr(Message({MessageHeaderKey.RETURN_CODE: "f\nine"})).count("\n") == 0


def test_the_systems_headers_do_not_travel() -> None:
    message = Message({"round": 3, MessageHeaderKey.ORIGIN: "somebody else", "cn__invented": 1})
    assert user_headers(message) == {"round": 3}
    assert strip_reserved(message.headers) == {"round": 3}
    assert user_headers(Message()) == {}


def test_headers_travel_as_the_receiver_sees_them_and_cannot_change_any_more() -> None:
    inner: dict[str, Any] = {"list": [1, 2.5, None, True]}
    message = Message({"a": inner, "b": (1, b"x"), "c": 2**64 - 1, "d": -(2**63)})
    sent = user_headers(message)
    inner["list"].append("later")
    assert sent == {"a": {"list": [1, 2.5, None, True]}, "b": [1, b"x"], "c": 2**64 - 1, "d": -(2**63)}


@pytest.mark.parametrize(
    "value", [object(), {1, 2}, 2**64, "\ud800", {1: 2}, 1j], ids=["object", "set", "int", "text", "key", "complex"]
)
def test_a_header_that_cannot_travel_is_named(value: object) -> None:
    with pytest.raises(EncodeError, match=r"header 'odd' cannot travel: .*; put such values in the payload"):
        user_headers(Message({"fine": 1, "odd": value}))


def test_names_of_headers_are_text() -> None:
    headers: Any = {1: "one"}
    with pytest.raises(EncodeError, match="header 1 has a name of type int; names are str"):
        user_headers(Message(headers))


def test_a_deeply_nested_header_is_refused() -> None:
    value: list[Any] = []
    for _ in range(2000):
        value = [value]
    with pytest.raises(EncodeError, match="header 'deep' cannot travel"):
        user_headers(Message({"deep": value}))


def test_headers_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    big = Message({"a": b"x" * (MAX_USER_HEADERS // 2), "b": b"x" * (MAX_USER_HEADERS // 2)})
    with pytest.raises(EncodeError, match=rf"at most {MAX_USER_HEADERS}; put big values in the payload"):
        user_headers(big)
    monkeypatch.setattr(module, "MAX_USER_HEADERS", MAX_USER_HEADERS * 2)
    assert user_headers(big) == big.headers
