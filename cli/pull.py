"""`llmcloud pull`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmcloud.cli import output
from llmcloud.cli.arguments import JobArgument
from llmcloud.cli.session import JsonOption, OpenJob, StoreOption


def pull(
    job: JobArgument,
    to: Annotated[
        str,
        typer.Option(
            "--to", metavar="FOLDER", help="The folder to write to; the job's id by default."
        ),
    ] = "",
    store: StoreOption = "",
    as_json: JsonOption = False,
) -> None:
    """Download what a job left under its outputs; of several nodes, into a folder each."""
    output.json_mode(as_json)
    from llmcloud.cli.transfer import Asked, report, shown
    from llmcloud.core import outputs
    from llmcloud.core.location import check_folder
    from llmcloud.core.transfer.meter import Meter

    opened = OpenJob.find(job, store)
    target, meter = Path(to or opened.id), Meter()
    check_folder(target)
    asked = Asked("pulled", as_json=as_json)
    with shown(asked, meter):
        summary = outputs.pull(opened.store, opened.id, target, asked.options(meter, f"{target}/"))
    report(asked, summary, f"{target}/")
