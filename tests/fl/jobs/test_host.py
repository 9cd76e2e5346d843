"""What a site does for jobs, and for whom; that its processes start and end is in tests/system/test_jobs_cli.py."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fl.jobs.sample_jobs import write_job
from tests.system.federation import LONG, Federation
from zmqfl.cell.cell import Cell
from zmqfl.cell.net_agent import CHANNEL
from zmqfl.config import CellConfig
from zmqfl.errors import CellReturnCode
from zmqfl.fl.jobs.archive import pack
from zmqfl.fl.jobs.host import DEPLOY, END, START, JobHost, serve_jobs
from zmqfl.launch.spec import SiteSpec


def spec_of(cell: Cell, folder: Path, parent: str = "") -> SiteSpec:
    return SiteSpec(
        federation="fl", fqcn=cell.fqcn, site=cell.fqcn, role="client", root="server", host="localhost",
        launcher="local", kind="local", run_dir=str(folder), config=CellConfig(), parent=parent, jobs=True,
    )  # fmt: skip


@pytest.fixture
def federation() -> Iterator[Federation]:
    federation = Federation()
    yield federation
    federation.close()


@pytest.fixture
def cells(federation: Federation) -> list[Cell]:
    """The server and two sites."""
    server = federation.start("server", listen="tcp://127.0.0.1:0")
    return [server, *(federation.start(f"site-{i}", server) for i in (1, 2))]


@pytest.fixture
def host(cells: list[Cell], tmp_path: Path) -> Iterator[JobHost]:
    host = serve_jobs(cells[1], spec_of(cells[1], tmp_path, "server"))
    yield host
    host.close()


def asked(cell: Cell, topic: str, payload: Any) -> tuple[CellReturnCode, str]:
    reply = cell.request("site-1", CHANNEL, topic, payload, LONG).reply()
    return CellReturnCode(reply.return_code), reply.error


def deployment(tmp_path: Path, **changes: Any) -> dict[str, Any]:
    archive = pack(write_job(tmp_path))
    return {"job_id": "j-1", "name": "site-1", "clients": ["site-1"], "archive": archive, **changes}


@pytest.mark.usefixtures("host")
def test_the_files_of_a_job(cells: list[Cell], tmp_path: Path) -> None:
    payload = deployment(tmp_path)
    assert asked(cells[0], DEPLOY, payload) == (CellReturnCode.OK, "")
    folder = tmp_path / "sites/site-1/jobs/j-1"
    assert (folder / "app_site-1/custom/sample_code.py").is_file()
    assert [entry.name for entry in folder.parent.iterdir()] == ["j-1"]  # what came in is gone
    code, error = asked(cells[0], DEPLOY, payload)
    assert (code, "job 'j-1' is here already" in error) == (CellReturnCode.INVALID_REQUEST, True)
    assert asked(cells[0], END, {"job_id": "j-1", "patience": 0}) == (CellReturnCode.OK, "")  # it never ran
    assert asked(cells[0], DEPLOY, payload) == (CellReturnCode.OK, "")


@pytest.mark.usefixtures("host")
@pytest.mark.parametrize("topic", [DEPLOY, START, END])
def test_only_the_root_may_ask(cells: list[Cell], topic: str) -> None:
    code, error = asked(cells[2], topic, {})
    assert code == CellReturnCode.AUTHENTICATION_ERROR
    assert "only the root of the federation may start jobs at site-1" in error


@pytest.mark.usefixtures("host")
@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"job_id": "../j"}, "'../j' is no id of a job"),
        ({"job_id": "a.b"}, "'a.b' is no id of a job"),
        ({"job_id": "site-1"}, "'site-1' is no id of a job"),  # SITE.JOB would not be the name of a cell
        ({"archive": b"nonsense"}, "the job cannot be unpacked"),
        ({"name": 3}, "job_deploy takes {job_id, name, clients, archive}"),
    ],
)
def test_what_cannot_be_deployed(cells: list[Cell], tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    code, error = asked(cells[0], DEPLOY, deployment(tmp_path, **changes))
    assert (code, told in error) == (CellReturnCode.INVALID_REQUEST, True), error


@pytest.mark.usefixtures("host")
def test_a_job_that_does_not_name_this_site(cells: list[Cell], tmp_path: Path) -> None:
    archive = pack(write_job(tmp_path, meta={"deploy_map": {"app": ["server", "site-9"]}}))
    code, error = asked(cells[0], DEPLOY, {**deployment(tmp_path / "x"), "archive": archive})
    assert (code, "the job has no app for 'site-1'" in error) == (CellReturnCode.INVALID_REQUEST, True)


@pytest.mark.usefixtures("host")
def test_what_was_not_deployed_does_not_start(cells: list[Cell]) -> None:
    code, error = asked(cells[0], START, {"job_id": "j-9", "clients": {}})
    assert (code, "job 'j-9' was not deployed here" in error) == (CellReturnCode.INVALID_REQUEST, True)
    assert asked(cells[0], END, {"job_id": "j-9", "patience": 0}) == (CellReturnCode.OK, "")
    assert asked(cells[0], START, 3)[0] == CellReturnCode.INVALID_REQUEST
    assert asked(cells[0], END, 3)[0] == CellReturnCode.INVALID_REQUEST


@pytest.mark.usefixtures("host")
def test_a_site_without_a_unix_socket_says_so(cells: list[Cell], tmp_path: Path) -> None:
    asked(cells[0], DEPLOY, deployment(tmp_path))
    code, error = asked(cells[0], START, {"job_id": "j-1", "clients": {"site-1": "site-1"}})
    assert code == CellReturnCode.INVALID_REQUEST
    assert "site-1 has no Unix socket for jobs; add ipc:///PATH to its `listen`" in error


def test_a_site_that_stops_takes_nothing(cells: list[Cell], tmp_path: Path) -> None:
    host = serve_jobs(cells[1], spec_of(cells[1], tmp_path, "server"))
    host.close()
    code, error = asked(cells[0], DEPLOY, deployment(tmp_path))
    assert (code, "site-1 is stopping" in error) == (CellReturnCode.SERVICE_UNAVAILABLE, True)
