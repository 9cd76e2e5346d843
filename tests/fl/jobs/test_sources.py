"""Which files go along with a job: the class's module and what it imports, and nothing that is installed."""

from __future__ import annotations

import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from tests.fl.jobs.local_learner import Learner
from zmqfl.fl.jobs.classes import find_class
from zmqfl.fl.jobs.sources import is_installed, sources_of
from zmqfl.streaming.file_retriever import FileRetriever


def test_what_is_installed_stays() -> None:
    assert sources_of(FileRetriever) == {}
    assert sources_of(np.ndarray) == {}
    assert sources_of(OrderedDict) == {}
    assert sources_of(int) == {}
    assert not is_installed(Path(__file__))


TAIL = "import json, own_tail\ntry:\n    import no_such_module\nexcept ImportError:\n    pass\n"


@pytest.mark.usefixtures("modules")
def test_modules_and_what_they_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    package = tmp_path / "own_package"
    (package / "deep").mkdir(parents=True)
    for name in ("__init__.py", "deep/__init__.py", "data.csv"):
        (package / name).touch()
    (package / "deep/net.py").write_text("from . import other\nimport numpy, own_tail\nclass Net: pass\n")
    (package / "deep/other.py").touch()
    (tmp_path / "own_tail.py").write_text(TAIL)
    (tmp_path / "own_learner.py").write_text("import sys\nfrom own_package.deep import net\nclass Learner: pass\n")
    (tmp_path / "unused.py").touch()
    package_and_tail = {Path("own_package"): package, Path("own_tail.py"): tmp_path / "own_tail.py"}
    expected = {Path("own_learner.py"): tmp_path / "own_learner.py", **package_and_tail}
    assert sources_of(find_class("own_learner.Learner")) == expected
    assert sources_of(find_class("own_package.deep.net.Net")) == package_and_tail
    script = sys.modules["own_learner"]
    monkeypatch.setattr(script.Learner, "__module__", "__main__")
    monkeypatch.setattr("__main__.__file__", str(tmp_path / "own_learner.py"), raising=False)
    assert sources_of(script.Learner) == expected


def test_folders_without_init_keep_their_place() -> None:
    here = Path(__file__).parent
    assert sources_of(Learner) == {
        Path("tests/fl/jobs/local_learner.py"): here / "local_learner.py",
        Path("tests/fl/jobs/local_helper.py"): here / "local_helper.py",
    }
