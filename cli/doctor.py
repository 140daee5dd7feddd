"""`llmcloud doctor`."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Annotated

import typer

from llmcloud.cli import output
from llmcloud.cli.arguments import ProviderArgument
from llmcloud.cli.session import JsonOption, Session
from llmcloud.core.errors import UsageError
from llmcloud.core.registry import PROVIDERS, available


def doctor(
    provider: ProviderArgument = "local",
    fix: Annotated[bool, typer.Option("--fix", help="Mend what can be mended here.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Check that all a job needs is there; exits 6 if something is not."""
    output.json_mode(as_json)
    if provider not in PROVIDERS:
        raise UsageError(
            f"There is no provider {provider!r}.", fix=f"One of {', '.join(PROVIDERS)}."
        )
    if provider not in available():
        raise UsageError(
            f"The provider {provider} is not in this version.",
            fix="`llmcloud buckets list` tells which clouds' buckets can be reached from here.",
        )
    session = Session.open()
    if fix:
        session.home.create()
        session.store.create()
    findings = session.compute(provider).check()
    if as_json:
        output.emit([asdict(finding) for finding in findings])
    else:
        for each in findings:
            mark = output.paint("ok  ", "\x1b[32m", sys.stdout) if each.ok else "FAIL"
            print(f"{mark}  {each.subject:8} {each.detail}")  # noqa: T201
            if each.fix:
                print(f"      fix: {each.fix}")  # noqa: T201
    if not all(each.ok for each in findings):
        sys.exit(6)
