"""`llmcloud init`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmcloud.cli import output
from llmcloud.cli.arguments import TemplateArgument
from llmcloud.cli.session import JsonOption
from llmcloud.core import templates


def init(
    template: TemplateArgument = "",
    folder: Annotated[
        str, typer.Argument(metavar="[FOLDER]", help="Where to; its own name by default.")
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Write a starter job into a new folder; without a name, list the templates."""
    output.json_mode(as_json)
    if not template:
        _list(as_json=as_json)
        return
    chosen = templates.find(template)
    target = Path(folder or chosen.name)
    templates.copy(chosen, target)
    if as_json:
        output.emit({"template": chosen.name, "folder": str(target)})
    else:
        output.say(f"{target} is ready. Run it: llmcloud submit {target / templates.JOB_FILE}")


def _list(*, as_json: bool) -> None:
    found = templates.find_all()
    if as_json:
        output.emit([{"name": each.name, "summary": each.summary} for each in found])
        return
    from llmcloud.cli.render import table

    print(table([[each.name, each.summary] for each in found], ["TEMPLATE", "WHAT IT IS"]))  # noqa: T201
    output.say("Write one: llmcloud init TEMPLATE [FOLDER]")
