from __future__ import annotations

import asyncio
from typing import Any

import pytest

from zmqfl.errors import (
    ArgumentError,
    NoSuchMethod,
    RemoteError,
    RpcTimeout,
    ServiceUnavailable,
    SignatureError,
)
from zmqfl.rpc.remote_errors import MOST_FRAMES, MOST_TEXT, SAFE, chooses_code, rebuild, tell, tell_mistake
from zmqfl.wire import payload


def fail(error: BaseException, depth: int) -> None:
    if depth:
        fail(error, depth - 1)
    raise error


def raised(error: BaseException, depth: int = 0) -> BaseException:
    try:
        fail(error, depth)
    except BaseException as caught:  # noqa: BLE001
        return caught
    raise AssertionError


def travelled(error: BaseException, with_traceback: bool = True) -> Any:
    return rebuild(payload.decode(payload.encode(tell(error, with_traceback))), "site-1", "as the reply says")


@pytest.mark.parametrize("name", sorted(SAFE))
def test_each_of_the_table_comes_back_as_itself(name: str) -> None:
    again = travelled(raised(SAFE[name]("w", 3)))
    assert type(again) is SAFE[name] or isinstance(again, OSError)  # that chooses by the number
    assert again.args == ("w", 3)
    assert isinstance(again.__cause__, RemoteError)
    assert again.__cause__.type_name == name


def test_the_arguments_are_those_that_were() -> None:
    assert travelled(KeyError("w")).args == ("w",)
    gone = travelled(raised(OSError(2, "No such file or directory", "/home/x/secret")))
    assert (type(gone), gone.errno, gone.filename) == (FileNotFoundError, 2, None)
    assert travelled(ValueError()).args == ()
    assert travelled(ValueError(None, True, 1.5)).args == (None, True, 1.5)


@pytest.mark.parametrize("args", [(object(),), ([1],), tuple(range(9)), (b"x",)])
def test_arguments_that_are_not_plain_come_as_text(args: tuple[Any, ...]) -> None:
    again = travelled(ValueError(*args))
    assert again.args == (str(ValueError(*args)),)


class OwnError(ValueError):
    pass


class ValueError2(Exception):
    pass


ValueError2.__name__ = "ValueError"  # what it calls itself does not count


@pytest.mark.parametrize(
    ("error", "type_name"),
    [
        (OwnError("x"), "tests.rpc.test_remote_errors.OwnError"),
        (ValueError2("x"), "tests.rpc.test_remote_errors.ValueError2"),
        (SystemExit("x"), "builtins.SystemExit"),
        (KeyboardInterrupt("x"), "builtins.KeyboardInterrupt"),
        (StopIteration("x"), "builtins.StopIteration"),
        (GeneratorExit("x"), "builtins.GeneratorExit"),
        (asyncio.CancelledError("x"), "asyncio.exceptions.CancelledError"),
        (ArgumentError("x"), "zmqfl.errors.ArgumentError"),
    ],
)
def test_any_other_is_a_remote_error(error: BaseException, type_name: str) -> None:
    again = travelled(error)
    assert type(again) is RemoteError
    assert again.type_name.rpartition(".")[0] == type_name.rpartition(".")[0]
    assert (again.message, again.target) == ("x", "site-1")
    assert str(again) == f"site-1: process_exception: {again.type_name}: x"


def travelled_mistake(error: SignatureError | NoSuchMethod) -> Any:
    return rebuild(payload.decode(payload.encode(tell_mistake(error))), "site-1", "as the reply says")


@pytest.mark.parametrize(
    "error",
    [
        SignatureError("missing 'a'", method="add", parameter="a"),
        NoSuchMethod("no 'x'", target="site-2"),
        RpcTimeout("hold took longer than 1 s", target="site-2"),
        ServiceUnavailable("later", target="site-2"),
        RemoteError("ValueError", "w", target="site-2"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_a_third_cell_has_done_is_not_taken_for_the_callees_own(error: Any) -> None:
    assert not chooses_code(error)
    again = travelled(error)
    assert (type(again), again.type_name) == (RemoteError, f"zmqfl.errors.{type(error).__name__}")
    assert again.message == str(error)


def test_a_method_may_choose_the_code() -> None:
    assert chooses_code(ServiceUnavailable("later"))
    assert not chooses_code(ValueError("x"))


def test_mistakes_of_the_caller_come_back_as_such() -> None:
    again = travelled_mistake(SignatureError("missing 'a'", method="add", parameter="a"))
    assert (type(again), str(again), again.method, again.parameter) == (
        SignatureError, "add: missing 'a'", "add", "a"
    )  # fmt: skip
    assert str(travelled_mistake(NoSuchMethod("no 'x'"))) == "site-1: invalid_request: no 'x'"


def test_a_traceback_has_no_folders_and_an_end() -> None:
    again = travelled(raised(ValueError("x"), depth=50))
    lines = again.__cause__.remote_traceback.splitlines()
    assert len(lines) == MOST_FRAMES
    assert all(line.startswith("test_remote_errors.py:") and line.endswith(" in fail") for line in lines)
    assert again.__notes__ == [f"raised by site-1:\n{again.__cause__.remote_traceback}"]
    assert travelled(raised(ValueError("x")), with_traceback=False).__notes__ == ["raised by site-1"]


def test_long_and_odd_texts_are_mended() -> None:
    assert len(travelled(ValueError("x" * 100_000)).args[0]) == MOST_TEXT
    assert travelled(ValueError("\udc80")).args == ("\\udc80",)


@pytest.mark.parametrize(
    "told",
    [
        None,
        3,
        [],
        ["ValueError"],
        ["ValueError", "x", "x", ""],
        [3, [], "x", ""],
        ["ValueError", [], "x", None],
    ],
)
def test_what_is_no_report_gives_what_the_reply_says(told: Any) -> None:
    again = rebuild(told, "site-1", "TypeError: it")
    assert (type(again), again.type_name, again.message) == (RemoteError, "", "TypeError: it")  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "told",
    [
        ["SystemExit", [3], "3", ""],
        ["KeyboardInterrupt", [], "", ""],
        ["os.system", ["x"], "x", ""],
        ["__import__", ["os"], "x", ""],
        ["UnicodeDecodeError", ["a", "b"], "x", ""],
        ["ValueError", [[1]], "x", ""],
        ["ValueError", list(range(9)), "x", ""],
        ["SignatureError", [1, 2, 3], "x", ""],
        ["NoSuchMethod", [], "x", ""],
    ],
)
def test_no_class_is_found_by_a_name_from_the_network(told: Any) -> None:
    again = rebuild(told, "site-1", "")
    assert type(again) is RemoteError
    assert again.type_name == told[0]
