"""Questions of receivers, one by one: what may be repeated, what is proved, what is gone."""

from __future__ import annotations

from typing import Any

import pytest

from tests.streaming.downloads import RID, Log, Numbers
from tests.streaming.sites import Sites
from tests.system.federation import LONG
from zmqfl import Cell, Message
from zmqfl.streaming.object_downloader import ObjectDownloader


class Peers:
    """A server that offers, and two sites that ask what they like."""

    def __init__(self, sites: Sites) -> None:
        self.server = sites.federation.start("server")
        self.site = sites.federation.start("site-1", self.server, None)
        self.other = sites.federation.start("site-2", self.server, None)
        self.log = Log()
        self.downloader = ObjectDownloader(self.server, 1000, 1, receiver_ids=["site-1"])
        self.downloader.add_object(Numbers(2, self.log), RID)

    def chunk(self, place: int | None, download: str = "d", cell: Cell | None = None, **change: Any) -> Message:
        state = {} if place is None else {"place": place}
        question = {"ref_id": RID, "download": download, "state": state, **change}
        return (cell or self.site).request("server", "download_service", "chunk", question, LONG).reply(LONG)

    def done(self, nonce: str, status: str = "success", download: str = "d", cell: Cell | None = None) -> Message:
        told = {"ref_id": RID, "download": download, "status": status, "nonce": nonce, "reason": ""}
        return (cell or self.site).request("server", "download_service", "done", told, LONG).reply(LONG)

    def ones(self) -> list[Any]:
        return [line[1:] for line in self.log.lines if line[0] == "one"]


@pytest.fixture
def peers(sites: Sites) -> Peers:
    return Peers(sites)


def test_a_state_may_come_again(peers: Peers) -> None:
    first = {"status": "ok", "state": {"place": 1}, "data": bytes(10)}
    assert [peers.chunk(None).payload, peers.chunk(0).payload] == [first, first]
    end = peers.chunk(2).payload
    assert end["status"] == "eof"
    assert peers.chunk(2).payload == end
    assert peers.done(end["nonce"]).payload == {}
    assert peers.downloader.get_waiter().wait(LONG)
    assert peers.chunk(2).payload == end  # the reply came late: still the same end
    assert peers.done(end["nonce"]).payload == {}
    assert peers.ones() == [("site-1", "success")]


def test_what_is_finished_is_gone(peers: Peers) -> None:
    peers.done(peers.chunk(2).payload["nonce"])
    assert peers.downloader.get_waiter().wait(LONG)
    for reply in (
        peers.chunk(None), peers.chunk(1), peers.chunk(2, download="another"), peers.chunk(2, cell=peers.other),
    ):  # fmt: skip
        assert reply.return_code == "invalid_request"
        assert "is gone: its transaction has ended (finished)" in reply.error


def test_only_who_was_served_the_end_has_it(peers: Peers) -> None:
    assert peers.done("").return_code == "invalid_request"
    nonce = peers.chunk(2).payload["nonce"]
    for reply in peers.done("x"), peers.done(nonce, download="another"), peers.done(nonce, cell=peers.other):
        assert "was not served to" in reply.error
    assert not peers.downloader.get_waiter().done()
    assert peers.done(nonce).ok
    assert peers.downloader.get_waiter().wait(LONG)


def test_who_gives_up_speaks_for_itself_only(peers: Peers) -> None:
    peers.chunk(None)
    assert peers.done("", "failed", cell=peers.other).ok
    assert not peers.downloader.get_waiter().done()
    assert peers.done("", "failed").ok
    outcome = peers.downloader.get_waiter().wait(LONG)
    assert outcome is not None
    assert outcome.failed == ("site-1", "site-2")
    assert peers.ones() == [("site-2", "failed"), ("site-1", "failed")]


@pytest.mark.parametrize("change", [{"ref_id": 3}, {"state": "x"}, {"download": None}])
def test_malformed_questions(peers: Peers, change: dict[str, Any]) -> None:
    assert peers.chunk(None, **change).return_code == "invalid_request"
    assert peers.downloader.get_waiter().acquired_receivers() == ()


def test_unknown_references(peers: Peers) -> None:
    assert "no such reference at server" in peers.chunk(None, ref_id="R").error
    told = {"ref_id": "R", "download": "d", "status": "failed", "nonce": "", "reason": ""}
    reply = peers.site.request("server", "download_service", "done", told, LONG).reply(LONG)
    assert "no such reference at server" in reply.error


def test_what_the_producer_sees_cannot_change_what_was_asked(peers: Peers) -> None:
    class Greedy(Numbers):
        def produce(self, state: dict[str, Any], requester: str) -> Any:
            answer = super().produce(state, requester)
            state.clear()
            return answer

    peers.downloader.add_object(Greedy(2), RID + "2")
    assert peers.chunk(1, ref_id=RID + "2").payload["state"] == {"place": 2}
