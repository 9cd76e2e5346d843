"""The jobs of a federation, as a table: what happens to one, and what is done then."""

from __future__ import annotations

import pytest

from zmqfl.errors import InvalidRequest
from zmqfl.fl.jobs.desk import LEAVING, DeskCommand, End, JobDesk, JobRecord, Settle, Start, State, names_of
from zmqfl.fl.jobs.job_folder import JobMeta

CLIENTS = {"a": "a", "b": "region.b"}
TOLD = (("a", "a"), ("b", "region.b"))
STARTS = [Start("server", "j", TOLD), Start("a", "j", TOLD), Start("region.b", "j", TOLD)]
ENDS = [End("a", "j", 0.0), End("region.b", "j", 0.0)]


def desk(min_clients: int = 1, mandatory: tuple[str, ...] = ()) -> tuple[JobDesk, JobRecord]:
    desk = JobDesk("server")
    return desk, desk.submit("j", JobMeta("name", min_clients, mandatory, {"app": ("@ALL",)}, {}), 1.0)


def running() -> tuple[JobDesk, JobRecord]:
    found, job = desk()
    assert found.deployed("j", CLIENTS, {}, 2.0) == STARTS
    return found, job


def test_a_good_run() -> None:
    found, job = running()
    assert (job.state, job.submitted, job.started, job.clients) == ("running", 1.0, 2.0, CLIENTS)
    assert found.exited("j", "a", 0, False, "", 3.0) == []
    leaving = [End("a", "j", LEAVING), End("region.b", "j", LEAVING), Settle("j")]
    assert found.exited("j", "server", 0, False, "", 4.0) == leaving
    assert (job.state, job.reason, job.ended) == ("done", "", 4.0)


@pytest.mark.parametrize(
    ("min_clients", "mandatory", "told"),
    [
        (3, (), "needs 3 clients, and 2 can take it; c: takes no jobs"),
        (1, ("c",), "needs client 'c', and 2 can take it; c: takes no jobs"),
    ],
)
def test_too_few_can_take_it(min_clients: int, mandatory: tuple[str, ...], told: str) -> None:
    found, job = desk(min_clients, mandatory)
    assert found.deployed("j", CLIENTS, {"c": "takes no jobs"}, 2.0) == [*ENDS, Settle("j")]
    assert (job.state, job.reason, job.started, job.ended) == ("failed", told, 0.0, 2.0)


def test_the_server_fails() -> None:
    found, job = running()
    assert found.exited("j", "server", 1, False, "no memory", 3.0) == [*ENDS, Settle("j")]
    assert (job.state, job.reason) == ("failed", "no memory")
    found, job = running()
    assert found.exited("j", "server", -9, False, "", 3.0) == [*ENDS, Settle("j")]
    assert job.reason == "the server's process ended with status -9"


def test_a_mistake_in_the_part_of_a_client() -> None:
    found, job = running()
    assert found.exited("j", "region.b", 2, True, "no module 'x'", 3.0) == [End("server", "j", 0.0)]
    assert job.state == "failing"
    assert found.exited("j", "a", 2, True, "no module 'x'", 3.0) == []
    assert found.exited("j", "server", 0, False, "", 4.0) == [*ENDS, Settle("j")]
    assert (job.state, job.reason) == ("failed", "region.b: no module 'x'")


def test_abort() -> None:
    found, job = running()
    assert found.abort("j", "aborted by its user", 3.0) == [End("server", "j", 0.0)]
    assert found.abort("j", "once more", 3.5) == [End("server", "j", 0.0)]
    assert job.state == "aborting"
    assert found.exited("j", "server", 1, False, "stopping", 4.0) == [*ENDS, Settle("j")]
    assert (job.state, job.reason, job.ended) == ("aborted", "once more", 4.0)
    with pytest.raises(InvalidRequest, match="job 'j' is over already: aborted"):
        found.abort("j", "", 5.0)


def test_abort_while_it_is_deployed() -> None:
    found, job = desk()
    assert found.abort("j", "by its user", 1.5) == [Settle("j")]
    assert found.deployed("j", CLIENTS, {}, 2.0) == ENDS
    assert job.state == "aborted"


def test_what_is_over_stays_over() -> None:
    found, job = running()
    found.exited("j", "server", 0, False, "", 3.0)
    assert found.exited("j", "server", 1, True, "late", 4.0) == []
    assert found.exited("j", "a", 2, True, "late", 4.0) == []
    assert found.exited("other", "a", 2, True, "late", 4.0) == []
    assert (job.state, job.ended) == ("done", 3.0)


def test_only_its_sites_can_end_a_job() -> None:
    found, job = running()
    assert found.exited("j", "stranger", 2, True, "bad", 3.0) == []
    assert job.state == "running"


@pytest.mark.parametrize(
    ("state", "reason", "then", "commands"),
    [
        ("running", "", ("running", ""), [Start("server", "j", TOLD)]),
        ("aborting", "by its user", ("aborted", "by its user"), [*ENDS, Settle("j")]),
        ("failing", "a: no module", ("failed", "a: no module"), [*ENDS, Settle("j")]),
        ("deploying", "", ("failed", "the server was started again"), [*ENDS, Settle("j")]),
        ("done", "", ("done", ""), []),
    ],
)
def test_the_next_start_of_the_server(
    state: State, reason: str, then: tuple[str, str], commands: list[DeskCommand]
) -> None:
    record = JobRecord("j", JobMeta("name", 1, (), {}, {}), 1.0, 2.0, state=state, reason=reason, clients=dict(CLIENTS))
    found = JobDesk("server")
    assert found.resume(record, 9.0) == commands
    assert (found.jobs["j"].state, found.jobs["j"].reason) == then


def test_the_running_jobs_of_a_site() -> None:
    found, job = running()
    assert found.running_at("region.b") == [(job, "b")]
    assert found.running_at("c") == []
    found.abort("j", "", 3.0)
    assert found.running_at("region.b") == []


def test_a_server_that_is_stopped() -> None:
    found, job = running()
    found.stop(5.0)
    assert (job.state, job.reason, job.ended) == ("aborted", "the server was stopped", 5.0)
    found.stop(6.0)
    assert job.ended == 5.0


def test_unknown() -> None:
    with pytest.raises(InvalidRequest, match="there is no job 'x'; look at `zmqfl jobs list`"):
        JobDesk("server").abort("x", "", 0.0)


def test_names_of_sites() -> None:
    assert names_of(["site-1", "region.site-2"]) == {"site-1": "site-1", "region.site-2": "site-2"}
    assert names_of(["a.x", "b.x", "a.server"]) == {"a.x": "a.x", "b.x": "b.x", "a.server": "a.server"}
