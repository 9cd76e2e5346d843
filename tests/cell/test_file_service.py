"""What a site gives: exports to everybody, shares to who proves to be its user."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.system.federation import LONG, Federation, until
from zmqfl import Cell, RequestFailed
from zmqfl.cell.file_service import EXPORT, MOST_EXPORTS, SHARE, UNSHARE, FileService
from zmqfl.cell.net_agent import CHANNEL
from zmqfl.cell.user_proof import proof_file, proof_of_user
from zmqfl.errors import AuthenticationError, InvalidRequest, ServiceUnavailable, TransferError


class Site:
    """A cell that serves files, another that asks, and their folders."""

    def __init__(self, federation: Federation, base: Path) -> None:
        for name in ("run", "exported", "private", "got"):
            (base / name).mkdir()
        self.run, self.exported, self.private, self.got = (base / n for n in ("run", "exported", "private", "got"))
        (self.exported / "model.pt").write_bytes(b"m" * 1000)
        (self.private / "secret").write_bytes(b"s")
        self.cell = federation.start("server")
        self.other = federation.start("site-1", self.cell)
        FileService(self.cell, [self.exported], self.run).serve()

    def ask(self, topic: str, payload: Any, of: Cell | None = None) -> Any:
        return (of or self.other).request("server", CHANNEL, topic, payload, LONG).result(LONG).payload

    def share(self, proof: object = "", of: Cell | None = None, **changes: Any) -> Any:
        question = {"path": str(self.private / "secret"), "to": None, "timeout": 60.0, "proof": proof, **changes}
        return self.ask(SHARE, question, of)

    def offered(self) -> int:
        return sum(each.kind == "offer" for each in self.cell.transfers())


@pytest.fixture
def site(federation: Federation, tmp_path: Path) -> Site:
    return Site(federation, tmp_path)


# -------------------------------------------------------------------------------------------------------------- exports


def test_an_export_is_for_one_pull_of_who_asked(site: Site, federation: Federation) -> None:
    offer = site.ask(EXPORT, "model.pt")
    assert (offer["name"], offer["size"]) == ("model.pt", 1000)
    stranger = federation.start("site-2", site.cell)
    with pytest.raises(TransferError, match="no such reference"):
        stranger.pull(offer["rid"], "server", site.got).result(LONG)
    assert site.other.pull(offer["rid"], "server", site.got).result(LONG).read_bytes() == b"m" * 1000
    until(lambda: not site.offered())
    with pytest.raises(TransferError, match="no such reference"):
        site.other.pull(offer["rid"], "server", site.got).result(LONG)


@pytest.mark.parametrize("path", ["", ".", "x", "../private/secret", "a/../../private/secret", "link", "folder/secret"])
def test_nothing_outside_the_exports(site: Site, path: str) -> None:
    (site.exported / "link").symlink_to(site.private / "secret")
    (site.exported / "folder").symlink_to(site.private)
    for text in (path, str(site.private / "secret")):
        with pytest.raises(InvalidRequest, match="there is no such file in what this site exports"):
            site.ask(EXPORT, text)
    assert not site.offered()


def test_no_folder_no_pipe_no_nonsense(site: Site) -> None:
    (site.exported / "sub").mkdir()
    os.mkfifo(site.exported / "pipe")
    for path in ("sub", "pipe"):
        with pytest.raises(InvalidRequest, match="is a folder, or no regular file"):
            site.ask(EXPORT, path)
    with pytest.raises(InvalidRequest, match="export takes a path"):
        site.ask(EXPORT, 3)


def test_a_cell_holds_a_bounded_number_of_files_open(site: Site, federation: Federation) -> None:
    offers = [site.ask(EXPORT, "model.pt") for _ in range(MOST_EXPORTS)]
    with pytest.raises(ServiceUnavailable, match=f"site-1 has {MOST_EXPORTS} files exported to it already"):
        site.ask(EXPORT, "model.pt")
    other = federation.start("site-2", site.cell)
    assert site.ask(EXPORT, "model.pt", other)["size"] == 1000
    site.other.pull(offers[0]["rid"], "server").result(LONG)
    until(lambda: site.offered() == MOST_EXPORTS)
    assert site.ask(EXPORT, "model.pt")["size"] == 1000


def test_an_export_that_nobody_pulls_ends(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zmqfl.cell.file_service.EXPORT_TIMEOUT", 0.01)
    for _ in range(MOST_EXPORTS + 1):
        site.ask(EXPORT, "model.pt")
        until(lambda: not site.offered())


# --------------------------------------------------------------------------------------------------------------- shares


def test_a_share_may_be_announced_to_a_group(site: Site) -> None:
    def announced() -> list[str]:
        return [each.rid for each in site.other.announcements("models")]

    with proof_of_user(site.run) as proof:
        rid = site.share(proof, announce="models")["rid"]
        until(lambda: announced() == [rid])
        site.ask(UNSHARE, {"rid": rid, "proof": proof})
        until(lambda: announced() == [])
        for group in ("a/b", 3):
            with pytest.raises(InvalidRequest, match="a group is a name"):
                site.share(proof, announce=group)
    assert not site.offered()


def test_whoever_proves_to_be_the_user_may_share_and_unshare(site: Site) -> None:
    with proof_of_user(site.run) as proof:
        offer = site.share(proof)
        assert site.other.pull(offer["rid"], "server").result(LONG) == b"s"
        assert site.ask(UNSHARE, {"rid": offer["rid"], "proof": proof}) == ""
        with pytest.raises(InvalidRequest, match="server does not share that, or no longer"):
            site.ask(UNSHARE, {"rid": offer["rid"], "proof": proof})
    assert list(site.run.iterdir()) == []
    with pytest.raises(TransferError, match="no such reference"):
        site.other.pull(offer["rid"], "server").result(LONG)


@pytest.mark.parametrize("proof", ["", "0" * 32, "../" + "0" * 29, 3, None, ["0" * 32], "folder", "link"])
def test_whoever_does_not_may_not(site: Site, proof: object) -> None:
    if proof == "folder":
        proof = "1" * 32
        proof_file(site.run, proof).mkdir()
    if proof == "link":
        proof = "2" * 32
        proof_file(site.run, proof).symlink_to(site.private / "secret")
    for asker in (site.other, site.cell):  # not even the cell itself: whose code runs there can `offer`
        with pytest.raises(AuthenticationError, match="only its own user, on its own machine"):
            site.share(proof, asker)
        with pytest.raises(AuthenticationError):
            site.ask(UNSHARE, {"rid": "R", "proof": proof}, asker)
    assert not site.offered()


def test_a_proof_ends(site: Site) -> None:
    with proof_of_user(site.run) as proof:
        pass
    with pytest.raises(AuthenticationError):
        site.share(proof)


def test_a_site_without_a_run_folder_shares_nothing(site: Site) -> None:
    FileService(site.cell, [], None).serve()
    with proof_of_user(site.run) as proof, pytest.raises(AuthenticationError, match="server has no run folder"):
        site.share(proof)
    with pytest.raises(InvalidRequest, match="this site exports no folder"):
        site.ask(EXPORT, "model.pt")


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"path": 3}, "share takes"),
    ({"timeout": "1h"}, "share takes"),
    ({"to": "site-1"}, "share takes"),
    ({"path": "/nowhere"}, "/nowhere: there is no such file"),
    ({"to": []}, "there are no targets"),
    ({"to": ["a..b"]}, "is not a cell name"),
    ({"to": [3]}, "is not a cell name"),
    ({"timeout": -1.0}, "timeout"),
]


@pytest.mark.parametrize(("change", "said"), WRONG, ids=[str(change) for change, _ in WRONG])
def test_a_share_that_cannot_be(site: Site, change: dict[str, Any], said: str) -> None:
    with proof_of_user(site.run) as proof, pytest.raises(InvalidRequest, match=said):
        site.share(proof, **change)
    assert not site.offered()


def test_what_is_bound_to_a_site_is_for_its_command_lines_too(site: Site, federation: Federation) -> None:
    admin = federation.start("site-1.admin-7", site.other)
    job = federation.start("site-1.job", site.other)
    with proof_of_user(site.run) as proof:
        rid = site.share(proof, to=["site-1"])["rid"]
    assert admin.pull(rid, "server").result(LONG) == b"s"
    assert site.other.pull(rid, "server").result(LONG) == b"s"
    for stranger in (job, site.cell):
        with pytest.raises(TransferError, match="not for you"):
            stranger.pull(rid, "server").result(LONG)


def test_a_share_that_nobody_pulls_ends(site: Site) -> None:
    with proof_of_user(site.run) as proof:
        rid = site.share(proof, timeout=0.01)["rid"]
        until(lambda: not site.offered())
        with pytest.raises(RequestFailed, match="does not share that, or no longer"):
            site.ask(UNSHARE, {"rid": rid, "proof": proof})
