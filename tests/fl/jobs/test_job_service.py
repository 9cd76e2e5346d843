"""What the root does with jobs, and for whom; that they run is in tests/system/test_jobs_cli.py."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fl.jobs.sample_jobs import write_job
from tests.fl.jobs.test_host import spec_of
from tests.system.federation import LONG, Federation
from zmqfl.cell.cell import Cell
from zmqfl.cell.net_agent import CHANNEL
from zmqfl.cell.user_proof import proof_of_user
from zmqfl.errors import CellReturnCode
from zmqfl.fl.jobs.archive import pack
from zmqfl.fl.jobs.host import EXITED, serve_jobs
from zmqfl.fl.jobs.job_service import ABORT, LIST, SUBMIT, WAIT

INVALID, REFUSED = CellReturnCode.INVALID_REQUEST, CellReturnCode.AUTHENTICATION_ERROR


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Cell]:
    """A site of a federation whose server takes jobs; it takes none itself."""
    federation = Federation()
    server = federation.start("server", listen="tcp://127.0.0.1:0")
    host = serve_jobs(server, spec_of(server, tmp_path))
    yield federation.start("site-1", server)
    host.close()
    federation.close()


def asked(site: Cell, topic: str, payload: Any) -> tuple[CellReturnCode, Any]:
    """The code, and the payload of an OK reply or the error."""
    reply = site.request("server", CHANNEL, topic, payload, LONG).reply()
    return CellReturnCode(reply.return_code), reply.payload if reply.ok else reply.error


def test_a_job_that_no_site_takes(site: Cell, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with proof_of_user(tmp_path) as proof:
        code, told = asked(site, SUBMIT, {"archive": pack(write_job(tmp_path)), "proof": proof})
    assert (code, told["state"], told["clients"]) == (CellReturnCode.OK, "failed", [])
    assert told["reason"] == "needs 1 clients, and 0 can take it; site-1: takes no jobs; set `jobs: true` for it"
    assert told["ended"] >= told["submitted"] > 0
    assert asked(site, LIST, None) == (CellReturnCode.OK, [told])
    assert asked(site, WAIT, {"job_id": told["id"]}) == (CellReturnCode.OK, told)
    with proof_of_user(tmp_path) as proof:
        code, error = asked(site, ABORT, {"job_id": told["id"], "proof": proof})
    assert (code, "is over already: failed" in error) == (INVALID, True)
    # A word of a process that ended long ago changes nothing.
    late = {"job_id": told["id"], "status": 1, "mistake": True, "words": ""}
    assert asked(site, EXITED, late) == (CellReturnCode.OK, {})
    assert asked(site, LIST, None) == (CellReturnCode.OK, [told])


@pytest.mark.parametrize("topic", [SUBMIT, ABORT])
@pytest.mark.parametrize("proof", ["", None, "0" * 32, "../../etc/passwd"])
def test_only_its_user_may(site: Cell, topic: str, proof: Any) -> None:
    code, error = asked(site, topic, {"archive": b"", "job_id": "x", "proof": proof})
    assert code == REFUSED
    assert "only its own user, on its own machine, may " in error


@pytest.mark.parametrize(
    ("topic", "payload", "told"),
    [
        (SUBMIT, {"archive": 3, "proof": ""}, "job_submit takes {archive, proof}"),
        (WAIT, None, "job_wait takes {job_id}"),
        (WAIT, {"job_id": "x"}, "there is no job 'x'; look at `zmqfl jobs list`"),
        (ABORT, {}, "job_abort takes {job_id, proof}"),
        (EXITED, {"job_id": 1}, "job_exited takes {job_id, status, mistake, words}"),
    ],
)
def test_what_is_not_understood(site: Cell, topic: str, payload: Any, told: str) -> None:
    code, error = asked(site, topic, payload)
    assert (code, told in error) == (INVALID, True), error


def test_a_job_with_a_mistake_is_told_with_its_place(site: Cell, tmp_path: Path) -> None:
    job = write_job(tmp_path)
    (job / "meta.json").write_text('{"name": "x"}')
    with proof_of_user(tmp_path) as proof:
        code, error = asked(site, SUBMIT, {"archive": pack(job), "proof": proof})
    assert (code, "job/meta.json:1: deploy_map: is missing; add it" in error) == (INVALID, True), error
