"""`llmcloud pull`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmcloud.cli import output
from llmcloud.cli.arguments import JobArgument
from llmcloud.cli.progress import bar
from llmcloud.cli.session import JsonOption, OpenJob, StoreOption


def pull(
    job: JobArgument,
    to: Annotated[
        str, typer.Option("--to", help="The folder to write to; the job's id by default.")
    ] = "",
    store: StoreOption = "",
    as_json: JsonOption = False,
) -> None:
    """Download what a job left under its outputs; of several nodes, into a folder each."""
    output.json_mode(as_json)
    from llmcloud.cli import render
    from llmcloud.core import outputs

    opened = OpenJob.find(job, store)
    target = Path(to or opened.id)
    with bar("pull", quiet=as_json) as progress:
        summary = outputs.pull(opened.store, opened.id, target, progress)
    if as_json:
        output.emit(
            {
                "pulled": list(summary.transferred),
                "unchanged": summary.unchanged,
                "folder": str(target),
            }
        )
    else:
        output.say(
            f"{len(summary.transferred)} pulled ({render.size(summary.size_bytes)}), "
            f"{summary.unchanged} unchanged: {target}/"
        )
