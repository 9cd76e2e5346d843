from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from zmqfl.context.workspace import Workspace
from zmqfl.errors import ArgumentError


def test_paths() -> None:
    workspace = Workspace("/ws/site-1", "site-1")
    assert workspace.get_root_dir() == "/ws/site-1"
    assert workspace.get_startup_kit_dir() == "/ws/site-1/startup"
    assert workspace.get_site_config_dir() == "/ws/site-1/local"
    assert workspace.get_site_custom_dir() == "/ws/site-1/local/custom"
    assert workspace.get_run_dir("simulate_job") == "/ws/site-1/simulate_job"
    assert workspace.get_app_dir("j") == "/ws/site-1/j/app_site-1"
    assert workspace.get_app_config_dir("j") == "/ws/site-1/j/app_site-1/config"
    assert workspace.get_app_custom_dir("j") == "/ws/site-1/j/app_site-1/custom"
    assert workspace.get_job_meta_path("j") == "/ws/site-1/j/meta.json"
    assert repr(workspace) == "<Workspace /ws/site-1 of site-1>"


def test_logs() -> None:
    workspace = Workspace("/ws")
    assert workspace.get_log_file_path("j") == "/ws/j/log.txt"
    assert workspace.get_log_file_path() == "/ws/log.txt"
    assert workspace.get_json_log_file_path("j") == "/ws/j/log.json"
    assert workspace.get_error_log_file_path("j") == "/ws/j/error_log.txt"
    assert workspace.get_fl_log_file_path("j") == "/ws/j/log_fl.txt"


def test_without_a_name_and_with_another_folder() -> None:
    workspace = Workspace("/ws", config_folder="conf")
    assert workspace.get_app_config_dir("j") == "/ws/j/app/conf"


def test_a_relative_root_is_not_moved_by_chdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    workspace = Workspace("ws")
    monkeypatch.chdir("/")
    assert workspace.get_root_dir() == str(tmp_path / "ws")
    assert not (tmp_path / "ws").exists()


@pytest.mark.parametrize("job_id", ["", ".", "..", "../x", "a/b", "/etc", "a\0b", 5, None])
def test_a_job_id_leads_nowhere_else(job_id: Any) -> None:
    workspace = Workspace("/ws", "site-1")
    for getter in (workspace.get_run_dir, workspace.get_app_config_dir, workspace.get_job_meta_path):
        with pytest.raises(ArgumentError, match="job_id"):
            getter(job_id)


def test_a_site_name_leads_nowhere_else() -> None:
    with pytest.raises(ArgumentError, match="site_name"):
        Workspace("/ws", "../x")
