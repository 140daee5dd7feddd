"""Where data lies: a store and a prefix in it, from what a person types."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from llmcloud.core.errors import UsageError
from llmcloud.runtime import layout
from llmcloud.runtime.store import FileStore

if TYPE_CHECKING:
    from llmcloud.runtime.store import ObjectStore

NAMED = "data/"
STAGED = re.compile("[0-9a-f]{64}")  # the folder of what a submit brought, below NAMED
INDEX = "index.json"


@dataclass(frozen=True)
class Location:
    """A place for data; `prefix` ends in `/`."""

    store: ObjectStore
    prefix: str

    @property
    def url(self) -> str:
        """Return what a job file's data source says to read it."""
        return f"{self.store.url}/{quote(self.prefix)}".rstrip("/")


@dataclass(frozen=True)
class Place:
    """What was pushed under a name."""

    name: str
    objects: int
    size_bytes: int
    url: str


def places(store: ObjectStore) -> list[Place]:
    """Return the places of a store that have names, and not what submits brought there."""
    if not store.is_there():
        return []
    named = [name for name in store.folders(NAMED) if not STAGED.fullmatch(name)]
    return [place for name in named for place in _places_in(store, name)]


def _places_in(store: ObjectStore, folder: str) -> list[Place]:
    """Return what was pushed to a folder of names, and to names below it such as `text/en`."""
    pushed = _pushed(store, folder)
    sizes: dict[str, list[int]] = {}
    for entry in store.objects(f"{NAMED}{folder}/"):
        key = entry.key.removeprefix(NAMED)
        above = [key[:at] for at, letter in enumerate(key) if letter == "/"]
        name = next((each for each in reversed(above) if each in pushed), folder)
        sizes.setdefault(name, []).append(entry.size)
    return [
        Place(name, len(found), sum(found), Location(store, f"{NAMED}{name}/").url)
        for name, found in sorted(sizes.items())
    ]


def _pushed(store: ObjectStore, folder: str) -> set[str]:
    """Return the names of which a push kept the digests."""
    root = layout.digests(f"{NAMED}{folder}/").removesuffix(INDEX)
    below = (entry.key[len(root) :].removesuffix(INDEX) for entry in store.objects(root))
    return {f"{folder}/{name}".rstrip("/") for name in below}


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
