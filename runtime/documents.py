"""JSON documents of a store, read as another version of llmcloud may have written them."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from llmcloud.runtime.errors import Unreadable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@contextlib.contextmanager
def reading(what: str, where: str = "") -> Iterator[None]:
    """Raise Unreadable for whatever a damaged document makes of the code that takes it apart."""
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Unreadable(
            f"{what} can't be read: {error!r}.",
            where=where,
            fix="If a newer llmcloud wrote it, upgrade this one.",
        ) from error


def known(kind: type, found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries that are fields of a dataclass; those of a newer version are not."""
    fields = kind.__dataclass_fields__  # type: ignore[attr-defined]
    return {key: value for key, value in found.items() if key in fields}
