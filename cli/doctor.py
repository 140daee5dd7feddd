"""`llmcloud doctor`."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmcloud.cli import output
from llmcloud.cli.arguments import ProviderArgument
from llmcloud.cli.session import JsonOption, Session, SetOption
from llmcloud.core.errors import UsageError
from llmcloud.core.registry import PROVIDERS, available

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmcloud.core.provider import Compute, Finding
    from llmcloud.core.spec.models import JobSpec

INDENT = 15  # where a detail begins
ANY_JOB = "name: doctor\nrun: 'true'\n"


def doctor(
    provider: ProviderArgument = "local",
    file: Annotated[
        str,
        typer.Argument(
            metavar="[FILE]", help="A job file: also what it needs.", show_default=False
        ),
    ] = "",
    accelerator: Annotated[
        str,
        typer.Option(
            "--accelerator",
            metavar="NAME:COUNT",
            help="Also whether there may be such machines, e.g. A100:8.",
            show_default=False,
        ),
    ] = "",
    overrides: SetOption = None,
    fix: Annotated[bool, typer.Option("--fix", help="Mend what can be mended here.")] = False,
    policy: Annotated[
        bool, typer.Option("--policy", help="Print what whoever submits must be allowed to do.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Check that all a job needs is there; exits as the first thing that is not, mostly 6."""
    output.json_mode(as_json)
    if provider not in PROVIDERS:
        known = f"One of {', '.join(PROVIDERS)}."
        is_file = Path(provider).is_file()
        raise UsageError(
            f"There is no provider {provider!r}.",
            fix=f"{known} The file comes after it: llmcloud doctor PROVIDER FILE"
            if is_file
            else known,
        )
    if provider not in available():
        raise UsageError(
            f"The provider {provider} is not in this version.",
            fix="`llmcloud buckets list` tells which clouds' buckets can be reached from here.",
        )
    session = Session.open()
    if policy:
        _print_policy(session.compute(provider))
        return
    changes = [*(overrides or []), f"provider={provider}"]
    changes += [f"resources.accelerator={accelerator}"] if accelerator else []
    is_asked = bool(file or accelerator or overrides)
    spec = _spec(file, changes) if is_asked else None
    if fix:
        session.home.create()
        session.store.create()
    _show(session.compute(provider).check(spec, mend=fix), as_json=as_json)


def _spec(file: str, changes: Sequence[str]) -> JobSpec:
    """Return the job that is asked about, of a file or of options alone."""
    from llmcloud.core.spec.load import load, load_text

    if file:
        return load(file, overrides=changes, environ=os.environ).spec
    return load_text("the options", ANY_JOB, overrides=changes, environ=os.environ).spec


def _print_policy(compute: Compute) -> None:
    policy = compute.policy()
    if policy is None:
        raise UsageError(f"The provider {compute.name} needs no permission.")
    print(json.dumps(policy, indent=2))  # noqa: T201


def _show(findings: list[Finding], *, as_json: bool) -> None:
    if as_json:
        output.emit([_document(finding) for finding in findings])
    else:
        from llmcloud.cli.render import fold

        for each in findings:
            print(f"{_mark(each)}  {each.subject:8} {fold(each.detail, INDENT)}")  # noqa: T201
            if each.fix:
                print(f"      fix: {each.fix}")  # noqa: T201
    if failed := [each for each in findings if each.ok is False]:
        sys.exit(failed[0].exit_code)


def _document(finding: Finding) -> dict[str, object]:
    """Return a finding for programs; a code is of what is not well only."""
    return {**asdict(finding), "exit_code": finding.exit_code if finding.ok is False else 0}


def _mark(finding: Finding) -> str:
    if finding.ok is None:
        return "?   "
    return output.paint("ok  ", "\x1b[32m", sys.stdout) if finding.ok else "FAIL"
