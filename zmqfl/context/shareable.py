"""What tasks, results and aux messages carry: a dict with headers.

The headers are a dict under the key `__headers__`, so a Shareable travels as a plain dict: `to_payload` makes one, and
`shareable_of` makes a Shareable again of what came from a peer, which may be anything. Source: reference "flare" 6.11.
FLARE drops the headers of the dict that a Shareable is made of; here they stay.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from copy import deepcopy
from typing import Any, Self

import msgpack

from zmqfl.context.return_code import ReturnCode
from zmqfl.errors import ArgumentError, DecodeError
from zmqfl.wire import payload


class ReservedHeaderKey:
    """Names of the system's headers. The first is the key of all of them."""

    HEADERS = "__headers__"
    TOPIC = "__topic__"
    RC = "__rc__"
    COOKIE_JAR = "__cookie_jar__"
    PEER_PROPS = "__peer_props__"
    REPLY_IS_LATE = "__reply_is_late__"
    TASK_NAME = "__task_name__"
    TASK_ID = "__task_id__"
    WORKFLOW = "__workflow__"
    AUDIT_EVENT_ID = "__audit_event_id__"
    CONTENT_TYPE = "__content_type__"
    TASK_OPERATOR = "__task_operator__"
    ERROR = "__error__"
    MSG_ROOT_ID = "__msg_root_id__"
    MSG_ROOT_TTL = "__msg_root_ttl__"
    PASS_THROUGH = "__pass_through__"


class Shareable(dict[Any, Any]):
    """See the module. `data`: content, and headers if it has any, copied one level deep."""

    def __init__(self, data: Mapping[Any, Any] | None = None) -> None:
        super().__init__(data or {})
        self[ReservedHeaderKey.HEADERS] = dict(self._headers()) if ReservedHeaderKey.HEADERS in self else {}

    # -- headers -----------------------------------------------------------------------------------------------------

    def get_header(self, key: str, default: Any = None) -> Any:
        """A header. Raises `ArgumentError` (a ValueError) when the content took the place of the headers."""
        return self._headers().get(key, default)

    def set_header(self, key: str, value: Any) -> None:
        """Set a header to a value that can travel."""
        self._headers()[key] = value

    def get_return_code(self, default: str = ReturnCode.OK) -> str:
        """How it ended: a `ReturnCode`, or the text of one that is not known here; `default` when it does not say."""
        code: str = self.get_header(ReservedHeaderKey.RC, default)
        try:
            return ReturnCode(code)
        except ValueError:
            return code

    def set_return_code(self, rc: str) -> None:
        """Say how it ended."""
        if not isinstance(rc, str):
            raise ArgumentError(f"a return code must be a ReturnCode or its text, not {type(rc).__name__}")
        self.set_header(ReservedHeaderKey.RC, str(rc))

    # -- cookies: what the receiver gives back unread ----------------------------------------------------------------

    def add_cookie(self, name: str, data: Any) -> None:
        """Put something into the jar, which the receiver copies onto its reply."""
        jar = self.get_cookie_jar()
        self.set_cookie_jar({**(jar or {}), name: data})

    def get_cookie(self, name: str, default: Any = None) -> Any:
        """What lies in the jar under this name."""
        return (self.get_cookie_jar() or {}).get(name, default)

    def get_cookie_jar(self, default: Any = None) -> Any:
        """All cookies, a dict; `default` when there are none."""
        return self.get_header(ReservedHeaderKey.COOKIE_JAR, default)

    def set_cookie_jar(self, jar: dict[str, Any]) -> None:
        """Set all cookies."""
        self.set_header(ReservedHeaderKey.COOKIE_JAR, _checked_dict(jar, "a cookie jar"))

    # -- the peer ----------------------------------------------------------------------------------------------------

    def get_peer_props(self) -> dict[str, Any] | None:
        """The public props of who sent it; None when they are not known."""
        props: dict[str, Any] | None = self.get_header(ReservedHeaderKey.PEER_PROPS)
        return props

    def get_peer_prop(self, key: str, default: Any = None) -> Any:
        """One of them."""
        return (self.get_peer_props() or {}).get(key, default)

    def set_peer_props(self, props: dict[str, Any]) -> None:
        """Say what the public props of the sender are."""
        self.set_header(ReservedHeaderKey.PEER_PROPS, _checked_dict(props, "the props of a peer"))

    # -- travel ------------------------------------------------------------------------------------------------------

    def to_payload(self) -> dict[Any, Any]:
        """A plain dict, for a payload; it shares the values, and neither the dict nor the headers."""
        return {**self, ReservedHeaderKey.HEADERS: dict(self._headers())}

    def to_bytes(self) -> bytes:
        """All of it as bytes, for a file. Raises `EncodeError` naming what cannot travel."""
        packed: bytes = msgpack.packb([bytes(frame) for frame in payload.encode(self.to_payload(), copy=False)])
        return packed

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """What `to_bytes` wrote. Raises `DecodeError` for anything else."""
        try:
            frames = msgpack.unpackb(data)
        except Exception as error:
            raise DecodeError(f"these bytes are no Shareable: {error}") from error
        if not isinstance(frames, list) or not all(isinstance(frame, bytes) for frame in frames):
            raise DecodeError("these bytes are no Shareable: no list of frames")
        return cls(shareable_of(payload.decode(frames)))

    def _headers(self) -> dict[str, Any]:
        return _checked_dict(self.get(ReservedHeaderKey.HEADERS), f"{ReservedHeaderKey.HEADERS!r} of a Shareable")


def make_reply(rc: str, headers: Mapping[str, Any] | None = None) -> Shareable:
    """A reply with a return code, and these headers."""
    reply = Shareable()
    for key, value in (headers or {}).items():
        reply.set_header(key, value)
    reply.set_return_code(rc)
    return reply


def make_copy(source: Shareable, exclude_headers: Container[str] | None = None) -> Shareable:
    """The same content with headers of its own, all but `exclude_headers`."""
    copy = Shareable(source)
    kept = {key: value for key, value in source.to_payload()[ReservedHeaderKey.HEADERS].items()
            if key not in (exclude_headers or ())}  # fmt: skip
    copy[ReservedHeaderKey.HEADERS] = deepcopy(kept)
    return copy


def shareable_of(value: object) -> Shareable:
    """The Shareable that `to_payload` made this of. Raises `DecodeError` when it cannot have been."""
    if type(value) is not dict:
        raise DecodeError(f"a Shareable must be a dict, not {type(value).__name__}")
    headers = value.get(ReservedHeaderKey.HEADERS)
    if type(headers) is not dict or not all(type(key) is str for key in headers):
        raise DecodeError(f"{ReservedHeaderKey.HEADERS!r} of a Shareable must be a dict with str keys")
    if not isinstance(headers.get(ReservedHeaderKey.RC, ""), str):
        raise DecodeError(f"header {ReservedHeaderKey.RC!r} must be a str")
    for key in ReservedHeaderKey.COOKIE_JAR, ReservedHeaderKey.PEER_PROPS:
        if type(headers.get(key, {})) is not dict:
            raise DecodeError(f"header {key!r} must be a dict, not {type(headers[key]).__name__}")
    return Shareable(value)


def _checked_dict(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ArgumentError(f"{what} must be a dict, not {type(value).__name__}")
    return value
