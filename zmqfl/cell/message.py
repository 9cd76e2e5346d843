"""What handlers and callers hold: a payload with headers.

Headers that begin with `cn__` are the system's: the cell sets them when a message arrives, and `user_headers`
leaves them out when one leaves, so that no sender can forge where a message comes from. All others are the user's.
Source: reference "flare" 5.5.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgpack

from zmqfl.errors import CellReturnCode, EncodeError, UsageError
from zmqfl.wire.messages import MAX_HEADER

RESERVED = "cn__"
"""How the names of the system's headers begin."""

SEAL = RESERVED + "seal"
"""Header of a sealed message, and key in the context of a sealed stream: what is said of the seal in clear."""

MAX_USER_HEADERS = MAX_HEADER // 2
"""Bytes of a message's user headers when packed; the rest is for what the system says."""


class MessageHeaderKey:
    """Names of the system's headers."""

    MSG_TYPE = "cn__msg_type"
    REQ_ID = "cn__req_id"
    REPLY_EXPECTED = "cn__reply_expected"
    CHANNEL = "cn__channel"
    TOPIC = "cn__topic"
    ORIGIN = "cn__origin"
    DESTINATION = "cn__destination"
    FROM = "cn__from"
    TO = "cn__to"
    CONN_URL = "cn__conn_url"
    RETURN_CODE = "cn__return_code"
    ERROR = "cn__error"
    PAYLOAD_ENCODING = "cn__payload_encoding"
    ROUTE = "cn__route"
    ORIGINAL_HEADERS = "cn__original_headers"
    SEND_TIME = "cn__send_time"
    RETURN_REASON = "cn__return_reason"
    SECURE = "cn__secure"
    PAYLOAD_LEN = "cn__payload_len"
    CLEAR_PAYLOAD_LEN = "cn__clear_payload_len"
    ENCRYPTED = "cn__encrypted"
    OPTIONAL = "cn__optional"
    SERVER_TRANSIT_REQUIRED = "cn__server_transit_required"
    MSG_ROOT_ID = "cn__msg_root_id"
    MSG_ROOT_TTL = "cn__msg_root_ttl"
    PASS_THROUGH = "cn__pass_through"


class Message:
    """A payload with headers.

    `headers` are copied; `payload` is any value that can travel (see `zmqfl.wire.payload`) and is kept as it is.
    """

    __slots__ = ("headers", "payload")

    def __init__(self, headers: Mapping[str, Any] | None = None, payload: Any = None) -> None:
        self.headers: dict[str, Any] = dict(headers) if headers else {}
        self.payload = payload

    def get_header(self, key: str, default: Any = None) -> Any:
        """The header, or `default` where there is none."""
        return self.headers.get(key, default)

    def set_header(self, key: str, value: Any) -> None:
        """Set one header."""
        self.headers[key] = value

    def set_headers(self, headers: Mapping[str, Any]) -> None:
        """Set each of `headers`; others stay as they are."""
        self.headers.update(headers)

    add_headers = set_headers

    def remove_header(self, key: str) -> None:
        """Remove a header, if it is there."""
        self.headers.pop(key, None)

    @property
    def return_code(self) -> CellReturnCode:
        """How the request ended; OK for a message that says nothing of it."""
        return to_return_code(self.headers.get(MessageHeaderKey.RETURN_CODE, CellReturnCode.OK))

    @property
    def ok(self) -> bool:
        """Whether the return code is OK."""
        return self.return_code is CellReturnCode.OK

    @property
    def error(self) -> str:
        """What went wrong, in the words of the cell where it did; "" when nothing did."""
        return self._text(MessageHeaderKey.ERROR)

    @property
    def origin(self) -> str:
        """FQCN of the cell that the message comes from; "" before it is sent."""
        return self._text(MessageHeaderKey.ORIGIN)

    @property
    def sealed(self) -> bool:
        """Whether it came sealed (`secure=True`): `origin` is proved, and nobody on the way could read or change it."""
        return self.headers.get(MessageHeaderKey.SECURE) is True

    @property
    def channel(self) -> str:
        """The channel it was sent on; "" before it is sent."""
        return self._text(MessageHeaderKey.CHANNEL)

    @property
    def topic(self) -> str:
        """The topic it was sent under; "" before it is sent."""
        return self._text(MessageHeaderKey.TOPIC)

    @property
    def req_id(self) -> int:
        """Number of the request at its origin; 0 when there is none."""
        number: int = self.headers.get(MessageHeaderKey.REQ_ID, 0)
        return number

    def _text(self, key: str) -> str:
        text: str = self.headers.get(key, "")
        return text

    def __repr__(self) -> str:
        code = self.headers.get(MessageHeaderKey.RETURN_CODE, CellReturnCode.OK)
        names = sorted(str(key) for key in self.headers if not str(key).startswith(RESERVED))
        return (
            f"<Message {self.channel!r}:{self.topic!r} #{self.req_id} from {self.origin!r} {str(code)!r} "
            f"headers {names} payload {type(self.payload).__name__}>"
        )


def new_message(payload: Any = None, headers: Mapping[str, Any] | None = None) -> Message:
    """A message to send."""
    return Message(headers, payload)


def make_reply(rc: CellReturnCode | str, error: str = "", payload: Any = None) -> Message:
    """A reply with a return code. Raises `UsageError` for a code that does not exist."""
    message = Message({MessageHeaderKey.RETURN_CODE: to_return_code(rc)}, payload)
    if error:
        message.set_header(MessageHeaderKey.ERROR, error)
    return message


def to_return_code(value: CellReturnCode | str) -> CellReturnCode:
    """`value` as a code. Raises `UsageError` when there is no such code."""
    if isinstance(value, CellReturnCode):
        return value
    try:
        return CellReturnCode(value)
    except ValueError:
        raise UsageError(f"{value!r} is not a return code; use a member of CellReturnCode") from None


def user_headers(message: Message) -> dict[str, Any]:
    """The headers that travel: all but the system's, as the receiver will see them (a tuple becomes a list).

    They are a copy: what the user changes later does not change what is sent. Raises `EncodeError` when a name is
    not a str, when a value is not one of None, bool, int below 2**64, float, str, bytes, or lists and str-keyed
    dicts of these, and when all of them take more than `MAX_USER_HEADERS` bytes.
    """
    sent: dict[str, Any] = {}
    size = 0
    for name, value in strip_reserved(message.headers).items():
        packed = _pack(name, value)
        size += len(packed)
        sent.update(msgpack.unpackb(packed))
    if size > MAX_USER_HEADERS:
        raise EncodeError(f"headers of {size} bytes, at most {MAX_USER_HEADERS}; put big values in the payload")
    return sent


def strip_reserved(headers: Mapping[str, Any]) -> dict[str, Any]:
    """`headers` without the system's. The cell does this also to what arrives: a peer may run other code."""
    return {name: value for name, value in headers.items() if not str(name).startswith(RESERVED)}


def _pack(name: object, value: object) -> bytes:
    if not isinstance(name, str):
        raise EncodeError(f"header {name!r} has a name of type {type(name).__name__}; names are str")
    try:
        packed: bytes = msgpack.packb({name: value})
        msgpack.unpackb(packed)  # refuses what a receiver would refuse, such as a dict with int keys
    except (TypeError, ValueError, OverflowError) as error:
        raise EncodeError(f"header {name!r} cannot travel: {error}; put such values in the payload") from error
    return packed
