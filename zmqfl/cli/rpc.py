"""Verbs that call methods of cells: rpc ls, rpc call."""

from __future__ import annotations

import re
import sys
from typing import Annotated, Any, NoReturn

from typer import Argument, Exit, Option, Typer

from zmqfl.cell.cell import Cell
from zmqfl.cli import exits, terminal
from zmqfl.cli.exits import NotRunning, OneLineGroup
from zmqfl.cli.federation import attached, choose
from zmqfl.cli.network import ASK, UNREACHABLE
from zmqfl.cli.network import ask as ask_cell
from zmqfl.cli.options import AsJson, Federation
from zmqfl.cli.values import parse_data, shown
from zmqfl.errors import ArgumentError, NoSuchMethod, RemoteError, RequestFailed, SignatureError, UserError
from zmqfl.fqcn import parse
from zmqfl.rpc.names import check_service
from zmqfl.rpc.proxy import Method, Proxy
from zmqfl.rpc.remote_stream import RemoteStream
from zmqfl.rpc.rpc import Rpc

app = Typer(cls=OneLineGroup, help="Methods that cells publish.", no_args_is_help=True)

Service = Annotated[str, Option("--service", help="The name under which they are published.", metavar="NAME")]

_NAMED = re.compile(r"[A-Za-z_]\w*=")


@app.command()
def ls(
    site: Annotated[str, Argument(help="The FQCN of a cell.", metavar="SITE", show_default=False)],
    service: Service = "",
    as_json: AsJson = False,
    name: Federation = None,
) -> None:
    """The methods of a cell that this command line may call, with signatures."""
    target, service = parse(site, "SITE"), _checked(service)
    with attached(choose(name)) as cell:
        found = list(_proxy(cell, target, service))
    if as_json:
        terminal.print_json(
            [{"path": m.path, "signature": m.text, "doc": m.doc, "is_stream": m.is_stream} for m in found]
        )  # fmt: skip
        return
    terminal.print_table(("METHOD", "WHAT IT DOES"), [(str(m), m.doc.partition("\n")[0]) for m in found])


@app.command()
def call(
    method: Annotated[str, Argument(help="As in site-1.calc.add.", metavar="SITE.METHOD", show_default=False)],
    args: Annotated[
        list[str] | None, Argument(help="JSON each, or PARAMETER=JSON; - reads one from standard input, @FILE from a "
                                   "file.", metavar="[ARGS]", show_default=False)
    ] = None,
    text: Annotated[bool, Option("--text", help="ARGS are text, not JSON.")] = False,
    tto: Annotated[float, Option(help="Seconds for the call; of a generator, for each item.", min=0.001)] = 20.0,
    service: Service = "",
    as_json: AsJson = False,
    name: Federation = None,
) -> None:  # fmt: skip
    """Call a method of a cell and print what it returns as JSON; a generator prints a line for each item.

    Arrays are summarised. With --json also errors are JSON.
    """
    positional, named = _arguments(args or [], text)
    service = _checked(service)
    if "." not in method:
        raise UserError(f"{method!r} names no method", field="SITE.METHOD", remedy="write it as in site-1.add")
    with attached(choose(name)) as cell:
        target, path = _split(cell, method)
        try:
            value = _method(_proxy(cell, target, service, tto), path)(*positional, **named)
            _print(value, as_json)
        except NotRunning:
            raise
        except SignatureError as error:
            raise UserError(error.problem, field="ARGS", remedy="look at `zmqfl rpc ls`") from None
        except Exception as error:  # noqa: BLE001  whatever the method raises is its own
            _fail(target, path, error, as_json)


def _checked(service: str) -> str:
    try:
        return check_service(service)
    except ArgumentError as error:
        problem, _, remedy = str(error).partition("; ")
        raise UserError(problem, field="--service", remedy=remedy) from None


def _proxy(cell: Cell, target: str, service: str, timeout: float = ASK) -> Proxy:
    try:
        return Rpc.of(cell).proxy(target, service, timeout=timeout).result()
    except RequestFailed as error:
        if error.code in UNREACHABLE:
            raise NotRunning(f"{target}: {error.code}: {error.reason}; look at `zmqfl cells`") from None
        raise


def _split(cell: Cell, method: str) -> tuple[str, str]:
    """SITE and METHOD: names of cells have dots too, so the longest that there is counts."""
    cells = {row[0] for row in ask_cell(cell, cell.root, "cells", ASK)}
    parts = method.split(".")
    for length in range(len(parts) - 1, 0, -1):
        if (site := ".".join(parts[:length])) in cells:
            return site, ".".join(parts[length:])
    raise NotRunning(f"no cell of that name is there: {parts[0]!r}; look at `zmqfl cells`")


def _method(proxy: Proxy, path: str) -> Method:
    at: Any = proxy
    for part in path.split("."):
        at = getattr(at, part)
    if not isinstance(at, Method):
        raise NoSuchMethod(f"{path} is a part, with methods of its own: {', '.join(dir(at))}")
    return at


def _arguments(args: list[str], is_text: bool) -> tuple[list[Any], dict[str, Any]]:
    positional: list[Any] = []
    named: dict[str, Any] = {}
    for each in args:
        if _NAMED.match(each):
            parameter, _, value = each.partition("=")
            if parameter in named:
                raise UserError(f"{parameter!r} is given twice", field="ARGS", remedy="give each parameter once")
            named[parameter] = _argument(value, is_text, each)
        else:
            positional.append(_argument(each, is_text, each))
    return positional, named


def _argument(text: str, is_text: bool, whole: str) -> Any:
    try:
        return parse_data(text, is_text)
    except UserError as error:
        raise UserError(f"{whole!r} {error.problem}", field="ARGS", remedy=error.remedy) from None


def _print(value: Any, as_json: bool) -> None:
    if isinstance(value, RemoteStream):
        for item in value:
            terminal.print_json_line(shown(item))
    else:
        terminal.print_json({"value": shown(value)} if as_json else shown(value))


def _fail(target: str, path: str, error: Exception, as_json: bool) -> NoReturn:
    told = error if error.__cause__ is None else error.__cause__
    if not isinstance(told, RequestFailed):
        raise error
    kind = told.type_name if isinstance(told, RemoteError) else str(told.code)
    reason = told.message if isinstance(told, RemoteError) else told.reason
    if as_json:
        terminal.print_json({"target": target, "method": path, "error": kind, "reason": reason})
    line = f"{target}: {path}: {kind}: {reason}" if isinstance(told, RemoteError) else f"{target}: {kind}: {reason}"
    sys.stderr.write(f"zmqfl: {line}\n")
    raise Exit(exits.NOT_RUNNING if told.code in UNREACHABLE else exits.FAILED)
