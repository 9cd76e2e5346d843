"""How a process proves to a site that the site's own user runs it.

The proof is a file that the asking process has made in the run folder of the site, which only this user of this machine
can enter. A name is not enough: cells of other houses have names, too.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from zmqfl.errors import AuthenticationError

_PROOF: Final = re.compile(r"[0-9a-f]{32}")


def check_proof(fqcn: str, run_dir: Path | None, proof: object) -> None:
    """Raise `AuthenticationError` unless `proof` is valid now at the cell `fqcn`; `run_dir` None: nobody has one."""
    if run_dir is None:
        raise AuthenticationError(f"{fqcn} has no run folder, so nobody can prove to be its user")
    if isinstance(proof, str) and _PROOF.fullmatch(proof):
        with contextlib.suppress(OSError):
            found = os.lstat(proof_file(run_dir, proof))
            if stat.S_ISREG(found.st_mode) and found.st_uid in (os.geteuid(), 0):
                return
    raise AuthenticationError(f"only its own user, on its own machine, may do that in the name of {fqcn}")


def proof_file(run_dir: Path, proof: str) -> Path:
    """Where a proof lies while it is valid. Whoever cleans the run folder removes names that begin with a dot."""
    return run_dir / f".proof-{proof}"


@contextmanager
def proof_of_user(run_dir: Path) -> Iterator[str]:
    """A proof, valid within the block. Raises OSError where the run folder cannot be written."""
    proof = secrets.token_hex(16)
    file = proof_file(run_dir, proof)
    os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    try:
        yield proof
    finally:
        file.unlink(missing_ok=True)
