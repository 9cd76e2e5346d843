"""What of a context travels to the peer, and the context that the peer makes of it.

Source: reference "flare" 1.9. There an aux message fails for a public prop that cannot travel; here, as on the way of
tasks, the prop stays behind and a warning names it.
"""

from __future__ import annotations

import logging
from typing import Any

from zmqfl.context.fl_context import FLContext
from zmqfl.context.keys import NON_SERIALIZABLE_KEYS
from zmqfl.errors import DecodeError, EncodeError
from zmqfl.wire import payload
from zmqfl.wire.tags import ATOMS

log = logging.getLogger("zmqfl.context")


def public_props_of(fl_ctx: FLContext) -> dict[str, Any]:
    """The public props that can travel, to be sent inside a list or dict of a payload.

    Those of `NON_SERIALIZABLE_KEYS` are left out; any other that `zmqfl.wire.payload` refuses costs a warning.
    """
    props = {
        str.__str__(key): value for key, value in fl_ctx.get_all_public_props().items()
    }  # no StrEnum travels as key
    return {key: value for key, value in props.items() if _travels(key, value)}


def peer_context_of(props: object) -> FLContext:
    """A read-only context with the public props of a peer. Raises `DecodeError` when they are not a dict of names.

    What a peer can have no say in, such as the engine, is left out.
    """
    if type(props) is not dict or not all(type(key) is str for key in props):
        raise DecodeError(f"the props of a peer must be a dict with str keys, not {type(props).__name__}")
    ctx = FLContext()
    for key, value in props.items():
        if key not in NON_SERIALIZABLE_KEYS:
            ctx.put(key, value, private=False, sticky=False)
    ctx.freeze()
    return ctx


def _travels(key: str, value: object) -> bool:
    if key in NON_SERIALIZABLE_KEYS:
        return False
    if type(value) in ATOMS and key.isascii() and type(value) is not int:
        return True
    try:
        payload.encode([{key: value}], copy=False)  # as deep as it will be in a message; arrays are not copied
    except EncodeError as error:
        log.warning("public prop %r stays behind, make it private or change its value: %s", key, error)
        return False
    return True
