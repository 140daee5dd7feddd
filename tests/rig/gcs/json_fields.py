"""Partial answers: the `fields` parameter, such as `items(name,size),nextPageToken`."""

from __future__ import annotations

from typing import Any

Mask = dict[str, "Mask"]


def masked(value: Any, fields: str) -> Any:
    """Return only what the mask names; `a/b` and `a(b)` mean the same, `*` anything."""
    mask, rest = _parse(fields)
    if rest:
        raise ValueError(f"fields={fields}")
    return _picked(value, mask)


def _picked(value: Any, mask: Mask) -> Any:
    if not mask or "*" in mask:
        return value
    if isinstance(value, list):
        return [_picked(each, mask) for each in value]
    return {name: _picked(value[name], below) for name, below in mask.items() if name in value}


def _parse(text: str) -> tuple[Mask, str]:
    """Return the mask up to an unmatched `)`, and what follows that."""
    mask: Mask = {}
    while text and text[0] != ")":
        name = ""
        while text and text[0] not in ",/()":
            name, text = name + text[0], text[1:]
        below = mask.setdefault(name, {})
        if text.startswith("("):
            inner, text = _parse(text[1:])
            below.update(inner)
        elif text.startswith("/"):
            end = _end_of_path(text)
            below.update(_parse(text[1:end])[0])
            text = text[end:]
        text = text.removeprefix(",")
    return mask, text[1:]


def _end_of_path(text: str) -> int:
    """Return where `/b(c,d),e` stops being about what came before it."""
    depth = 0
    for at, letter in enumerate(text):
        if letter in ",)" and not depth:
            return at
        depth += {"(": 1, ")": -1}.get(letter, 0)
    return len(text)
