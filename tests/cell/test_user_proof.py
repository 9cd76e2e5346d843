"""Who may speak for a site: whoever can write in its run folder now."""

from __future__ import annotations

from pathlib import Path

import pytest

from zmqfl.cell.user_proof import check_proof, proof_file, proof_of_user
from zmqfl.errors import AuthenticationError


def test_a_proof_holds_within_its_block(tmp_path: Path) -> None:
    with proof_of_user(tmp_path) as proof:
        check_proof("site-1", tmp_path, proof)
        assert proof_file(tmp_path, proof).stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(
        AuthenticationError, match="only its own user, on its own machine, may do that in the name of s"
    ):
        check_proof("site-1", tmp_path, proof)


@pytest.mark.parametrize("proof", ["", "0" * 32, "../" + "0" * 29, 3, None, ["0" * 32]])
def test_what_is_none(tmp_path: Path, proof: object) -> None:
    with pytest.raises(AuthenticationError):
        check_proof("site-1", tmp_path, proof)


def test_neither_a_folder_nor_a_link_proves_anything(tmp_path: Path) -> None:
    folder, link = "1" * 32, "2" * 32
    proof_file(tmp_path, folder).mkdir()
    proof_file(tmp_path, link).symlink_to("/etc/passwd")
    for proof in (folder, link):
        with pytest.raises(AuthenticationError):
            check_proof("site-1", tmp_path, proof)


def test_where_there_is_no_run_folder_nobody_can(tmp_path: Path) -> None:
    with proof_of_user(tmp_path) as proof, pytest.raises(AuthenticationError, match="site-1 has no run folder"):
        check_proof("site-1", None, proof)
