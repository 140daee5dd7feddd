"""AWS's own model of a service, enforced: what the SDK lets through and the service does not."""

from __future__ import annotations

import datetime as dt
import functools
import re
from typing import TYPE_CHECKING, Any

import botocore.session

if TYPE_CHECKING:
    from collections.abc import Iterator

    from botocore.model import ListShape, MapShape, ServiceModel, Shape, StringShape, StructureShape

# Java's classes, as near as Python's `re` comes: `_` and all white space are let through in excess.
CLASSES = {r"\p{L}": r"\w", r"\p{N}": r"\w", r"\p{Z}": r"\s", r"\p{Alnum}": "a-zA-Z0-9"}
CLASSES |= {r"\p{M}": r"\W", r"\p{P}": r"\W", r"\p{S}": r"\W"}
CLASSES |= {r"\uD800\uDC00-\uDBFF\uDFFF": "\U00010000-\U0010ffff", r"[\w-": r"[\w\-"}
CLASSES |= {"${1,": "{1,"}  # SageMaker's own slip
PYTHON = {
    "boolean": bool,
    "string": str,
    "character": str,
    "integer": int,
    "long": int,
    "float": (int, float),
    "double": (int, float),
    "structure": dict,
    "map": dict,
    "list": list,
    "timestamp": (int, float, dt.datetime),
    "blob": (str, bytes),
}


@functools.cache
def service(name: str) -> ServiceModel:
    """Return the model of a service."""
    return botocore.session.Session().get_service_model(name)


def problems(shape: Shape, value: Any, path: str = "") -> list[str]:
    """Return what is wrong with a value, in the words of the services; nothing when it is right."""
    return list(_problems(shape, value, path))


def failed(found: list[str]) -> str:
    """Return the message of a ValidationException."""
    noun = "error" if len(found) == 1 else "errors"
    return f"{len(found)} validation {noun} detected: {'; '.join(found)}"


def _problems(shape: Shape, value: Any, path: str) -> Iterator[str]:
    expected = PYTHON[shape.type_name]
    if not isinstance(value, expected) or (isinstance(value, bool) and expected is not bool):
        yield f"Value at '{path}' is of the type {type(value).__name__}, not {shape.type_name}"
        return
    yield from _bounds(shape, value, path)
    yield from INSIDE.get(shape.type_name, _nothing)(shape, value, path)


def _bounds(shape: Shape, value: Any, path: str) -> Iterator[str]:
    if shape.type_name in {"string", "list", "map"}:
        size, word = len(value), "length"
    elif shape.type_name in {"integer", "long", "float", "double"}:
        size, word = value, "value"
    else:
        return
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    said = f"Value '{value}' at '{path}' failed to satisfy constraint: Member must have {word}"
    if least is not None and size < least:
        yield f"{said} greater than or equal to {least}"
    if most is not None and size > most:
        yield f"{said} less than or equal to {most}"


def _string(shape: StringShape, value: str, path: str) -> Iterator[str]:
    said = f"Value '{value}' at '{path}' failed to satisfy constraint: Member must satisfy"
    if shape.enum and value not in shape.enum:
        yield f"{said} enum value set: [{', '.join(shape.enum)}]"
    pattern = shape.metadata.get("pattern")
    if pattern and not _compiled(pattern).fullmatch(value):
        yield f"{said} regular expression pattern: {pattern}"


def _structure(shape: StructureShape, value: dict[str, Any], path: str) -> Iterator[str]:
    dot = f"{path}." if path else ""
    for name in shape.required_members:
        if value.get(name) is None:
            yield (
                f"Value null at '{dot}{name}' failed to satisfy constraint: Member must not be null"
            )
    for name, each in value.items():
        if name not in shape.members:
            yield f"'{dot}{name}' is unknown"
        elif each is not None:
            yield from _problems(shape.members[name], each, dot + name)


def _list(shape: ListShape, value: list[Any], path: str) -> Iterator[str]:
    for number, each in enumerate(value, 1):
        yield from _problems(shape.member, each, f"{path}.{number}.member")


def _map(shape: MapShape, value: dict[str, Any], path: str) -> Iterator[str]:
    for name, each in value.items():
        yield from _problems(shape.key, name, f"{path}.key")
        yield from _problems(shape.value, each, f"{path}.{name}.member")


def _nothing(*_: Any) -> Iterator[str]:
    return iter(())


INSIDE: dict[str, Any] = {"string": _string, "structure": _structure, "list": _list, "map": _map}


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    for java, ours in CLASSES.items():
        pattern = pattern.replace(java, ours)
    return re.compile(pattern)
