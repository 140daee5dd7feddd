"""The user's own defaults: a small config file, and LLMCLOUD_PROVIDER.

No pydantic here: every command reads this, and most start faster without.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmcloud.core.errors import Problem, SpecError
from llmcloud.core.stores import bucket_of
from llmcloud.runtime.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from llmcloud.core.home import Home
    from llmcloud.core.spec.tree import Node

PROVIDER_VARIABLE = "LLMCLOUD_PROVIDER"
PROVIDERS = ("local", "aws", "gcp", "azure", "edge", "any")
KEYS = ("provider", "store", "region")


@dataclass(frozen=True)
class Config:
    """Defaults for what a job file leaves out; `sources` says where each comes from.

    `store` and `region` belong to `provider` when that is set: they fill a job of that provider.
    """

    provider: str | None = None
    store: str | None = None
    region: str | None = None
    sources: tuple[tuple[str, str], ...] = ()

    @classmethod
    def load(cls, home: Home, environ: Mapping[str, str]) -> Config:
        """Read the config file, if there is one, and the environment; SpecError if it is wrong."""
        found = _read(home, environ)
        sources = dict.fromkeys(found, str(home.config_file))
        provider = environ.get(PROVIDER_VARIABLE)
        if provider:
            if problem := _wrong_provider(provider):
                raise SpecError(PROVIDER_VARIABLE, [Problem("", problem[0], hint=problem[1])])
            if provider != found.get("provider", provider):
                found = {}
            found["provider"], sources["provider"] = provider, PROVIDER_VARIABLE
        return cls(**found, sources=tuple(sources.items()))


def _read(home: Home, environ: Mapping[str, str]) -> dict[str, str]:
    try:
        if not home.config_file.exists():
            return {}
        if not home.config_file.is_file():  # reading a pipe might never end
            raise SpecError(str(home.config_file), [Problem("", "This is no file")])
    except OSError as error:
        problem = Problem("", f"The config file can't be read: {error.strerror}")
        raise SpecError(str(home.config_file), [problem]) from error
    from llmcloud.core.spec import source, tree

    path = str(home.config_file)
    found = tree.parse(source.read(path), environ)
    problems = list(found.problems)
    if found.root:
        problems += _problems(found.root)
    if problems:
        raise SpecError(path, problems)
    entries = found.root.value if found.root else {}
    if not isinstance(entries, dict):
        return {}
    return {key: str(node.value) for key, node in entries.items() if node.value is not None}


def _problems(root: Node) -> Iterator[Problem]:
    if not isinstance(root.value, dict):
        hint = f"The keys are {', '.join(KEYS)}"
        yield Problem("", "Expected a mapping", root.mark.line, root.mark.column, hint)
        return
    for key, node in root.value.items():
        mark = node.mark
        if key not in KEYS:
            mark, close = root.key_marks[key], difflib.get_close_matches(key, KEYS, n=1)
            hint = f"Did you mean {close[0]}?" if close else f"The keys are {', '.join(KEYS)}"
            yield Problem(key, "There is no such key", mark.line, mark.column, hint)
        elif node.value is not None and not isinstance(node.value, str):
            yield Problem(key, "Expected text", mark.line, mark.column)
        elif key == "provider" and node.value and (wrong := _wrong_provider(node.value)):
            yield Problem(key, wrong[0], mark.line, mark.column, hint=wrong[1])
        elif key == "store" and node.value:
            try:
                bucket_of(node.value)
            except InvalidRequest as refused:
                said, hint = refused.what.rstrip("."), refused.fix.rstrip(".")
                yield Problem(key, said, mark.line, mark.column, hint)


def _wrong_provider(name: str) -> tuple[str, str] | None:
    if name in PROVIDERS:
        return None
    close = difflib.get_close_matches(name, PROVIDERS, n=1)
    hint = f"Did you mean {close[0]}?" if close else ""
    return f"Expected one of {', '.join(PROVIDERS)}, found {name}", hint
