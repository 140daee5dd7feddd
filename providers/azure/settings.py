"""What a container can be set to, and what only its account can, which an administrator sets."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from llmcloud.runtime.errors import InvalidRequest

if TYPE_CHECKING:
    from llmcloud.core.buckets import BucketWish

TAG = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def check_tags(url: str, wish: BucketWish) -> None:
    """Raise InvalidRequest for tags that a container's metadata can't hold."""
    for name, value in wish.tags.items():
        if not TAG.fullmatch(name) or not (value.isascii() and value.isprintable()):
            raise InvalidRequest(
                f"Azure does not accept the tag {name}={value}.",
                where=url,
                fix="Letters, digits and underscores, no digit first; ASCII in its value.",
            )
