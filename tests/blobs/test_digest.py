from __future__ import annotations

import pytest

from zmqfl.blobs.digest import DIGEST_BYTES, check_digest, digest
from zmqfl.errors import DigestError


def test_digest_is_the_published_one() -> None:
    assert digest(b"").hex() == "99aa06d3014798d86001c324468d497f"
    assert len(digest(b"abc")) == DIGEST_BYTES


def test_digest_is_the_same_for_every_kind_of_buffer() -> None:
    assert digest(b"abc") == digest(bytearray(b"abc")) == digest(memoryview(b"xabcx")[1:4])


def test_bytes_that_differ_are_an_error_that_names_the_file() -> None:
    check_digest(b"abc", digest(b"abc"), "model.pt")
    with pytest.raises(DigestError, match=r"model\.pt: a chunk differs from its digest; ask for the chunk again"):
        check_digest(b"abd", digest(b"abc"), "model.pt")
