"""What the reactor tells a cell, and what follows: calls go to workers, ends to handles, changes to callbacks.

Everything here runs on the reactor's thread, but what says otherwise.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from zmqfl.cell.asking import Asking
from zmqfl.cell.channel_edges import ChannelEdges
from zmqfl.cell.handles import Handle
from zmqfl.cell.identity import no_card
from zmqfl.cell.noticeboard import Noticeboard
from zmqfl.cell.peers import CellAgent, PeerCallbacks
from zmqfl.cell.references import References
from zmqfl.cell.serving import Serving
from zmqfl.cell.transfer_edges import TransferEdges
from zmqfl.errors import CellReturnCode
from zmqfl.protocol.commands import Call, ChannelEvent, Command, Exit, Finish, Outcome, PeerChanged, Work
from zmqfl.protocol.node import Node
from zmqfl.protocol.transfers import SEAL

if TYPE_CHECKING:
    from zmqfl.cell.sealed_calls import SealedCalls

log = logging.getLogger("zmqfl.cell")


class CellEdges:
    """Joins the reactor to the callee's and the caller's side. `on_exit(status, reason)`: the process must end."""

    def __init__(
        self,
        node: Node,
        asking: Asking,
        serving: Serving,
        peers: PeerCallbacks,
        transfers: TransferEdges,
        references: References,
        seals: SealedCalls | None,
        board: Noticeboard,
        channels: ChannelEdges,
        reply: Callable[[Call, Outcome], None],
        on_exit: Callable[[int, str], object] | None,
    ) -> None:
        self.exit: Exit | None = None
        """Set when the process must end."""
        self.idle = threading.Event()
        """While closing: the running handlers have ended, and their replies are on their way."""
        self.left = threading.Event()
        """Later: all neighbours have answered the BYE. Who ends the connections before loses what they did not read."""
        self._node = node
        self._asking = asking
        self._serving = serving
        self._peers = peers
        self._transfers = transfers
        self._references = references
        self._seals = seals
        self._board = board
        self._channels = channels
        self._reply = reply
        self._on_exit = on_exit
        self._running: set[Call] = set()
        self._ready: list[Handle[bool]] = []
        self._closing = False
        self._leaving = False

    # -- called by the reactor -----------------------------------------------------------------------------------------

    def invoke(self, call: Call) -> bool:
        """Run the handler on a worker; False when none can take it."""
        if call.channel == SEAL:
            self._serve_seal(call)
            return True
        accepted = self._serving.invoke(call)
        if accepted and call.expects_reply:
            self._running.add(call)
        return accepted

    def _serve_seal(self, call: Call) -> None:
        if self._seals is not None:
            self._seals.sealing.serve(call, self._reply)
        elif call.expects_reply:
            self._reply(call, Outcome(CellReturnCode.COMM_ERROR, no_card(self._node.fqcn)))

    def revoke_call(self, call: Call) -> None:
        """Nobody waits for it any more."""
        self._serving.revoke(call)
        self._call_ended(call)

    def finish(self, finish: Finish) -> None:
        """A request has ended at one target."""
        self._asking.finish(finish)

    def flow_ended(self) -> None:
        """Some message that travelled as a flow has arrived, or is given up."""
        self._look_idle()

    def work(self, command: Work) -> None:
        """Have something of a transfer done, or tell a reader or writer of a channel."""
        if isinstance(command, ChannelEvent):
            self._channels.hear(command)
        else:
            self._transfers.work(command)

    def facts_changed(self, facts: tuple[Any, ...]) -> None:
        """The plane says something new."""
        self._board.changed(facts)

    def peer_changed(self, change: PeerChanged) -> None:
        """A neighbour changed its state."""
        self._peers.tell(CellAgent(change.fqcn, change.state, change.instance, change.reason))
        self._look_ready()
        if self._leaving and self._node.is_quiet:
            self.left.set()

    def exit_process(self, status: int, reason: str) -> None:
        """The process must end. (Any thread.)"""
        self.exit = Exit(status, reason)
        log.warning("%s must end with status %d: %s", self._node.fqcn, status, reason)
        if self._on_exit is not None:  # in a thread of its own: it may wait, close the cell, or raise
            threading.Thread(target=self._on_exit, args=(status, reason), name=f"zmqfl-exit:{self._node.fqcn}").start()

    def reactor_ended(self) -> None:
        """Nothing will be told any more."""
        if self._seals is not None:
            self._seals.sealing.close()
        self._asking.close()
        self._transfers.close()
        self._board.close()
        self._channels.close()
        for handle in self._ready:
            handle._finish(False)
        self.idle.set()
        self.left.set()

    # -- submitted by the cell -----------------------------------------------------------------------------------------

    def expect_ready(self, handle: Handle[bool]) -> list[Command]:
        """End `handle` when the parent has bound both lanes."""
        self._ready.append(handle)
        self._look_ready()
        return []

    def reply(self, call: Call, outcome: Outcome, now: float) -> list[Command]:
        """A handler has ended."""
        commands = self._node.reply(call, outcome, now)
        self._call_ended(call)  # afterwards: a long reply is under way by now, and holds up the end
        return commands

    def begin_closing(self) -> list[Command]:
        """Refuse what is new; `idle` is set when nothing runs any more, and nobody waits for a payload."""
        self._closing = True
        self._references.on_free = self._look_idle
        self._node.drain()
        self._look_idle()
        return []

    def leave(self, now: float) -> list[Command]:
        """Fail what still waits, say BYE; `left` is set when all neighbours have answered."""
        self._asking.close()
        self._channels.close()
        self._running.clear()
        self._leaving = True
        commands = self._node.stop(now)
        if not commands:
            self.left.set()
        return commands

    def _call_ended(self, call: Call) -> None:
        if call in self._running:
            self._running.remove(call)
            self._look_idle()

    def _look_idle(self) -> None:
        busy = self._running or self._node.flows.sending or self._references.awaited
        if self._closing and not busy:
            self.idle.set()

    def _look_ready(self) -> None:
        uplink = self._node.uplink
        if not self._ready or not self._node.neighbours.is_bound:
            return
        both_lanes = uplink is None or (uplink.link is not None and uplink.link.bulk is not None)
        if both_lanes and self._node.neighbours.is_holder:
            ready, self._ready = self._ready, []
            for handle in ready:
                handle._finish(True)
