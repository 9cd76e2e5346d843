"""Verbs that ask the network: request, cells, route, rtt."""

from __future__ import annotations

import sys
import time
from typing import Annotated, Any

from typer import Argument, Exit, Option

from zmqfl.cell.cell import Cell
from zmqfl.cell.message import Message
from zmqfl.cell.net_agent import CHANNEL, MAX_SIZE, MAX_TRIES, NetAgent, measure
from zmqfl.cli import exits, terminal
from zmqfl.cli.exits import NotRunning
from zmqfl.cli.federation import attached, choose, is_hidden
from zmqfl.cli.options import AsJson, Federation
from zmqfl.cli.values import parse_data, shown
from zmqfl.errors import CellReturnCode, UserError
from zmqfl.fqcn import parse

UNREACHABLE = {CellReturnCode.TARGET_UNREACHABLE, CellReturnCode.TIMEOUT, CellReturnCode.COMM_ERROR}
ASK = 5.0
"""Seconds for a question that a cell answers by itself."""

Dest = Annotated[str, Argument(help="The FQCN of a cell.", metavar="DEST", show_default=False)]


def request(
    dest: Dest,
    topic: Annotated[
        str,
        Argument(
            help="CHANNEL:TOPIC; TOPIC alone asks the cell itself: info, peers, cells, echo.",
            metavar="[CHANNEL:]TOPIC",
            show_default=False,
        ),
    ],
    data: Annotated[
        str | None, Argument(help="JSON; - reads it from standard input, @FILE from a file.", metavar="[DATA]")
    ] = None,
    text: Annotated[bool, Option("--text", help="DATA is text, not JSON.")] = False,
    timeout: Annotated[float, Option(help="Seconds for everything.", min=0.001)] = 30.0,
    as_json: AsJson = False,
    name: Federation = None,
) -> None:
    """Ask a cell, and print its reply as JSON.

    Arrays are summarised. With --json: also who replied, the return code, and the time it took.
    """
    channel, _, topic = topic.rpartition(":")
    if not topic:
        raise UserError("the topic is empty", field="TOPIC", remedy="write CHANNEL:TOPIC")
    target, payload = parse(dest, "DEST"), parse_data(data, text)
    with attached(choose(name)) as cell:
        begin = time.perf_counter()
        reply = cell.request(target, channel or CHANNEL, topic, payload, timeout, deadline=timeout).reply()
        seconds = time.perf_counter() - begin
    if as_json:
        answer = {"origin": target, "return_code": str(reply.return_code), "error": reply.error, "seconds": seconds}
        terminal.print_json({**answer, "payload": shown(reply.payload)})
    elif reply.ok:
        terminal.print_json(shown(reply.payload))
    if not reply.ok:
        _fail(target, reply)


def cells(
    everything: Annotated[bool, Option("--all", help="Also the cells of command lines.")] = False,
    as_json: AsJson = False,
    name: Federation = None,
) -> None:
    """The tree of cells that the network sees, each with its state."""
    with attached(choose(name)) as cell:
        rows = [row for row in ask(cell, cell.root, "cells", ASK) if everything or not is_hidden(row[0])]
    if as_json:
        terminal.print_json([{"fqcn": fqcn, "parent": parent, "state": state} for fqcn, parent, state in rows])
        return
    from rich.tree import Tree

    nodes: dict[str, Any] = {}
    for fqcn, parent, state in rows:
        label = f"{fqcn}  [{terminal.style_of(state) or 'dim'}]{state}[/]"
        nodes[fqcn] = nodes[parent].add(label) if parent in nodes else Tree(label, guide_style="dim")
    terminal.console().print(nodes[rows[0][0]])


def route(
    dest: Dest,
    start: Annotated[str | None, Option("--from", help="The cell where it begins.", metavar="FQCN")] = None,
    as_json: AsJson = False,
    name: Federation = None,
) -> None:
    """The cells that a message passes on its way to DEST."""
    state = choose(name)
    target, at = parse(dest, "DEST"), parse(start or state.door[0], "--from")
    with attached(state) as cell:
        path = [at]
        while path[-1] != target:
            hop = ask(cell, path[-1], "hop", target)
            if not hop or hop in path:
                raise NotRunning(f"{path[-1]} has no route to {target}; look at `zmqfl cells`")
            path.append(hop)
        ask(cell, target, "echo", None)
    if as_json:
        terminal.print_json(path)
    else:
        terminal.console().print(" -> ".join(path))


def rtt(
    dest: Dest,
    start: Annotated[str | None, Option("--from", help="The cell that asks.", metavar="FQCN")] = None,
    count: Annotated[int, Option(help="Requests, one after another.", min=1, max=MAX_TRIES)] = 100,
    size: Annotated[int, Option(help="Bytes of payload, there and back.", min=0, max=MAX_SIZE)] = 0,
    as_json: AsJson = False,
    name: Federation = None,
) -> None:
    """Round trips of requests to DEST."""
    target, begin = parse(dest, "DEST"), parse(start, "--from") if start else ""
    with attached(choose(name)) as cell:
        found = NetAgent(cell).speed_test(begin, target, count, size) if begin else measure(cell, target, count, size)
    if problem := found.get("error") or found.get("failed"):
        raise NotRunning(f"{target}: {problem}" if target not in problem else problem)
    if as_json:
        terminal.print_json(found)
        return
    times = "   ".join(f"{mark} {terminal.ms(found[mark])}" for mark in ("min", "p50", "p99", "max"))
    terminal.console().print(f"{begin or 'here'} -> {target}   {found['tries']} x {size} bytes   {times}")


def ask(cell: Cell, target: str, topic: str, payload: Any) -> Any:
    """A question that each cell answers. Raises `NotRunning`."""
    reply = cell.request(target, CHANNEL, topic, payload, ASK, deadline=ASK).reply()
    if not reply.ok:
        raise NotRunning(f"{target}: {reply.return_code}: {reply.error}; look at `zmqfl cells`")
    return reply.payload


def view(cell: Cell) -> dict[str, dict[str, Any]]:
    """FQCN -> how its parent sees it: {parent, state, rtt, since, instance}. Raises `NotRunning`."""
    rows = ask(cell, cell.root, "cells", ASK)
    found: dict[str, dict[str, Any]] = {row[0]: {"parent": row[1], "state": row[2]} for row in rows}
    parents = {row[1] for row in rows if row[1]}
    replies = cell.broadcast(parents, CHANNEL, "peers", None, ASK, deadline=ASK).result() if parents else {}
    for parent, reply in replies.items():
        for link in reply.payload if reply.ok else []:
            if found.get(link["fqcn"], {}).get("parent") == parent:
                found[link["fqcn"]].update(link)
    return found


def _fail(target: str, reply: Message) -> None:
    reason = reply.error or "it gave no reason"
    sys.stderr.write(f"zmqfl: {target}: {reply.return_code}: {reason}\n")
    raise Exit(exits.NOT_RUNNING if reply.return_code in UNREACHABLE else exits.FAILED)
