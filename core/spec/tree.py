"""YAML into a tree of values that know where they stand, under bounds that no file exceeds.

It is built from the parser's events and not by PyYAML's composer: that one recurses, keeps the
last of two equal keys, and reads YAML 1.1, in which NO is false, 1:30 is 90 and 1e-4 is text.
Here scalars follow the core schema of YAML 1.2.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import yaml

from llmcloud.core.errors import Problem
from llmcloud.core.spec.source import place

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_NODES = 20_000  # after aliases are replaced by what they stand for
MAX_DEPTH = 40

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]
Scalar = None | bool | int | float | str

_NULL = {"", "~", "null", "Null", "NULL"}
_BOOLEAN = {
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
}
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_ENVIRONMENT = re.compile(r"(\$?)\$\{env:([^{}\n]*)\}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NOT_TEXT = re.compile(
    "[^\\t\\n\\r\\x20-\\x7e\\x85\\xa0-\\ud7ff\\ue000-\\ufffd\\U00010000-\\U0010ffff]"
)
_MAX_DIGITS = 19
_INT64 = 1 << 63


@dataclass(frozen=True)
class Mark:
    """A place: `line` and `column` count from 1, `source` is set where it is not the file."""

    line: int
    column: int
    source: str = ""


@dataclass(frozen=True)
class Node:
    """A value and its place; `size` counts the nodes below with every alias written out."""

    value: Scalar | list[Node] | dict[str, Node]
    mark: Mark
    key_marks: dict[str, Mark] = field(default_factory=dict)
    size: int = 1
    depth: int = 1

    def plain(self) -> Json:
        """Return the value as JSON knows it."""
        if isinstance(self.value, dict):
            return {key: child.plain() for key, child in self.value.items()}
        if isinstance(self.value, list):
            return [child.plain() for child in self.value]
        return self.value


@dataclass(frozen=True)
class Tree:
    """What a text says; without a root it says nothing, or could not be read to its end."""

    root: Node | None
    problems: tuple[Problem, ...]


def parse(text: str, environ: Mapping[str, str], source: str = "") -> Tree:
    """Read one YAML document; `source` names a text that is not the file."""
    if bad := _NOT_TEXT.search(text):
        message = f"The character U+{ord(bad[0]):04X} can't be in a file of text"
        line, column = place(text, bad.start())
        return Tree(None, (Problem("", message, line, column, "Remove it", source=source),))
    builder = _Builder(environ, source)
    try:
        for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            builder.take(event)
    except _Stop as stop:
        return Tree(None, (*builder.problems, stop.problem))
    except yaml.YAMLError as error:
        return Tree(None, (*builder.problems, _explain(error, text, source)))
    return Tree(builder.root, tuple(builder.problems))


def dotted(path: tuple[str | int, ...]) -> str:
    """Return a path as `--set` and the messages write it."""
    return ".".join(str(part) for part in path)


class _Stop(Exception):
    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


@dataclass
class _Open:
    """A list or mapping whose end has not come yet."""

    mark: Mark
    anchor: str | None
    is_mapping: bool
    items: list[Node] = field(default_factory=list)
    entries: dict[str, Node] = field(default_factory=dict)
    key_marks: dict[str, Mark] = field(default_factory=dict)
    key: str | None = None  # read, its value not yet
    key_mark: Mark | None = None  # set with or without a usable key
    size: int = 1
    depth: int = 1

    @property
    def awaits_key(self) -> bool:
        return self.is_mapping and self.key_mark is None


class _Builder:
    def __init__(self, environ: Mapping[str, str], source: str) -> None:
        self._environ, self._source = environ, source
        self._open: list[_Open] = []
        self._anchors: dict[str, Node | None] = {}  # None while it is being built
        self._documents = 0
        self.root: Node | None = None
        self.problems: list[Problem] = []

    def take(self, event: yaml.Event) -> None:
        """Go on by one event of the parser."""
        mark = self._mark(event)
        match event:
            case yaml.DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    self._stop(mark, "A second document starts here", "Keep one in a file")
            case yaml.ScalarEvent():
                self._refuse_tag(event.tag, mark)
                if self._open and self._open[-1].awaits_key:
                    self._take_key(event, mark)
                else:
                    self._take(Node(self._scalar(event, mark), mark), event.anchor)
            case yaml.AliasEvent():
                self._take_alias(event.anchor or "", mark)
            case yaml.CollectionStartEvent():
                self._refuse_tag(event.tag, mark)
                self._begin(event, mark)
            case yaml.CollectionEndEvent():
                self._end()

    def _begin(self, event: yaml.CollectionStartEvent, mark: Mark) -> None:
        if self._open and self._open[-1].awaits_key:
            self._stop(mark, "A key must be text", "Write key: value")
        if len(self._open) >= MAX_DEPTH:
            self._stop(mark, f"The nesting is deeper than {MAX_DEPTH} levels")
        if event.anchor:
            self._anchors[event.anchor] = None
        is_mapping = isinstance(event, yaml.MappingStartEvent)
        self._open.append(_Open(mark, event.anchor, is_mapping))

    def _end(self) -> None:
        done = self._open.pop()
        value = done.entries if done.is_mapping else done.items
        self._take(Node(value, done.mark, done.key_marks, done.size, done.depth), done.anchor)

    def _take_alias(self, anchor: str, mark: Mark) -> None:
        if self._open and self._open[-1].awaits_key:
            self._stop(mark, "A key must be text, not an alias", "Write the key itself")
        if anchor not in self._anchors:
            self._stop(mark, f"*{anchor} stands for nothing", f"Mark a value with &{anchor} first")
        found = self._anchors[anchor]
        if found is None:
            self._stop(mark, f"*{anchor} is inside of what it stands for")
        else:
            self._take(found, None)

    def _take_key(self, event: yaml.ScalarEvent, mark: Mark) -> None:
        parent = self._open[-1]
        parent.key_mark = mark
        key = self._scalar(event, mark)
        if event.value == "<<" and event.implicit[0]:
            self._report(
                mark, "Merge keys (<<) are not supported", "Write the keys out, or use *alias", "<<"
            )
        elif not isinstance(key, str):
            self._report(
                mark, f"The key {event.value or 'null'} is not text", f'Quote it: "{event.value}"'
            )
        elif key in parent.entries:
            first = parent.key_marks[key]
            self._report(mark, "The key is there twice", f"It is on line {first.line} already", key)
        else:
            parent.key = key

    def _take(self, node: Node, anchor: str | None) -> None:
        if anchor:
            self._anchors[anchor] = node
        if not self._open:
            self.root = node
            return
        parent = self._open[-1]
        parent.size += node.size
        parent.depth = max(parent.depth, node.depth + 1)
        if sum(each.size for each in self._open) > MAX_NODES:
            self._stop(parent.mark, f"There are more than {MAX_NODES:,} values in it")
        if len(self._open) + node.depth > MAX_DEPTH:
            self._stop(parent.mark, f"The nesting is deeper than {MAX_DEPTH} levels")
        if not parent.is_mapping:
            parent.items.append(node)
            return
        if parent.key is not None and parent.key_mark is not None:
            parent.entries[parent.key] = node
            parent.key_marks[parent.key] = parent.key_mark
        parent.key = parent.key_mark = None

    def _scalar(self, event: yaml.ScalarEvent, mark: Mark) -> Scalar:
        text = self._expand(event.value, mark)
        bad = next((each for each in text if each == "\0" or "\ud800" <= each <= "\udfff"), None)
        if bad is not None:
            self._report(mark, f"The character U+{ord(bad):04X} can't be in a value")
            return ""
        return self._resolve(text, mark) if event.implicit[0] else text

    def _resolve(self, text: str, mark: Mark) -> Scalar:
        if text in _NULL:
            return None
        if text in _BOOLEAN:
            return _BOOLEAN[text]
        if _INTEGER.fullmatch(text):
            base = {"0o": 8, "0x": 16}.get(text[:2], 10)
            number = int(text, base) if len(text) <= _MAX_DIGITS + 1 else _INT64
            if abs(number) < _INT64:
                return number
        elif _FLOAT.fullmatch(text):
            if math.isfinite(float(text)):
                return float(text)
        elif not _NOT_FINITE.fullmatch(text):
            return text
        self._report(
            mark, f"The number {text[:40]} is out of range", "Quote it if it is meant as text"
        )
        return 0

    def _expand(self, text: str, mark: Mark) -> str:
        """Replace `${env:NAME}`; an unquoted value is then read as though it had been written."""

        def replace(found: re.Match[str]) -> str:
            escaped, name = found.groups()
            if escaped:
                return found[0][1:]
            if not _VARIABLE.fullmatch(name):
                self._report(mark, f"{name!r} can't be an environment variable")
            elif name in self._environ:
                return self._environ[name]
            else:
                self._report(mark, f"The environment has no {name}", f"Set it: export {name}=…")
            return found[0]

        return _ENVIRONMENT.sub(replace, text) if "${env:" in text else text

    def _refuse_tag(self, tag: str | None, mark: Mark) -> None:
        if tag not in {None, "!"}:
            self._report(mark, f"The tag {tag} is not supported", "Remove it; quotes make text")

    def _mark(self, event: yaml.Event) -> Mark:
        mark = event.start_mark
        return Mark(mark.line + 1, mark.column + 1, self._source) if mark else Mark(1, 1)

    def _path(self) -> str:
        parts = (each.key if each.is_mapping else len(each.items) for each in self._open)
        return dotted(tuple(part for part in parts if part is not None))

    def _report(self, mark: Mark, message: str, hint: str = "", key: str = "") -> None:
        path = ".".join(part for part in (self._path(), key) if part)
        self.problems.append(
            Problem(path, message, mark.line, mark.column, hint, source=mark.source)
        )

    def _stop(self, mark: Mark, message: str, hint: str = "") -> None:
        self._report(mark, message, hint)
        raise _Stop(self.problems.pop())


def _explain(error: yaml.YAMLError, text: str, source: str) -> Problem:
    mark = error.problem_mark if isinstance(error, yaml.MarkedYAMLError) else None
    if not isinstance(error, yaml.MarkedYAMLError) or not mark:
        return Problem("", f"This is no YAML: {error}", source=source)
    lines = text.splitlines()
    rest = lines[mark.line][mark.column :] if mark.line < len(lines) else ""
    hint = "Check the indentation and the quotes here; a value with ': ' or ' #' needs quotes"
    if rest.startswith("\t"):
        hint = "Indent with spaces, not with tabs"
    message = f"This is no YAML: {error.problem or error.context}"
    if error.context_mark and error.context_mark.line != mark.line:
        message += f" ({error.context} that begins on line {error.context_mark.line + 1})"
    return Problem("", message, mark.line + 1, mark.column + 1, hint, source=source)
