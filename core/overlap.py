"""Whether a transfer's source and target lie in each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmcloud.core.transfer.sides import Source, Target


def target_in_source(source: Source, target: Target) -> str:
    """Return the names' beginning, `a/b/`, by which the target lies in the source, or nothing."""
    return _rest(target.place, source.place)


def source_in_target(source: Source, target: Target) -> bool:
    """Tell whether the source is a part of the target; one that is all of it is none."""
    return bool(_rest(source.place, target.place))


def _rest(inner: str, outer: str) -> str:
    return inner.removeprefix(outer) if outer and inner.startswith(outer) else ""
