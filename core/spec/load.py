"""A job file, from its text to a checked spec, or every problem it has."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from llmcloud.core.config import Config
from llmcloud.core.errors import Problem, SpecError
from llmcloud.core.home import Home
from llmcloud.core.spec import explain, source, tree
from llmcloud.core.spec.fields import kind_of
from llmcloud.core.spec.models import JobSpec
from llmcloud.core.spec.overrides import apply_override, parse_override
from llmcloud.core.spec.tree import Json, Mark, Node

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LEGACY_KEY = "trainingInput"


@dataclass(frozen=True)
class LoadedSpec:
    """A job file that holds together.

    `document` is what it says once the environment, `--set` and the defaults are in; it can be
    read again with `JobSpec.model_validate`. `digest` is a SHA-256 of the meaning: another way to
    write the same (4h, 240m) has the same digest.
    """

    spec: JobSpec
    path: Path
    document: dict[str, Json]
    digest: str
    root: Node = field(repr=False)

    def beside(self, path: str) -> Path:
        """Return what a path in the file means: it begins at the file, or at a home with `~`."""
        return self.path.parent / os.path.expanduser(path)  # noqa: PTH111 - keeps an unknown ~name

    def refused(self, *problems: Problem) -> SpecError:
        """Return what to raise for problems that were found later, each with its key's place."""
        return SpecError(str(self.path), [self._located(problem) for problem in problems])

    def _located(self, problem: Problem) -> Problem:
        parts = problem.key.split(".") if problem.key else []
        path = tuple(int(part) if part.isdigit() else part for part in parts)
        return explain.located(self.root, path, problem.message, problem.hint)


def load(path: str, *, overrides: Sequence[str] = (), environ: Mapping[str, str]) -> LoadedSpec:
    """Read a job file; SpecError with every problem found, UsageError for a malformed override."""
    return load_text(path, source.read(path), overrides=overrides, environ=environ)


def load_text(
    path: str, text: str, *, overrides: Sequence[str] = (), environ: Mapping[str, str]
) -> LoadedSpec:
    """Read the text of a job file as if it lay at `path`."""
    changes = [parse_override(text, environ) for text in overrides]
    config = Config.load(Home.from_env(environ), environ)
    parsed = tree.parse(text, environ)
    root, problems = _mapping(path, parsed), list(parsed.problems)
    for change in changes:
        changed = apply_override(root, change)
        if isinstance(changed, Problem):
            problems.append(changed)
        else:
            root = changed
    root = apply_defaults(root, config)
    problems += _bounds(root) or _empty_values(root, ())
    spec = _validate(root, problems)
    if spec is None or problems:
        raise SpecError(path, _in_order(problems))
    document = root.plain()
    assert isinstance(document, dict)  # noqa: S101 - see _mapping
    return LoadedSpec(spec, Path(path), document, digest(spec), root)


def digest(spec: JobSpec) -> str:
    """Return the SHA-256 of what a spec means."""
    meaning = spec.model_dump(mode="json", exclude_defaults=True)
    text = json.dumps(meaning, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def apply_defaults(root: Node, config: Config) -> Node:
    """Fill in what the file leaves out and the user's config says."""
    assert isinstance(root.value, dict)  # noqa: S101 - see _mapping
    entries, provider = dict(root.value), root.value.get("provider")
    if config.provider and provider is None:
        provider = entries["provider"] = _default("provider", config.provider, config)
    same = config.provider is None or (provider and provider.value == config.provider)
    if same and config.region and "region" not in entries:
        entries["region"] = _default("region", config.region, config)
    if same and config.store and "store" not in entries:
        entries["store"] = _default("store", config.store, config)
    return replace(root, value=entries)


def _default(key: str, value: str, config: Config) -> Node:
    return Node(value, Mark(1, 1, dict(config.sources).get(key, "the defaults")))


def _mapping(path: str, parsed: tree.Tree) -> Node:
    """Return the root if there is one that keys can be looked for in."""
    root = parsed.root
    if parsed.problems and (root is None or not isinstance(root.value, dict)):
        raise SpecError(path, list(parsed.problems))
    if root is None or root.value is None:
        hint = "Start one from a template: llmcloud init"
        raise SpecError(path, [Problem("", "The file is empty", hint=hint)])
    line, column = root.mark.line, root.mark.column
    if not isinstance(root.value, dict):
        message = f"A job file is a mapping, this is {kind_of(root.value)}"
        hint = "Begin with name: and run:"
        raise SpecError(path, [Problem("", message, line, column, hint)])
    if LEGACY_KEY in root.value:
        mark = root.key_marks[LEGACY_KEY]
        message = "This is a legacy trainingInput file, not a job file"
        hint = "Its conversion (llmcloud convert) is planned, it is not in this version"
        raise SpecError(path, [Problem(LEGACY_KEY, message, mark.line, mark.column, hint)])
    return root


def _bounds(root: Node) -> list[Problem]:
    """Check what changes to the tree may have made of it."""
    if root.size <= tree.MAX_NODES and root.depth <= tree.MAX_DEPTH:
        return []
    return [Problem("", "The overrides make the file too big, or too deep")]


def _empty_values(node: Node, path: tuple[str | int, ...]) -> list[Problem]:
    if node.value is None:
        hint = "Give it a value, or remove the key"
        place = (node.mark.line, node.mark.column)
        return [
            Problem(tree.dotted(path), "The value is empty", *place, hint, source=node.mark.source)
        ]
    if isinstance(node.value, dict):
        return [p for key, child in node.value.items() for p in _empty_values(child, (*path, key))]
    if isinstance(node.value, list):
        return [p for i, child in enumerate(node.value) for p in _empty_values(child, (*path, i))]
    return []


def _validate(root: Node, problems: list[Problem]) -> JobSpec | None:
    """Return the spec, or add what is wrong with it, unless that is said of the value already."""
    known = {(problem.key, problem.line, problem.column) for problem in problems}
    try:
        return JobSpec.model_validate(root.plain())
    except ValidationError as error:
        problems += [
            problem
            for problem in explain.problems(error, JobSpec, root)
            if (problem.key, problem.line, problem.column) not in known
        ]
        return None


def _in_order(problems: list[Problem]) -> list[Problem]:
    return sorted(problems, key=lambda each: (each.source, each.line, each.column))
