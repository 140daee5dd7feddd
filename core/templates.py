"""The starter jobs that come with llmcloud."""

from __future__ import annotations

import difflib
import shutil
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from llmcloud.core.errors import UsageError
from llmcloud.runtime.errors import NotFound

JOB_FILE = "job.yaml"
LEFT_OUT = shutil.ignore_patterns("__pycache__", "__init__.py")


@dataclass(frozen=True)
class Template:
    """A folder with a job file, and the line of its README that says what it is."""

    name: str
    folder: Path
    summary: str


def find_all() -> list[Template]:
    """Return the templates in the order of their names."""
    root = Path(str(resources.files("llmcloud.templates")))
    folders = sorted(path.parent for path in root.glob(f"*/{JOB_FILE}"))
    return [Template(folder.name, folder, _summary(folder)) for folder in folders]


def find(name: str) -> Template:
    """Return a template; NotFound, with the nearest, when there is none of that name."""
    known = {template.name: template for template in find_all()}
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"Did you mean {close[0]}?" if close else f"There are {', '.join(known)}."
        raise NotFound(f"There is no template {name!r}.", fix=hint)
    return known[name]


def copy(template: Template, target: Path) -> None:
    """Copy a template into a new or empty folder."""
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"{target} exists and is not empty.", fix="Name another folder.")
    try:
        shutil.copytree(template.folder, target, ignore=LEFT_OUT, dirs_exist_ok=True)
    except OSError as error:
        raise UsageError(f"{target} can't be written: {error.strerror or error}.") from error


def _summary(folder: Path) -> str:
    readme = folder / "README.md"
    lines = readme.read_text().splitlines() if readme.is_file() else []
    return next((line for line in lines if line and not line.startswith("#")), "")
