"""Signatures that travel: what a caller needs to know of a method, and whether arguments fit.

A signature is sent as the names and kinds of its parameters and as text for people. It is rebuilt from the names
alone: nothing of the text is evaluated, and defaults stay where they are, at the callee.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast

from zmqfl.errors import DecodeError, SignatureError

MOST_METHODS: Final = 1000
"""Methods of one service that are described."""
MOST_PARAMETERS: Final = 100
MOST_TEXT: Final = 1000
"""Characters of a signature."""
MOST_DOC: Final = 4000
"""Characters of a docstring."""

_KINDS: Final = (
    inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.VAR_POSITIONAL,
    inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD,
)  # fmt: skip
"""By the numbers that Python gives them, which travel."""
_NAMED = re.compile(r"'(\w+)'")


class _Text:
    """Shown as it is: an annotation that is text, or "..." for a default that only the callee knows."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


_DEFAULT: Final = _Text("...")


@dataclass(frozen=True, slots=True)
class MethodDescription:
    """A published method, as callers know it."""

    path: str
    """Dotted, without the prefix `rpc_`."""
    parameters: tuple[tuple[str, int, bool], ...]
    """(name, kind as of `inspect.Parameter`, whether it has a default) of each."""
    text: str
    """The signature for people, with defaults and annotations."""
    doc: str = ""
    is_stream: bool = False
    """It is a generator function: a call gives an iterator."""
    signature: inspect.Signature = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "signature", _signature(self.parameters))

    def check(self, args: Iterable[Any], kwargs: Mapping[str, Any]) -> None:
        """Raises `SignatureError`, naming the parameter, when a call with these cannot be."""
        try:
            self.signature.bind(*args, **kwargs)
        except TypeError as error:
            named = _NAMED.search(str(error))
            problem = f"{error}; it is {self.path}{self.text}"
            raise SignatureError(problem, method=self.path, parameter=named[1] if named else "") from None

    def declares(self, parameter: str) -> bool:
        """Whether the method has a parameter of that name."""
        return parameter in self.signature.parameters

    def to_payload(self) -> list[Any]:
        """As it travels."""
        return [self.path, [list(each) for each in self.parameters], self.text, self.doc, self.is_stream]

    def __str__(self) -> str:
        return f"{self.path}{self.text}"


def describe(path: str, function: Callable[..., Any]) -> MethodDescription:
    """What callers may know of `function`, bound as it is called. Without a signature it takes anything."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some functions of C have none
        signature = inspect.signature(_anything)
    parameters = tuple((each.name, int(each.kind), each.default is not each.empty) for each in _each(signature))
    is_stream = inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)
    doc = (inspect.getdoc(function) or "")[:MOST_DOC]
    return MethodDescription(path, parameters, _told(signature)[:MOST_TEXT], doc, is_stream)


def read_descriptions(payload: Any) -> tuple[MethodDescription, ...]:
    """What another cell says that it publishes. Raises `DecodeError` when that cannot be."""
    if not isinstance(payload, list) or len(payload) > MOST_METHODS:
        raise DecodeError(f"is no list of at most {MOST_METHODS} methods")
    return tuple(_read(each) for each in payload)


def _read(payload: Any) -> MethodDescription:
    match payload:
        case [str(path), list(parameters), str(text), str(doc), bool(is_stream)] if _is_path(path):
            if len(parameters) > MOST_PARAMETERS or len(text) > MOST_TEXT or len(doc) > MOST_DOC:
                raise DecodeError(f"the description of {path} is too long")
            try:
                return MethodDescription(path, tuple(map(_parameter, parameters)), text, doc, is_stream)
            except ValueError as error:  # an order that no function has
                raise DecodeError(f"the signature of {path} is none: {error}") from None
    raise DecodeError(f"{str(payload)[:80]} describes no method")


def _parameter(payload: Any) -> tuple[str, int, bool]:
    match payload:
        case [str(name), int(kind), bool(has_default)] if name.isidentifier() and 0 <= kind < len(_KINDS):
            return name, kind, has_default
    raise DecodeError(f"{str(payload)[:80]} is no parameter")


def _signature(parameters: Iterable[tuple[str, int, bool]]) -> inspect.Signature:
    return inspect.Signature(
        [
            inspect.Parameter(name, _KINDS[kind], default=_DEFAULT if has_default else inspect.Parameter.empty)
            for name, kind, has_default in parameters
        ]
    )


def _told(signature: inspect.Signature) -> str:
    """The text of a signature, without quotes around annotations that are text already."""
    parameters = [each.replace(annotation=_unquoted(each.annotation)) for each in _each(signature)]
    return str(signature.replace(parameters=parameters, return_annotation=_unquoted(signature.return_annotation)))


def _unquoted(annotation: Any) -> Any:
    return _Text(annotation) if isinstance(annotation, str) else annotation


def _is_path(path: str) -> bool:
    return len(path) <= MOST_TEXT and all(part.isidentifier() for part in path.split("."))


def _each(signature: inspect.Signature) -> list[inspect.Parameter]:
    return list(cast("Mapping[str, inspect.Parameter]", signature.parameters).values())


def _anything(*args: Any, **kwargs: Any) -> None:
    """The signature of what has none."""
