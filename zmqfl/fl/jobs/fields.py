"""The keys of a mapping in a file, taken one by one; whatever is wrong is collected with its file, line and key.

By hand and not by pydantic, because every process of a job reads such files, and pydantic costs each 16 MiB.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from zmqfl.errors import TopologyError, TopologyErrors
from zmqfl.topology.source import MAX_BYTES, Node, Step, read_text

SUFFIXES: Final = (".json", ".yaml", ".yml")
"""How a config file may be called; only one of them may be there."""


def find_config(folder: Path, stem: str) -> Path | None:
    """The config file of that name; None when there is none. Raises `TopologyErrors` when there are several."""
    found = [file for suffix in SUFFIXES if (file := folder / f"{stem}{suffix}").is_file()]
    if len(found) > 1:
        remedy = f"keep {found[0].name}, or the other"
        raise TopologyErrors([TopologyError(f"{found[1].name} is there, too", file=str(found[0]), remedy=remedy)])
    return found[0] if found else None


def read_config(file: Path) -> Fields:
    """The mapping in a JSON or YAML file. Raises `TopologyErrors` for a file that holds none.

    Texts are taken as they are: a job must not read the variables of the sites that it runs on.
    """
    text = _text(file)
    if file.suffix == ".json":
        try:
            json.loads(text)
        except (ValueError, RecursionError) as error:
            line = getattr(error, "lineno", 0)
            problem = f"is not valid JSON: {getattr(error, 'msg', error)}"
            raise _unreadable(problem, file, "mend the syntax there", line) from None
        text = text.replace("\t", " ")  # blanks in JSON, which YAML takes amiss
    root = read_text(text.replace("${", "$${"), str(file), {})
    if not isinstance(root.value, dict):
        raise _unreadable("holds no mapping", file, "write `key: value` lines, or {...} in JSON")
    return Fields(root, [])


def _text(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise _unreadable(f"cannot be read: {error.strerror}", file, "give a file that you may read") from None
    except UnicodeDecodeError:
        raise _unreadable("is not UTF-8 text", file, "give a JSON or YAML file") from None
    if len(data) > MAX_BYTES:
        raise _unreadable(f"has more than {MAX_BYTES} bytes", file, "keep data in files of their own")
    return text


def _unreadable(problem: str, file: Path, remedy: str, line: int = 0) -> TopologyErrors:
    return TopologyErrors([TopologyError(problem, file=str(file), line=line, remedy=remedy)])


class Fields:
    """See the module. `errors` is shared with all mappings that were taken out of this one."""

    def __init__(self, node: Node, errors: list[TopologyError]) -> None:
        assert isinstance(node.value, dict)  # callers have looked
        self.node = node
        self.errors = errors
        self._map = node.value

    def has(self, key: str) -> bool:
        """Whether the key is there, with a value."""
        return key in self._map and self._map[key].value is not None

    def value(self, key: str) -> Any:
        """The value as plain dicts, lists and scalars; None when there is none."""
        return self._map[key].plain() if key in self._map else None

    def __iter__(self) -> Iterator[str]:
        """All keys, in the order of the file."""
        return iter(self._map)

    def text(self, key: str, default: str | None = "") -> str:
        """A text that is not empty; `default` None: it must be there."""
        return str(self._of(key, str, "text", default) or "")

    def whole(self, key: str, minimum: int, default: int | None = None) -> int:
        """A whole number of at least `minimum`; `default` None: it must be there."""
        found = self._of(key, int, "a whole number", default)
        if found is not None and found < minimum:
            self.add(f"must be at least {minimum}, not {found}", key)
            return minimum
        return minimum if found is None else int(found)

    def mapping(self, key: str, *, required: bool = False) -> Fields | None:
        """The mapping at a key; None when there is none."""
        if self._of(key, dict, "a mapping", None if required else {}) is None or key not in self._map:
            return None
        return Fields(self._map[key], self.errors) if isinstance(self._map[key].value, dict) else None

    def items(self, key: str) -> list[Fields]:
        """The list of mappings at a key; empty when there is none."""
        found: list[Fields] = []
        for i, item in enumerate(self._of(key, list, "a list", []) or []):
            if isinstance(item.value, dict):
                found.append(Fields(item, self.errors))
            else:
                self.add("must be a mapping", key, i)
        return found

    def texts(self, key: str, *, required: bool = False) -> tuple[str, ...]:
        """The list of texts at a key, none of them empty or twice."""
        found: list[str] = []
        for i, item in enumerate(self._of(key, list, "a list", None if required else []) or []):
            if not isinstance(item.value, str) or not item.value:
                self.add(f"must be text, not {_shown(item)}", key, i)
            elif item.value in found:
                self.add(f"{item.value!r} is named twice", key, i, remedy="remove one")
            else:
                found.append(item.value)
        return tuple(found)

    def refuse_others(self, known: Iterable[str], *, similar: bool = False) -> None:
        """Collect an error for each key that is not `known`; `similar`: only for those that look misspelt."""
        names = sorted(known)
        for key in self._map:
            close = difflib.get_close_matches(key, names, 1, 0.8 if similar else 0.6)
            if key in names or (similar and not close):
                continue
            remedy = f"did you mean {close[0]!r}?" if close else f"there is: {', '.join(names)}"
            self.add("unknown key", key, remedy=remedy)

    def add(self, problem: str, *path: Step, remedy: str = "") -> None:
        """Collect an error at the place of `path` below this mapping."""
        self.errors.append(self.node.error(problem, *path, remedy=remedy))

    def finish(self) -> None:
        """Raise `TopologyErrors` with all that was collected, by line; nothing when it was nothing."""
        raise_all(self.errors)

    def _of(self, key: str, kind: type[Any], wanted: str, default: Any) -> Any:
        """The value at a key when it is of that kind, else the default, and an error unless it is just absent."""
        node = self._map.get(key)
        if node is None:
            if default is None:
                self.add("is missing", key, remedy="add it")
            return default
        value = node.value
        if type(value) is not kind or (kind is str and not value):
            remedy = "put it in quotes" if kind is str and isinstance(value, bool | int | float) else ""
            self.add(f"must be {wanted}, not {_shown(node)}", key, remedy=remedy)
            return default
        return value


def raise_all(errors: list[TopologyError]) -> None:
    """Raise `TopologyErrors` when there is any, in the order of files and lines, none of them twice."""
    if errors:
        unique = {error.line(): error for error in errors}
        raise TopologyErrors(sorted(unique.values(), key=lambda error: (error.file, error.line_number)))


def _shown(node: Node) -> str:
    """A value, short enough for a line."""
    match node.value:
        case None:
            return "nothing"
        case dict():
            return "a mapping"
        case list():
            return "a list"
    text = json.dumps(node.value)
    return text if len(text) <= 60 else f"{text[:57]}..."
