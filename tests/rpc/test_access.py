from __future__ import annotations

from typing import Any

import pytest

from zmqfl.errors import ArgumentError
from zmqfl.rpc.access import rule_of


@pytest.mark.parametrize(
    ("access", "method", "caller", "may"),
    [
        (None, "add", "site-1", True),
        ({}, "add", "site-1", False),
        ({"*": "*"}, "calc.add", "a.b.c", True),
        ({"add": "site-1"}, "add", "site-1", True),
        ({"add": "site-1"}, "add", "site-10", False),
        ({"add": "site-1"}, "add2", "site-1", False),
        ({"add": ["site-1", "site-2"]}, "add", "site-2", True),
        ({"calc.*": ["server.*"]}, "calc.trig.sin", "server.job", True),
        ({"calc.*": ["server.*"]}, "calc", "server.job", False),
        ({"calc.*": ["server.*"]}, "calc.add", "server", False),
        ({"a*": "x", "add": "site-?"}, "add", "site-1", True),
        ({"add": "SITE-1"}, "add", "site-1", False),
        ({"add": []}, "add", "site-1", False),
        (lambda method, caller: method == "add" and caller == "x", "add", "x", True),
        (lambda method, caller: method == "add" and caller == "x", "add", "y", False),
    ],
)
def test_who_may_call_what(access: Any, method: str, caller: str, may: bool) -> None:
    assert rule_of(access)(method, caller) is may


def test_a_rule_that_fails_is_a_no(caplog: pytest.LogCaptureFixture) -> None:
    def rule(method: str, caller: str) -> bool:
        raise OSError("no directory")

    assert rule_of(rule)("add", "site-1") is False
    assert "the access rule failed for add of site-1; it counts as a no" in caplog.text


@pytest.mark.parametrize("access", ["*", 3, ["add"], {"add": 3}, {3: "x"}, {"add": [3]}])
def test_what_is_no_rule_is_refused(access: Any) -> None:
    with pytest.raises(ArgumentError, match="access"):
        rule_of(access)
