"""The program of a host, and how a test drives it."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest

from tests.net.federation import CommandError, HostCell, LabFederation, MakeFederation
from tests.net.lab import Lab
from tests.net.site import Commands
from tests.system.federation import LONG, ROOT
from zmqfl import Cell

pytestmark = pytest.mark.netns

GO = threading.Event()
"""In the process of a site: what `wait` waits for."""


def shout(cell: Cell, commands: Commands) -> None:
    """A `--setup`: a handler, and commands of its own."""
    cell.register_request_cb("test", "shout", lambda message: message.payload.upper())
    commands["shout"] = lambda target, text: cell.request(target, "test", "shout", text).result().payload
    commands["wait"] = lambda: GO.wait(LONG)
    commands["go"] = GO.set


@pytest.fixture
def pair(lab: Callable[[int], Lab], federate: MakeFederation) -> tuple[HostCell, HostCell]:
    """A server and a site, each in its host."""
    federation: LabFederation = federate(lab(2), setup=["tests.net.test_site:shout"])
    server = federation.begin(1, "server")
    return server, federation.start(2, "site-1", server, listen=False)


def test_cells_find_each_other_by_the_addresses_of_their_hosts(pair: tuple[HostCell, HostCell]) -> None:
    server, site = pair
    server.wait_link("site-1", "up")
    assert server.url.startswith("tcp://10.77.")
    assert server.event("started")["pid"] == server.popen.pid
    assert site.event("started")["url"] == ""
    assert site.link("server") == "up"
    assert server.link("nobody") == "gone"


def test_how_a_request_ended(pair: tuple[HostCell, HostCell]) -> None:
    server, site = pair
    well = {"number": 1, "code": "ok", "error": "", "ends": 1, "intact": True}
    assert site.request("server", 1, size=1000) == well
    assert site.request("server", 2, topic="swallow", size=1000) == {**well, "number": 2}
    assert server.executed() == {1: 1, 2: 1}
    late = site.request("server", 3, topic="held", timeout=0.1)
    assert (late["code"], late["ends"], late["intact"]) == ("timeout", 1, False)
    assert site.request("nobody", 4)["code"] == "comm_error"
    assert [outcome["number"] for outcome in site.requests("server", [7, 5]).result(LONG)] == [7, 5]


def test_a_setup_adds_handlers_and_commands(pair: tuple[HostCell, HostCell]) -> None:
    assert pair[0].ask("shout", target="site-1", text="hello") == "HELLO"


def test_commands_do_not_wait_for_each_other(pair: tuple[HostCell, HostCell]) -> None:
    waiting = pair[0].do("wait")
    assert pair[0].ask("echo", value=[1, None]) == [1, None]
    assert not waiting.done()
    pair[0].ask("go")
    assert waiting.result(LONG) is True


@pytest.mark.parametrize(
    ("command", "arguments", "kind", "text"),
    [
        ("dance", {}, "KeyError", "dance"),
        ("echo", {"word": 1}, "TypeError", "unexpected keyword argument 'word'"),
        ("shout", {"target": "server", "text": 1}, "RequestFailed", "has no attribute 'upper'"),
    ],
)
def test_a_command_that_fails_says_why(
    pair: tuple[HostCell, HostCell], command: str, arguments: dict[str, object], kind: str, text: str
) -> None:
    with pytest.raises(CommandError, match=text) as caught:
        pair[1].ask(command, **arguments)
    assert caught.value.kind == kind


def test_a_cell_that_ends_fails_what_was_asked_of_it(pair: tuple[HostCell, HostCell]) -> None:
    waiting = pair[1].do("wait")
    pair[1].signal(signal.SIGKILL)
    with pytest.raises(CommandError, match="site-1 has ended"):
        waiting.result(LONG)
    with pytest.raises(CommandError, match="site-1 has ended"):
        pair[1].ask("echo")
    with pytest.raises(AssertionError, match="has not said 'never' and has ended"):
        pair[1].event("never")


def test_a_cell_that_must_end_says_so(lab: Callable[[int], Lab], federate: MakeFederation) -> None:
    federation = federate(lab(3))
    server = federation.begin(1, "server")
    first = federation.start(2, "site-1", server, listen=False)
    federation.start(3, "site-1", server, listen=False)
    assert first.event("exit")["status"] == 75


def test_it_ends_with_its_standard_input() -> None:
    program = [sys.executable, "-m", "tests.net.site", '{"fqcn": "server", "listen": "tcp://127.0.0.1:*"}']
    ended = subprocess.run(program, input="", capture_output=True, text=True, timeout=LONG, cwd=ROOT, check=True)
    assert ended.stdout.count("\n") == 1
