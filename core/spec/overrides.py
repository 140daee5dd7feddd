"""`--set a.b.c=value`: a change to the tree of a job file, before anything is checked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from llmcloud.core.errors import Problem, UsageError
from llmcloud.core.spec import tree
from llmcloud.core.spec.tree import Mark, Node

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Override:
    """One `--set`; without a value it removes the key."""

    path: tuple[str, ...]
    value: Node | None
    mark: Mark


def parse_override(text: str, environ: Mapping[str, str]) -> Override:
    """Read `a.b.c=value`; UsageError when it is written wrong."""
    source = f"--set {text}"
    keys, equals, written = text.partition("=")
    path = tuple(keys.split("."))
    if not equals or not all(path):
        raise UsageError(
            "This is not KEY=VALUE.", where=source, fix="Write it like --set resources.nodes=2"
        )
    found = tree.parse(written, environ, source)
    if found.problems:
        problem = found.problems[0]
        fix = problem.hint or "Quote the value: --set 'key=\"text\"'"
        raise UsageError(f"The value can't be read: {problem.message}.", where=source, fix=fix)
    value = found.root if found.root and found.root.value is not None else None
    return Override(path, value, Mark(1, 1, source))


def apply_override(root: Node, override: Override) -> Node | Problem:
    """Return the tree with the change made, or why it can't be."""
    return _change(root, override, 0)


def _change(node: Node, override: Override, at: int) -> Node | Problem:
    part, mark = override.path[at], override.mark
    if isinstance(node.value, list):
        return _change_item(node, node.value, override, at)
    if not isinstance(node.value, dict):
        path = tree.dotted(override.path[:at])
        message = f"There is a plain value here, so there is no {part} in it"
        return _problem(override, path, message, f"Set {path} as a whole")
    children = dict(node.value)
    child = _value(children.get(part), override, at)
    if isinstance(child, Problem):
        return child
    if child is None:
        children.pop(part, None)
    else:
        children[part] = child
    return _sized(replace(node, value=children, key_marks={part: mark} | node.key_marks))


def _change_item(node: Node, items: list[Node], override: Override, at: int) -> Node | Problem:
    part, path = override.path[at], tree.dotted(override.path[:at])
    index = int(part) if part.isascii() and part.isdigit() and len(part) < 6 else -1
    if not 0 <= index <= len(items):
        return _problem(override, path, f"The list has no {part}", f"It holds {len(items)}")
    child = _value(items[index] if index < len(items) else None, override, at)
    if isinstance(child, Problem):
        return child
    changed = [*items[:index], *([child] if child else []), *items[index + 1 :]]
    return _sized(replace(node, value=changed))


def _value(child: Node | None, override: Override, at: int) -> Node | Problem | None:
    """Return what belongs at this part of the path: the value itself, or what leads there."""
    if at + 1 == len(override.path):
        return override.value
    if child is None or child.value is None:
        if override.value is None:
            return None
        into_list = override.path[at + 1] == "0"
        child = Node([] if into_list else {}, override.mark)
    return _change(child, override, at + 1)


def _sized(node: Node) -> Node:
    """Return the node with the bounds of the tree kept up to date."""
    children = list(node.value.values()) if isinstance(node.value, dict) else node.value
    if not isinstance(children, list):
        return node
    size = 1 + sum(child.size for child in children)
    return replace(node, size=size, depth=1 + max((c.depth for c in children), default=0))


def _problem(override: Override, key: str, message: str, hint: str) -> Problem:
    return Problem(key, message, 1, 1, hint, source=override.mark.source)
