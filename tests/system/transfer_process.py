"""A cell in a process of its own that moves files, and kills itself at a chunk that the test names.

    python -m tests.system.transfer_process '{"fqcn": "site-1", "parent": "...", "push": {...}, "die": ["produce", 7]}'

It writes a line of JSON when it is bound: {"pid", "url", "rid"}. It does one of these, and ends with its input:

    consume   folder                            receives pushed files there
    push      {"path", "to", ...}               arguments of `push_file`
    offer     {"what", ...}                     arguments of `offer`
    pull      {"rid", "owner", "to", ...}       arguments of `pull`

`die` is a moment and, where there are several of a kind, its index, from 0:

    produce, acknowledged, first_end      owner of a push: before chunk k is read; all targets have all, and no END is
                                          sent; the first target has answered its END
    taken, before_commit, after_commit    target of a push: chunk k is written, and not acknowledged; told to commit;
                                          committed, and the owner does not know
    read, served                          owner of a pull: before chunk k is read; a receiver has said that it has it
    marked, before_rename, after_rename   receiver of a pull: chunk k is noted in the sidecar
    round, end, get, chunk                relay: the packet of chunk k comes in, and goes no further
    stop                                  target of a push: chunk k is written, then it stands still (SIGSTOP)
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from itertools import count
from typing import Any

from tests.system.process import die, say
from zmqfl import Cell, CellConfig
from zmqfl.blobs.sidecar import Sidecar
from zmqfl.blobs.sink import FileSink
from zmqfl.blobs.source import FileSource
from zmqfl.cell.file_streams import FileConsumer, FileProducer
from zmqfl.cell.offering import Offering
from zmqfl.errors import CellReturnCode
from zmqfl.protocol import pull_source, push_sender
from zmqfl.protocol.commands import Command, Outcome
from zmqfl.protocol.push_sender import PushSender
from zmqfl.wire.codec import decode_header
from zmqfl.wire.messages import Packet, Reply, Request

Place = tuple[type[Any], str]
_PLACES: dict[str, Place] = {
    "produce": (FileProducer, "produce"),
    "acknowledged": (PushSender, "_commit"),
    "taken": (FileConsumer, "consume"),
    "stop": (FileConsumer, "consume"),
    "before_commit": (FileConsumer, "close"),
    "after_commit": (FileConsumer, "close"),
    "read": (FileSource, "read"),
    "served": (Offering, "served"),
    "marked": (Sidecar, "append"),
    "before_rename": (FileSink, "commit"),
    "after_rename": (FileSink, "commit"),
}
_AFTERWARDS = {"taken", "stop", "after_commit", "marked", "after_rename"}
"""Where the method has done its work."""
_READS_FIRST = {"read": 1}
"""Of a source, the first read is the check for OPEN."""


def die_at(cell: Cell, moment: str, index: int) -> None:
    """See the module."""
    if moment == "first_end":
        die_at_the_first_answer()
    elif moment in ("round", "end", "get", "chunk"):
        die_forwarding(cell, moment, index)
    else:
        place, name = _PLACES[moment]
        act = stop if moment == "stop" else die
        at_call(place, name, index + _READS_FIRST.get(moment, 0), moment in _AFTERWARDS, act)


def stop() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)
    threading.Event().wait()  # not a step further


def at_call(place: type[Any], name: str, index: int, afterwards: bool, act: Callable[[], object]) -> None:
    """Do `act` before, or after, the `index`-th call of a method."""
    method, numbers, lock = getattr(place, name), count(), threading.Lock()

    def counting(*args: Any, **kwargs: Any) -> Any:
        with lock:  # nobody does a chunk more while this one dies
            number = next(numbers)
            if number == index and not afterwards:
                act()
            value = method(*args, **kwargs)
            if number == index and afterwards:
                act()
            return value

    setattr(place, name, counting)


def die_at_the_first_answer() -> None:
    """Die when the first target says that it has committed."""
    answered = PushSender._end_answered

    def answering(sender: PushSender, target: str, outcome: Outcome) -> list[Command]:
        if outcome.code is CellReturnCode.OK:
            die()
        return answered(sender, target, outcome)

    PushSender._end_answered = answering  # type: ignore[method-assign, assignment]


def is_end(packet: Packet) -> bool:
    if packet.kind != Request.KIND:
        return False
    request = decode_header(packet.kind, packet.header)
    assert isinstance(request, Request)
    return request.channel == push_sender.CHANNEL and request.topic == push_sender.END


def die_forwarding(cell: Cell, moment: str, index: int) -> None:
    """Die when the packet of chunk `index` comes in for another cell, or for the cache here, and before it goes on."""
    receive, chunks = cell._node.receive, count()

    def is_it(packet: Packet) -> bool:
        if packet.kind not in (Request.KIND, Reply.KIND):
            return False
        message = decode_header(packet.kind, packet.header)
        match message:
            case Request(channel=push_sender.CHANNEL, topic=push_sender.ROUND) if moment == "round":
                return bool(message.headers["i"] == index)
            case Request(channel=push_sender.CHANNEL, topic=push_sender.END):
                return moment == "end"
            case Request(channel=pull_source.CHANNEL, topic=pull_source.GET) if moment == "get":
                return bool(message.headers["i"] == index)
            case Reply() if moment == "chunk" and "d" in message.headers:
                return next(chunks) == index
        return False

    def receiving(conn: Any, packet: Packet, now: float, user: str | None = None) -> Any:
        if is_it(packet):
            die()
        return receive(conn, packet, now, user)

    cell._node.receive = receiving  # type: ignore[method-assign]


def main(settings: dict[str, Any]) -> int:
    cell = Cell(
        settings["fqcn"],
        listen=settings.get("listen"),
        parent=settings.get("parent"),
        config=CellConfig(**settings["config"]),
    )
    if "die" in settings:
        die_at(cell, *settings["die"])
    if "consume" in settings:
        cell.consume(to=settings["consume"])
    cell.start()
    cell.connected().result()
    rid = cell.offer(**settings["offer"]).rid if "offer" in settings else ""
    cell.statistics()  # the reactor knows of the offer
    say(pid=os.getpid(), url=cell.urls[0] if cell.urls else "", rid=rid)
    if "push" in settings:
        cell.push_file(**settings["push"])
    if "pull" in settings:
        cell.pull(**settings["pull"])
    sys.stdin.read()
    cell.close(drain=0)
    return 0


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
