"""Verbs about public props: what each site says about itself, known to all."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from threading import Event
from typing import Annotated, Any, Final

from typer import Argument, Option, Typer

from zmqfl.cell.prop_service import REMOVE_PROP, SET_PROP
from zmqfl.cell.props import Prop, check_prop
from zmqfl.cli import terminal
from zmqfl.cli.exits import OneLineGroup
from zmqfl.cli.federation import check_site, choose
from zmqfl.cli.hearing import Events, heard, informed
from zmqfl.cli.moving import line_of, proven
from zmqfl.cli.options import AsJson, Federation
from zmqfl.cli.references import check_cells
from zmqfl.cli.values import parse_data, shown
from zmqfl.errors import ArgumentError, EncodeError, UserError, ZmqflError
from zmqfl.fqcn import parse
from zmqfl.topology.checks import near

app = Typer(
    cls=OneLineGroup, help="Public props: what each site says about itself, known to all.", no_args_is_help=True
)

MOST_SHOWN: Final = 100
"""Characters of a value in a line."""

Site = Annotated[str | None, Argument(help="The FQCN of a cell. Default: all.", metavar="[SITE]")]
Key = Annotated[str, Argument(help="The name of the prop.", metavar="KEY", show_default=False)]
Speaker = Annotated[
    str | None, Option("--site", help="The local site that says it. Default: the topmost.", metavar="SITE")
]


@app.command("list")
def list_props(site: Site = None, as_json: AsJson = False, name: Federation = None) -> None:
    """All props that are set, of all cells or of one."""
    if site is not None:
        parse(site, "SITE")
    with informed(choose(name)) as cell:
        if site is not None:
            check_cells(cell, [site], "SITE")
        props = cell.props.all() if site is None else {site: cell.props.of(site)}
    if as_json:
        terminal.print_json({fqcn: shown(props[fqcn]) for fqcn in sorted(props)})
        return
    rows = [(fqcn, line_of(key), _short(value)) for fqcn in sorted(props) for key, value in sorted(props[fqcn].items())]
    if rows:
        terminal.print_table(("SITE", "KEY", "VALUE"), rows)
    else:
        terminal.console().print(f"{site} has set no prop" if site else "nobody has set a prop")


@app.command()
def get(
    site: Annotated[str, Argument(help="The FQCN of the cell that says it.", metavar="SITE", show_default=False)],
    key: Key,
    as_json: AsJson = False,
    name: Federation = None,
) -> None:
    """The value of one prop, as JSON. Arrays are summarised."""
    parse(site, "SITE")
    with informed(choose(name)) as cell:
        check_cells(cell, [site], "SITE")
        props = cell.props.of(site)
    _check_set(site, key, props)
    value = shown(props[key])
    terminal.print_json({"site": site, "key": key, "value": value} if as_json else value)


@app.command("set", context_settings={"ignore_unknown_options": True})  # -1 is a value
def set_prop(
    key: Key,
    value: Annotated[str, Argument(help="JSON; - reads it from standard input, @FILE from a file.", metavar="VALUE")],
    site: Speaker = None,
    text: Annotated[bool, Option("--text", help="VALUE is text, not JSON.")] = False,
    as_json: AsJson = False,
    name: Federation = None,
) -> None:
    """Have a local site say something to everybody, as long as it runs or until it says something else.

    It is public: every cell of the federation can read it.
    """
    given = parse_data(value, text, "VALUE")
    _check(key, given)
    speaker = _tell(name, site, SET_PROP, {"key": key, "value": given})
    if as_json:
        terminal.print_json({"site": speaker, "key": key, "value": given})
    else:
        terminal.console().print(f"{speaker}: {line_of(key)} = {_short(given)}", markup=False, soft_wrap=True)


@app.command()
def remove(key: Key, site: Speaker = None, as_json: AsJson = False, name: Federation = None) -> None:
    """Have a local site say it no longer."""
    speaker = _tell(name, site, REMOVE_PROP, {"key": key})
    if as_json:
        terminal.print_json({"site": speaker, "key": key})
    else:
        terminal.console().print(f"{speaker}: {line_of(key)} is set no more", markup=False, soft_wrap=True)


@app.command()
def watch(
    site: Site = None,
    key: Annotated[str | None, Option("--key", help="Only this one.", metavar="KEY")] = None,
    as_json: AsJson = False,
    name: Federation = None,
) -> None:
    """What is set now, then each change as it comes, until the federation ends."""
    if site is not None:
        parse(site, "SITE")
    with informed(choose(name)) as cell:
        if site is not None:
            check_cells(cell, [site], "SITE")
        events = Events[Prop](cell)
        with cell.props.watch(events.put, site, key, replay=True):
            while (prop := events.next()) is not None:
                _show(prop, as_json)


def _show(prop: Prop, as_json: bool) -> None:
    now = datetime.now().astimezone()
    if as_json:
        terminal.print_json_line({
            "time": now.isoformat(timespec="milliseconds"), "site": prop.cell, "key": prop.key, "is_set": prop.is_set,
            "value": shown(prop.value),
        })  # fmt: skip
        return
    what = f"= {_short(prop.value)}" if prop.is_set else "is set no more"
    sys.stdout.write(f"{now:%H:%M:%S} {prop.cell}: {line_of(prop.key)} {what}\n")
    sys.stdout.flush()


def _tell(name: str | None, site: str | None, topic: str, question: dict[str, Any]) -> str:
    """Have a local site say something, or no longer, and wait until it is heard; returns its name."""
    state = choose(name)
    speaker = state.door[0] if site is None else check_site(state, site)
    there, wanted = Event(), _short(question.get("value"))

    def look(prop: Prop) -> None:
        if prop.is_set == (topic == SET_PROP) and _short(prop.value) == wanted:
            there.set()

    with informed(state) as cell, cell.props.watch(look, speaker, question["key"]):
        if topic == REMOVE_PROP:
            _check_set(speaker, question["key"], cell.props.of(speaker))
        proven(cell, state, speaker, topic, question)
        heard(there, speaker)
    return speaker


def _check_set(site: str, key: str, props: dict[str, Any]) -> None:
    if key not in props:
        raise ZmqflError(f"{site}: it has no prop {key!r}; {near(key, props)}")


def _check(key: str, value: Any) -> None:
    """Find out here what the site would refuse."""
    try:
        check_prop(key, value)
    except ArgumentError as error:
        raise UserError(str(error), field="KEY", remedy="choose another name") from None
    except EncodeError as error:
        raise UserError(str(error), field="VALUE", remedy="") from None


def _short(value: Any) -> str:
    text = json.dumps(shown(value), default=str)
    return text if len(text) <= MOST_SHOWN else f"{text[: MOST_SHOWN - 3]}..."
