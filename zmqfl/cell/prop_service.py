"""The props that a site says for its user, whose command line ends before anybody has read them.

topic        payload             who may                                               reply
set_prop     {key, value, proof} who proves to be the site's user (see `user_proof`)   ""
remove_prop  {key, proof}        the same                                              ""
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from zmqfl.cell.message import Message
from zmqfl.cell.net_agent import CHANNEL
from zmqfl.cell.user_proof import check_proof
from zmqfl.errors import ArgumentError, EncodeError, InvalidRequest

if TYPE_CHECKING:
    from zmqfl.cell.cell import Cell

SET_PROP, REMOVE_PROP = "set_prop", "remove_prop"
"""The topics."""


class PropService:
    """See the module. `run_dir`: the run folder, or None where nobody can set."""

    def __init__(self, cell: Cell, run_dir: Path | None) -> None:
        self._cell = cell
        self._run_dir = run_dir

    def serve(self) -> None:
        """Answer from now on."""
        self._cell.register_request_cb(CHANNEL, SET_PROP, self._set)
        self._cell.register_request_cb(CHANNEL, REMOVE_PROP, self._remove)

    def _set(self, message: Message) -> str:
        match message.payload:
            case {"key": key, "value": value, "proof": proof}:
                pass
            case _:
                raise InvalidRequest("set_prop takes {key, value, proof}")
        check_proof(self._cell.fqcn, self._run_dir, proof)
        try:
            self._cell.props.set(key, value)
        except (ArgumentError, EncodeError) as error:
            raise InvalidRequest(str(error)) from None
        return ""

    def _remove(self, message: Message) -> str:
        match message.payload:
            case {"key": str() as key, "proof": proof}:
                pass
            case _:
                raise InvalidRequest("remove_prop takes {key, proof}")
        check_proof(self._cell.fqcn, self._run_dir, proof)
        if key not in self._cell.props.of(self._cell.fqcn):
            raise InvalidRequest(f"it has no prop {key!r}")
        self._cell.props.remove(key)
        return ""
