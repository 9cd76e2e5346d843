"""Verbs for live channels: channel ls, info, create, pub, sub."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option, Typer

from zmqfl.cell.channel_writer import ChannelWriter
from zmqfl.cli import terminal
from zmqfl.cli.exits import NotRunning, OneLineGroup
from zmqfl.cli.federation import attached, choose
from zmqfl.cli.network import UNREACHABLE
from zmqfl.cli.options import AsJson, Federation
from zmqfl.cli.values import parse_data, shown
from zmqfl.errors import ChannelDeniedError, ChannelExistsError, ChannelUnknownError, RequestFailed, UserError
from zmqfl.fqcn import parse
from zmqfl.protocol.channels.buffer import DEFAULT_ITEMS, Policy

app = Typer(cls=OneLineGroup, help="Live channels.", no_args_is_help=True)

Name = Annotated[str, Argument(help="The channel.", metavar="CHANNEL", show_default=False)]
Broker = Annotated[
    str | None, Option("--broker", help="The cell that the channel is at. Default: the root.", metavar="FQCN")
]
Key = Annotated[str | None, Option("--key", help="A file with the key of a private channel.", metavar="FILE")]


@app.command()
def ls(broker: Broker = None, as_json: AsJson = False, name: Federation = None) -> None:
    """The public channels of a broker."""
    at = _broker(broker)
    with attached(choose(name)) as cell:
        rows = _answer(cell.channels(at), at or cell.root)
    if as_json:
        terminal.print_json(rows)
        return
    counts = ("readers", "writers", "offered", "bytes")
    terminal.print_table(
        ("CHANNEL", "OWNER", ">READERS", ">WRITERS", ">ITEMS", ">BYTES"),
        [(row["name"], row["owner"], *(f"{row[each]:,}" for each in counts)) for row in rows],
    )


@app.command()
def info(channel: Name, broker: Broker = None, as_json: AsJson = False, name: Federation = None) -> None:
    """A channel, and what its readers have got: items offered, thinned out, dropped, delivered, queued."""
    at = _broker(broker)
    with attached(choose(name)) as cell:
        found = _answer(cell.channel_info(channel, at), at or cell.root)
    if as_json:
        terminal.print_json(found)
        return
    terminal.console().print(f"{found['name']} of {found['owner']}, {found['offered']:,} items")
    counts = ("offered", "decimated", "dropped", "delivered", "queued")
    terminal.print_table(
        ("READER", "POLICY", *(f">{each.upper()}" for each in counts)),
        [(row["reader"], row["policy"], *(f"{row[each]:,}" for each in counts)) for row in found["of_readers"]],
    )
    terminal.print_table(
        ("WRITER", ">TAKEN", ">WAITING"),
        [(row["writer"], f"{row['taken']:,}", f"{row['waiting']:,}") for row in found["of_writers"]],
    )


@app.command()
def create(
    channel: Name,
    key: Key = None,
    lifetime: Annotated[float | None, Option(help="Seconds after which it ends.", min=0.001)] = None,
    last: Annotated[int, Option(help="Items kept for readers that come later.", min=0)] = 0,
    broker: Broker = None,
    name: Federation = None,
) -> None:
    """Make a channel to which anybody may write; it ends with this command (Ctrl-C)."""
    at, secret = _broker(broker), _key(key)
    with attached(choose(name)) as cell:
        made = _answer(
            cell.create_channel(channel, at, key=secret, lifetime=lifetime, single=False, last=last), at or cell.root
        )  # fmt: skip
        sys.stderr.write(f"channel {made.name!r} at {made.broker}; Ctrl-C ends it\n")
        if lifetime is None:
            threading.Event().wait()
        reader = _answer(made.subscribe(key=secret, items=1), made.broker)
        for _ in reader:
            pass


@app.command()
def pub(
    channel: Name,
    data: Annotated[
        list[str] | None, Argument(help="Items, JSON each; without, a line of standard input each.", metavar="[DATA]")
    ] = None,
    text: Annotated[bool, Option("--text", help="Items are text, not JSON.")] = False,
    new: Annotated[bool, Option("--create", help="Make the channel; it ends with this command.")] = False,
    key: Key = None,
    timeout: Annotated[float, Option(help="Seconds to wait for somebody who reads.", min=0.001)] = 30.0,
    broker: Broker = None,
    name: Federation = None,
) -> None:
    """Put items into a channel, as soon as somebody reads it; ends when they are in the buffers of all readers."""
    at, secret = _broker(broker), _key(key)
    items = [parse_data(each, text) for each in data or ()]
    with attached(choose(name)) as cell:
        where = at or cell.root
        if new:
            _answer(cell.create_channel(channel, at, key=secret), where)
        writer = _answer(cell.write_channel(channel, at, key=secret), where)
        for item in items if data else _lines(text):
            _put(writer, item, timeout, channel)
        writer.close().result()


@app.command()
def sub(
    channel: Name,
    policy: Annotated[Policy, Option(help="What gives way when the buffer at the broker is full.")] = Policy.RING,
    items: Annotated[int, Option(help="Items of that buffer; 0: any number.", min=0)] = DEFAULT_ITEMS,
    every: Annotated[int, Option(help="One item in so many.", min=1)] = 1,
    hz: Annotated[float | None, Option(help="Items in a second, at most.", min=0.001)] = None,
    last: Annotated[int, Option(help="Begin with so many that the channel keeps.", min=0)] = 0,
    count: Annotated[int | None, Option(help="End after so many items.", min=1)] = None,
    key: Key = None,
    as_json: Annotated[bool, Option("--json", help="Also who has put it, and its number.")] = False,
    broker: Broker = None,
    name: Federation = None,
) -> None:
    """Print the items of a channel, a line of JSON each, until it ends."""
    at, secret = _broker(broker), _key(key)
    with attached(choose(name)) as cell:
        handle = cell.subscribe(
            channel, at, policy=policy, items=items or None, every=every, hz=hz, last=last, key=secret
        )  # fmt: skip
        reader, got = _answer(handle, at or cell.root), 0
        for item in reader:
            value = shown(item.value)
            terminal.print_json_line(
                {"writer": item.writer, "number": item.number, "value": value} if as_json else value
            )  # fmt: skip
            if (got := got + 1) == count:
                return
        if got == count or count is None:
            sys.stderr.write(f"channel {channel!r} has ended: {reader.end}\n")
            return
        raise NotRunning(f"channel {channel!r} has ended after {got} items: {reader.end}")


def _put(writer: ChannelWriter, item: Any, timeout: float, channel: str) -> None:
    handle = writer.put(item, wait_for_active=True)
    try:
        handle.result(timeout)
    except TimeoutError:
        handle.cancel()
        raise NotRunning(f"nobody reads channel {channel!r}, or takes nothing, for {timeout:g} s") from None


def _lines(text: bool) -> Iterator[Any]:
    for line in sys.stdin:
        yield parse_data(line.rstrip("\n"), text)


def _answer(handle: Any, broker: str) -> Any:
    """What the broker answers; its refusals are the user's to mend."""
    try:
        return handle.result()
    except (ChannelUnknownError, ChannelExistsError, ChannelDeniedError) as error:
        raise UserError(error.reason, field="CHANNEL", remedy="look at `zmqfl channel ls`") from None
    except RequestFailed as error:
        if error.code in UNREACHABLE:
            raise NotRunning(f"{broker}: {error.code}: {error.reason}; look at `zmqfl cells`") from None
        raise


def _broker(broker: str | None) -> str | None:
    return None if broker is None else parse(broker, "--broker")


def _key(file: str | None) -> bytes | None:
    if file is None:
        return None
    try:
        key = Path(file).read_bytes().strip()
    except OSError as error:
        raise UserError(f"cannot read {file!r}: {error.strerror}", field="--key", remedy="name a file") from None
    if not key:
        raise UserError(f"{file!r} is empty", field="--key", remedy="write the key into it")
    return key
