"""Which files of the checkpoint folder make up which checkpoint.

- What has a step in its name, a folder or a file, belongs to that step's checkpoint:
  `checkpoint-100/`, `global_step100/`, `100/`, `step-100.npz`, `epoch=3-step=100.ckpt`,
  `ckpt-100.index` beside `ckpt-100.data-…`. The outermost such name counts.
- Weights without a step (`ckpt.pt`, `model.safetensors` and the small files beside them) are one
  checkpoint that is overwritten in place. Where numbered ones exist as well, only names that say
  so (`last.ckpt`, `latest.pt`, …) are; a final `model.safetensors` beside `checkpoint-100/` is not.
- A small text file or a symlink that points at a step (`latest`, `checkpoint`) travels with it.
- Temporary and hidden names are nothing until they are renamed.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

WEIGHTS = frozenset({
    ".pt", ".pth", ".ckpt", ".safetensors", ".npz", ".npy", ".bin", ".pkl", ".pickle", ".joblib",
    ".h5", ".hdf5", ".keras", ".msgpack", ".gguf", ".tar", ".distcp",
})  # fmt: skip
COMPANIONS = frozenset({".json", ".yaml", ".yml", ".txt", ".model", ".jinja", ".toml"})
ILLUSTRATIONS = frozenset({
    ".png", ".jpg", ".jpeg", ".svg", ".gif", ".log", ".csv", ".txt", ".md", ".html", ".lock",
    ".out",
})  # fmt: skip
IN_PLACE_STEMS = frozenset({"ckpt", "checkpoint", "last", "latest", "current", "resume", "state"})
POINTER_BYTES = 4096

_TEMPORARY = re.compile(
    r"^\.|^te?mp[-_.]|[-_.](te?mp|partial|part|incomplete)$|[-_.]tmp[-_.\d]|~$", re.IGNORECASE
)
_SHARD = re.compile(r"[-_.]\d+[-_]of[-_]\d+")
_STEP_WORDS = [
    re.compile(rf"(?:^|[^a-z]){word}[-_=.]?(\d+)(?!\d)", re.IGNORECASE)
    for word in (
        "(?:global[-_]?)?steps?",
        "iter(?:ation)?s?",
        "(?:checkpoint|ckpt|chkpt)",
        "epochs?",
        "ep",
    )
]
_STEP_AFTER_WORD = re.compile(r"(?:^|[^a-z0-9])(\d+)[-_]?(?:steps?|iters?)(?![a-z])", re.IGNORECASE)
_LAST_NUMBER = re.compile(r"(?:^|[-_=.])(\d+)$")
_MOST_DIGITS = 18


@dataclass(frozen=True)
class LocalFile:
    """A file as it was when it was seen; `name` is relative to the checkpoint folder."""

    name: str
    path: Path
    size: int
    mtime_ns: int
    inode: int

    def is_unchanged(self) -> bool:
        """Tell whether the file still is what was seen."""
        try:
            now = self.path.stat()
        except OSError:
            return False
        return (now.st_size, now.st_mtime_ns, now.st_ino) == (self.size, self.mtime_ns, self.inode)


@dataclass(frozen=True)
class Link:
    """A symlink beside a checkpoint that points at it; both are relative to the folder."""

    name: str
    target: str


@dataclass(frozen=True)
class Candidate:
    """What may be a checkpoint, whole or not; without a step it is overwritten in place."""

    step: int | None
    files: tuple[LocalFile, ...]
    unfinished: tuple[LocalFile, ...] = ()  # temporary names within: not shipped, but a sign
    pointers: tuple[LocalFile, ...] = ()
    links: tuple[Link, ...] = ()

    @property
    def fingerprint(self) -> frozenset[LocalFile]:
        """Return what changes whenever the checkpoint is written to."""
        return frozenset(self.files + self.unfinished)


@dataclass
class Scan:
    """What one look at the folder found; `temporary` holds the inodes of temporary names."""

    candidates: list[Candidate] = field(default_factory=list)
    temporary: set[int] = field(default_factory=set)
    warnings: list[str] = field(default_factory=list)

    def get(self, step: int | None) -> Candidate | None:
        """Return the candidate of a step."""
        return next((each for each in self.candidates if each.step == step), None)


def scan(directory: Path) -> Scan:
    """Look at the folder once; one that is absent is empty."""
    walk = _Walk(directory)
    walk.enter(directory, "", None)
    result = Scan(temporary=walk.temporary, warnings=walk.warnings)
    numbered = [
        Candidate(step, tuple(files), tuple(walk.unfinished.get(step, ())))
        for step, files in sorted(walk.numbered.items())
        if any(_is_checkpoint(file.name) for file in files)
    ]
    result.candidates = [
        Candidate(
            each.step,
            each.files,
            each.unfinished,
            tuple(file for file in walk.loose if _points_at(file, each.step)),
            tuple(link for link in walk.links if _is_member(link.target, each)),
        )
        for each in numbered
    ]
    if in_place := _in_place(walk.loose, beside_numbered=bool(numbered)):
        result.candidates.append(Candidate(None, tuple(in_place)))
    return result


class _Walk:
    """Sorts the files of the folder by the step in their path."""

    def __init__(self, directory: Path) -> None:
        self.root = directory.resolve()
        self.numbered: dict[int, list[LocalFile]] = {}
        self.unfinished: dict[int, list[LocalFile]] = {}
        self.loose: list[LocalFile] = []
        self.links: list[Link] = []
        self.temporary: set[int] = set()
        self.warnings: list[str] = []

    def enter(self, folder: Path, prefix: str, step: int | None) -> None:
        for child in _children(folder):
            name = prefix + child.name
            if step is None and _TEMPORARY.search(child.name):
                self.temporary.add(child.inode())
            elif child.is_symlink():
                self._link(Path(child.path), name, step)
            elif child.is_dir():
                own = step_of(child.name, is_folder=True) if step is None else step
                self.enter(Path(child.path), name + "/", own)
            elif child.is_file():
                self._file(Path(child.path), name, step)

    def _link(self, path: Path, name: str, step: int | None) -> None:
        target = Path(os.path.realpath(path))
        if not target.is_relative_to(self.root) or not target.exists():
            self.warnings.append(f"{name} is a link that leads nowhere in the folder: left out.")
        elif step is None:
            self.links.append(Link(name, target.relative_to(self.root).as_posix()))
        elif target.is_file():
            self._file(path, name, step)
        else:
            self.warnings.append(f"{name} is a link to a folder: left out.")

    def _file(self, path: Path, name: str, step: int | None) -> None:
        try:
            found = path.stat()
        except OSError:  # it went while we looked
            return
        file = LocalFile(name, path, found.st_size, found.st_mtime_ns, found.st_ino)
        if step is not None:
            partial = _TEMPORARY.search(path.name) and not path.name.startswith(".")
            (self.unfinished if partial else self.numbered).setdefault(step, []).append(file)
            return
        own = step_of(path.name, is_folder=False)
        if own is None:
            self.loose.append(file)
        else:
            self.numbered.setdefault(own, []).append(file)


def step_of(name: str, *, is_folder: bool) -> int | None:
    """Return the step that a file's or folder's name tells, or None."""
    stem = name if is_folder else _SHARD.sub("", _stem(name))
    for pattern in _STEP_WORDS:
        if found := pattern.search(stem):
            return _number(found[1])
    if found := _STEP_AFTER_WORD.search(stem):
        return _number(found[1])
    if is_folder:
        return _number(name) if name.isascii() and name.isdigit() else None
    if Path(name).suffix.lower() in WEIGHTS and (found := _LAST_NUMBER.search(stem)):
        return _number(found[1])
    return None


def global_step(files: tuple[LocalFile, ...]) -> int | None:
    """Return what a trainer_state.json among the files says, or None."""
    for file in files:
        if file.path.name == "trainer_state.json":
            try:
                step = json.loads(file.path.read_bytes()).get("global_step")
            except (OSError, ValueError, AttributeError):
                return None
            return step if isinstance(step, int) and step >= 0 else None
    return None


def _children(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda child: child.name)
    except OSError:
        return []


def _stem(name: str) -> str:
    """Drop the extension, unless it is a part of the step, as in `model.100`."""
    stem, _, extension = name.rpartition(".")
    return name if not stem or extension.isdigit() else stem


def _number(digits: str) -> int | None:
    return int(digits) if len(digits) <= _MOST_DIGITS else None


def _is_checkpoint(name: str) -> bool:
    """Tell a file that makes a checkpoint from a picture that only tells of its step."""
    return "/" in name or Path(name).suffix.lower() not in ILLUSTRATIONS


def _points_at(file: LocalFile, step: int | None) -> bool:
    if file.size > POINTER_BYTES or Path(file.name).suffix not in {"", ".txt"}:
        return False
    try:
        text = file.path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    return str(step) in (number.lstrip("0") or "0" for number in re.findall(r"\d+", text))


def _is_member(target: str, candidate: Candidate) -> bool:
    return any(f"{file.name}/".startswith(f"{target}/") for file in candidate.files)


def _in_place(loose: list[LocalFile], *, beside_numbered: bool) -> list[LocalFile]:
    weights = [file for file in loose if Path(file.name).suffix.lower() in WEIGHTS]
    if beside_numbered:
        return [file for file in weights if Path(file.name).stem.lower() in IN_PLACE_STEMS]
    folders = {Path(file.name).parent for file in weights}
    return weights + [
        file
        for file in loose
        if Path(file.name).parent in folders and Path(file.name).suffix.lower() in COMPANIONS
    ]
