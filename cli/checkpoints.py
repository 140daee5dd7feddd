"""`llmcloud checkpoints`."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmcloud.cli import output
from llmcloud.cli.arguments import JobArgument
from llmcloud.cli.progress import bar
from llmcloud.cli.session import JsonOption, OpenJob, StoreOption

if TYPE_CHECKING:
    from llmcloud.core.checkpoints import CheckpointInfo

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True, add_completion=False)


@app.command("list")
def list_checkpoints(
    job: JobArgument, store: StoreOption = "", as_json: JsonOption = False
) -> None:
    """List a job's checkpoints, the oldest first."""
    output.json_mode(as_json)
    from llmcloud.cli import render
    from llmcloud.core import checkpoints

    opened = OpenJob.find(job, store)
    found = checkpoints.listing(opened.store, opened.id)
    if as_json:
        output.emit([_document(each) for each in found])
        return
    if not found:
        output.say(f"{opened.id} has no checkpoint yet.")
        return
    rows = [
        [
            str(each.step),
            render.size(each.size_bytes),
            str(each.files),
            render.age(each.created_at),
            each.problem or "whole",
        ]
        for each in found
    ]
    print(render.table(rows, ["STEP", "SIZE", "FILES", "AGE", "STATE"]))  # noqa: T201


@app.command()
def pull(
    job: JobArgument,
    to: Annotated[
        str, typer.Option("--to", metavar="FOLDER", help="The folder to write to.")
    ] = "checkpoints",
    step: Annotated[
        int | None,
        typer.Option("--step", metavar="STEP", min=0, help="Which; the newest by default."),
    ] = None,
    latest: Annotated[bool, typer.Option("--latest", help="The newest; the default.")] = False,
    keep_watching: Annotated[
        bool, typer.Option("--watch", help="Go on pulling new ones until the job has ended.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace other files in the way.")] = False,
    store: StoreOption = "",
    as_json: JsonOption = False,
) -> None:
    """Download a checkpoint. It is verified, and continued if it was interrupted."""
    output.json_mode(as_json)
    from llmcloud.core import checkpoints
    from llmcloud.core.errors import UsageError
    from llmcloud.core.location import check_folder
    from llmcloud.core.transfer.meter import Meter

    if step is not None and (latest or keep_watching):
        raise UsageError("--step names one checkpoint; --latest and --watch are others.")
    opened = OpenJob.find(job, store)
    target = Path(to)
    check_folder(target)
    meter = Meter()
    with bar("pull", meter, quiet=as_json):
        if not keep_watching:
            found = checkpoints.pull(
                opened.store, opened.id, target, step=step, force=force, meter=meter
            )
            _report(found, target, as_json=as_json)
            return
        for found in checkpoints.watch(
            opened.store,
            opened.id,
            target,
            is_over=lambda: opened.status().state.is_final,
            wait=time.sleep,
            force=force,
            meter=meter,
        ):
            _report(found, target, as_json=as_json)


def _report(found: CheckpointInfo, target: Path, *, as_json: bool) -> None:
    from llmcloud.cli import render

    if as_json:
        output.emit_line({**_document(found), "folder": str(target)})
    else:
        files = "1 file" if found.files == 1 else f"{found.files} files"
        output.say(
            f"checkpoint {found.step}: {files}, {render.size(found.size_bytes)}, in {target}/"
        )


def _document(found: CheckpointInfo) -> dict[str, object]:
    return {**asdict(found), "valid": found.is_valid}
