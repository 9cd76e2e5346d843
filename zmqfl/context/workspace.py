"""Where the files of a site are. Nothing here touches a file.

    ROOT/startup                          what the site was given to start with
    ROOT/local                            what its owner set, ROOT/local/custom his code
    ROOT/log.txt                          the log of the site
    ROOT/JOB/meta.json, log.txt, ...      one run
    ROOT/JOB/app_SITE/config, custom      what the job brought for this site

Source: reference "flare" 6.9, 6.10.
"""

from __future__ import annotations

from pathlib import Path

from zmqfl.errors import ArgumentError

LOG_FILE = "log.txt"
JSON_LOG_FILE = "log.json"
ERROR_LOG_FILE = "error_log.txt"
FL_LOG_FILE = "log_fl.txt"
META_FILE = "meta.json"


class Workspace:
    """See the module. `root_dir`: the folder of the site. `config_folder`: how the config folder of an app is called.

    A job id becomes the name of a folder; the getters raise `ArgumentError` for one that would lead elsewhere.
    """

    def __init__(self, root_dir: str, site_name: str = "", config_folder: str = "config") -> None:
        self.root = Path(root_dir).absolute()
        self.name = _checked_part(site_name, "site_name") if site_name else ""
        self.config_folder = config_folder

    def get_root_dir(self) -> str:
        """The folder of the site."""
        return str(self.root)

    def get_startup_kit_dir(self) -> str:
        """What the site was given to start with."""
        return str(self.root / "startup")

    def get_site_config_dir(self) -> str:
        """What the owner of the site set."""
        return str(self.root / "local")

    def get_site_custom_dir(self) -> str:
        """Code of the owner of the site."""
        return str(self.root / "local" / "custom")

    def get_run_dir(self, job_id: str) -> str:
        """The folder of a run."""
        return str(self._run(job_id))

    def get_app_dir(self, job_id: str) -> str:
        """What the job brought for this site."""
        return str(self._app(job_id))

    def get_app_config_dir(self, job_id: str) -> str:
        """The config files of the app."""
        return str(self._app(job_id) / self.config_folder)

    def get_app_custom_dir(self, job_id: str) -> str:
        """The code of the app."""
        return str(self._app(job_id) / "custom")

    def get_job_meta_path(self, job_id: str) -> str:
        """What the job says of itself."""
        return str(self._run(job_id) / META_FILE)

    def get_log_file_path(self, job_id: str | None = None) -> str:
        """The log of a run; without `job_id` that of the site. So the next three."""
        return self._log(job_id, LOG_FILE)

    def get_json_log_file_path(self, job_id: str | None = None) -> str:
        """The log with a JSON object per line."""
        return self._log(job_id, JSON_LOG_FILE)

    def get_error_log_file_path(self, job_id: str | None = None) -> str:
        """The log of errors alone."""
        return self._log(job_id, ERROR_LOG_FILE)

    def get_fl_log_file_path(self, job_id: str | None = None) -> str:
        """The log of components alone."""
        return self._log(job_id, FL_LOG_FILE)

    def _run(self, job_id: str) -> Path:
        return self.root / _checked_part(job_id, "job_id")

    def _app(self, job_id: str) -> Path:
        return self._run(job_id) / (f"app_{self.name}" if self.name else "app")

    def _log(self, job_id: str | None, file: str) -> str:
        return str((self.root if job_id is None else self._run(job_id)) / file)

    def __repr__(self) -> str:
        return f"<Workspace {self.root} of {self.name or '?'}>"


def _checked_part(value: object, argument: str) -> str:
    """`value`, when it is the name of a file in a folder and no way out of it."""
    if not isinstance(value, str) or not value or value in (".", "..") or "/" in value or "\0" in value:
        raise ArgumentError(f"{argument} {value!r} cannot be the name of a folder; give a name without '/'")
    return value
