"""Which files of a folder travel: all but `.git`, stores, and what is named to be left out."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from llmcloud.runtime.errors import NotFound, PermissionDenied
from llmcloud.runtime.objects import PRIVATE

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

IGNORE_FILES = (".gitignore", ".llmcloudignore")
UNREADABLE = "it can't be read"
EFFECTIVE = os.access in os.supports_effective_ids
ODD_KINDS = {
    stat.S_IFSOCK: "it is a socket",
    stat.S_IFIFO: "it is a named pipe",
    stat.S_IFCHR: "it is a device",
    stat.S_IFBLK: "it is a device",
}


class WalkEntry(NamedTuple):
    """A file or a symlink of the folder; one with a `problem` can't travel, and that says why.

    `name` is relative to the root, with `/`; `stat` is the entry's own, not its link target's.
    """

    file: str
    name: str
    stat: os.stat_result
    problem: str = ""

    @property
    def path(self) -> Path:
        """Return where it lies."""
        return Path(self.file)

    @property
    def is_link(self) -> bool:
        """Tell whether this is a symlink, to be kept as one."""
        return stat.S_ISLNK(self.stat.st_mode)

    @property
    def is_unreadable(self) -> bool:
        """Tell whether it could travel if only it could be read."""
        return self.problem.startswith(UNREADABLE)


class Patterns:
    """Patterns as in .gitignore, for names that come from somewhere else than a walk."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._rules = _Rules("", _compile(patterns))

    def match(self, name: str) -> bool:
        """Tell whether the patterns mean a file, or a folder that it is in."""
        if not self._rules.patterns:
            return False
        return any(self._rules.verdict(name[:end]) for end in _ends(name))


def walk(root: Path, exclude: Sequence[str] = ()) -> Iterator[WalkEntry]:
    """Yield what is under `root`, in the order of the names, without what is ignored.

    `.gitignore` and `.llmcloudignore` count in every folder as they do for git; `exclude` holds
    patterns of the same kind, anchored to `root`, and has the last word. Ignored folders are not
    entered, nor are symlinks, nor stores: with the jobs of before in it, each job's code would
    hold twice what the last one's did. An empty folder yields nothing. Raises NotFound and
    PermissionDenied for the root itself.
    """
    root = root.resolve()
    try:
        os.scandir(root).close()
    except PermissionError as error:
        raise PermissionDenied("The folder can't be read.", where=str(root)) from error
    except OSError as error:
        raise NotFound(f"There is no folder {root}.", where=error.strerror or "") from error
    yield from _walk(_Folder(root, str(root), ""), [], _Rules("", _compile(exclude)))


def ignoring(root: Path, exclude: Sequence[str] = ()) -> Callable[[str], bool]:
    """Return what tells whether `walk` would leave out a name, be there such a file or not."""
    excluded = _Rules("", _compile(exclude))

    @functools.cache
    def rules(folder: str) -> list[_Rules]:
        above, _, _ = folder[:-1].rpartition("/")
        outer = rules(above and above + "/") if folder else [excluded]
        lines = _lines(os.path.join(root, folder), IGNORE_FILES)  # noqa: PTH118
        return [outer[0], _Rules(folder, _compile(lines)), *outer[1:]]

    def is_ignored(name: str) -> bool:
        ends = _ends(name)
        return any(
            _is_ignored(name[:end], [each for each in rules(name[:begin]) if each.patterns])
            for begin, end in zip([0, *ends], ends, strict=False)
        )

    return is_ignored


def _ends(name: str) -> list[int]:
    """Return where the folders on the way to a name end, and it itself."""
    return [*(at + 1 for at, letter in enumerate(name) if letter == "/"), len(name)]


class _Folder(NamedTuple):
    root: Path
    path: str
    name: str  # relative to the root, empty or ending in "/"


class _Pattern(NamedTuple):
    regex: re.Pattern[str]
    ignores: bool
    inside_only: bool  # `a/**` means what is in `a`, where pathspec means `a` too

    def means(self, name: str) -> bool:
        """Tell whether the pattern names this very entry; its folders were judged before it."""
        if self.inside_only:
            return self.regex.search(name.rstrip("/")) is not None
        return any(
            match.groupdict().get("ps_d") is None or match.end("ps_d") == len(name)
            for match in self.regex.finditer(name)
        )


class _Rules(NamedTuple):
    """The patterns of one folder, in their order; names are matched relative to `anchor`."""

    anchor: str
    patterns: list[_Pattern]

    def verdict(self, name: str) -> bool | None:
        """Tell whether `name` (a folder's ends in `/`) is ignored; None when no pattern says."""
        relative = name[len(self.anchor) :]
        for pattern in reversed(self.patterns):
            if pattern.means(relative):
                return pattern.ignores
        return None


def _walk(folder: _Folder, outer: list[_Rules], exclude: _Rules) -> Iterator[WalkEntry]:
    try:
        with os.scandir(folder.path) as listed:
            # A folder sorts as the names in it do, with its slash: "a.txt" < "a/b" < "a0".
            children = sorted(
                (child.name + "/" * child.is_dir(follow_symlinks=False), child) for child in listed
            )
    except OSError as error:
        problem = f"{UNREADABLE}: {error.strerror}"
        yield WalkEntry(folder.path, folder.name, os.lstat(folder.path), problem)
        return
    if folder.name and any(name == f"{PRIVATE}/" for name, _ in children):
        return
    rules = [
        *outer,
        _Rules(folder.name, _compile(_lines(folder.path, [name for name, _ in children]))),
    ]
    judges = [each for each in (exclude, *reversed(rules)) if each.patterns]
    for child_name, child in children:
        name = folder.name + child_name
        if child_name in {".git", ".git/"} or (judges and _is_ignored(name, judges)):
            continue
        if child_name.endswith("/"):
            yield from _walk(_Folder(folder.root, child.path, name), rules, exclude)
            continue
        try:
            found = child.stat(follow_symlinks=False)
        except FileNotFoundError:  # it went while we walked
            continue
        yield WalkEntry(child.path, name, found, _problem(folder.root, child.path, name, found))


def _is_ignored(name: str, judges: list[_Rules]) -> bool:
    """Ask the rules, the last word first."""
    verdicts = (each.verdict(name) for each in judges)
    return next((verdict for verdict in verdicts if verdict is not None), False)


def _compile(lines: Iterable[str]) -> list[_Pattern]:
    """Compile the lines; one that is no pattern means nothing, as for git."""
    found: list[_Pattern] = []
    for line in lines:
        with contextlib.suppress(ValueError, re.error):
            found += _compiled(line.rstrip("\r"))
    return found


def _compiled(text: str) -> list[_Pattern]:
    from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

    found = GitIgnoreSpecPattern(text)
    if found.regex is None or found.include is None:
        return []
    return [_Pattern(found.regex, found.include, inside_only=text.endswith("/**"))]


def _lines(folder: str, names: Collection[str]) -> list[str]:
    lines: list[str] = []
    for name in IGNORE_FILES:
        path = Path(folder, name)
        if name not in names or not path.is_file():
            continue
        try:
            lines += path.read_text("utf-8-sig", "surrogateescape").split("\n")
        except OSError as error:
            raise PermissionDenied(
                f"The ignore file can't be read: {error.strerror}.", where=str(path)
            ) from error
    return lines


def _problem(root: Path, path: str, name: str, found: os.stat_result) -> str:
    """Say why an entry can't travel, or nothing."""
    if not name.isascii():
        try:
            name.encode()
        except UnicodeEncodeError:
            return "its name is not UTF-8"
    if stat.S_ISREG(found.st_mode):
        return "" if os.access(path, os.R_OK, effective_ids=EFFECTIVE) else UNREADABLE
    if stat.S_ISLNK(found.st_mode):
        return _link_problem(root, Path(path))
    return ODD_KINDS.get(stat.S_IFMT(found.st_mode), "it is neither a file nor a link")


def _link_problem(root: Path, path: Path) -> str:
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError):  # RuntimeError: a loop of links, before Python 3.13
        return "it is a link to nothing"
    if path.readlink().is_absolute() or not target.is_relative_to(root):
        return "it is a link that leaves the folder"
    return ""
