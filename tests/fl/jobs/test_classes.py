"""Classes by path, and bare names; a mistake says which part of the path is wrong."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from zmqfl.errors import UserError
from zmqfl.fl.jobs.classes import find_class, use_custom
from zmqfl.streaming.container_retriever import ContainerRetriever


def test_installed_and_shipped() -> None:
    assert find_class("zmqfl.streaming.container_retriever.ContainerRetriever") is ContainerRetriever
    assert find_class("ContainerRetriever") is ContainerRetriever
    assert find_class("pathlib.Path") is Path


@pytest.mark.usefixtures("modules")
def test_custom_comes_first(tmp_path: Path) -> None:
    custom = tmp_path / "custom"
    use_custom(custom)  # a job need not have one
    assert str(custom) not in sys.path
    custom.mkdir()
    (custom / "own_learner.py").write_text("class Learner: pass\nSIZE = 3\n")
    (custom / "broken.py").write_text("1 / 0\n")
    (custom / "needy.py").write_text("import no_such_thing\n")
    use_custom(custom)
    use_custom(custom)
    assert sys.path.count(str(custom)) == 1
    assert find_class("own_learner.Learner").__name__ == "Learner"
    for path, told in {
        "own_learner.Lerner": "module 'own_learner' has no class 'Lerner'; did you mean 'Learner'?",
        "own_learner.SIZE": "own_learner.SIZE is no class but int; name a class",
        "own_lerner.X": "there is no module 'own_lerner'; in the job's `custom` folder did you mean 'own_learner'?",
        "broken.X": "module 'broken' cannot be imported: ZeroDivisionError: division by zero; mend it",
        "needy.X": "module 'needy' needs 'no_such_thing', which is not installed here; install it at every site",
    }.items():
        with pytest.raises(UserError) as caught:
            find_class(path)
        assert str(caught.value).startswith(told)


def test_what_is_nowhere() -> None:
    with pytest.raises(UserError, match="there is no module 'no_such_module'; put it into the job's `custom` folder"):
        find_class("no_such_module.X")
    with pytest.raises(UserError, match="zmqfl ships no component 'Containerretriever'; did you mean 'ContainerRet"):
        find_class("Containerretriever")
    with pytest.raises(UserError, match=r"module 'zmqfl\.fqcn' has no class 'x'; there is: FQCN, Fq"):
        find_class("zmqfl.fqcn.x")
