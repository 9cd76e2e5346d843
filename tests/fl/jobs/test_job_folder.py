"""A job folder: which app runs where, and each mistake with file, line and key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.fl.jobs.conftest import CLIENT, META, SERVER, WriteJob, problems_of
from zmqfl.fl.jobs.job_folder import read_job


def test_one_app_for_all(write_job: WriteJob) -> None:
    job = read_job(write_job({"meta.json": {**META, "resource_spec": {}, "study": "x", "mandatory_clients": ["a"]}}))
    assert (job.meta.name, job.meta.min_clients, job.meta.mandatory_clients) == ("trial", 1, ("a",))
    assert job.meta.extra == {"resource_spec": {}, "study": "x"}
    assert (job.is_for_all, job.clients) == (True, ())
    assert [job.app_of(site) for site in ("server", "site-1", "any")] == ["app", "app", "app"]
    assert job.app_folder("app") == Path("job/app")
    assert sorted(job.configs) == [("app", "client"), ("app", "server")]


def test_an_app_per_site(write_job: WriteJob) -> None:
    job = read_job(
        write_job(
            {
                "meta.json": None,
                "meta.yml": "{name: two, deploy_map: {app: [server], a: [site-1], b: [site-2, site-3]}}",
                "app/config/config_fed_client.json": None,
                "a/config/config_fed_client.yaml": CLIENT,
                "b/config/config_fed_client.json": CLIENT,
            }
        )
    )
    assert (job.is_for_all, job.clients) == (False, ("site-1", "site-2", "site-3"))
    assert [job.app_of(site) for site in ("server", "site-1", "site-3", "site-9")] == ["app", "a", "b", None]
    assert sorted(job.configs) == [("a", "client"), ("app", "server"), ("b", "client")]


def test_no_job(write_job: WriteJob) -> None:
    assert problems_of(lambda: read_job("nowhere")) == [
        "nowhere: no such folder; give the folder of a job, with a meta.json in it"
    ]
    folder = write_job({"meta.json": None})
    assert problems_of(lambda: read_job(folder)) == [
        "job: has no meta.json; give the folder of a job; `meta.json` names its apps and sites"
    ]
    (folder / "meta.json").touch()
    assert problems_of(lambda: read_job(folder / "meta.json")) == [
        "job/meta.json: is no folder; give the folder of a job, with a meta.json in it"
    ]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"name": None}, "name: must be text, not nothing"),
        ({"min_client": 2}, "min_client: unknown key; did you mean 'min_clients'?"),
        ({"min_clients": 0}, "min_clients: must be at least 1, not 0"),
        ({"resource_spec": 1}, "resource_spec: must be a mapping, not 1"),
        ({"deploy_map": {}}, 'deploy_map: names no app; write {"app": ["@ALL"]}'),
        ({"deploy_map": {"ap": ["@ALL"]}}, "deploy_map.ap: the job has no app folder 'ap'; did you mean 'app'?"),
        ({"deploy_map": {"../app": ["@ALL"]}},
         "deploy_map.../app: '../app' is no name of a folder of the job; name a folder beside meta.json"),
        ({"deploy_map": {"app": ["@ALL", "site-1"]}},
         "deploy_map.app: @ALL stands beside other sites; keep @ALL alone, or name all"),
        ({"deploy_map": {"app": ["@ALL"], "other": ["site-1"]}},
         "deploy_map.other: 'app' goes to all sites already; name its sites instead of @ALL"),
        ({"deploy_map": {"app": ["server", "site-1"], "other": ["site-1"]}},
         "deploy_map.other.0: 'site-1' runs 'app' already; give each site one app"),
        ({"deploy_map": {"app": ["site-1"]}},
         'deploy_map: no app goes to the server; add "server" to the sites of one'),
        ({"deploy_map": {"app": ["server"]}}, "deploy_map: no app goes to a client; name clients, or @ALL"),
        ({"deploy_map": {"app": ["server", "a..b"]}},
         "deploy_map.app.1: 'a..b' is no name of a site: empty part"),
        ({"deploy_map": {"app": ["server", "site-1"]}, "min_clients": 2},
         "min_clients: is 2, and the deploy map names 1; lower it, or name more clients"),
        ({"deploy_map": {"app": ["server", "site-1"]}, "mandatory_clients": ["site-2"]},
         "mandatory_clients.0: 'site-2' is not in the deploy map; did you mean 'site-1'?"),
    ],
)  # fmt: skip
def test_mistakes_of_the_meta(write_job: WriteJob, changes: dict[str, Any], told: str) -> None:
    folder = write_job({"meta.json": {**META, **changes}, "other/config/config_fed_client.json": CLIENT})
    lines = problems_of(lambda: read_job(folder))
    assert told in [line.split(": ", 1)[1] for line in lines]
    assert all(line.startswith("job/meta.json:") for line in lines)


def test_mistakes_of_all_apps_are_told_together(write_job: WriteJob) -> None:
    folder = write_job(
        {
            "app/config/config_fed_server.json": {**SERVER, "components": 1},
            "app/config/config_fed_client.json": None,
        }
    )
    assert problems_of(lambda: read_job(folder)) == [
        "job/app/config/config_fed_client.json: no such file; add it, as one of .json, .yaml, .yml",
        "job/app/config/config_fed_server.json:9: components: must be a list, not 1",
    ]
