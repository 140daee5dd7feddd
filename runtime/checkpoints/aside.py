"""Moves what must not be resumed from out of the checkpoint folder; nothing is ever deleted."""

from __future__ import annotations

import itertools
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator


def default_folder(directory: Path) -> Path:
    """Return where things of a checkpoint folder are set aside when nobody says: beside it."""
    return directory.parent / f".{directory.name}.set-aside"


def set_aside(directory: Path, names: Collection[str], folder: Path) -> None:
    """Move entries of the checkpoint folder, by name, to a new folder `folder`/NUMBER/."""
    if not names:
        return
    target = _new_folder(folder)
    for name in sorted(names):
        moved = target / name
        moved.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(directory / name, moved)
        _remove_empty_parents(directory, name)


def all_but(directory: Path, kept: Collection[str], prefix: str = "") -> Iterator[str]:
    """Yield the names of all that is no part of `kept`, whole folders by their own name."""
    if not (directory / prefix).is_dir():
        return
    with os.scandir(directory / prefix) as children:
        for child in sorted(children, key=lambda each: each.name):
            name = prefix + child.name
            if name in kept and not child.is_dir(follow_symlinks=False):
                continue
            is_folder = child.is_dir(follow_symlinks=False)
            if is_folder and any(each.startswith(name + "/") for each in kept):
                yield from all_but(directory, kept, name + "/")
            else:
                yield name


def _new_folder(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number in itertools.count(1):
        try:
            (folder / f"{number:04d}").mkdir()
        except FileExistsError:
            continue
        return folder / f"{number:04d}"
    raise AssertionError


def _remove_empty_parents(directory: Path, name: str) -> None:
    for parent in Path(name).parents:
        try:
            (directory / parent).rmdir() if parent != Path() else None
        except OSError:
            return
