"""YAML files as trees of nodes that know where they stand, so that an error names the very line.

A file is read as the core schema of YAML 1.2: `true`/`false`, `null`, decimal numbers; all else is text (in YAML 1.1,
which PyYAML follows by default, `no` is false, `010` is 8 and `12:30` is 750). Explicit tags are refused.
`${NAME}` and `${NAME:-default}` in a value stand for environment variables; `$${` is a plain `${`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml
from yaml.composer import Composer
from yaml.nodes import MappingNode, ScalarNode, SequenceNode
from yaml.parser import Parser
from yaml.reader import Reader
from yaml.resolver import Resolver
from yaml.scanner import Scanner

from zmqfl.errors import TopologyError, TopologyErrors

Scalar = str | int | float | bool | None
Step = str | int

MAX_BYTES = 1024 * 1024
"""A topology of 10,000 sites has about this size."""
MAX_VALUES = 100_000
"""Values in one file with all aliases written out: a few lines of nested aliases can stand for billions."""
MAX_DEPTH = 20
"""Nested lists and mappings; a topology needs six."""

_VARIABLE = re.compile(r"\$\$\{|\$\{(?:([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\})?")
_UNUSABLE = re.compile(r"[\x00\ud800-\udfff]")
"""Characters that no command line, file name or JSON text can hold; they come in by escapes and variables."""


@dataclass(slots=True)
class Node:
    """A value and its place: `file`, `line` (1-based; 0 when it has none), `field` (dotted path in that file)."""

    value: Scalar | dict[str, Node] | list[Node]
    file: str
    line: int
    field: str

    def children(self) -> list[Node]:
        """The nodes in a mapping or list."""
        if isinstance(self.value, dict):
            return list(self.value.values())
        return self.value if isinstance(self.value, list) else []

    def plain(self) -> object:
        """The value as plain dicts, lists and scalars."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value

    def get(self, step: Step) -> Node | None:
        """The child of that key or index."""
        if isinstance(self.value, dict):
            return self.value.get(str(step))
        if isinstance(self.value, list) and isinstance(step, int) and step < len(self.value):
            return self.value[step]
        return None

    def error(self, problem: str, *path: Step, remedy: str = "") -> TopologyError:
        """An error at the place of `path` below this node; of a path that is not there, at its deepest part."""
        node, missing = self, list(path)
        while missing and (child := node.get(missing[0])) is not None:
            node = child
            del missing[0]
        field = ".".join(filter(None, [node.field, *map(str, missing)]))
        return TopologyError(problem, file=node.file, line=node.line, field=field, remedy=remedy)


def read_file(path: Path, environ: Mapping[str, str]) -> Node:
    """The mapping in a YAML file.

    `environ` holds the variables for `${NAME}`. Raises `TopologyErrors` for a file that cannot be read or parsed.
    """
    root = read_text(_text(path), str(path), environ)
    if not isinstance(root.value, dict):
        found = "is empty" if root.value is None else "holds no mapping"
        raise TopologyErrors([TopologyError(found, file=str(path), remedy="write `key: value` lines")])
    return root


def read_text(text: str, file: str, environ: Mapping[str, str], field: str = "") -> Node:
    """The one value in a YAML text; `file` and `field` say where it stands. Raises `TopologyErrors`."""
    try:
        source = _Loader(text).get_single_node()
    except yaml.YAMLError as error:
        raise TopologyErrors([_syntax_error(error, file)]) from None
    except RecursionError:  # PyYAML composes recursively
        raise TopologyErrors([TopologyError("is nested too deeply", file=file, remedy="flatten it")]) from None
    if source is None:
        return Node(None, file, 0, field)
    builder = _Builder(file, environ)
    root = builder.build(source, _line(source), field, 0)
    if builder.errors:
        raise TopologyErrors(builder.errors)
    return root


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        text = data.decode("utf-8-sig")
    except FileNotFoundError:
        problem, remedy = "no such file", "give the path of a YAML file"
    except IsADirectoryError:
        problem, remedy = "is a folder", "give the path of a YAML file in it"
    except OSError as error:
        problem, remedy = f"cannot be read: {error.strerror}", "give a file that you may read"
    except UnicodeDecodeError:
        problem, remedy = "is not UTF-8 text", "give a YAML file"
    else:
        if len(data) <= MAX_BYTES:
            return text
        problem, remedy = f"has more than {MAX_BYTES} bytes", "is it a YAML file?"
    raise TopologyErrors([TopologyError(problem, file=str(path), remedy=remedy)])


def _syntax_error(error: yaml.YAMLError, file: str) -> TopologyError:
    line = 0
    problem = " ".join(str(error).split())
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 0
        problem = ": ".join(filter(None, [error.context, error.problem]))
    return TopologyError(f"is not valid YAML: {problem}", file=file, line=line, remedy="mend the syntax there")


def _line(node: yaml.Node) -> int:
    return node.start_mark.line + 1


class _Core(Resolver):
    """Which plain scalars are not text: the core schema of YAML 1.2, without octal and hexadecimal numbers."""

    yaml_implicit_resolvers = {}  # noqa: RUF012  the base class declares it so


for _name, _pattern, _first in [
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(0|[1-9][0-9]{0,18})", list("-+0123456789")),
    ("float", r"[-+]?(0|[1-9][0-9]*)(\.[0-9]*)?([eE][-+]?[0-9]+)?", list("-+0123456789")),
]:
    _Core.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", re.compile(f"^(?:{_pattern})$"), _first)


def _tag(kind: type[yaml.Node], value: object, plain: bool) -> str:
    """The tag of a node that was written without one; `plain`: without quotes."""
    return str(_Core().resolve(kind, value, (plain, not plain)))  # type: ignore[no-untyped-call]


class _Loader(Reader, Scanner, Parser, Composer, _Core):
    """Text to PyYAML's nodes; nothing is constructed from tags."""

    def __init__(self, stream: str) -> None:
        Reader.__init__(self, stream)
        Scanner.__init__(self)
        Parser.__init__(self)
        Composer.__init__(self)
        _Core.__init__(self)


class _Builder:
    """PyYAML's nodes to ours: variables filled in, repeated keys and tags refused. Collects `errors`."""

    def __init__(self, file: str, environ: Mapping[str, str]) -> None:
        self.errors: list[TopologyError] = []
        self._file = file
        self._environ = environ
        self._count = 0

    def build(self, source: yaml.Node, line: int, field: str, depth: int) -> Node:
        self._count += 1
        if self._count > MAX_VALUES:
            raise TopologyErrors([self._error(f"has more than {MAX_VALUES} values", line, field, "use fewer aliases")])
        if depth > MAX_DEPTH:
            raise TopologyErrors([self._error("is nested too deeply", line, field, "flatten it; do aliases loop?")])
        node = Node(None, self._file, line, field)
        if isinstance(source, ScalarNode):
            node.value = self._scalar(source, line, field)
        elif isinstance(source, SequenceNode):
            self._refuse_tag(source, True, line, field)
            items = enumerate(source.value)
            node.value = [self.build(item, _line(item), _join(field, str(i)), depth + 1) for i, item in items]
        else:
            assert isinstance(source, MappingNode)  # there are three kinds
            self._refuse_tag(source, True, line, field)
            entries = self._entries(source, field)
            node.value = {key: self.build(child, at, _join(field, key), depth + 1) for at, key, child in entries}
        return node

    def _entries(self, source: MappingNode, field: str) -> Iterator[tuple[int, str, yaml.Node]]:
        lines: dict[str, int] = {}
        for key_node, child in source.value:
            line, key = _line(key_node), key_node.value
            if not isinstance(key_node, ScalarNode) or not key_node.tag.endswith(":str"):
                shown = key if isinstance(key, str) else "a list or mapping"
                self._add(f"a key must be text, not {shown}", line, field, "put it in quotes")
            elif key == "<<":
                self._add("merge keys are not read", line, field, "use `defaults:` or `extends:`")
            elif key in lines:
                self._add(f"is given twice, first in line {lines[key]}", line, _join(field, key), "remove one")
            else:
                lines[key] = line
                self._refuse_unusable(key, line, field)
                yield line, key, child

    def _scalar(self, source: ScalarNode, line: int, field: str) -> Scalar:
        plain = source.style is None
        self._refuse_tag(source, plain, line, field)
        text = _VARIABLE.sub(lambda match: self._variable(match, line, field), source.value)
        self._refuse_unusable(text, line, field)
        # A variable in a plain scalar may hold a number: `count: ${SITES:-4}`.
        match _tag(ScalarNode, text, plain).rpartition(":")[2]:
            case "null":
                return None
            case "bool":
                return text.lower() == "true"
            case "int":
                return int(text)
            case "float":
                return float(text)
        return text

    def _variable(self, match: re.Match[str], line: int, field: str) -> str:
        name, default = match.groups()
        if match.group() == "$${":
            return "${"
        if name is None:
            self._add("`${` begins no variable", line, field, "write ${NAME} or ${NAME:-default}; $${ is a plain ${")
            return ""
        value = self._environ.get(name)
        if value or (value is not None and default is None):
            return value
        if default is None:
            self._add(f"the variable {name} is not set", line, field, f"set it, or write ${{{name}:-default}}")
            return ""
        return str(default)

    def _refuse_tag(self, source: yaml.Node, plain: bool, line: int, field: str) -> None:
        if source.tag != _tag(type(source), source.value, plain):
            self._add(f"the tag {source.tag} is not read", line, field, "remove it")

    def _refuse_unusable(self, text: str, line: int, field: str) -> None:
        if found := _UNUSABLE.search(text):
            self._add(f"the character {found.group()!a} cannot be used", line, field, "remove it")

    def _add(self, problem: str, line: int, field: str, remedy: str) -> None:
        self.errors.append(self._error(problem, line, field, remedy))

    def _error(self, problem: str, line: int, field: str, remedy: str) -> TopologyError:
        return TopologyError(problem, file=self._file, line=line, field=field, remedy=remedy)


def _join(field: str, step: str) -> str:
    return f"{field}.{step}" if field else step
