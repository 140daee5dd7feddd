"""pydantic's findings in the words of a job file, each at its place in it."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from pydantic import BaseModel

from llmcloud.core.errors import Problem
from llmcloud.core.spec import fields, tree
from llmcloud.core.spec.fields import Finding

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

    from llmcloud.core.spec.tree import Node

Path = tuple[str | int, ...]

_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
}
_OTHER_WORDS = {"gpu": "accelerator", "gpus": "accelerator", "command": "run", "cmd": "run"}
_BOUND = {
    "greater_than": ("gt", "It must be more than"),
    "greater_than_equal": ("ge", "The least is"),
    "less_than": ("lt", "It must be less than"),
    "less_than_equal": ("le", "The most is"),
}


def problems(error: ValidationError, model: type[BaseModel], root: Node) -> Iterator[Problem]:
    """Yield every finding."""
    for detail in error.errors(include_url=False):
        path, is_key = detail["loc"], detail["type"] == "extra_forbidden"
        if path and path[-1] == "[key]":
            path, is_key = path[:-1], True
        for message, hint, at in _findings(detail, path, model):
            yield located(root, (*path, at) if at else path, message, hint, is_key=is_key)


def located(root: Node, path: Path, message: str, hint: str, *, is_key: bool = False) -> Problem:
    """Return a problem at the place of a path, or of as much of it as there is."""
    path, mark = _place(root, path, is_key=is_key)
    return Problem(tree.dotted(path), message, mark.line, mark.column, hint, source=mark.source)


def _findings(detail: ErrorDetails, path: Path, model: type[BaseModel]) -> list[Finding]:
    if detail["type"] == fields.PROBLEM:
        findings: list[Finding] = detail["ctx"]["findings"]
        return findings
    return [Finding(*_words(detail, path, model))]


def _words(detail: ErrorDetails, path: Path, model: type[BaseModel]) -> tuple[str, str]:
    kind, found, context = detail["type"], detail["input"], detail.get("ctx", {})
    if kind == "missing":
        return "The key is missing", _example(model, path)
    if kind == "extra_forbidden":
        return "There is no such key", _meant_key(str(path[-1]), path[:-1], model)
    if kind == "literal_error":
        expected = context["expected"].replace("True", "true").replace("False", "false")
        return f"Expected {expected.replace(chr(39), '')}, found {_said(found)}", _meant(
            str(found), expected.replace(" or ", ", ").replace("'", "").split(", ")
        )
    if kind in _EXPECTED:
        said = f"Expected {_EXPECTED[kind]}, found {fields.kind_of(found)}"
        return said, _retype(kind, found, path, model)
    if kind in _BOUND:
        bound, words = _BOUND[kind]
        return f"{words} {context[bound]:,}, found {found}", ""
    return detail["msg"], ""


def _retype(kind: str, found: object, path: Path, model: type[BaseModel]) -> str:
    """Say how to write the value so that it is of the kind expected."""
    if kind == "string_type" and isinstance(found, bool | int | float):
        return "Quote it"
    if kind in {"int_type", "float_type", "bool_type"} and isinstance(found, str):
        return "Write it without quotes" if found.strip() else ""
    if kind == "tuple_type" and isinstance(found, str):
        return "Write a list: [" + (found if len(found) <= 40 else "…") + "]"
    return _example(model, path) if kind == "model_type" else ""


def _example(model: type[BaseModel], path: Path) -> str:
    owner = _model_at(model, path[:-1])
    info = owner.model_fields.get(str(path[-1])) if owner and path else None
    if info is None or not info.examples:
        return ""
    return f"Write it like {path[-1]}: {info.examples[0]}"


def _meant_key(key: str, path: Path, model: type[BaseModel]) -> str:
    owner = _model_at(model, path)
    known = list(owner.model_fields) if owner else []
    if (other := _OTHER_WORDS.get(key)) in known:
        return f"It is called {other} here"
    if close := _meant(key, known):
        return close
    homes = [home for home, each in models_by_path(model) if key in each.model_fields and home]
    if homes:
        return f"It belongs in {tree.dotted(homes[0])}"
    return f"The keys here are {', '.join(known)}" if known else ""


def _meant(found: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(found.lower(), list(known), n=1, cutoff=0.6)
    return f"Did you mean {close[0]}?" if close else ""


def _said(value: object) -> str:
    if isinstance(value, str):
        return value if len(value) <= 40 else value[:39] + "…"
    return fields.kind_of(value)


def models_by_path(
    model: type[BaseModel], path: Path = ()
) -> Iterator[tuple[Path, type[BaseModel]]]:
    """Yield a model and those inside it, each with the way that leads there."""
    yield path, model
    for name, info in model.model_fields.items():
        for inner in _inner(info.annotation):
            yield from models_by_path(inner, (*path, name))


def _model_at(model: type[BaseModel], path: Path) -> type[BaseModel] | None:
    names = tuple(part for part in path if isinstance(part, str))
    return next((each for way, each in models_by_path(model) if way == names), None)


def _inner(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    arguments = getattr(annotation, "__args__", ())
    return [found for each in arguments for found in _inner(each)]


def _place(root: Node, path: Path, *, is_key: bool) -> tuple[Path, tree.Mark]:
    """Return a path up to the first plain value on it, and where that stands."""
    node, mark = root, root.mark
    for at, part in enumerate(path):
        last = at + 1 == len(path)
        if isinstance(node.value, dict) and part in node.value:
            key = str(part)
            mark = node.key_marks[key] if last and is_key else node.value[key].mark
            node = node.value[key]
        elif isinstance(node.value, list) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            mark = node.mark
        elif isinstance(node.value, dict | list):
            break
        else:
            return path[:at], mark
    return path, mark
