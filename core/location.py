"""Where data lies: a store and a prefix in it, from what a person types."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from llmcloud.core.errors import UsageError
from llmcloud.runtime.store import FileStore

if TYPE_CHECKING:
    from llmcloud.runtime.store import ObjectStore

NAMED = "data/"


@dataclass(frozen=True)
class Location:
    """A place for data; `prefix` ends in `/`."""

    store: ObjectStore
    prefix: str

    @property
    def url(self) -> str:
        """Return what a job file's data source says to read it."""
        return f"{self.store.url}/{quote(self.prefix)}".rstrip("/")


def locate(text: str, default: ObjectStore) -> Location:
    """Return where `text` points: a URL, or a name below `data/` of the default store.

    A file:// URL inside a store means that store; elsewhere its parent folder becomes one, so that
    the files lie just where the URL says.
    """
    if "://" not in text:
        name = text.strip("/")
        if not name or text.startswith((".", "/")):
            raise UsageError(
                f"{text!r} is no place in a store.", fix="Give a name (corpus) or a file:// URL."
            )
        return Location(default, f"{NAMED}{name}/")
    parts = urlsplit(text)
    if parts.scheme != "file":
        raise UsageError(f"This version can't reach {parts.scheme}:// yet.", fix="Use file://.")
    path = Path(unquote(parts.path))
    for folder in path.parents:
        if FileStore(folder).is_there():
            return Location(FileStore(folder), f"{path.relative_to(folder).as_posix()}/")
    return Location(FileStore(path.parent), f"{path.name}/")
